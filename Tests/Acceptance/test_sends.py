"""Sends on a socket: their answers, repeats and order, and which are refused."""

import pytest
from client import HOUR, Account, Socket, events, poll, uuid7

pytestmark = pytest.mark.usefixtures("unnoticed")


def test_repeat_gets_the_first_answer(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a, Socket(urls[1], alice, "d2") as a2, Socket(urls[1], bob) as b:
        cid = uuid7()
        first = a.message("once", cid=cid, to=bob.id)
        for device, target in ((a, {"to": bob.id}), (a2, {"conv": first["conv"]}), (a, {"conv": first["conv"]})):
            again = device.message("once", cid=cid, **target)
            assert again.pop("dup") is True and again == first
        for device, change in ((a, {"body": "twice"}), (a2, {"body": "once", "data": {"x": 1}})):
            assert device.refused(op="send", cid=cid, conv=first["conv"], **change) == "conflict"
        # A cid is its sender's: another's equal one is another send.
        assert b.message("once", cid=cid, to=alice.id)["seq"] == 2
        assert [e["seq"] for e in events(b, 2)] == [1, 2]
        b.barrier()
        assert b.backlog == []


def test_cid_of_tomorrow(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a:
        assert a.refused(op="send", cid=uuid7(25 * HOUR), to=bob.id, body="x") == "invalid"
        cid = uuid7(23 * HOUR)
        sent = a.message("x", cid=cid, to=bob.id)
        assert a.message("x", cid=cid, to=bob.id)["mid"] == sent["mid"] and sent["seq"] == 1


@pytest.mark.parametrize("age", [HOUR, 48 * HOUR])
def test_late_cid_is_exact(urls, pair, stack, age):
    """As long as it is remembered, and from history when it is forgotten."""
    alice, bob = pair
    cid = uuid7(-age)
    with Socket(urls[0], alice) as a, Socket(urls[1], alice, "d2") as a2:
        first = a.message("late", cid=cid, to=bob.id)
        for device in (a, a2):
            again = device.message("late", cid=cid, to=bob.id)
            assert (again["mid"], again["seq"], again["dup"]) == (first["mid"], 1, True)
        poll(lambda: stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{first['conv']}'") == "1")
        for url, device in ((urls[0], a), (urls[1], a2)):
            for key in stack.redis("--scan", "--pattern", f"late:*{cid}").split():
                stack.redis("del", key)
            again = device.message("late", cid=cid, to=bob.id)
            assert (again["mid"], again["seq"], again["ts"], again["dup"]) == (first["mid"], 1, first["ts"], True)
            assert device.refused(op="send", cid=cid, to=bob.id, body="other") == "conflict"
        # A look-up holds back what is sent after it.
        order = [uuid7(), uuid7(-age), uuid7(), uuid7(-age), uuid7()]
        for cid in order:
            a.send(op="send", cid=cid, to=bob.id, body=cid)
        assert [a.wait(op="sent", cid=cid)["seq"] for cid in order] == [2, 3, 4, 5, 6]
    assert [m["seq"] for m in alice.history(urls[1], first["conv"])] == [6, 5, 4, 3, 2, 1]


def test_pipelined_sends_keep_their_order(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a, Socket(urls[1], bob) as b:
        cids = [uuid7() for _ in range(32)]
        for cid in cids:
            a.send(op="send", cid=cid, to=bob.id, body=cid)
        assert [a.wait(op="sent")["cid"] for _ in cids] == cids
        heard = events(b, 32)
        assert [e["body"] for e in heard] == cids
        assert [e["seq"] for e in heard] == [e["q"] for e in heard] == list(range(1, 33))


def test_thirty_third_unanswered_send_is_refused(urls, pair, stack):
    alice, bob = pair
    with Socket(urls[0], alice) as a:
        a.message("known", to=bob.id)
        cids = [uuid7() for _ in range(33)]
        stack("pause", "redis")
        try:
            for cid in cids:
                a.send(op="send", cid=cid, to=bob.id, body=cid)
            error = a.wait(op="error")
            assert (error["code"], error["cid"]) == ("rate_limited", cids[32]) and error["retry_ms"] > 0
        finally:
            stack("resume", "redis")
        assert [a.wait(op="sent")["cid"] for _ in range(32)] == cids[:32]
        assert a.message(cids[32], cid=cids[32], to=bob.id)["seq"] == 34


def test_refused_sends(urls, pair):
    alice, bob = pair
    stranger = Account(urls[0], "carol")
    with Socket(urls[0], alice) as a, Socket(urls[1], stranger) as c:
        conv = a.message("between us", to=bob.id)["conv"]

        def code(sock=a, **change):
            send = {"op": "send", "cid": uuid7(), "to": bob.id, "body": "x", **change}
            return sock.refused(**{name: value for name, value in send.items() if value is not None})

        assert code(to=alice.id) == "invalid"
        assert code(to="nobody1") == code(to="No Body!") == code(to="x" * 65) == "not_found"
        assert code(to=None, conv=f"d:{min(alice.id, 'nobody1')}:{max(alice.id, 'nobody1')}") == "not_found"
        assert code(to=None, conv=f"d:{max(alice.id, bob.id)}:{min(alice.id, bob.id)}") == "not_found"
        assert code(to=None, conv="g:nothing") == code(to=None, conv="") == "not_found"
        assert code(c, to=None, conv=conv) == "not_found", "a stranger does not learn that it exists"
        assert code(body="") == code(body="a\0b") == code(cid="not-a-uuid") == "invalid"
        assert code(cid="01890000-0000-4000-8000-000000000000") == "invalid", "a version 4 is no cid"
        assert code(body="é" * 8193) == code(data={"x": "y" * 4090}) == "too_large"
        # None of it took a number.
        assert a.message("é" * 8192, to=bob.id)["seq"] == 2
        a.send(op="send", cid=uuid7(), to=bob.id, body="x", data={"x": "y" * 4080}, id="fits")
        assert a.wait(op="sent", id="fits")["seq"] == 3
        c.barrier()
        assert c.backlog == []


@pytest.mark.parametrize("body", ["\x01\x7f", "\u2028\ufeff\U0010ffff", "\ud7ff\ue000", " ", "</script>", "\t\r\n"])
def test_bodies_come_back_as_they_were(urls, pair, body):
    alice, bob = pair
    with Socket(urls[0], alice) as a, Socket(urls[1], bob) as b:
        conv = a.message(body, to=bob.id)["conv"]
        assert b.wait(op="event")["body"] == body
    assert [m["body"] for m in bob.history(urls[1], conv)] == [body]
