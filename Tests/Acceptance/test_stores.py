"""A store is away, full or behind: what is refused then, and what is answered all the same."""

import json
import time

from client import Account, Socket, now_ms, poll, uuid7


def test_postgres_down(fleet):
    """Sends go on; history says that it cannot answer, and never less than all."""
    first, second = fleet.gateways
    alice, bob = Account(first, "alice"), Account(second, "bob")
    with Socket(first, alice) as a, Socket(second, bob) as b:
        conv = a.message("before", to=bob.id)["conv"]
        b.message("before too", conv=conv)
        fleet("stop", "postgres")
        try:
            mids = [a.message(f"m{i}", to=bob.id)["mid"] for i in range(20)]
            assert [b.wait(op="event", body=f"m{i}")["mid"] for i in range(20)] == mids
            for path in (f"/v1/conversations/{conv}/messages", f"/v1/conversations/{conv}", "/v1/conversations"):
                answer = bob.get(second, path)
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
        finally:
            fleet("start", "postgres")
        sent = poll(lambda: len(complete(bob, second, conv)) == 22, 60)
        assert sent
    poll(lambda: fleet.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "22", 60)


def complete(account, url, conv):
    answer = account.get(url, f"/v1/conversations/{conv}/messages", limit=200)
    return answer.json()["messages"] if answer.status_code == 200 else []


def test_redis_down(fleet):
    """Sends are refused as unknown, sockets stay, and a repeat with the same cid settles it."""
    first, second = fleet.gateways
    alice, bob = Account(first, "alice"), Account(second, "bob")
    with Socket(first, alice) as a, Socket(second, bob) as b:
        conv = a.message("before", to=bob.id)["conv"]
        cid = uuid7()
        fleet("kill", "redis")
        try:
            a.send(op="send", cid=cid, to=bob.id, body="meanwhile")
            error = a.wait(op="error", cid=cid, timeout=60)
            assert error["code"] == "unavailable" and error["retry_ms"] > 0
            answer = bob.get(second, f"/v1/conversations/{conv}/messages")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        finally:
            fleet("start", "redis")

        def repeat():
            answer = a.attempt("meanwhile", cid, to=bob.id)
            return answer if answer["op"] == "sent" else None

        assert poll(repeat, 60, pause=0.5)["seq"] == 2
        assert b.wait(op="event", seq=2, timeout=60)["body"] == "meanwhile"
    assert [m["seq"] for m in poll(lambda: complete(bob, second, conv))] == [2, 1]


def test_redis_full(fleet):
    first, _ = fleet.gateways
    alice, bob = Account(first, "alice"), Account(first, "bob")
    with Socket(first, alice) as a, Socket(first, bob) as b:
        a.message("before", to=bob.id)
        fleet.redis("config", "set", "maxmemory", "1")
        try:
            cid = uuid7()
            a.send(op="send", cid=cid, to=bob.id, body="too much")
            error = a.wait(op="error", cid=cid)
            assert error["code"] == "overloaded" and error["retry_ms"] > 0
        finally:
            fleet.redis("config", "set", "maxmemory", "0")
        assert a.message("too much", cid=cid, to=bob.id)["seq"] == 2
        assert b.wait(op="event", seq=2)


# History and the archive


def test_history_is_never_behind(fleet):
    """What no worker has archived yet stands in every page, list and count at once."""
    first, second = fleet.gateways
    alice, bob = Account(first, "alice"), Account(second, "bob")
    with Socket(first, alice) as a:
        conv = a.message("archived", to=bob.id)["conv"]
        poll(lambda: fleet.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "1")
        fleet("pause", "worker-1")
        try:
            for seq in range(2, 12):
                sent = a.message(f"m{seq}", to=bob.id)
                for url in (first, second):
                    page = bob.history(url, conv)
                    assert [m["seq"] for m in page] == list(range(seq, 0, -1)) and page[0]["mid"] == sent["mid"]
                    assert [m["seq"] for m in bob.history(url, conv, after_seq=seq - 1)] == [seq]
                    listed = bob.get(url, "/v1/conversations").json()["conversations"][0]
                    assert (listed["last"]["mid"], listed["unread"]) == (sent["mid"], seq)
        finally:
            fleet("resume", "worker-1")
    poll(lambda: fleet.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "11", 60)
    assert [m["seq"] for m in bob.history(first, conv)] == list(range(11, 0, -1))


def lane_of(mid):
    return f"lane:{{L{int(mid) >> 12 & 1023}}}"


def test_poisoned_entries(fleet):
    """What can be no message goes to the dead letters; what stands around it is archived."""
    first, _ = fleet.gateways
    alice, bob = Account(first, "alice"), Account(first, "bob")
    before = int(fleet.sql("SELECT count(*) FROM dead_letters"))
    with Socket(first, alice) as a:
        sent = a.message("first", to=bob.id)
        lane, conv = lane_of(sent["mid"]), sent["conv"]
        event = {"seq": 900, "type": "message", "conv": conv, "from": alice.id, "cid": uuid7()}
        poisons = [
            ("*", "e", "garbage"), ("*", "x", "y"), ("*", "e", json.dumps({**event, "body": "a\0b"})),
            ("*", "e", json.dumps({**event, "body": "\ud800"})), ("*", "e", json.dumps({**event, "seq": "x"})),
            ("*", "e", "{}"), ("*", "e", ""), (f"{now_ms() + 5}-5000", "e", json.dumps({**event, "body": "x"})),
        ]
        for number, poison in enumerate(poisons):
            a.message(f"before {number}", to=bob.id)
            if poison[0] != "*":
                poison = (f"{now_ms() + 5}-5000", *poison[1:])
            fleet.redis("xadd", lane, *poison)
            a.message(f"after {number}", to=bob.id)
    count = 1 + 2 * len(poisons)
    # Until the archive has judged them, poisons that look like messages may be shown too.
    assert [m["seq"] for m in bob.history(first, conv) if m["seq"] != 900] == list(range(count, 0, -1))
    poll(lambda: fleet.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == str(count), 60)
    poll(lambda: int(fleet.sql("SELECT count(*) FROM dead_letters")) == before + len(poisons), 60)
    assert [m["seq"] for m in bob.history(first, conv)] == list(range(count, 0, -1))
    poll(lambda: fleet.redis("xlen", lane) == "0", 60)


def test_sends_are_refused_when_too_much_waits_for_the_archive(make_stack, monkeypatch):
    monkeypatch.setenv("PARLEY_BACKLOG", "30")
    stack = make_stack()
    stack("up", "--gateways", 1, "--workers", 1)
    url = stack.gateways[0]
    alice, bob = Account(url, "alice"), Account(url, "bob")
    with Socket(url, alice) as a:
        a.message("before", to=bob.id)
        stack("pause", "worker-1")

        def attempt():
            return a.attempt("more", to=bob.id)

        try:
            refusal = poll(lambda: next((x for x in (attempt() for _ in range(20)) if x["op"] == "error"), None))
            assert refusal["code"] == "overloaded" and refusal["retry_ms"] > 0
        finally:
            stack("resume", "worker-1")
        poll(lambda: attempt()["op"] == "sent", 60)


def test_acknowledged_when_archived(make_stack, monkeypatch):
    """The strictest level: an answer waits for the archive, that of a repeat too."""
    monkeypatch.setenv("PARLEY_ACK", "archived")
    stack = make_stack()
    stack("up", "--gateways", 1, "--workers", 1)
    url = stack.gateways[0]
    alice, bob = Account(url, "alice"), Account(url, "bob")
    with Socket(url, alice) as a, Socket(url, alice, "d2") as a2, Socket(url, bob) as b:
        conv = a.message("through", to=bob.id)["conv"]
        assert stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "1"
        stack("pause", "worker-1")
        try:
            cid = uuid7()
            for device in (a, a2):
                device.send(op="send", cid=cid, to=bob.id, body="held")
            assert b.wait(op="event", seq=2)["body"] == "held", "delivery does not wait"
            time.sleep(2)
            for device in (a, a2):
                device.barrier()
                assert not [f for f in device.backlog if f["op"] == "sent"]
        finally:
            stack("resume", "worker-1")
        answers = [device.wait(op="sent", cid=cid) for device in (a, a2)]
        assert [f["seq"] for f in answers] == [2, 2]
        assert sorted(f.get("dup", False) for f in answers) == [False, True]
