"""What is acknowledged is delivered, once and in order, whatever fails meanwhile."""

import asyncio
import random
import threading
import time

import pytest
from checker import Run
from client import PATIENCE, Account, Socket, poll
from conftest import running


@pytest.fixture(scope="module")
def fleet(build):
    """Two gateways and two workers that these tests may break; each leaves them running."""
    with running(build, workers=2) as stack:
        yield stack


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
    poll(lambda: stack.lane_lengths() == 0, 60)


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
        [lambda: fleet("pause", "worker-1"), taken, lambda: fleet("resume", "worker-1")],
        before=1,
    )


def test_subscriptions_cut(fleet):
    def cut():
        for _ in range(5):
            # Until there is something to cut again.
            poll(lambda: int(fleet.redis("client", "kill", "type", "pubsub")) > 0)
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


def test_everything_restarts(fleet):
    """Redis, PostgreSQL and all processes, one after the other, while messages flow."""
    names = ["postgres", "redis", "worker-1", "gateway-1", "worker-2", "gateway-2"]
    actions = [action for name in names for action in restart(fleet, "kill", name)]
    through(fleet, actions, before=1, after=1, rate=60)
