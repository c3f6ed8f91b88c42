"""Processes by recorded pid: starting, finding, signalling and ending them, and their ports."""

import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


class StackError(Exception):
    """A line for the person at the terminal: what went wrong and what to do."""


def environment(settings):
    """A child's environment: the caller's with these PARLEY_ settings alone."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}, **settings}


def spawn(record):
    """Starts the process that a record describes (`argv`, `env`, `user`, `log`) and notes its pid in it.

    It gets a session of its own: Ctrl-C at the terminal must not reach it."""
    account = {"user": record["user"], "group": record["user"], "extra_groups": []} if record.get("user") else {}
    with open(record["log"], "ab") as output:
        child = subprocess.Popen(
            record["argv"], env=environment(record["env"]), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True, cwd="/", **account,
        )
    record["pid"] = child.pid
    record["start_ticks"] = _stat(child.pid)[2]


def _stat(pid):
    """State letter, parent and start time (clock ticks since boot) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[19])


def state(record):
    """`running`, `paused` or `ended`. A pid that now belongs to somebody else counts as ended."""
    stat = _stat(record["pid"])
    if stat is None or stat[2] != record["start_ticks"] or stat[0] in "ZX":
        return "ended"
    return "paused" if stat[0] == "T" else "running"


def _all():
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def living_in(directory):
    """Processes whose working directory this is."""
    def lives(pid):
        try:
            return os.readlink(f"/proc/{pid}/cwd") == directory and _stat(pid)[0] not in "ZX"
        except (OSError, TypeError):
            return False
    return list(filter(lives, _all()))


def send(record, number, family=False):
    """Signals the process if it still is the one recorded; with `family` its descendants too, parents first."""
    if state(record) == "ended":
        return []
    pids = [record["pid"]]
    if family:
        children = {}
        for pid in _all():
            stat = _stat(pid)
            if stat:
                children.setdefault(stat[1], []).append(pid)
        for pid in pids:
            pids.extend(children.get(pid, []))
    signal_all(pids, number)
    return pids


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def kill(record):
    """SIGKILL for the process and its descendants; returns when they are gone."""
    pids = send(record, signal.SIGKILL, family=True)
    wait(lambda: all((_stat(pid) or "Z")[0] in "ZX" for pid in pids), 30)


def end(records, grace):
    """Ends processes in order, all at once: each one's own signal, then SIGKILL for those that outstay `grace`
    seconds, or at once when the wait is interrupted. Returns those that had to be killed."""
    for record in records:
        send(record, record["stop_signal"])
        send(record, signal.SIGCONT, family=True)
    try:
        wait(lambda: all(state(record) == "ended" for record in records), grace)
    finally:
        late = [record for record in records if state(record) != "ended"]
        for record in late:
            kill(record)
    return late


def wait(condition, seconds, pause=0.05):
    """Polls until the condition holds; False when it did not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def answers(url):
    """Whether a GET answers 200."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False


def listens(port):
    """Whether somebody takes connections on this loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tail(log, start, lines=20):
    """The last lines of a log after position `start`, indented."""
    with open(log, "rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace").splitlines()
    return "\n".join("    " + line for line in text[-lines:])


def is_free(port):
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


CLAIMS = []  # sockets that hold the ports which this process has chosen, until it ends


def claim(port):
    """Whether no other stack that is starting just now has chosen this port. The name of a socket says so: the system
    forgets it with the process."""
    claimed = socket.socket(socket.AF_UNIX)
    try:
        claimed.bind(f"\0parley-port-{port}")
    except OSError:
        claimed.close()
        return False
    CLAIMS.append(claimed)
    return True


def free_port(taken):
    """A free port, below those the kernel gives to outgoing connections: a server that was killed must find
    its port free again, however many clients connect meanwhile. Adds it to `taken`."""
    for port in random.sample(range(26000, 32000), 2000):
        if port not in taken and claim(port) and is_free(port):
            taken.add(port)
            return port
    raise StackError("no free port between 26000 and 32000")
