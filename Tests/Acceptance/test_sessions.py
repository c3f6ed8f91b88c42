"""Sockets as clients see them: how they begin and resume, and what goes over them beside messages."""

import json
import time

import pytest
from client import Account, Socket, events, now_ms, poll, uuid7

pytestmark = pytest.mark.usefixtures("unnoticed")


def test_ready_says_what_a_client_needs(urls, pair):
    alice, bob = pair
    before = now_ms()
    with Socket(urls[0], alice, subprotocols=["parley.v1"]) as a, Socket(urls[1], bob) as b:
        assert a.connection.subprotocol == "parley.v1"
        assert not a.connection.response.headers.get("Sec-WebSocket-Extensions")
        ready = a.ready
        assert (ready["user"], ready["head"], ready["mode"]) == (alice.id, 0, "live")
        assert (ready["heartbeat_ms"], ready["max_frame"]) == (25000, 65536)
        assert before - 2000 <= ready["now"] <= now_ms() + 2000
        assert ready["session"] and ready["session"] != b.ready["session"]
        assert ready["epoch"] == b.ready["epoch"] != ""


def test_message_reaches_every_device(urls, pair):
    alice, bob = pair
    conv = alice.conv(bob)
    with (
        Socket(urls[0], alice) as a1, Socket(urls[1], alice, "d2") as a2,
        Socket(urls[1], bob) as b1, Socket(urls[0], bob, "d2") as b2,
    ):
        cid, body, data = uuid7(), 'Grüße "quoted" \\ \n 👋', '{"n": 2.50, "a":[1, {"b":null}]}'
        text = {"op": "send", "cid": cid, "to": bob.id, "body": body, "id": 7}
        a1.connection.send(json.dumps(text, ensure_ascii=False)[:-1] + f', "data":{data}, "unknown":[1]}}')
        sent = a1.wait(op="sent")
        assert (sent["cid"], sent["id"], sent["conv"], sent["seq"]) == (cid, 7, conv, 1)
        assert isinstance(sent["mid"], str) and sent["mid"].isdecimal() and not sent.get("dup")
        assert abs(sent["ts"] - now_ms()) < 60_000
        for device in (a1, a2, b1, b2):
            event = device.wait(op="event")
            expected = {"q": 1, "type": "message", "conv": conv, "seq": 1, "mid": sent["mid"], "from": alice.id}
            assert expected.items() <= event.items()
            assert (event["ts"], event["body"], event["data"]) == (sent["ts"], body, json.loads(data))
            assert event.get("cid") == (cid if device in (a1, a2) else None), "a cid is its sender's alone"
        answer = b1.message("and back", conv=conv)
        assert answer["seq"] == 2 and int(answer["mid"]) > int(sent["mid"])
        assert [d.wait(op="event")["q"] for d in (a1, a2, b1, b2)] == [2] * 4
    raw = bob.get(urls[0], f"/v1/conversations/{conv}/messages").text
    assert data in raw, "data comes back verbatim"


def test_numeric_and_text_ids_are_echoed(urls, pair):
    with Socket(urls[0], pair[0]) as a:
        for name in ("x", 'q"\\é', 0, 12, -3):
            a.send(op="ping", id=name)
            pong = a.wait(op="pong")
            assert pong["id"] == name and pong["head"] == 0


def test_resume_live_replay_resync(urls, pair):
    alice, bob = pair
    with Socket(urls[1], bob) as b:
        start = b.cursor
    with Socket(urls[0], alice) as a:
        mids = [a.message(f"m{i}", to=bob.id)["mid"] for i in range(5)]
        # On either gateway, whichever held the session before.
        for url in urls:
            head = len(mids)
            with Socket(url, bob, resume={**start, "q": 2}) as b:
                assert (b.ready["mode"], b.ready["head"]) == ("replay", head)
                replayed = [b.read() for _ in range(head - 2)]
                assert [f["mid"] for f in replayed] == mids[2:]
                assert [f["q"] for f in replayed] == list(range(3, head + 1))
                assert b.read() == {"op": "live", "q": head}
                mids.append(a.message("live again", to=bob.id)["mid"])
                assert b.wait(op="event")["q"] == head + 1
            with Socket(url, bob, resume={**start, "q": head + 1}) as b:
                assert b.ready["mode"] == "live"
                assert b.barrier()["head"] == head + 1 and b.backlog == []
            for stale in ({"epoch": "another", "q": 2}, {**start, "q": head + 2}, {**start, "q": 2**53 - 1}):
                with Socket(url, bob, resume=stale) as b:
                    assert (b.ready["mode"], b.ready["head"]) == ("resync", head + 1)
                    assert b.barrier()["head"] == head + 1 and b.backlog == []


def test_trimmed_queue_means_resync(urls, pair, stack):
    """What every device has handled may go; an ephemeral session never holds it."""
    alice, bob = pair
    with (
        Socket(urls[0], alice) as a, Socket(urls[1], bob) as b,
        Socket(urls[0], bob, "tab", ephemeral=True) as tab,
    ):
        for i in range(3):
            a.message(f"m{i}", to=bob.id)
        assert [e["q"] for e in events(tab, 3)] == [1, 2, 3]
        b.send(op="ack", q=events(b, 3)[-1]["q"])

        def mode():
            resume = {"epoch": b.ready["epoch"], "q": 0}
            with Socket(urls[0], bob, "probe", resume=resume, ephemeral=True) as probe:
                return probe.ready["mode"]

        poll(lambda: mode() == "resync")
        key = stack.redis("--scan", "--pattern", f"user:*:{bob.id}")
        devices = [field for field in stack.redis("hkeys", key).split() if field.startswith("device:")]
        assert devices == ["device:d1"]


def test_slowest_device_holds_the_queue(urls, pair):
    alice, bob = pair
    with Socket(urls[1], bob, "lazy") as lazy:
        start = lazy.cursor
    with Socket(urls[0], alice) as a, Socket(urls[1], bob) as b:
        for i in range(3):
            a.message(f"m{i}", to=bob.id)
        b.send(op="ack", q=events(b, 3)[-1]["q"])
        a.wait(op="event", type="receipt")
    with Socket(urls[0], bob, "lazy", resume=start) as lazy:
        assert lazy.ready["mode"] == "replay" and [e["q"] for e in events(lazy, 3)] == [1, 2, 3]


def test_ack_beyond_the_head_loses_nothing(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a:
        with Socket(urls[1], bob) as b:
            a.message("first", to=bob.id)
            b.wait(op="event", q=1)
            b.send(op="ack", q=2**53 - 1)
            b.barrier()
        mid = a.message("second", to=bob.id)["mid"]
        with Socket(urls[0], bob, resume={"epoch": b.ready["epoch"], "q": 1}) as b:
            assert b.ready["mode"] == "replay" and b.wait(op="event")["mid"] == mid


@pytest.mark.parametrize("second", [0, 1])
def test_same_device_replaces(urls, pair, second):
    alice, bob = pair
    with Socket(urls[0], alice) as first, Socket(urls[0], alice, "d2") as other:
        with Socket(urls[second], alice) as again:
            assert first.closed() == 4003
            other.barrier()
            sent = other.message("hi", to=bob.id)
            assert again.wait(op="event")["mid"] == sent["mid"]


# Receipts, sync, typing


def test_receipts(urls, pair):
    alice, bob = pair
    with (
        Socket(urls[0], alice) as a, Socket(urls[1], bob) as b, Socket(urls[0], bob, "d2") as b2,
    ):
        conv = [a.message(f"m{i}", to=bob.id) for i in range(3)][0]["conv"]
        heard = events(b, 3)
        b.send(op="ack", q=heard[1]["q"])
        delivered = a.wait(op="event", type="receipt")
        expected = {"conv": conv, "user": bob.id, "delivered": 2, "read": 0, "q": 4}
        assert expected.items() <= delivered.items()
        b.send(op="read", conv=conv, seq=2)
        for device, q in ((a, 5), (b2, 4), (b, 4)):
            receipt = device.wait(op="event", type="receipt")
            assert {"conv": conv, "user": bob.id, "read": 2, "q": q}.items() <= receipt.items()
        mine = bob.get(urls[0], f"/v1/conversations/{conv}").json()
        assert (mine["unread"], mine["read_seq"], mine["last"]["seq"]) == (1, 2, 3)
        # Back, and beyond the end.
        b.send(op="read", conv=conv, seq=1)
        b.send(op="read", conv=conv, seq=2**53 - 1)
        assert a.wait(op="event", type="receipt")["read"] == 3
        assert bob.get(urls[1], f"/v1/conversations/{conv}").json()["unread"] == 0
        assert alice.get(urls[1], f"/v1/conversations/{conv}").json()["unread"] == 0, "sending reads up to itself"
        a.message("later", to=bob.id)
        assert bob.get(urls[1], f"/v1/conversations/{conv}").json()["unread"] == 1
        stranger = Account(urls[0], "carol")
        with Socket(urls[0], stranger) as c:
            assert c.refused(op="read", conv=conv, seq=1) == "not_found"
        assert b.refused(op="read", conv=conv, seq=-1) == "invalid"


def test_sync_sends_everything_once_more(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a, Socket(urls[1], bob) as b:
        for i in range(10):
            a.message(f"m{i}", to=bob.id)
        events(b, 10)
        epoch = b.ready["epoch"]
        for i in range(10, 20):
            a.send(op="send", cid=uuid7(), to=bob.id, body=f"m{i}")
        b.connection.send(json.dumps({"op": "sync", "epoch": epoch, "q": 4}))
        frames, live = [], False
        while not (live and frames[-1]["q"] >= 20):
            received = b.read()
            if received["op"] == "live":
                assert frames and received["q"] == frames[-1]["q"]
                live = True
            else:
                frames.append(received)
        # Those that came before the question was read, then all from the cursor on without a gap.
        start = max(i for i, f in enumerate(frames) if f["q"] == 5)
        assert [f["q"] for f in frames[start:]] == list(range(5, 21))
        assert [f["body"] for f in frames[start:]] == [f"m{i}" for i in range(4, 20)]
        for stale in ({"epoch": "another", "q": 1}, {"epoch": epoch, "q": 21}):
            assert b.refused(op="sync", **stale) == "stale_cursor"
        b.send(op="sync", epoch=epoch, q=20)
        assert b.wait(op="live")["q"] == 20
        assert b.barrier()["head"] == 20


def test_typing(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a, Socket(urls[1], bob) as b:
        conv = a.message("hi", to=bob.id)["conv"]
        for speaker, listener, who in ((a, b, alice), (b, a, bob)):
            began = time.monotonic()
            for _ in range(3):
                speaker.send(op="typing", conv=conv)
            speaker.barrier()
            assert speaker.backlog == [] or all(f["op"] != "error" for f in speaker.backlog), speaker.backlog
            notice = listener.wait(op="typing")
            assert (notice["conv"], notice["user"]) == (conv, who.id) and "q" not in notice
            speaker.message("sent", conv=conv)
            listener.wait(op="event", body="sent")
            again = [f for f in listener.backlog if f["op"] == "typing"]
            assert len(again) <= (time.monotonic() - began) // 3, "at most every three seconds"
            listener.backlog.clear()
        with Socket(urls[0], Account(urls[0], "carol")) as c:
            assert c.refused(op="typing", conv=conv) == "not_found"
            assert c.refused(op="typing", conv="g:none") == "not_found"
