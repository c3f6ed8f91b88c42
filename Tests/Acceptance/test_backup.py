"""Backups as the runbook takes them, restored as it says, and what users then see."""

import pathlib
import shutil
import subprocess

import pytest
from client import Account, Socket, poll, uuid7
from conftest import running
from test_groups import Group, call


@pytest.fixture(scope="module")
def stack(build):
    with running(build, 1, 1) as stack:
        yield stack


def postgres(stack, program, *arguments):
    record = stack.json["postgres"]
    done = subprocess.run(
        [str(pathlib.Path(record["bin"]) / program), *arguments], capture_output=True, text=True, timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def back_up(stack, home):
    """The runbook's two commands."""
    redis = subprocess.run(
        ["redis-cli", "-p", str(stack.json["redis"]["port"]), "--rdb", str(home / "redis.rdb")],
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert redis.returncode == 0, redis.stderr
    postgres(stack, "pg_dump", "-Fc", "-f", str(home / "postgres.dump"), stack.json["postgres"]["url"])


def restore_redis(stack, copy):
    """Puts a copy, or nothing, in the place of what Redis had, and has a new epoch begin."""
    stack("kill", "redis")
    log = pathlib.Path(stack.json["redis"]["data"]) / "appendonlydir"
    shutil.rmtree(log)
    if copy:
        log.mkdir()
        shutil.copy(copy, log / "appendonly.aof.1.base.rdb")
        (log / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")
    stack("start", "redis")
    stack.redis("DEL", "epoch")


def restore_postgres(stack, dump):
    url = stack.json["postgres"]["url"]
    maintenance = url.rpartition("/")[0] + "/postgres"
    for statement in ("DROP DATABASE parley WITH (FORCE)", "CREATE DATABASE parley"):
        postgres(stack, "psql", "-qX", maintenance, "-c", statement)
    postgres(stack, "pg_restore", "--exit-on-error", "-d", url, str(dump))


def archived(stack, account, other, count):
    conv = account.conv(other)
    poll(lambda: stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == str(count))


def bodies(stack, account, conv):
    return [entry["body"] for entry in reversed(account.history(stack.gateways[0], conv)) if "body" in entry]


def read_seq(stack, account, conv):
    return account.get(stack.gateways[0], f"/v1/conversations/{conv}").json()["read_seq"]


def read(account, stack, conv, seq):
    answer = call("POST", stack.gateways[0], account, f"/v1/conversations/{conv}/read", {"seq": seq})
    assert answer.status_code < 300, answer.text


def resumed(stack, account, cursor):
    """The first socket after the restart that resumes at this cursor, as the gateway takes it."""
    with Socket(stack.gateways[0], account, resume=cursor) as socket:
        return socket.ready


@pytest.fixture(scope="module")
def told(stack, tmp_path_factory):
    """What happened: half of it before the backup, half of it after."""
    home = tmp_path_factory.mktemp("backup")
    home.chmod(0o755)
    url = stack.gateways[0]
    ann, bob, carol = (Account(url, name) for name in ("ann", "bob", "carol"))
    group = Group(url, ann, bob, carol)
    with Socket(url, ann) as socket:
        for number in (1, 2, 3):
            socket.message(f"before {number}", to=bob.id)
        socket.message("to carol", to=carol.id)
        read(bob, stack, ann.conv(bob), 2)
        archived(stack, ann, bob, 3)
        archived(stack, ann, carol, 1)
        back_up(stack, home)
        for number in (1, 2, 3):
            socket.message(f"after {number}", to=bob.id)
        read(bob, stack, ann.conv(bob), 5)
        assert group.remove(url, ann, carol).status_code < 300
        assert call("PUT", url, ann, f"/v1/blocks/{carol.id}").status_code < 300
        cursor = {"epoch": socket.ready["epoch"], "q": socket.barrier()["head"]}
    archived(stack, ann, bob, 6)
    # The outboxes are empty: Redis alone knows now, and is about to forget.
    poll(lambda: stack.sql("SELECT count(*) FROM conversation_changes") == "0")
    poll(lambda: stack.sql("SELECT count(*) FROM right_changes") == "0")
    return home, ann, bob, carol, group, cursor


ALL = ["before 1", "before 2", "before 3", "after 1", "after 2", "after 3"]


def test_a_lost_redis_comes_back_older(stack, told):
    home, ann, bob, carol, group, cursor = told
    url, conv = stack.gateways[0], ann.conv(bob)
    for name in ("gateway-1", "worker-1"):
        stack("stop", name)
    restore_redis(stack, home / "redis.rdb")
    for name in ("worker-1", "gateway-1"):
        stack("start", name)

    ready = resumed(stack, ann, cursor)
    assert ready["mode"] == "resync" and ready["epoch"] != cursor["epoch"]
    # Nothing that PostgreSQL had is lost.
    assert bodies(stack, ann, conv) == ALL
    # What changed since holds, although the backup says otherwise.
    with Socket(url, carol) as socket:
        assert socket.refused(op="send", cid=uuid7(), conv=group.id, body="I am back") == "not_member"
        assert socket.refused(op="send", cid=uuid7(), to=ann.id, body="Hello") == "forbidden"
    # Positions of readers are those of the backup.
    assert read_seq(stack, bob, conv) == 2
    # No number is used twice, and messages flow.
    with Socket(url, ann) as a, Socket(url, bob) as b:
        sent = a.message("later", to=bob.id)
        assert sent["seq"] > 6
        assert b.wait(op="event", type="message", body="later")["mid"] == sent["mid"]
    assert bodies(stack, bob, conv) == [*ALL, "later"]


def test_both_come_back_from_the_backup(stack, told):
    home, ann, bob, carol, group, cursor = told
    url, conv = stack.gateways[0], ann.conv(bob)
    for name in ("gateway-1", "worker-1"):
        stack("stop", name)
    restore_postgres(stack, home / "postgres.dump")
    restore_redis(stack, None)
    for name in ("worker-1", "gateway-1"):
        stack("start", name)

    ready = resumed(stack, ann, cursor)
    assert ready["mode"] == "resync" and ready["epoch"] != cursor["epoch"]
    # What was before the backup is there, what came after it is lost.
    assert bodies(stack, bob, conv) == ALL[:3]
    assert carol.id in group.get(url, ann).json()["members"]
    assert read_seq(stack, bob, conv) == 0
    with Socket(url, ann) as a, Socket(url, bob) as b:
        # Above what clients have seen, so that they take it for new.
        assert a.message("later", to=bob.id)["seq"] > 1000
        b.wait(op="event", type="message", body="later")
    assert ann.login(url)
