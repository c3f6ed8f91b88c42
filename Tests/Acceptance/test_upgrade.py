"""A rolling upgrade: this version beside a newer one, whose schema and whose library of functions are there already."""

import contextlib
import os
import subprocess

import pytest
from client import Account, Socket
from conftest import running

NEWER = """
    ALTER TABLE users ADD COLUMN added_by_a_newer_version text NOT NULL DEFAULT '';
    CREATE TABLE added_by_a_newer_version (id bigint PRIMARY KEY);
    INSERT INTO schema_migrations (version, name, checksum) VALUES (1000, 'newer', 'unknown to this version')
"""
LIBRARY = """#!lua name=parley_newer
redis.register_function('send_newer', function() return 'not for this version' end)
"""


@pytest.fixture(scope="module")
def stack(build):
    with running(build, 2, 1) as stack:
        yield stack


def program(stack, *command, **settings):
    """Runs parley as the stack's gateways do, without their name and port."""
    record = stack.json["gateways"][0]
    return subprocess.run(
        [record["argv"][0], *command], env={"PATH": os.environ["PATH"], **record["env"], **settings},
        capture_output=True, text=True, timeout=60, check=False,
    )


def libraries(stack):
    lines = stack.redis("FUNCTION", "LIST", "LIBRARYNAME", "parley_*").splitlines()
    return sorted(value for name, value in zip(lines, lines[1:]) if name == "library_name")


def converse(stack):
    """A message each way between the two gateways."""
    first, second = stack.gateways
    ann, bob = Account(first, "ann"), Account(second, "bob")
    with Socket(first, ann) as a, Socket(second, bob) as b:
        sent = a.message("there", to=bob.id)
        assert b.wait(op="event", type="message")["mid"] == sent["mid"]
        sent = b.message("and back", to=ann.id)
        assert a.wait(op="event", type="message", body="and back")["mid"] == sent["mid"]
    assert len(ann.history(first, ann.conv(bob))) == 2


def test_beside_a_newer_version(stack):
    stack.redis("FUNCTION", "LOAD", LIBRARY)
    stack.sql(NEWER)
    before = libraries(stack)
    assert len(before) == 2
    # As a machine that restarts in the middle of an upgrade.
    for name in ("gateway-1", "worker-1"):
        stack("stop", name)
        stack("start", name)
    converse(stack)
    stack("kill", "redis")
    stack("start", "redis")
    # Each version uses its own functions: none is loaded over another, none is removed.
    with contextlib.closing(Socket(stack.gateways[0], Account(stack.gateways[0])).connection):
        assert libraries(stack) == before
    converse(stack)
    assert libraries(stack) == before
    done = program(stack, "migrate")
    assert done.returncode == 1 and "the database is newer than this program" in done.stderr
    done = program(stack, "check-config", "--connect")
    assert done.returncode == 0 and "schema 1000" in done.stdout


@pytest.mark.parametrize("command", ["gateway", "worker"])
def test_before_the_migration_nothing_starts(stack, command):
    """A new program on the old schema would fail in the middle of the work."""
    name, url = f"old_{command}", stack.json["postgres"]["url"].rpartition("/")[0]
    stack.sql(f"CREATE DATABASE {name}")
    settings = {"PARLEY_POSTGRES_URL": f"{url}/{name}", "PARLEY_NAME": "must-not-start"}
    assert program(stack, "migrate", **settings).returncode == 0
    newest = subprocess.run(
        ["psql", "-qXAt", f"{url}/{name}", "-c", "DELETE FROM schema_migrations WHERE version ="
         " (SELECT max(version) FROM schema_migrations) RETURNING version"],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout.strip()
    done = program(stack, command, **settings)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("parley: ") and "run parley migrate first" in last
    assert f"version {int(newest) - 1}" in last and f"needs {newest}" in last
