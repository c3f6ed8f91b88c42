"""Sockets that take nothing, say nothing, or are too many."""

import json
import socket
import time

import pytest
from client import Account, RawSocket, Socket, poll, uuid7
from conftest import running
from websockets.exceptions import ConnectionClosed, InvalidStatus


def small_window():
    """A socket whose owner will take little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return sock


def lazy(url, account, device, **options):
    """A session whose client stops reading as soon as a few frames wait."""
    sock = small_window()
    host, _, port = url.removeprefix("http://").partition(":")
    sock.connect((host, int(port)))
    return Socket(url, account, device, sock=sock, max_queue=2, ping_interval=None, **options)


def flood(url, alice, bob, count, size=16_000):
    """Sends more than the kernel's and the gateway's buffers take; returns the mids in order."""
    with Socket(url, alice) as a:
        answers = []
        for start in range(0, count, 20):
            cids = [uuid7() for _ in range(start, min(count, start + 20))]
            for offset, cid in enumerate(cids):
                a.send(op="send", cid=cid, to=bob.id, body=f"{start + offset} ".ljust(size, "x"))
            answers += [a.wait(op="sent", cid=cid) for cid in cids]
            a.backlog.clear()
        return [answer["mid"] for answer in answers]


def test_slow_socket_reads_on(stack):
    """It lags, the others do not, and what it missed comes from the stream."""
    first, second = stack.gateways
    alice, bob = Account(first, "alice"), Account(first, "bob")
    slow = lazy(second, bob, "slow")
    with Socket(second, bob, "quick") as quick:
        mids = flood(first, alice, bob, 800)
        assert [quick.wait(op="event", type="message")["mid"] for _ in mids] == mids
    heard, resume = [], None
    while len(heard) < len(mids):
        try:
            frame = slow.wait(op="event")
            assert frame["q"] == len(heard) + 1
            heard.append(frame["mid"])
        except ConnectionClosed as closed:
            # The close frame stands behind all that waits; a socket that takes nothing may not get it.
            assert closed.rcvd is None or closed.rcvd.code in (4001, 4002)
            resume = {"epoch": slow.ready["epoch"], "q": len(heard)}
            slow = Socket(first, bob, "slow", resume=resume)
            assert slow.ready["mode"] == "replay"
    assert heard == mids
    slow.connection.close()


# With a short heartbeat and a small capacity


@pytest.fixture(scope="module")
def brisk(build):
    """A client that stalls for three seconds has not missed two of its pings."""
    with running(build, 1, 0, PARLEY_HEARTBEAT_MS="2000", PARLEY_CAPACITY="8") as stack:
        yield stack


def test_stuck_socket_is_given_up(brisk):
    url = brisk.gateways[0]
    alice, bob = Account(url, "alice"), Account(url, "bob")
    slow = lazy(url, bob, "slow", close_timeout=1)
    mids = flood(url, alice, bob, 800)

    def is_connected():
        [entry] = bob.get(url, "/v1/devices").json()["devices"]
        return any(device["connected"] for device in entry["devices"])

    poll(lambda: not is_connected())
    heard = []
    try:
        while True:
            heard.append(slow.wait(op="event")["mid"])
    except ConnectionClosed as closed:
        # The close frame stands behind all that waits; a socket that takes nothing may not get it.
        assert closed.rcvd is None or closed.rcvd.code in (4001, 4002)
    assert heard == mids[: len(heard)] and len(heard) < len(mids)
    with Socket(url, bob, "slow", resume={"epoch": slow.ready["epoch"], "q": len(heard)}) as again:
        assert again.ready["mode"] == "replay"
        assert [again.wait(op="event")["mid"] for _ in mids[len(heard):]] == mids[len(heard):]


def test_lost_wake_up(brisk):
    """An entry that nobody published is found by the check of positions."""
    url = brisk.gateways[0]
    alice, bob = Account(url, "alice"), Account(url, "bob")
    with Socket(url, alice) as a, Socket(url, bob) as b:
        first = a.message("published", to=bob.id)
        b.wait(op="event", q=1)
        queue = brisk.redis("--scan", "--pattern", f"queue:*:{bob.id}")
        event = {"mid": first["mid"], "ts": first["ts"], "seq": 1, "type": "message", "conv": first["conv"]}
        brisk.redis("xadd", queue, "0-*", "e", json.dumps({**event, "from": alice.id, "body": "not published"}))
        assert b.wait(op="event", q=2)["body"] == "not published"
        a.message("published again", to=bob.id)
        assert b.wait(op="event", q=3)["body"] == "published again"


def test_silent_client_is_closed(brisk):
    url = brisk.gateways[0]
    with RawSocket(url, Account(url, "mute").token) as raw:
        pings = 0
        while (received := raw.next(pings=True))[0] == 0x9:
            pings += 1
        assert received == (0x8, (4001).to_bytes(2, "big")) or received[1][:2] == (4001).to_bytes(2, "big")
        assert pings == 2
    with RawSocket(url, Account(url, "talker").token) as raw:
        end = time.monotonic() + 9
        while time.monotonic() < end:
            raw.frame(0x1, b'{"op":"ping"}')
            assert raw.next()[0] == 0x1, "any frame is a sign of life"
            time.sleep(0.2)


def test_full_gateway_refuses(brisk):
    url = brisk.gateways[0]
    account = Account(url, "crowd")
    held = []
    # Sockets that were just closed may still be counted.
    poll(lambda: brisk.redis("hget", "gateway:gateway-1", "sessions") == "0")
    try:
        with pytest.raises(InvalidStatus) as refusal:
            for number in range(9):
                held.append(Socket(url, account, f"d{number}"))
        assert refusal.value.response.status_code == 503
        assert json.loads(refusal.value.response.body)["code"] == "overloaded"
        assert len(held) == 8
    finally:
        for sock in held:
            sock.connection.close()
    poll(lambda: usable(url, account))


def usable(url, account):
    try:
        with Socket(url, account, "again"):
            return True
    except InvalidStatus:
        return False
