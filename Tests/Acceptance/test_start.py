"""What a gateway and a worker say when they cannot start: one line for a person, and in bounded time."""

import base64
import os
import pathlib
import resource
import secrets
import socket
import subprocess
import time

import httpx
import pytest
from conftest import ROOT
from stacklib import processes

LIMIT = 120


@pytest.fixture(scope="module")
def parley(build):
    directory = ROOT / ".build" / build if build in ("debug", "release") else pathlib.Path(build)
    return str(directory / "parley")


@pytest.fixture(scope="module")
def attempts(stack, parley, tmp_path_factory):
    """All that must not start, side by side, since each may wait for its stores a while."""
    home = tmp_path_factory.mktemp("start")
    running = {}
    name = f"empty_{secrets.token_hex(4)}"
    stack.sql(f"CREATE DATABASE {name}")
    redis, postgres = stack.json["redis"]["url"], stack.json["postgres"]["url"]
    silent, held = socket.create_server(("127.0.0.1", 0)), socket.socket()
    # Nobody listens there, and nobody else can.
    held.bind(("127.0.0.1", 0))
    taken, dead = (each.getsockname()[1] for each in (silent, held))
    (home / "short.key").write_text("c2hvcnQ=\n")
    (home / "bad.conf").write_text("PARLEY_PORT=8080\nnonsense\n")
    (home / "odd.conf").write_text("PARLEY_CAPASITY=8080\n")
    (home / "redis.url").write_text("http://:hunter2@127.0.0.1\n")
    sound = {
        "PARLEY_REDIS_URL": redis, "PARLEY_POSTGRES_URL": postgres, "PARLEY_NAME": "must-not-start",
        "PARLEY_TOKEN_KEY_FILE": str(stack.directory / "token.key"), "PARLEY_PORT": "0",
    }

    def start(label, command, **changes):
        settings = {name: value for name, value in {**sound, **changes}.items() if value is not None}
        running[label] = subprocess.Popen(
            [parley, *command.split()], env={"PATH": os.environ["PATH"], **settings}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    for command in ("gateway", "worker"):
        start(f"{command} without Redis", command, PARLEY_REDIS_URL=f"redis://127.0.0.1:{dead}")
        start(f"{command} with a silent Redis", command, PARLEY_REDIS_URL=f"redis://127.0.0.1:{taken}")
        start(f"{command} without PostgreSQL", command, PARLEY_POSTGRES_URL=f"postgres://x:y@127.0.0.1:{dead}/parley")
        start(f"{command} without a schema", command, PARLEY_POSTGRES_URL=postgres.rpartition("/")[0] + "/" + name)
        start(f"{command} with a bad Redis URL", command, PARLEY_REDIS_URL="http://127.0.0.1")
        start(f"{command} with a bad level", command, PARLEY_LOG_LEVEL="loud")
    wrong = postgres.replace("parley:", "parley:not", 1)
    start("gateway with a wrong password", "gateway", PARLEY_POSTGRES_URL=wrong)
    start("gateway without a database", "gateway", PARLEY_POSTGRES_URL=postgres.rpartition("/")[0] + "/absent")
    start("migrate without PostgreSQL", "migrate", PARLEY_POSTGRES_URL=f"postgres://x:y@127.0.0.1:{dead}/parley")
    start("gateway without a key", "gateway", PARLEY_TOKEN_KEY_FILE=None)
    start("gateway with an absent key file", "gateway", PARLEY_TOKEN_KEY_FILE=str(home / "absent.key"))
    start("gateway with a short key", "gateway", PARLEY_TOKEN_KEY_FILE=str(home / "short.key"))
    start("gateway on a taken port", "gateway", PARLEY_PORT=str(taken))
    start("worker on a taken port", "worker", PARLEY_HEALTH_PORT=str(taken))
    for variable, values in {
        "PARLEY_PORT": ("x", "65536", "-1", ""), "PARLEY_HEARTBEAT_MS": ("0",), "PARLEY_CAPACITY": ("0",),
        "PARLEY_ACK": ("maybe",), "PARLEY_DEDUP_WINDOW_S": ("0",), "PARLEY_QUEUE_CAP": ("1e4",),
        "PARLEY_PASSWORD_COST": ("free",), "PARLEY_THREADS": ("0",), "PARLEY_POSTGRES_CONNECTIONS": ("0",),
        "PARLEY_SERVE": ("polls",),
    }.items():
        for value in values:
            start(f"gateway {variable}={value}", "gateway", **{variable: value})
    start("worker PARLEY_PARTITION=year", "worker", PARLEY_PARTITION="year")
    start("worker of an unknown role", "worker --roles archiver,cleaning")
    start("gateway with an absent file", "gateway", PARLEY_CONFIG_FILE=str(home / "absent.conf"))
    start("gateway with a bad file", "gateway", PARLEY_CONFIG_FILE=str(home / "bad.conf"))
    start("gateway with an odd file", "gateway", PARLEY_CONFIG_FILE=str(home / "odd.conf"))
    start("worker with an odd variable", "worker", PARLEY_LOGLEVEL="info")
    start("gateway --port x", "gateway --port x")
    start("worker with a bad secret", "worker", PARLEY_REDIS_URL=None, PARLEY_REDIS_URL_FILE=str(home / "redis.url"))
    yield running
    for process in running.values():
        process.kill()
        process.communicate()
    silent.close()
    held.close()
    stack.sql(f"DROP DATABASE {name}")


EXPECTED = {
    "without Redis": ("Redis", "PARLEY_REDIS_URL"),
    "with a silent Redis": ("Redis", "PARLEY_REDIS_URL"),
    "without PostgreSQL": ("PostgreSQL", "PARLEY_POSTGRES_URL"),
    "without a schema": ("parley migrate",),
    "with a bad Redis URL": ("Redis", "PARLEY_REDIS_URL"),
    "with a bad level": ("PARLEY_LOG_LEVEL", "loud"),
}
CASES = {f"{command} {case}": words for command in ("gateway", "worker") for case, words in EXPECTED.items()} | {
    "gateway with a wrong password": ("PostgreSQL", "PARLEY_POSTGRES_URL"),
    "gateway without a database": ("PostgreSQL", "PARLEY_POSTGRES_URL"),
    "migrate without PostgreSQL": ("PARLEY_POSTGRES_URL",),
    "gateway without a key": ("PARLEY_TOKEN_KEY_FILE",),
    "gateway with an absent key file": ("PARLEY_TOKEN_KEY_FILE",),
    "gateway with a short key": ("PARLEY_TOKEN_KEY_FILE", "line 1"),
    "gateway on a taken port": ("taken", "PARLEY_PORT"),
    "worker on a taken port": ("taken", "PARLEY_HEALTH_PORT"),
    "worker of an unknown role": ("--roles", "archiver, presence, push", "cleaning"),
    "worker PARLEY_PARTITION=year": ("PARLEY_PARTITION", "year"),
    "gateway with an absent file": ("absent.conf",),
    "gateway with a bad file": ("bad.conf", "line 2"),
    "gateway with an odd file": ("odd.conf", "line 1", "PARLEY_CAPASITY", "PARLEY_CAPACITY?"),
    "worker with an odd variable": ("PARLEY_LOGLEVEL", "PARLEY_LOG_LEVEL?"),
    "gateway --port x": ("--port", "65535", "not x"),
    "worker with a bad secret": ("PARLEY_REDIS_URL_FILE", "scheme"),
}


def refusal(process):
    """What the process said in its one line, after it ended by itself."""
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"still runs: {process.communicate()[1][-2000:]}")
    assert process.returncode > 0, f"ended with {process.returncode}: {errors}"
    lines = [line for line in errors.splitlines() if line.startswith("parley: ")]
    assert len(lines) == 1 and errors.splitlines()[-1] == lines[0], errors
    assert "Fatal error" not in errors and not output
    return lines[0]


@pytest.mark.parametrize("label", CASES)
def test_says_why(attempts, label):
    line = refusal(attempts[label])
    for word in CASES[label]:
        assert word in line
    # A URL may hold a password.
    assert "x:y@" not in line and "parley:not" not in line and "hunter2" not in line


@pytest.mark.parametrize(
    "setting",
    ["PARLEY_PORT=x", "PARLEY_PORT=65536", "PARLEY_PORT=-1", "PARLEY_PORT=", "PARLEY_HEARTBEAT_MS=0",
     "PARLEY_CAPACITY=0", "PARLEY_ACK=maybe", "PARLEY_DEDUP_WINDOW_S=0", "PARLEY_QUEUE_CAP=1e4",
     "PARLEY_PASSWORD_COST=free", "PARLEY_THREADS=0", "PARLEY_POSTGRES_CONNECTIONS=0", "PARLEY_SERVE=polls"],
)
def test_names_the_bad_setting(attempts, setting):
    assert setting.partition("=")[0] in refusal(attempts[f"gateway {setting}"])


@pytest.mark.parametrize(
    "command",
    ["gateway --port", "gateway --nonsense", "gateway --partition day", "nonsense", "worker --health-port -1 --redis-url"],
)
def test_bad_command_lines(parley, command):
    done = subprocess.run([parley, *command.split()], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode > 0 and "Usage: parley" in done.stderr


@pytest.mark.parametrize("command", ["", "gateway", "worker", "migrate"])
def test_help(parley, command):
    done = subprocess.run(
        [parley, *command.split(), "--help"], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0 and "USAGE: parley" in done.stdout
    if command:
        assert "--postgres-url, --postgres-url-file\n" in done.stdout


def check(parley, *arguments, **settings):
    return subprocess.run(
        [parley, "check-config", *arguments], env={"PATH": os.environ["PATH"], **settings}, capture_output=True,
        text=True, timeout=LIMIT, check=False,
    )


def test_check_config_says_everything_at_once(parley):
    done = check(parley, "--port", "x", PARLEY_CAPACITY="0", PARLEY_NONSENSE="1")
    assert done.returncode == 1 and not done.stdout
    lines = done.stderr.splitlines()
    assert [line.split()[1].strip(":") for line in lines] == [
        "PARLEY_NONSENSE", "--port", "PARLEY_TOKEN_KEY_FILE", "PARLEY_CAPACITY",
    ]
    assert all(line.startswith("parley: ") for line in lines)


def test_check_config_asks_the_stores(parley, stack):
    stores = {
        "PARLEY_REDIS_URL": stack.json["redis"]["url"], "PARLEY_POSTGRES_URL": stack.json["postgres"]["url"],
        "PARLEY_TOKEN_KEY_FILE": str(stack.directory / "token.key"), "PARLEY_CAPACITY": "1",
    }
    assert check(parley, **stores).stdout == "The settings are right.\n"
    done = check(parley, "--connect", **stores)
    assert done.returncode == 0 and not done.stderr, done.stderr
    for fact in ("Redis 7", "appendfsync is always", "policy is noeviction", "PostgreSQL 1", "fsync is on", "schema"):
        assert fact in done.stdout
    assert "parley:" not in done.stdout


@pytest.mark.parametrize("files, status, words", [
    (4000, 0, ("PARLEY_CAPACITY is 1000000", "`ulimit -n` of 4000", "The settings are right.")),
    (100, 1, ("`ulimit -n` is 100",)),
])
def test_check_config_counts_descriptors(parley, tmp_path, files, status, words):
    key = tmp_path / "token.key"
    key.write_text(base64.b64encode(bytes(32)).decode())
    done = subprocess.run(
        [parley, "check-config", "--capacity", "1000000"], env={"PARLEY_TOKEN_KEY_FILE": str(key)}, capture_output=True,
        text=True, timeout=LIMIT, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )
    assert done.returncode == status
    assert all(word in done.stdout + done.stderr for word in words), done


def test_check_config_says_what_a_store_lacks(parley, stack):
    """A Redis that may forget, and a database that nobody brought forward."""
    port = str(processes.free_port(set()))
    redis = subprocess.Popen(["redis-server", "--port", port, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            if subprocess.run(["redis-cli", "-p", port, "PING"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        url = stack.json["postgres"]["url"].rpartition("/")[0] + "/postgres"
        redis_url = f"redis://127.0.0.1:{port}"
        done = check(parley, "--for", "worker", "--connect", "--redis-url", redis_url, PARLEY_POSTGRES_URL=url)
    finally:
        redis.kill()
        redis.wait()
    assert done.returncode == 1
    for words in ("appendonly is no, and must be yes", "appendfsync is everysec", "no schema yet"):
        assert words in done.stderr


def test_the_running_stack_did_not_notice(attempts, stack):
    for process in attempts.values():
        process.wait(LIMIT)
    listed = httpx.get(f"{stack.gateways[0]}/v1/gateways").json()["gateways"]
    assert sorted(gateway["url"] for gateway in listed) == sorted(stack.gateways)
    assert stack.sql("SELECT string_agg(name, ',') FROM workers WHERE seen_at > now_ms() - 10000") == "worker-1"
