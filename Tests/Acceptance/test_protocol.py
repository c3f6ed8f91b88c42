"""The contract with clients, operation by operation and mistake by mistake, against two gateways.

Two bystanders keep exchanging messages all the while: whatever one session does, they must not notice.
"""

import base64
import json
import random
import socket
import struct
import threading
import time
import urllib.parse

import httpx
import pytest
from client import PATIENCE, Account, RawSocket, Socket, close_code, frame, now_ms, poll, signed, uuid7
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

HOUR = 3_600_000


class Bystanders:
    """Two people on two gateways who answer each other until they are told to stop."""

    def __init__(self, urls):
        self.people = [Account(urls[0], "bystander"), Account(urls[1], "bystander")]
        self.urls = urls
        self.rounds = 0
        self.failure = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.chat, daemon=True)
        self.thread.start()

    def chat(self):
        try:
            with Socket(self.urls[0], self.people[0]) as one, Socket(self.urls[1], self.people[1]) as two:
                conv = self.people[0].conv(self.people[1])
                seq = 0
                while not self.stopping.wait(0.05):
                    for speaker, listener, hearer in ((one, two, 1), (two, one, 0)):
                        seq += 1
                        sent = speaker.message("still here", to=self.people[hearer].id)
                        heard = listener.wait(op="event", mid=sent["mid"])
                        assert (sent["seq"], heard["conv"], heard["seq"]) == (seq, conv, seq)
                    for person in (one, two):
                        assert not [f for f in person.backlog if f["op"] == "error"]
                        person.backlog.clear()
                    self.rounds += 1
        except Exception as failure:  # told by the test that runs
            self.failure = failure

    def check(self):
        before = self.rounds
        poll(lambda: self.failure or self.rounds > before)
        assert self.failure is None, f"bystanders noticed: {self.failure!r}"


@pytest.fixture(scope="module")
def bystanders(stack):
    bystanders = Bystanders(stack.gateways)
    yield bystanders
    bystanders.stopping.set()
    bystanders.thread.join(PATIENCE)


@pytest.fixture(autouse=True)
def unnoticed(bystanders):
    yield
    bystanders.check()


@pytest.fixture(scope="module")
def urls(stack):
    return stack.gateways


@pytest.fixture
def pair(urls):
    return Account(urls[0], "alice"), Account(urls[1], "bob")


def bare(url, **options):
    """A socket that has not said who it is."""
    return connect(url.replace("http", "ws", 1) + "/v1/ws", open_timeout=PATIENCE, **options)


def events(sock, count):
    """The next `count` durable events in the order in which they came."""
    return [sock.wait(op="event") for _ in range(count)]


# Sign-in and resume


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


# Sends


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


# Close codes


def test_no_auth_in_time(urls):
    begin = time.monotonic()
    with bare(urls[0]) as sock:
        sock.ping()
        assert close_code(sock, []) == 4500
        assert time.monotonic() - begin > 3


def test_only_our_valid_tokens(urls, pair, stack):
    alice, bob = pair
    good = signed(stack, alice.token, exp=int(time.time()) + 60)
    with Socket(urls[0], alice, token=good):
        pass
    header, claims, code = alice.token.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    bad = [
        signed(stack, alice.token, exp=int(time.time()) - 1),
        signed(stack, alice.token, aud="another"),
        signed(stack, alice.token, iss="another"),
        f"{none}.{claims}.", f"{none}.{claims}.{code}", f"{header}.{claims}.", f"{header}.{claims}",
        f"{header}.{claims}.{code[:-6]}AAAAAA", f"{header}.{bob.token.split('.')[1]}.{code}",
        "", "a.b.c", "x" * 5000, alice.token + ".", "é.é.é",
    ]
    for token in bad:
        with bare(random.choice(urls)) as sock:
            sock.send(json.dumps({"op": "auth", "token": token, "device": "d1"}))
            assert close_code(sock, []) == 4500, token
        if token.isascii() and token:
            assert alice.get(urls[0], "/v1/me", token=token).status_code == 401, token


@pytest.mark.parametrize(
    "first",
    ['{"op":"ping"}', "{", "[]", '{"op":"nonsense"}', '{"op":"auth"}', '{"op":"auth","token":1,"device":"d"}',
     '{"op":"auth","token":"x","device":"bad device"}', "", " " * 65536],
)
def test_first_frame_must_be_auth(urls, first):
    with bare(urls[0]) as sock:
        sock.send(first)
        assert close_code(sock, []) == 4500


def test_second_auth_is_a_bad_frame(urls, pair):
    with Socket(urls[0], pair[0]) as a:
        assert a.refused(op="auth", token=pair[1].token, device="d1") == "bad_frame"
        a.barrier()


BAD = [
    "{", "", "null", "7", "[]", '"x"', '{"op":"ping"} x', '{"op":"ping",}', "{'op':'ping'}", '{"op":"nonsense"}',
    '{"op":7}', '{"op":"send"}', '{"op":"ack"}', '{"op":"ack","q":"1"}', '{"op":"ack","q":1.5}',
    '{"op":"ack","q":9007199254740993}', '{"op":"ping","id":{}}', '{"op":"ping","id":"' + "x" * 65 + '"}',
    '{"op":"ping","x":' + "[" * 20000 + "]" * 20000 + "}", '{"op":"ping","x":' * 3000 + "1" + "}" * 3000,
    '{"op":"ping","x":"\\ud800"}'[:-2], '{"op":"ping","x":01}', '{"op":"ping","x":"\x01"}', '{"op":"ping","x":tru}',
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_bad_frame_leaves_the_socket(urls, pair, bad):
    with Socket(urls[0], pair[0]) as a:
        a.connection.send(bad)
        assert a.wait(op="error")["code"] == "bad_frame"
        a.barrier()


def test_send_must_name_one_target(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a:
        base = {"op": "send", "cid": uuid7(), "body": "x"}
        for change in (
            {}, {"to": bob.id, "conv": alice.conv(bob)}, {"to": 7}, {"to": bob.id, "body": 7},
            {"to": bob.id, "body": None}, {"to": bob.id, "data": []}, {"to": bob.id, "data": "x"},
        ):
            assert a.refused(**{**base, **change}) == "bad_frame", change


def test_the_tenth_bad_frame_closes(urls, pair):
    with Socket(urls[0], pair[0]) as a:
        for _ in range(9):
            assert a.refused(op="nonsense") == "bad_frame"
        # Mistakes in content do not count.
        assert a.refused(op="send", cid=uuid7(), to="nobody1", body="x") == "not_found"
        a.barrier()
        a.connection.send("{")
        assert a.closed() == 4501


VIOLATIONS = {
    "unmasked": (1002, lambda s: s.frame(0x1, b"{}", masked=False)),
    "unmasked control": (1002, lambda s: s.frame(0x9, b"", masked=False)),
    "rsv1": (1002, lambda s: s.frame(0x1, b"{}", rsv=4)),
    "rsv2": (1002, lambda s: s.frame(0x1, b"{}", rsv=2)),
    "rsv3 in a control frame": (1002, lambda s: s.frame(0x9, b"", rsv=1)),
    "opcode 3": (1002, lambda s: s.frame(0x3, b"{}")),
    "opcode 11": (1002, lambda s: s.frame(0xB, b"")),
    "fragmented ping": (1002, lambda s: s.frame(0x9, b"", fin=False)),
    "long ping": (1002, lambda s: s.frame(0x9, b"x" * 126)),
    "continuation of nothing": (1002, lambda s: s.frame(0x0, b"{}")),
    "text within a message": (1002, lambda s: (s.frame(0x1, b"{", fin=False), s.frame(0x1, b"}"))),
    "close of one byte": (1002, lambda s: s.frame(0x8, b"\x03")),
    "close 1005": (1002, lambda s: s.frame(0x8, struct.pack(">H", 1005))),
    "close 999": (1002, lambda s: s.frame(0x8, struct.pack(">H", 999))),
    "close reason not UTF-8": (1007, lambda s: s.frame(0x8, struct.pack(">H", 1000) + b"\xff")),
    "not UTF-8": (1007, lambda s: s.frame(0x1, b'{"op":"\xc3\x28"}')),
    "surrogate": (1007, lambda s: s.frame(0x1, b'"\xed\xa0\x80"')),
    "overlong": (1007, lambda s: s.frame(0x1, b'"\xc0\xaf"')),
    "cut character": (1007, lambda s: s.frame(0x1, b'"\xe2\x82')),
    "not UTF-8 in a fragment": (1007, lambda s: (s.frame(0x1, b'"\xe2', fin=False), s.frame(0x0, b'\x28\xa1"'))),
    "binary": (1003, lambda s: s.frame(0x2, b"{}")),
    "announced too large": (1009, lambda s: s.frame(0x1, b"", length=65537)),
    "announced huge": (1009, lambda s: s.frame(0x1, b"", length=2**40)),
    "fragments too large": (
        1009, lambda s: (s.frame(0x1, b" " * 40000, fin=False), s.frame(0x0, b"", length=40000)),
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violation_closes(urls, pair, name):
    code, violate = VIOLATIONS[name]
    for token in (None, pair[0].token):
        with RawSocket(urls[0], token) as raw:
            violate(raw)
            assert raw.closed() == code


def test_what_looks_odd_but_is_right(urls, pair):
    """Fragments with a control frame between, a character cut in two, single bytes, the largest frame."""
    with RawSocket(urls[1], pair[0].token) as raw:
        raw.frame(0x1, '{"op":"ping","id":"é'.encode()[:-1], fin=False)
        raw.frame(0x9, b"between")
        raw.frame(0x0, b"\xa9", fin=False)
        raw.frame(0x0, b"", fin=False)
        raw.frame(0x0, b'"}')
        assert raw.next() == (0xA, b"between")
        assert raw.text() == {"op": "pong", "head": 0, "id": "é"}
        for byte in frame(0x1, b'{"op":"ping","id":2}'):
            raw.socket.sendall(bytes([byte]))
        assert raw.text()["id"] == 2
        text = b'{"op":"ping","id":3}'
        raw.frame(0x1, text + b" " * (65536 - len(text)))
        assert raw.text()["id"] == 3
        raw.frame(0xA, b"a pong that nobody asked for")
        raw.frame(0x8, struct.pack(">H", 1000) + "tschüß".encode())
        assert raw.closed() == 1000


def test_close_without_a_code(urls, pair):
    with RawSocket(urls[1], pair[0].token) as raw:
        raw.frame(0x8)
        assert raw.closed() == 1005


def test_logout_closes_the_sockets_of_that_login(urls, pair):
    alice, bob = pair
    second = alice.login(urls[1])
    with (
        Socket(urls[0], alice) as a, Socket(urls[1], alice, "d2") as a2,
        Socket(urls[0], alice, "d3", token=second) as other, Socket(urls[1], bob) as b,
    ):
        bearer = {"Authorization": f"Bearer {alice.token}"}
        assert httpx.post(f"{urls[1]}/v1/logout", headers=bearer).status_code == 204
        assert a.closed() == 4500 and a2.closed() == 4500
        sent = other.message("still signed in here", to=bob.id)
        assert b.wait(op="event")["mid"] == sent["mid"]
        for url in urls:
            with bare(url) as sock:
                sock.send(json.dumps({"op": "auth", "token": alice.token, "device": "d1"}))
                assert close_code(sock, []) == 4500
            assert alice.get(url, "/v1/me").status_code == 401
            assert alice.get(url, "/v1/me", token=second).status_code == 200


# Before the upgrade


UPGRADE = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    "status, change",
    [
        (400, {"Sec-WebSocket-Protocol": "other.v1"}),
        (400, {"Upgrade": None, "Connection": None}),
        (400, {"Upgrade": "h2c"}),
        (400, {"Sec-WebSocket-Version": "8"}),
        (400, {"Sec-WebSocket-Version": None}),
        (400, {"Sec-WebSocket-Key": None}),
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "null"}),
    ],
)
def test_refused_before_the_upgrade(urls, status, change):
    headers = {name: value for name, value in {**UPGRADE, **change}.items() if value is not None}
    answer = httpx.get(f"{urls[0]}/v1/ws", headers=headers, timeout=PATIENCE)
    problem(answer, status)


def test_plain_get_of_the_socket(urls):
    problem(httpx.get(f"{urls[0]}/v1/ws"), 400, "bad_frame")


def test_offers_and_origins_that_pass(urls):
    for origin in (urls[0], urls[1], urls[0].replace("127.0.0.1", "localhost"), None):
        with bare(urls[0], origin=origin, subprotocols=["other.v1", "parley.v1"]) as sock:
            assert sock.subprotocol == "parley.v1"
    with bare(urls[0]) as sock:
        assert sock.subprotocol is None
    with pytest.raises(InvalidStatus) as refusal:
        bare(urls[0], origin="http://evil.example")
    assert refusal.value.response.status_code == 403


def test_upgrade_as_second_request(urls):
    parts = urllib.parse.urlsplit(urls[0])
    headers = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        reader = connection.makefile("rb")
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        assert b" 200 " in reader.readline()
        size = 0
        while line := reader.readline().strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        reader.read(size)
        connection.sendall(f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode())
        assert b" 307 " in reader.readline()
        reader.close()


def test_slow_handshakes_are_ended(urls):
    parts = urllib.parse.urlsplit(urls[0])
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n")
        assert connection.recv(100) == b"", "the gateway waits for the rest for ever"


def test_many_half_open_sockets(urls, pair):
    parts = urllib.parse.urlsplit(urls[0])
    held = [socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) for _ in range(400)]
    strangers = [RawSocket(urls[0]) for _ in range(50)]
    try:
        alice, bob = pair
        with Socket(urls[0], alice) as a, Socket(urls[0], bob) as b:
            sent = a.message("through the crowd", to=bob.id)
            assert b.wait(op="event")["mid"] == sent["mid"]
        assert {stranger.closed() for stranger in strangers} == {4500}
    finally:
        for connection in held:
            connection.close()
        for stranger in strangers:
            stranger.__exit__()


# HTTP


def problem(answer, status, code=None):
    """An answer of RFC 9457 with the contract's code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["title"] and body["code"]
    if code:
        assert body["code"] == code
    return body


@pytest.fixture(scope="module")
def talk(urls):
    """Alice, Bob and 25 messages of theirs."""
    alice, bob = Account(urls[0], "alice"), Account(urls[1], "bob")
    with Socket(urls[0], alice) as a:
        sent = [a.message(f"m{i}", to=bob.id) for i in range(1, 26)]
    return alice, bob, sent


def test_history_pages(urls, talk, stack):
    alice, bob, sent = talk
    conv, mids = sent[0]["conv"], [s["mid"] for s in sent]

    def check(url):
        def page(**parameters):
            answer = bob.get(url, f"/v1/conversations/{conv}/messages", **parameters).json()
            return [m["mid"] for m in answer["messages"]], answer["more"]

        assert page() == (mids[::-1], False)
        assert page(limit=10) == (mids[:14:-1], True)
        assert page(limit=25) == (mids[::-1], False) and page(limit=24) == (mids[:0:-1], True)
        assert page(before=mids[10]) == (mids[9::-1], False)
        assert page(before=mids[10], limit=3) == (mids[9:6:-1], True)
        assert page(after=mids[20]) == (mids[21:], False)
        assert page(after=mids[10], limit=3) == (mids[11:14], True)
        assert page(after_seq=0, limit=2) == (mids[:2], True)
        assert page(after_seq=20) == (mids[20:], False) and page(after_seq=25) == ([], False)
        assert page(before=mids[0]) == page(after=mids[-1]) == ([], False)

    for url in urls:
        check(url)
    poll(lambda: stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "25")
    for url in urls:
        check(url)
    message = bob.history(urls[0], conv, limit=1)[0]
    expected = {"mid": mids[24], "seq": 25, "from": alice.id, "ts": sent[24]["ts"], "body": "m25"}
    assert expected.items() <= message.items() and "cid" not in message
    assert alice.history(urls[1], conv, limit=1)[0]["cid"] == sent[24]["cid"]
    encoded = bob.get(urls[0], f"/v1/conversations/{urllib.parse.quote(conv, safe='')}/messages")
    assert encoded.status_code == 200


def test_history_refuses(urls, talk):
    alice, bob, sent = talk
    path = f"/v1/conversations/{sent[0]['conv']}/messages"
    for parameters in (
        {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"before": "x"}, {"after": "-1"}, {"after_seq": "x"},
        {"after_seq": -1}, {"before": sent[0]["mid"], "after": sent[1]["mid"]},
        {"after": sent[0]["mid"], "after_seq": 1},
    ):
        problem(bob.get(urls[0], path, **parameters), 422, "invalid")
    stranger = Account(urls[0], "carol")
    for where in (path, path.removesuffix("/messages"), "/v1/conversations/g:none", "/v1/conversations/x%00y/messages"):
        problem(stranger.get(urls[0], where), 404, "not_found")
    problem(httpx.get(urls[0] + path), 401, "unauthorized")


def test_conversation_list(urls, talk):
    alice, bob, sent = talk
    carol = Account(urls[1], "carol")
    with Socket(urls[1], carol) as c:
        latest = c.message("newer", to=bob.id)
    listed = bob.get(urls[0], "/v1/conversations").json()
    assert [c["id"] for c in listed["conversations"]] == [latest["conv"], sent[0]["conv"]] and listed["next"] is None
    older = listed["conversations"][1]
    assert (older["kind"], sorted(older["members"])) == ("direct", sorted([alice.id, bob.id]))
    assert (older["unread"], older["read_seq"]) == (25, 0)
    last = {"mid": sent[24]["mid"], "seq": 25, "from": alice.id, "ts": sent[24]["ts"], "body": "m25"}
    assert last.items() <= older["last"].items()
    first = bob.get(urls[1], "/v1/conversations", limit=1).json()
    assert [c["id"] for c in first["conversations"]] == [latest["conv"]]
    second = bob.get(urls[1], "/v1/conversations", limit=1, cursor=first["next"]).json()
    assert [c["id"] for c in second["conversations"]] == [sent[0]["conv"]]
    assert alice.get(urls[0], f"/v1/conversations/{sent[0]['conv']}").json()["unread"] == 0
    empty = Account(urls[0], "dora").get(urls[0], "/v1/conversations").json()
    assert empty == {"conversations": [], "next": None}


def test_http_mistakes(urls, pair):
    url = urls[0]
    for path in ("/v1/nothing", "/v1/conversations/x/y/z", "/%00"):
        problem(pair[0].get(url, path), 404, "not_found")
    problem(httpx.delete(f"{url}/v1/signup"), 404, "not_found")
    for body, status, code in (
        (b"{", 400, "bad_frame"), (b"", 400, "bad_frame"), (b'{"username":"x",}', 400, "bad_frame"),
        (b"[" * 10000, 400, "bad_frame"), (b"[]", 422, "invalid"), (b'{"username":7}', 422, "invalid"),
        (b'{"username":"ok.name","password":"short"}', 422, "invalid"), (b" " * 70000, 413, "too_large"),
    ):
        problem(httpx.post(f"{url}/v1/signup", content=body), status, code)
    taken = {"username": pair[0].username, "password": "long enough"}
    problem(httpx.post(f"{url}/v1/signup", json=taken), 409, "conflict")
    problem(httpx.post(f"{url}/v1/login", json=taken), 401, "unauthorized")
    problem(httpx.post(f"{url}/v1/token", json={"refresh_token": "nonsense"}), 401, "unauthorized")


def test_garbage_instead_of_http(urls):
    parts = urllib.parse.urlsplit(urls[0])
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 1000, b"GET /" + b"a" * 200_000):
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
            try:
                connection.sendall(garbage + b"\r\n\r\n")
                answer = connection.recv(100)
            except ConnectionError:
                answer = b""
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer


def test_browsers(urls):
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    origin = urls[1].replace("127.0.0.1", "localhost")
    preflight = httpx.options(f"{urls[0]}/v1/login", headers={**ask, "Origin": origin})
    assert preflight.status_code in (200, 204)
    assert preflight.headers["access-control-allow-origin"] == origin
    allowed = {name.strip() for name in preflight.headers["access-control-allow-headers"].lower().split(",")}
    assert {"authorization", "content-type", "idempotency-key", "if-none-match"} <= allowed
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for answer in (
        httpx.get(f"{urls[0]}/v1/gateways", headers={"Origin": origin}),
        httpx.get(f"{urls[0]}/v1/me", headers={"Origin": origin}),
    ):
        assert answer.headers["access-control-allow-origin"] == origin, "a page must see the error too"
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].lower().split(",")}
        assert exposed == {"etag", "retry-after"} and "origin" in answer.headers["vary"].lower()
    foreign = httpx.options(f"{urls[0]}/v1/login", headers={**ask, "Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_gateways_are_listed(urls):
    for url in urls:

        def known(url=url):
            found = httpx.get(f"{url}/v1/gateways").json()["gateways"]
            return found if sorted(g["url"] for g in found) == sorted(urls) else None

        # Each gateway's picture of the others is a second old.
        listed = poll(known)
        assert all(g["zone"] and isinstance(g["load"], (int, float)) for g in listed)


def test_people_are_found(urls, pair):
    alice, bob = pair
    found = alice.get(urls[0], "/v1/users", prefix=bob.username[:-1]).json()
    assert [u["id"] for u in found["users"]] == [bob.id] and found["next"] is None
    assert found["users"][0]["username"] == bob.username and found["users"][0]["display_name"] == "bob"
    for prefix in ("", "a\0b", "x" * 65):
        problem(alice.get(urls[0], "/v1/users", prefix=prefix), 422, "invalid")
    problem(alice.get(urls[0], "/v1/users/nobody1"), 404, "not_found")
    problem(httpx.get(f"{urls[0]}/v1/users?prefix=a"), 401, "unauthorized")
