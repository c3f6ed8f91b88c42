"""Scripts/stack, as people and programs use it."""

import itertools
import os
import pathlib
import signal
import stat
import subprocess
import time

import httpx
import pytest
from conftest import Stack
from stacklib import processes

NAMES = ["redis", "postgres", "gateway-1", "gateway-2", "worker-1"]


@pytest.fixture(scope="module")
def own(build):
    """A stack whose processes these tests may kill; each leaves it as it found it."""
    stack = Stack(build)
    try:
        stack("up")
        yield stack
    finally:
        stack.end()


def state(pid):
    """The state letter of a process; a dead one that nobody has reaped yet counts as gone."""
    try:
        letter = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"
    return "gone" if letter in "ZX" else letter


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_describes_what_runs(own):
    described = own.json
    assert [gateway["name"] for gateway in described["gateways"]] == ["gateway-1", "gateway-2"]
    assert [worker["name"] for worker in described["workers"]] == ["worker-1"]
    for name, record in own.processes.items():
        assert state(record["pid"]) != "gone", name
        assert pathlib.Path(record["log"]).is_file(), name
    for url in own.gateways:
        assert httpx.get(f"{url}/readyz").status_code == 200
    # The PostgreSQL URL holds a password, the key signs tokens.
    for name in ("stack.json", "token.key"):
        assert stat.S_IMODE((own.directory / name).stat().st_mode) == 0o600
    own("status")


def test_stores_are_durable(own):
    assert own.redis("config", "get", "appendfsync").split() == ["appendfsync", "always"]
    assert own.redis("config", "get", "maxmemory-policy").split() == ["maxmemory-policy", "noeviction"]
    assert own.sql("SHOW fsync") == own.sql("SHOW synchronous_commit") == "on"


def test_listens_on_loopback_only(own):
    wanted = {int(gateway["url"].rpartition(":")[2]) for gateway in own.json["gateways"]}
    wanted |= {own.json["redis"]["port"], own.json["postgres"]["port"]}
    listening = subprocess.run(
        ["cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=True
    ).stdout
    addresses = {}
    for line in listening.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A":
            address, port = fields[1].split(":")
            addresses.setdefault(int(port, 16), set()).add(address)
    for port in wanted:
        assert addresses[port] == {"0100007F"}


def test_up_on_a_running_stack_refuses(own):
    before = own.processes
    done = own.attempt("up")
    assert done.returncode == 1
    assert "already runs" in done.stderr
    assert own.processes == before


@pytest.mark.parametrize("name", NAMES)
def test_kill_and_start(own, name):
    pid = own.processes[name]["pid"]
    own("kill", name)
    assert state(pid) == "gone"
    assert own.attempt("status").returncode == 1
    assert own.attempt("kill", name).returncode == 1
    own("start", name)
    assert own.processes[name]["pid"] != pid
    assert own.attempt("start", name).returncode == 1
    wait_for(lambda: own.attempt("status").returncode == 0)


@pytest.mark.parametrize("name", NAMES)
def test_stop_and_start(own, name):
    pid = own.processes[name]["pid"]
    own("stop", name)
    assert state(pid) == "gone"
    own("start", name)
    wait_for(lambda: own.attempt("status").returncode == 0)


@pytest.mark.parametrize("name", NAMES)
def test_pause_and_resume(own, name):
    pid = own.processes[name]["pid"]
    own("pause", name)
    wait_for(lambda: state(pid) == "T")
    assert "paused" in own.attempt("status").stdout
    own("resume", name)
    assert state(pid) not in ("T", "gone")
    wait_for(lambda: own.attempt("status").returncode == 0)


def test_one_more_process_is_one_command(make_stack):
    stack = make_stack()
    assert "no stack" in stack.attempt("add", "gateway").stderr
    stack("up", "--gateways", 1, "--workers", 1)
    assert "gateway-2 is ready" in stack("add", "gateway", "--zone", "east")
    assert "worker-2 is ready" in stack("add", "worker")
    assert list(stack.processes) == ["redis", "postgres", "gateway-1", "gateway-2", "worker-1", "worker-2"]
    # Ready is whoever stands in the registry; the others know it within a second.
    entry = stack.redis("hmget", "gateway:gateway-2", "url", "zone").split()
    assert entry == [stack.gateways[1], "east"]
    wait_for(lambda: all(
        sorted(each["url"] for each in httpx.get(f"{url}/v1/gateways").json()["gateways"]) == sorted(stack.gateways)
        for url in stack.gateways
    ))
    stack("stop", "gateway-2")
    assert stack.redis("exists", "gateway:gateway-2") == "0", "who leaves in order takes the entry along"
    stack("start", "gateway-2")
    stack("status")


def test_names_the_processes_when_asked_for_another(own):
    done = own.attempt("kill", "gateway-9")
    assert done.returncode == 1
    assert "gateway-1, gateway-2, worker-1" in done.stderr


def test_never_signals_a_recycled_pid(make_stack):
    stack = make_stack()
    stack("up", "--gateways", 0, "--workers", 0)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        file = stack.directory / "stack.json"
        pid = stack.json["redis"]["pid"]
        file.write_text(file.read_text().replace(f'"pid": {pid}', f'"pid": {bystander.pid}'))
        assert stack.attempt("kill", "redis").returncode == 1
        stack("down")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        os.kill(pid, signal.SIGKILL)


def test_data_outlives_the_death_of_everything(make_stack):
    stack = make_stack()
    stack("up", "--gateways", 1, "--workers", 1)
    stack.redis("set", "kept", "yes")
    stack.sql("CREATE TABLE kept AS SELECT 42 AS answer")
    for record in stack.processes.values():
        os.kill(record["pid"], signal.SIGKILL)
    wait_for(lambda: all(state(record["pid"]) == "gone" for record in stack.processes.values()))
    assert stack.attempt("status").returncode == 1
    stack("down")
    stack("up", "--gateways", 1, "--workers", 0)
    assert stack.redis("get", "kept") == "yes"
    assert stack.sql("SELECT answer FROM kept") == "42"


def test_a_dead_stack_starts_without_down(make_stack):
    stack = make_stack()
    stack("up", "--gateways", 0, "--workers", 0)
    for record in stack.processes.values():
        os.kill(record["pid"], signal.SIGKILL)
    wait_for(lambda: all(state(record["pid"]) == "gone" for record in stack.processes.values()))
    stack("up", "--gateways", 0, "--workers", 0)
    stack("status")


def test_down_of_half_a_stack_ends_the_rest(make_stack):
    stack = make_stack()
    stack("up", "--gateways", 1, "--workers", 1)
    pids = [record["pid"] for record in stack.processes.values()]
    stack("kill", "redis")
    stack("pause", "gateway-1")
    assert stack.attempt("up").returncode == 1
    stack("down")
    assert {state(pid) for pid in pids} == {"gone"}
    assert stack.attempt("status").returncode == 1
    stack("down")


def test_two_stacks_at_once(make_stack, own):
    other = make_stack()
    other("up", "--gateways", 1, "--workers", 0)
    other.redis("set", "whose", "other")
    assert own.redis("get", "whose") == ""
    other("down")
    own("status")


def test_a_failing_start_shows_why_and_leaves_nothing(make_stack, tmp_path):
    parley = tmp_path / "parley"
    parley.write_text('#!/bin/sh\n[ "$1" = migrate ] && exit 0\necho "no such luck: $1"\nexit 3\n')
    parley.chmod(0o755)
    stack = make_stack(str(tmp_path))
    done = stack.attempt("up", "--gateways", 1, "--workers", 0)
    assert done.returncode == 1
    assert "gateway-1 ended while starting" in done.stderr
    assert "no such luck: gateway" in done.stderr
    assert not (stack.directory / "stack.json").exists()
    running = subprocess.run(["pgrep", "-f", str(stack.directory)], capture_output=True, text=True, check=False).stdout
    living = [pid for pid in running.split() if state(pid) != "gone" and b"watchdog" not in command(pid)]
    assert living == []


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_foreground_ends_with_its_signal(make_stack, number):
    stack = make_stack()
    port = processes.free_port(set())
    foreground = subprocess.Popen(
        stack.command("run", "--gateways", 1, "--port", port), stdout=subprocess.PIPE, text=True
    )
    try:
        # From its last line on, a signal ends everything in order.
        output = "".join(itertools.takewhile(lambda line: "Ctrl-C ends it" not in line, foreground.stdout))
        pids = [record["pid"] for record in stack.processes.values()]
        assert stack.gateways == [f"http://127.0.0.1:{port}"]
        foreground.send_signal(number)
        foreground.communicate(timeout=120)
    finally:
        foreground.kill()
    assert foreground.returncode == 0
    assert "Rate limits are off" in output
    assert "hashing is cheap" in output
    assert {state(pid) for pid in pids} == {"gone"}


def test_options_reach_the_processes(make_stack):
    stack = make_stack()
    said = stack("up", "--gateways", 1, "--workers", 1, "--full-hashing", "--rate-limits", "--log-level", "warning")
    assert "Rate limits are on" in said
    assert "hashing is full" in said
    for name in ("gateway-1", "worker-1"):
        settings = pathlib.Path(f"/proc/{stack.processes[name]['pid']}/environ").read_bytes().split(b"\0")
        assert b"PARLEY_RATE_LIMITS=on" in settings
        assert b"PARLEY_PASSWORD_COST=full" in settings
        assert b"PARLEY_LOG_LEVEL=warning" in settings
