"""What is acknowledged is delivered, once and in order, whatever fails meanwhile."""

import asyncio
import itertools
import json
import os
import pathlib
import random
import socket
import threading
import time

import httpx
import pytest
from checker import Run
from client import PATIENCE, Account, RawSocket, Socket, now_ms, poll, uuid7
from conftest import running
from websockets.exceptions import ConnectionClosed, InvalidStatus


@pytest.fixture(scope="module")
def fleet(build):
    """Two gateways and two workers that these tests may break; each leaves them running."""
    with running(build, workers=2) as stack:
        yield stack


@pytest.fixture
def own(make_stack):
    """A stack for what cannot be made good again."""
    stack = make_stack()
    stack("up", "--gateways", 2, "--workers", 1)
    return stack


def restart(stack, how, *names):
    return [lambda: [stack(how, name) for name in names], lambda: [stack("start", name) for name in names]]


def pause(stack, name, seconds):
    return [lambda: stack("pause", name), lambda: time.sleep(seconds), lambda: stack("resume", name)]


def archived(stack, run):
    """Everything that the run's conversations hold is archived, once, and lanes are trimmed."""
    convs = ",".join(f"'{left.conv(right)}'" for left, right in run.pairs)
    expected = len({mid for device in run.all_devices for mid in device.seen})

    def done():
        counts = stack.sql(
            "SELECT count(*), count(DISTINCT message_id), count(DISTINCT (conversation_id, seq)), "
            f"count(DISTINCT (sender_id, cid)) FROM messages WHERE conversation_id IN ({convs})"
        )
        assert all(int(n) <= expected for n in counts.split("|")), f"{counts} of {expected}"
        return counts == "|".join([str(expected)] * 4)

    poll(done, 60)
    poll(lambda: lane_lengths(stack) == 0, 60)


def lane_lengths(stack):
    lanes = stack.redis("--scan", "--pattern", "lane:*").split()
    return sum(int(stack.redis("xlen", lane)) for lane in lanes)


def through(stack, actions, **timing):
    """Messages flow while the actions happen; then everything must be where it belongs."""

    async def run():
        async with Run(stack.gateways) as run:
            await run.during(*actions, **timing)
            await run.judge()
            return run

    run = asyncio.run(run())
    archived(stack, run)
    return run


def test_nothing_fails(fleet):
    run = through(fleet, [], before=4)
    assert all(not device.closes for device in run.all_devices)


def test_checker_notices(fleet):
    """What the checker calls sound is sound: each damage to a sound run's record is found."""

    async def record():
        async with Run(fleet.gateways, pairs=1) as run:
            await run.during(before=1, after=1)
            await run.judge()
            left, right = run.pairs[0]
            return run, list(run.pages(left, fleet.gateways[0], left.conv(right)))

    run, history = asyncio.run(record())
    left, right = run.pairs[0]
    device = run.devices[right.id][1]

    def complaints(check, *arguments):
        run.violations.clear()
        check(*arguments)
        return run.violations

    def judged(messages):
        return complaints(run.check_history, left, right, messages, True)

    assert not judged(history) and not complaints(run.check_order) and not run.missing()
    assert judged(history[:9] + history[10:]), "dropped"
    assert judged(history[:10] + history[9:]), "doubled"
    assert judged(history[:9] + [history[10], history[9]] + history[11:]), "swapped"
    assert judged([*history, {**history[0], "mid": "1", "seq": len(history) + 1, "body": "foreign"}]), "invented"
    device.wire[3], device.wire[4] = device.wire[4], device.wire[3]
    assert complaints(run.check_order), "swapped on the wire"
    conv, seq, sender, body = device.seen.pop(history[9]["mid"])
    assert run.missing(), "not delivered"
    assert complaints(device.learn, {"conv": conv, "seq": seq, "mid": "1", "from": sender, "body": body}), "twice"
    assert complaints(device.received, 0, {"op": "event", "q": device.cursor["q"] + 2, "type": "receipt"}), "a gap"


def test_gateway_killed(fleet):
    through(fleet, restart(fleet, "kill", "gateway-2"))


def test_all_gateways_killed(fleet):
    through(fleet, restart(fleet, "kill", "gateway-1", "gateway-2"))


def test_workers_killed_again_and_again(fleet):
    """In the middle of archiving, whatever that is each time."""

    def blow():
        for name in ("worker-1", "worker-2"):
            fleet("kill", name)
        for name in ("worker-1", "worker-2"):
            fleet("start", name)
        time.sleep(random.uniform(0, 0.5))

    through(fleet, [blow] * 3, before=1, after=1)


def test_redis_killed(fleet):
    through(fleet, restart(fleet, "kill", "redis"))


def test_postgres_killed(fleet):
    through(fleet, restart(fleet, "kill", "postgres"))


def test_redis_paused(fleet):
    through(fleet, pause(fleet, "redis", 3))


def test_gateway_paused(fleet):
    through(fleet, pause(fleet, "gateway-1", 5))


def test_paused_worker_is_fenced(fleet):
    """Another takes its lanes; when it comes back it must not do what it was about to."""

    def taken():
        owners = fleet.sql("SELECT DISTINCT owner FROM lanes").split()
        assert "worker-2" in owners
        poll(lambda: fleet.sql("SELECT DISTINCT owner FROM lanes WHERE lease_until > now_ms()") == "worker-2", 40)

    poll(lambda: len(fleet.sql("SELECT DISTINCT owner FROM lanes WHERE lease_until > now_ms()").split()) == 2, 40)
    through(
        fleet,
        [lambda: fleet("pause", "worker-1"), lambda: time.sleep(10), taken, lambda: fleet("resume", "worker-1")],
        before=1,
    )


def test_subscriptions_cut(fleet):
    def cut():
        for _ in range(5):
            assert int(fleet.redis("client", "kill", "type", "pubsub")) > 0
            time.sleep(0.7)

    run = through(fleet, [cut], before=1, after=1)
    assert all(not device.closes for device in run.all_devices), "no session has to notice"


def test_rolling_restart(fleet):
    """Each gateway says goaway, closes with 4000, and nobody loses anything."""
    alice = Account(fleet.gateways[0], "alice")
    seen = []

    def watch(url):
        with Socket(url, alice, f"d{len(seen)}", ephemeral=True) as sock:
            ready.set()
            goaway = sock.wait(op="goaway", timeout=60)
            seen.append((goaway["reason"], goaway["reconnect_ms"] >= 0, sock.closed()))

    actions = []
    ready = threading.Event()
    for number, url in enumerate(fleet.gateways, 1):
        watcher = threading.Thread(target=watch, args=(url,), daemon=True)

        def roll(name=f"gateway-{number}", watcher=watcher):
            ready.clear()
            watcher.start()
            assert ready.wait(PATIENCE)
            printed = fleet("stop", name)
            assert "killed" not in printed, printed
            watcher.join(PATIENCE)
            fleet("start", name)

        actions.append(roll)
    run = through(fleet, actions, before=1, after=1)
    assert seen == [("drain", True, 4000)] * 2
    codes = {code for device in run.all_devices for code in device.closes}
    assert 4000 in codes and not codes & {None, 1006}, codes


# Slow sockets


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


def test_slow_socket_reads_on(fleet):
    """It lags, the others do not, and what it missed comes from the stream."""
    first, second = fleet.gateways
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
            assert closed.rcvd.code == 4002
            resume = {"epoch": slow.ready["epoch"], "q": len(heard)}
            slow = Socket(first, bob, "slow", resume=resume)
            assert slow.ready["mode"] == "replay"
    assert heard == mids
    slow.connection.close()


# With a short heartbeat and a small capacity


@pytest.fixture(scope="module")
def brisk(build):
    with running(build, 1, 0, PARLEY_HEARTBEAT_MS="1000", PARLEY_CAPACITY="8") as stack:
        yield stack


def test_stuck_socket_is_given_up(brisk):
    url = brisk.gateways[0]
    alice, bob = Account(url, "alice"), Account(url, "bob")
    slow = lazy(url, bob, "slow", close_timeout=1)
    mids = flood(url, alice, bob, 800)
    time.sleep(5)
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
        while (received := raw.next())[0] == 0x9:
            pings += 1
        assert received == (0x8, (4001).to_bytes(2, "big")) or received[1][:2] == (4001).to_bytes(2, "big")
        assert pings == 2
    with RawSocket(url, Account(url, "talker").token) as raw:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            raw.frame(0x1, b'{"op":"ping"}')
            opcode, _ = raw.next()
            assert opcode in (0x1, 0x9), "any frame is a sign of life"
            time.sleep(0.2)


def test_full_gateway_refuses(brisk):
    url = brisk.gateways[0]
    account = Account(url, "crowd")
    held = []
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


# A store is away


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
            a.send(op="send", cid=cid, to=bob.id, body="meanwhile")
            answer = a.wait(cid=cid)
            return answer if answer["op"] == "sent" else None

        assert poll(repeat, 60, pause=0.5)["seq"] == 2
        assert b.wait(op="event", seq=2, timeout=60)["body"] == "meanwhile"
    assert [m["seq"] for m in complete(bob, second, conv)] == [2, 1]


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
        for name in ("worker-1", "worker-2"):
            fleet("pause", name)
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
            for name in ("worker-1", "worker-2"):
                fleet("resume", name)
    poll(lambda: fleet.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "11")
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
    poll(lambda: int(fleet.sql("SELECT count(*) FROM dead_letters")) == before + len(poisons))
    assert [m["seq"] for m in bob.history(first, conv)] == list(range(count, 0, -1))
    poll(lambda: fleet.redis("xlen", lane) == "0")


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
            cid = uuid7()
            a.send(op="send", cid=cid, to=bob.id, body="more")
            answer = a.wait(cid=cid)
            while answer["op"] == "event":
                answer = a.wait(cid=cid)
            return answer

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


# Sign-out


def test_logout_races_with_sockets(fleet):
    """Whatever the interleaving: once logout has answered, no socket of that login lives on."""
    first, second = fleet.gateways
    alice, bob = Account(first, "alice"), Account(second, "bob")
    survivors, gates = [], itertools.cycle([(first, second), (second, first)])

    def open_sockets(url, token, number, go):
        go.wait()
        for attempt in range(4):
            try:
                sock = Socket(url, alice, f"r{number}.{attempt}", token=token)
                survivors.append(sock)
            except (ConnectionClosed, OSError):
                pass

    for number in range(12):
        url, other = next(gates)
        token, go = alice.login(url), threading.Event()
        opener = threading.Thread(target=open_sockets, args=(url, token, number, go))
        opener.start()
        go.set()
        time.sleep(random.uniform(0, 0.04))
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.post(f"{other}/v1/logout", headers=bearer, timeout=PATIENCE).status_code == 204
        opener.join(PATIENCE)
    assert survivors, "logout was always quicker: nothing was tested"
    assert {sock.closed(60) for sock in survivors} == {4500}
    with Socket(second, bob) as b:
        b.message("to those who are gone", to=alice.id)
    assert not [sock for sock in survivors if [f for f in sock.backlog if f.get("type") == "message"]]


# Redis loses data


def append_only_file(stack):
    """The part of Redis's log that grows."""
    folder = pathlib.Path(stack.json["redis"]["data"]) / "appendonlydir"
    return max(folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)


class Facts:
    """What clients were told stands where."""

    def __init__(self):
        self.places, self.mids = {}, {}

    def add(self, conv, seq, mid, body):
        assert self.places.setdefault((conv, seq), mid) == mid, f"{conv} {seq} is used twice"
        assert self.mids.setdefault(mid, (conv, seq, body)) == (conv, seq, body), f"{mid} is used twice"

    def exchange(self, sender, target, count, label):
        answers = [sender.message(f"{label} {i}", to=target.id) for i in range(count)]
        for i, answer in enumerate(answers):
            self.add(answer["conv"], answer["seq"], answer["mid"], f"{label} {i}")
        return answers


def first_after_loss(url, account, target, cid, body):
    """Sends again and again, as a client does, from the moment on that data was lost."""
    def attempt():
        try:
            with Socket(url, account, "after") as sock:
                return sock.message(body, cid=cid, to=target.id)
        except (ConnectionClosed, OSError, AssertionError):
            return None

    return poll(attempt, 90, pause=0.05)


@pytest.mark.parametrize("loss", ["tail", "everything"])
def test_redis_loses_data(own, loss):
    """A new epoch: cursors are stale, numbers jump, and none is ever used for two messages."""
    first, second = own.gateways
    people = [Account(url, name) for url, name in zip((first, second) * 2, ("alice", "bob", "carol", "dan"))]
    alice, bob, carol, dan = people
    facts = Facts()
    a, b = Socket(first, alice), Socket(second, bob)
    c, d = Socket(first, carol), Socket(second, dan)
    # Each conversation is written to through one gateway alone: the other has nothing to miss there.
    conv1 = facts.exchange(a, bob, 20, "kept")[0]["conv"]
    conv2 = facts.exchange(d, carol, 20, "kept")[0]["conv"]
    b.send(op="read", conv=conv1, seq=20)
    a.wait(op="event", type="receipt")
    poll(lambda: own.sql("SELECT count(*) FROM messages") == "40")
    poll(lambda: lane_lengths(own) == 0)
    own("stop", "worker-1")
    size = append_only_file(own).stat().st_size
    facts.exchange(a, bob, 20, "lost")
    facts.exchange(d, carol, 20, "lost")
    epoch = a.ready["epoch"]
    if loss == "tail":
        own("kill", "redis")
        os.truncate(append_only_file(own), size)
        starter = threading.Thread(target=own, args=("start", "redis"))
        starter.start()
    else:
        own.redis("flushall")
        starter = None
    # Through the gateway that knows nothing of the loss in this conversation.
    news = {}

    def write(key, *arguments):
        news[key] = first_after_loss(*arguments)

    writers = [
        threading.Thread(target=write, args=(conv1, second, bob, alice, uuid7(), "new in 1")),
        threading.Thread(target=write, args=(conv2, first, carol, dan, uuid7(), "new in 2")),
    ]
    for thread in writers:
        thread.start()
    for thread in [*writers, *([starter] if starter else [])]:
        thread.join(120)
    for conv, body in ((conv1, "new in 1"), (conv2, "new in 2")):
        answer = news[conv]
        facts.add(conv, answer["seq"], answer["mid"], body)
        assert answer["seq"] >= 20 + 1024 + 1
    for sock, url, account in ((a, first, alice), (b, second, bob), (c, first, carol), (d, second, dan)):
        assert sock.closed(90) == 4200
        with Socket(url, account, "d1", resume={"epoch": epoch, "q": 1}) as again:
            assert again.ready["mode"] == "resync" and again.ready["epoch"] != epoch
    own("start", "worker-1")
    expected = 42
    poll(lambda: int(own.sql("SELECT count(*) FROM messages")) == expected, 60)
    with Socket(second, alice, "d2") as a, Socket(first, bob, "d2") as b:
        more = facts.exchange(a, bob, 5, "more") + facts.exchange(b, alice, 5, "back")
        assert [m["seq"] for m in more] == list(range(news[conv1]["seq"] + 1, news[conv1]["seq"] + 11))
        assert [b.wait(op="event", mid=m["mid"])["seq"] for m in more[:5]]
    for url, account in ((first, alice), (second, bob)):
        for message in account.history(url, conv1, limit=200):
            facts.add(conv1, message["seq"], message["mid"], message["body"])
        assert len(account.history(url, conv1, limit=200)) == 31
    # Dan has read 20 of his own; nothing that was skipped or lost is unread.
    unread = dan.get(first, f"/v1/conversations/{conv2}").json()["unread"]
    assert unread == 1 if loss == "tail" else unread <= 21
    assert alice.get(first, f"/v1/conversations/{conv1}").json()["unread"] == 5


def test_everything_restarts(fleet):
    """Redis, PostgreSQL and all processes, one after the other, while messages flow."""
    names = ["postgres", "redis", "worker-1", "gateway-1", "worker-2", "gateway-2"]
    actions = [action for name in names for action in restart(fleet, "kill", name)]
    through(fleet, actions, before=1, after=1, rate=60)
