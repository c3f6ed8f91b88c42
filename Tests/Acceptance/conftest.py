"""What every acceptance test has: a running stack, seen from outside."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import httpx
import pytest
from bystanders import Bystanders
from client import PATIENCE, Account, poll

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts"))
from stacklib import processes, stores  # noqa: E402

# Ends a stack whose test process was killed and could not do it.
WATCHDOG = """
trap '' INT TERM HUP
while kill -0 "$1" 2>/dev/null; do [ -d "$2" ] || exit 0; sleep 1; done
"$3" down --wipe --dir "$2/stack"
rm -rf "$2"
"""


def watched_directory():
    """A directory that every user can enter, and that does not outlive this process."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="parley-acceptance-"))
    home.chmod(0o755)
    subprocess.Popen(
        ["sh", "-c", WATCHDOG, "watchdog", str(os.getpid()), str(home), str(ROOT / "Scripts/stack")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )
    return home


@functools.cache
def database():
    """PostgreSQL's directory of a stack that never ran. To make one takes longer than all the rest of `stack up`."""
    home = watched_directory()
    stores.Postgres(str(ROOT), str(home), 0)
    return home / "postgres"


class Stack:
    """Scripts/stack on a directory of its own."""

    def __init__(self, build, **settings):
        self.build, self.settings = build, settings
        self.home = watched_directory()
        self.directory = self.home / "stack"

    def command(self, name, *arguments):
        """The command line of a Scripts/stack command on this stack."""
        build = ["--build", self.build] if name in ("up", "run") else []
        return [str(ROOT / "Scripts/stack"), name, "--dir", str(self.directory), *build, *map(str, arguments)]

    def attempt(self, name, *arguments):
        """Runs a command; output and exit status are the caller's to judge."""
        if name == "up":
            self.prepare()
        return subprocess.run(
            self.command(name, *arguments), env={**os.environ, **self.settings}, capture_output=True, text=True,
            timeout=300, check=False,
        )

    def prepare(self):
        """Saves a new stack the making of its database."""
        if not self.directory.exists() and not database().is_symlink():
            self.directory.mkdir()
            subprocess.run(["cp", "-a", database(), self.directory], check=True)

    def __call__(self, name, *arguments):
        """Runs a command that must succeed and returns what it printed."""
        done = self.attempt(name, *arguments)
        assert done.returncode == 0, f"stack {name}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def json(self):
        """stack.json as it is now: pids change with every start."""
        return json.loads((self.directory / "stack.json").read_text())

    @property
    def processes(self):
        """The records of stack.json by name."""
        described = self.json
        records = [described[name] for name in ("redis", "postgres", "push-mock") if name in described]
        records += [*described["gateways"], *described["workers"]]
        return {record["name"]: record for record in records}

    @property
    def gateways(self):
        return [gateway["url"] for gateway in self.json["gateways"]]

    def revive(self):
        """Starts what has ended. Returns when all are ready: those that were there have found the others by then."""
        for name, record in self.processes.items():
            if processes.state(record) == "ended":
                self("start", name)
        poll(self.is_ready, 60)

    def is_ready(self):
        try:
            return all(
                httpx.get(record["ready"], timeout=5).status_code == 200
                for record in self.processes.values() if "ready" in record
            )
        except httpx.HTTPError:
            return False

    @contextlib.contextmanager
    def differing(self, name, **environment):
        """While it lasts the process runs with these variables in its environment."""
        def restart(change):
            self("kill", name)
            described = self.json
            change(next(r["env"] for r in described["gateways"] + described["workers"] if r["name"] == name))
            (self.directory / "stack.json").write_text(json.dumps(described))
            self("start", name)

        restart(lambda env: env.update(environment))
        try:
            yield
        finally:
            restart(lambda env: [env.pop(variable) for variable in environment])

    def redis(self, *command):
        port = str(self.json["redis"]["port"])
        return subprocess.run(
            ["redis-cli", "-p", port, *command], capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()

    def lane_lengths(self):
        """How many entries of the commit log are not archived and trimmed yet."""
        lanes = self.redis("--scan", "--pattern", "lane:*").split()
        return sum(int(self.redis("xlen", lane)) for lane in lanes)

    def sql(self, statement):
        return subprocess.run(
            ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", self.json["postgres"]["url"], "-c", statement],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout.strip()

    def end(self):
        """Ends everything; the watchdog has no more to do."""
        try:
            self("down", "--wipe")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)


def pytest_addoption(parser):
    parser.addoption("--build", default="debug", help="which parley runs: debug, release or a directory")


@pytest.fixture(scope="session")
def build(request):
    return request.config.getoption("--build")


@pytest.fixture(scope="session")
def parley_load(build):
    """The command line of parley-load."""
    directory = ROOT / ".build" / build if build in ("debug", "release") else pathlib.Path(build)
    return str(directory / "parley-load")


@contextlib.contextmanager
def running(build, gateways=2, workers=1, options=(), **settings):
    """A stack that runs, its processes with these settings, `options` for Scripts/stack up."""
    stack = Stack(build, **settings)
    try:
        stack("up", "--gateways", gateways, "--workers", workers, *options)
        yield stack
    finally:
        stack.end()


@pytest.fixture(scope="session")
def stack(build):
    """Two gateways and a worker for all tests that do no harm to them."""
    with running(build) as stack:
        yield stack


@pytest.fixture(scope="module")
def fleet(build):
    """Two gateways and a worker that a module's tests may break; each leaves them running."""
    with running(build) as stack:
        yield stack


@pytest.fixture(autouse=True)
def whole(request):
    """Each test of a fleet finds it whole: what an earlier one broke may not be back yet, or not at all if it failed."""
    if "fleet" in request.fixturenames:
        request.getfixturevalue("fleet").revive()


@pytest.fixture(scope="session")
def urls(stack):
    return stack.gateways


@pytest.fixture
def pair(urls):
    """Two people who have not written yet."""
    return Account(urls[0], "alice"), Account(urls[1], "bob")


@pytest.fixture(scope="module")
def bystanders(stack):
    bystanders = Bystanders(stack.gateways)
    yield bystanders
    bystanders.stopping.set()
    bystanders.thread.join(PATIENCE)


@pytest.fixture
def unnoticed(bystanders):
    """Bystanders keep exchanging messages all the while: whatever a test does, they must not notice."""
    yield
    bystanders.check()


@pytest.fixture
def make_stack(build):
    """Stacks of one test's own, not yet started."""
    made = []

    def make(parley=build):
        made.append(Stack(parley))
        return made[-1]

    yield make
    for stack in made:
        stack.end()
