"""The green light: who is online, as friends' sockets show it, over two gateways with a short heartbeat and grace."""

import contextlib
import email.utils
import json
import pathlib
import subprocess
import threading
import time

import httpx
import pytest
from client import PATIENCE, Account, Socket, come_back, now_ms, poll
from conftest import ROOT, running

# So long that a stall of a few seconds is not taken for a leaving. What happens at once is seen well within the grace.
HEARTBEAT = 2.0
GRACE = 6.0
# A lost connection is noticed within the grace, its lease swept within a few seconds.
GONE = GRACE + 10
# A gateway that was killed: its leases last two heartbeats longer.
DEAD = GONE + 2 * HEARTBEAT


@pytest.fixture(scope="module")
def lit(build):
    settings = {
        "PARLEY_HEARTBEAT_MS": f"{HEARTBEAT * 1000:.0f}", "PARLEY_PRESENCE_GRACE_MS": f"{GRACE * 1000:.0f}",
        # Whoever is sent to another gateway in time is not cut off when its gateway is killed.
        "PARLEY_REBALANCE_PERCENT": "0",
    }
    with running(build, workers=2, **settings) as stack:
        yield stack


@pytest.fixture
def gateways(lit):
    return lit.gateways


@pytest.fixture
def ann(gateways):
    return Account(gateways[0], "ann")


@pytest.fixture
def bob(gateways, ann):
    bob = Account(gateways[1], "bob")
    relate(gateways[0], ann, bob)
    return bob


def relate(url, one, other):
    """Makes two friends."""
    for who, whom, path in ((one, other, ""), (other, one, f"/{one.id}/accept")):
        answer = httpx.post(
            f"{url}/v1/friends/requests{path}", json={"user": whom.id}, headers=signed_in(who), timeout=PATIENCE
        )
        assert answer.status_code in (200, 201), answer.text


def signed_in(account):
    return {"Authorization": f"Bearer {account.token}"}


def key(kind, user):
    """The key of a user: the shard is FNV-1a, folded."""
    value = 0xCBF29CE484222325
    for byte in user.encode():
        value = ((value ^ byte) * 0x100000001B3) & (1 << 64) - 1
    return f"{kind}:{{U{(value ^ value >> 32) % 1024}}}:{user}"


def seen(socket, user, status, timeout=PATIENCE):
    """The next picture of a user with this status; what came of them before is of no interest then."""
    frame = socket.wait(timeout, op="presence", user=user.id, status=status)
    socket.backlog = [f for f in socket.backlog if f["op"] != "presence" or f["user"] != user.id]
    return frame


def frames(socket, user):
    """What came about a user and nobody waited for."""
    socket.barrier()
    return [f["status"] for f in socket.backlog if f["op"] == "presence" and f["user"] == user.id]


def watch(socket, *users):
    socket.send(op="watch", users=[user.id for user in users])


def cut(socket):
    """The connection breaks without a close frame."""
    socket.connection.socket.shutdown(2)


def test_come_and_go(gateways, ann, bob):
    with Socket(gateways[0], ann) as a:
        watch(a, bob)
        first = seen(a, bob, "offline")
        assert "last_active" not in first
        with Socket(gateways[1], bob) as b:
            assert seen(a, bob, "online")["last_active"] > 0
            watch(b, ann)
            seen(b, ann, "online")
            b.connection.close(1000)
        began = time.monotonic()
        seen(a, bob, "offline", timeout=GRACE)
        assert time.monotonic() - began < GRACE, "leaving knows no grace"


def test_a_tunnel_and_a_reload_are_no_leaving(gateways, ann, bob):
    with Socket(gateways[0], ann) as a:
        watch(a, bob)
        seen(a, bob, "offline")
        b = Socket(gateways[1], bob)
        seen(a, bob, "online")
        for leave in (cut, lambda socket: socket.connection.close(1001), lambda socket: socket.connection.close(3000)):
            leave(b)
            time.sleep(1)
            b = Socket(gateways[0], bob)
        assert frames(a, bob) == []
        went = time.monotonic()
        cut(b)
        seen(a, bob, "offline", timeout=GONE)
        assert time.monotonic() - went > GRACE / 2, "the grace was kept"


def test_three_devices_are_one_light(gateways, ann, bob):
    with Socket(gateways[0], ann) as a:
        watch(a, bob)
        seen(a, bob, "offline")
        devices = [Socket(gateways[n % 2], bob, f"d{n}") for n in range(3)]
        seen(a, bob, "online")
        devices.append(Socket(gateways[1], bob, "d0"))
        assert devices[0].closed() == 4003
        for device in devices[1:3]:
            device.connection.close(1000)
        time.sleep(GRACE + 2)
        assert frames(a, bob) == [], "one is left"
        devices[3].connection.close(1000)
        seen(a, bob, "offline", timeout=GRACE)


def test_signing_out_puts_the_light_out_at_once(gateways, ann, bob):
    with Socket(gateways[0], ann) as a, Socket(gateways[1], bob) as b:
        watch(a, bob)
        seen(a, bob, "online")
        answer = httpx.post(
            f"{gateways[0]}/v1/logout", headers=signed_in(bob), timeout=PATIENCE
        )
        assert answer.status_code == 204
        assert b.closed() == 4500
        seen(a, bob, "offline", timeout=GRACE)


def test_a_session_stays_online_while_it_renews(lit, gateways, ann, bob):
    with Socket(gateways[0], ann) as a, Socket(gateways[1], bob):
        watch(a, bob)
        seen(a, bob, "online")
        time.sleep(2 * HEARTBEAT + GRACE + 3)
        assert frames(a, bob) == []
        record = lit.redis("hgetall", key("presence", bob.id))
        assert "lease:d1" in record and "gateway-2" in record


def test_strangers_get_no_light_and_oneself_neither(gateways, ann, bob):
    stranger = Account(gateways[0], "eve")
    nobody = Account(gateways[0], "nobody")
    nobody.id = "zzzzzzzzzzzz"
    with Socket(gateways[0], stranger) as e, Socket(gateways[1], bob) as b, Socket(gateways[0], ann):
        watch(e, bob, nobody, stranger)
        watch(b, ann, stranger)
        seen(b, ann, "online")
        b.connection.close(1000)
        with Socket(gateways[0], bob):
            time.sleep(2)
        e.barrier()
        assert [frame for frame in e.backlog if frame["op"] in ("presence", "error")] == []


def test_a_set_replaces_the_one_before_and_has_a_bound(gateways, lit, ann, bob):
    carl = Account(gateways[0], "carl")
    relate(gateways[0], ann, carl)
    with Socket(gateways[0], ann) as a:
        assert a.refused(op="watch", users=[f"user{n}" for n in range(201)]) == "invalid"
        a.send(op="watch", users=[f"user{n}" for n in range(10_000)])
        assert a.closed() == 1009, "beyond max_frame"
    with Socket(gateways[0], ann) as a:
        a.send(op="watch", users=[bob.id, *(f"user{n}" for n in range(199))])
        seen(a, bob, "offline")
        watch(a, carl)
        seen(a, carl, "offline")
        with Socket(gateways[1], bob), Socket(gateways[1], carl):
            seen(a, carl, "online")
            time.sleep(1)
            assert frames(a, bob) == []
            watch(a, bob, carl)
            seen(a, bob, "online")
            seen(a, carl, "online")
            pair = "p:" + ":".join(sorted([ann.id, bob.id]))
            assert lit.redis("pubsub", "numsub", pair).split()[-1] == "1"
            watch(a)
            poll(lambda: lit.redis("pubsub", "numsub", pair).split()[-1] == "0")


def test_a_pair_is_one_channel_of_a_gateway(gateways, lit, ann, bob):
    pair = "p:" + ":".join(sorted([ann.id, bob.id]))

    def count():
        return lit.redis("pubsub", "numsub", pair).split()[-1]

    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(Socket(gateways[n % 2], ann, f"d{n}")) for n in range(4)]
        for socket in sockets:
            watch(socket, bob)
            seen(socket, bob, "offline")
        assert count() == "2"
        with Socket(gateways[0], bob) as b:
            for socket in sockets:
                seen(socket, bob, "online")
            watch(b, ann)
            seen(b, ann, "online")
            assert count() == "2", "the other direction is the same channel"
        for socket in sockets[2:]:
            watch(socket)
        sockets[0].connection.close(1000)
        poll(lambda: count() == "1")


def test_an_end_of_friendship_puts_the_light_out_and_a_beginning_brings_it(gateways, lit, ann, bob):
    pair = "p:" + ":".join(sorted([ann.id, bob.id]))
    with Socket(gateways[0], ann) as a, Socket(gateways[1], bob) as b:
        watch(a, bob)
        seen(a, bob, "online")
        answer = httpx.delete(f"{gateways[1]}/v1/friends/{ann.id}", headers=signed_in(bob), timeout=PATIENCE)
        assert answer.status_code == 204
        assert "last_active" not in seen(a, bob, "offline")
        poll(lambda: lit.redis("pubsub", "numsub", pair).split()[-1] == "0")
        b.connection.close(1000)
        with Socket(gateways[0], bob):
            time.sleep(2)
            assert frames(a, bob) == []
            relate(gateways[0], ann, bob)
            seen(a, bob, "online")
        seen(a, bob, "offline")


def test_a_poll_that_waits_is_there_and_one_that_vanished_is_not_for_ever(gateways, ann, bob):
    cursor = bob.get(gateways[1], "/v1/sync").json()
    where = {"epoch": cursor["epoch"], "q": cursor["head"]}
    with Socket(gateways[0], ann) as a:
        watch(a, bob)
        seen(a, bob, "offline")
        waiting = threading.Thread(target=lambda: bob.get(gateways[1], "/v1/sync", wait=3, **where))
        waiting.start()
        seen(a, bob, "online")
        waiting.join()
        seen(a, bob, "offline", timeout=3 + GONE)
        bob.get(gateways[1], "/v1/sync", **where)
        time.sleep(1)
        assert frames(a, bob) == [], "one that does not wait is no sign"


def patch(url, account, **settings):
    answer = httpx.patch(
        f"{url}/v1/me", json=settings, headers=signed_in(account), timeout=PATIENCE
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_invisible_are_offline_to_all(gateways, ann, bob):
    with Socket(gateways[0], ann) as a, Socket(gateways[1], bob) as b:
        watch(a, bob)
        before = seen(a, bob, "online")["last_active"]
        assert patch(gateways[1], bob, invisible=True)["invisible"] is True
        assert seen(a, bob, "offline")["last_active"] == before
        b.send(op="active")
        b.barrier()
        with Socket(gateways[0], bob, "second"):
            time.sleep(1)
        assert frames(a, bob) == []
        assert ann.get(gateways[0], f"/v1/users/{bob.id}").json()["last_active"] == before
        patch(gateways[0], bob, invisible=False)
        assert seen(a, bob, "online")["last_active"] >= before


def test_last_seen_is_for_whom_the_setting_says(gateways, ann, bob):
    stranger = Account(gateways[0], "eve")
    path = f"/v1/users/{bob.id}"

    def shown(account):
        return "last_active" in account.get(gateways[0], path).json()

    with Socket(gateways[0], ann) as a, Socket(gateways[1], bob):
        watch(a, bob)
        seen(a, bob, "online")
        assert shown(ann) and not shown(stranger), "friends is what it begins with"
        patch(gateways[0], bob, last_seen="everyone")
        assert shown(ann) and shown(stranger)
        patch(gateways[0], bob, last_seen="nobody")
        assert not shown(ann) and not shown(stranger)
        poll(lambda: a.wait(op="presence", user=bob.id).get("last_active") is None)
    with Socket(gateways[0], ann) as a:
        watch(a, bob)
        assert "last_active" not in seen(a, bob, "offline")


def test_activity_moves_the_last_activity(gateways, lit, ann, bob):
    with Socket(gateways[0], ann), Socket(gateways[1], bob) as b:
        came = poll(lambda: ann.get(gateways[0], f"/v1/users/{bob.id}").json().get("last_active"))
        b.send(op="active")
        moved = poll(
            lambda: (at := ann.get(gateways[0], f"/v1/users/{bob.id}").json()["last_active"]) > came and at
        )
        b.send(op="active")
        b.barrier()
        time.sleep(0.5)
        assert ann.get(gateways[0], f"/v1/users/{bob.id}").json()["last_active"] == moved, "not twice in 30 s"


def test_a_killed_gateway_puts_its_lights_out_but_not_of_those_who_came_back(gateways, lit, ann, bob):
    carl = Account(gateways[0], "carl")
    relate(gateways[0], ann, carl)
    with Socket(gateways[0], ann) as a:
        watch(a, bob, carl)
        Socket(gateways[1], bob)
        Socket(gateways[1], carl, "phone")
        seen(a, bob, "online")
        seen(a, carl, "online")
        lit("kill", "gateway-2")
        try:
            with Socket(gateways[0], carl, "phone"):
                seen(a, bob, "offline", timeout=DEAD)
                time.sleep(2)
                assert frames(a, carl) == []
        finally:
            lit("start", "gateway-2")


@pytest.mark.parametrize("option, shown", [("--stay-away", 40), (None, 0)], ids=["gone", "back"])
def test_the_load_scenario_sees_a_killed_gateway(lit, parley_load, tmp_path, option, shown):
    """Of 40 users in a ring, half are at the gateway that dies, each with two of four friends at the other one."""
    (tmp_path / "faults").write_text("2s kill gateway-1\n")
    command = [
        parley_load, "presence", "--stack", lit.directory / "stack.json", "--users", 40, "--friends", 4, "--rate", 0,
        "--messages", 20, "--seed-users", "--warmup", 1, "--duration", 5, "--faults", tmp_path / "faults",
        "--stack-command", ROOT / "Scripts/stack", "--json", tmp_path / "presence.json", *([option] if option else []),
    ]
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240, check=False)
    finally:
        lit("start", "gateway-1")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    result = json.loads((tmp_path / "presence.json").read_text())
    assert (result["unexpected_closes"], result["gone_shown"], result["wrong"]) == (20, shown, 0)
    assert result["acked"] > 0 and result["delivered"] == 2 * result["acked"]


def test_redis_emptied_or_restarted_shows_the_right_picture_again(gateways, lit, ann, bob):
    """Emptied while one comes and one goes, nothing that was known may stand."""
    carl = Account(gateways[0], "carl")
    relate(gateways[0], ann, carl)
    dora = Account(gateways[0], "dora")
    relate(gateways[0], ann, dora)

    def picture(socket, shown):
        while True:
            try:
                frame = socket.wait(0.2, op="presence")
            except AssertionError:
                return shown
            shown[frame["user"]] = frame["status"]

    a = Socket(gateways[0], ann, "stays")
    watch(a, bob, carl, dora)
    b = Socket(gateways[1], bob, "stays")
    shown = {}
    poll(lambda: picture(a, shown) == {bob.id: "online", carl.id: "offline", dora.id: "offline"})
    lit("kill", "redis")
    cut(b)
    lit("start", "redis")
    with come_back(gateways[1], carl):
        want = {bob.id: "offline", carl.id: "online", dora.id: "offline"}
        poll(lambda: picture(a, shown) == want, seconds=60)
        assert lit.redis("flushall") == "OK"
        # A new epoch closes the sockets; everybody comes back by themselves.
        assert a.closed() == 4200
    a = come_back(gateways[0], ann)
    watch(a, bob, carl, dora)
    with come_back(gateways[1], bob), come_back(gateways[0], dora):
        shown = {}
        want = {bob.id: "online", carl.id: "offline", dora.id: "online"}
        poll(lambda: picture(a, shown) == want, seconds=60)
    a.connection.close(1000)


def test_what_changes_fast_ends_with_what_is_so(gateways, ann, bob):
    with Socket(gateways[0], ann) as a:
        watch(a, bob)
        seen(a, bob, "offline")
        with Socket(gateways[1], bob):
            seen(a, bob, "online")
        for _ in range(5):
            with Socket(gateways[1], bob):
                time.sleep(0.02)
        last = "online"
        with contextlib.suppress(AssertionError):
            # After an offline nothing more comes.
            while True:
                last = a.wait(PATIENCE if last == "online" else 2, op="presence", user=bob.id)["status"]
        assert last == "offline"


def test_who_begins_to_watch_beside_others_sees_what_is_so(gateways, ann, bob):
    """They are told what those beside them know, who may look away at the same moment."""
    watchers = [ann, *(Account(gateways[0], "friend") for _ in range(2))]
    for friend in watchers[1:]:
        relate(gateways[0], friend, bob)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(Socket(gateways[0], watcher)) for watcher in watchers]

        def known(sock):
            """What came last, of all that came so far."""
            sock.barrier()
            return [f["status"] for f in sock.backlog if f["op"] == "presence"][-1:]

        for turn in range(6):
            with Socket(gateways[1], bob) if turn % 2 else contextlib.nullcontext():
                for number, sock in enumerate(sockets):
                    watch(sock, *([] if (turn + number) % 3 else [bob]))
        with Socket(gateways[1], bob):
            for sock in sockets:
                watch(sock, bob)
            for sock in sockets:
                poll(lambda sock=sock: known(sock) == ["online"])
        for sock in sockets:
            poll(lambda sock=sock: known(sock) == ["offline"])


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """What makes a process's wall clock wrong."""
    library = tmp_path_factory.mktemp("clock") / "skewed_clock.so"
    source = pathlib.Path(__file__).parent / "skewed_clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", str(library), str(source)], check=True, timeout=PATIENCE)
    return str(library)


@pytest.fixture(params=[60, -60], ids=["ahead", "behind"])
def skewed(lit, clock, request):
    """The gateways, the second one's clock so many seconds off."""
    with lit.differing("gateway-2", LD_PRELOAD=clock, SKEW_SECONDS=str(request.param)):
        date = httpx.get(f"{lit.gateways[1]}/healthz", timeout=PATIENCE).headers["date"]
        off = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
        assert abs(off - request.param) < 30, "its clock is off"
        yield lit.gateways


def test_a_gateway_whose_clock_is_off_changes_nothing(lit, skewed):
    began, shown = now_ms(), []
    ann, bob, carl = Account(skewed[0], "ann"), Account(skewed[1], "bob"), Account(skewed[1], "carl")
    relate(skewed[0], ann, bob)
    relate(skewed[1], carl, ann)
    with Socket(skewed[0], ann) as a:
        watch(a, bob, carl)
        seen(a, bob, "offline")
        b, c = Socket(skewed[1], bob), Socket(skewed[1], carl)
        watch(b, ann)
        shown += [seen(*light, "online")["last_active"] for light in ((a, bob), (a, carl), (b, ann))]

        sent = []
        for number in range(10):
            sent += [a.message(f"{number}", to=bob.id), b.message(f"{number}", to=ann.id)]
        mids, times = [answer["mid"] for answer in sent], [answer["ts"] for answer in sent]
        assert times == sorted(times)
        for socket in (a, b):
            assert [socket.wait(op="event", type="message")["mid"] for _ in mids] == mids
        for url in skewed:
            assert [message["mid"] for message in ann.history(url, ann.conv(bob))] == mids[::-1]

        went = time.monotonic()
        cut(c)
        shown.append(seen(a, carl, "offline", timeout=GONE)["last_active"])
        assert time.monotonic() - went > GRACE / 2, "the grace was kept"
        b.send(op="active")
        b.barrier()
        shown.append(ann.get(skewed[1], f"/v1/users/{bob.id}").json()["last_active"])
        time.sleep(max(0, went + 2 * HEARTBEAT + GRACE + 5 - time.monotonic()))
        assert frames(a, bob) == frames(b, ann) == [], "longer than a lease"
        lit("kill", "gateway-2")
        try:
            shown.append(seen(a, bob, "offline", timeout=DEAD)["last_active"])
        finally:
            lit("start", "gateway-2")
    shown += times
    assert began - 1000 <= min(shown) <= max(shown) <= now_ms() + 1000, [at - began for at in shown]
