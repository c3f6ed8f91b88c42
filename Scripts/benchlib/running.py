"""Running a benchmark: the machine, a stack of its own, parley-load."""

import contextlib
import datetime
import os
import platform
import signal
import subprocess

from stacklib.stack import Stack

from . import results
from .results import BenchError


class Failed(Exception):
    """A benchmark came to nothing, or a promise was broken; the others may go on."""


class Runner:
    def __init__(self, root, build, directory):
        self.root, self.build, self.directory = root, build, os.path.abspath(directory)
        self.commit, self.date = commit(root), datetime.date.today().isoformat()
        self.parley_load = find_program(root, build, "parley-load")
        find_program(root, build, "parley")
        # The stack's directory is wiped after each benchmark: it must not be anybody's.
        if os.path.isdir(directory) and os.listdir(directory):
            what = "a stack runs in" if Stack(root, directory).running() else "there is something in"
            raise BenchError(f"{what} {self.directory}; Scripts/stack down --wipe --dir {directory} removes a stack")

    def machine(self):
        return {**machine(), "date": self.date, "commit": self.commit}

    def run(self, arguments, path, gateways):
        """Runs parley-load, on fresh processes unless `gateways` is 0, and leaves its result in `path`.

        A result of an earlier run does not outlive a failure; that of a broken promise stays, to be looked at."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with self.stack(gateways) if gateways else contextlib.nullcontext([]) as stack:
            # Fault scripts are named from the checkout.
            command = [self.parley_load, *arguments, *stack, "--json", os.path.abspath(path)]
            status = call(command, cwd=self.root)
        if os.path.exists(path):
            run = {
                "command": " ".join(["parley-load", *arguments]), "build": self.build, "commit": self.commit,
                "date": self.date,
            }
            results.write(path, {**results.read(path), "run": run})
        if status == 1:
            raise Failed(f"a promise was broken, or a session did not hold; {path} says more")
        if status != 0 or not os.path.exists(path):
            raise Failed(f"parley-load ended with status {status}" + ("" if status else " and wrote no result"))

    @contextlib.contextmanager
    def stack(self, gateways):
        """A fresh stack, gone at the end whatever happens. Yields parley-load's option for it."""
        command = os.path.join(self.root, "Scripts/stack")
        down = [command, "down", "--wipe", "--dir", self.directory]
        up = [command, "up", "--build", self.build, "--gateways", str(gateways), "--dir", self.directory]
        # A gateway has room for those of one that died, and keeps those that it is given.
        environment = {**os.environ, "PARLEY_CAPACITY": "30000", "PARLEY_REBALANCE_PERCENT": "0"}
        try:
            if call(up, stdout=subprocess.DEVNULL, env=environment) != 0:
                raise Failed("its stack did not start")
            yield ["--stack", os.path.join(self.directory, "stack.json")]
        finally:
            with patience():
                call(down, stdout=subprocess.DEVNULL)


    def restart(self, name, between):
        """Stops a process of the stack, calls `between`, and starts it again."""
        command = os.path.join(self.root, "Scripts/stack")
        for step in ("stop", "start"):
            if call([command, step, name, "--dir", self.directory], stdout=subprocess.DEVNULL) != 0:
                raise Failed(f"{name} could not be restarted")
            if step == "stop":
                between()


def call(arguments, **options):
    """Runs a program that Ctrl-C reaches through us alone: one signal, and then it may end in its own time."""
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True, **options) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()
            with patience():
                child.wait()
            raise


@contextlib.contextmanager
def patience():
    """Holds signals that end us off while what must be ended is ended."""
    held = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


def find_program(root, build, name):
    is_product = build in ("debug", "release")
    program = os.path.abspath(os.path.join(root, ".build", build, name) if is_product else os.path.join(build, name))
    if not os.access(program, os.X_OK):
        raise BenchError(f"there is no {program}" + (f": swift build -c {build}" if is_product else ""))
    return program


def commit(root):
    try:
        done = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def machine():
    """What decides how fast things are here."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": field("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gib": round(int((field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
    }


def field(path, name):
    with open(path, encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return None
