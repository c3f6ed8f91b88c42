"""Many devices of one user: each its own cursor, a limit, and an end by signing out."""

import asyncio
import copy
import itertools
import random
import threading
import time

import httpx
import pytest
from checker import Run
from client import PASSWORD, PATIENCE, Account, Socket, close_code, poll
from conftest import running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def narrow(build):
    """Two gateways with short queues and few devices, which a test may break and leaves running."""
    with running(build, PARLEY_QUEUE_CAP="100", PARLEY_DEVICE_LIMIT="3") as stack:
        yield stack


@pytest.fixture
def people(narrow):
    return Account(narrow.gateways[0], "ann"), Account(narrow.gateways[1], "bob")


@pytest.fixture
def hasty(build):
    """A stack that takes a user for absent after a second."""
    with running(build, PARLEY_ABSENCE_S="1") as stack:
        yield stack


def listed(url, account):
    answer = account.get(url, "/v1/devices")
    assert answer.status_code == 200, answer.text
    return answer.json()["devices"]


def end(url, account, login):
    headers = {"Authorization": f"Bearer {account.token}"}
    return httpx.delete(f"{url}/v1/devices/{login}", headers=headers, timeout=PATIENCE).status_code


def test_three_devices_of_each_cut_in_turn(stack):
    """Each goes on from its own cursor, at whichever gateway, also when that is killed: once and in order."""

    async def run():
        loop = asyncio.get_running_loop()
        async with Run(stack.gateways, pairs=1, devices=3) as run:

            def cut(device):
                poll(device.ready.is_set)
                loop.call_soon_threadsafe(lambda: device.socket and device.socket.transport.abort())
                time.sleep(0.3)

            cuts = [lambda device=device: cut(device) for device in run.all_devices]
            blows = [lambda: stack("kill", "gateway-2"), lambda: stack("start", "gateway-2")]
            await run.during(*cuts, *blows, *cuts)
            await run.judge()
            return run

    run = asyncio.run(run())
    assert len(run.all_devices) == 6 and all(sum(device.closes.values()) >= 2 for device in run.all_devices)
    assert not any(device.resyncs for device in run.all_devices), "nobody was away for long"


def test_one_device_too_many(narrow, people):
    ann, _ = people
    url = narrow.gateways[0]
    for name in ("phone", "tablet", "desk"):
        Socket(url, ann, name).connection.close()
    with connect(url.replace("http", "ws", 1) + "/v1/ws", legacy=True) as refused:
        refused.send(f'{{"op":"auth","token":"{ann.token}","device":"fourth"}}')
        frames = []
        assert close_code(refused, frames) == 4502
        assert [(frame["op"], frame["code"]) for frame in frames] == [("error", "forbidden")]
    assert ann.get(url, "/v1/sync", device="fourth").status_code == 403
    with Socket(url, ann, "tab", ephemeral=True), Socket(url, ann, "phone") as phone:
        assert phone.ready["op"] == "ready"


def test_signing_out_ends_sockets_at_every_gateway(narrow, people):
    ann, bob = people
    url, other = narrow.gateways
    lost = copy.copy(ann)
    credentials = {"username": ann.username, "password": PASSWORD, "device": "lost"}
    lost.take(httpx.post(f"{url}/v1/login", json=credentials, timeout=PATIENCE).json())
    with Socket(url, ann, "phone") as phone, Socket(other, lost, "lost") as stolen, Socket(url, bob) as b:
        mids = [b.message(f"m{i}", to=ann.id)["mid"] for i in range(5)]
        for sock in (stolen, phone):
            assert [sock.wait(op="event", type="message")["mid"] for _ in range(5)] == mids
        entries = listed(url, ann)
        assert {entry.get("device"): (entry["connected"], entry["current"]) for entry in entries} == {
            "lost": (True, False), None: (True, True)
        }
        login = next(entry["id"] for entry in entries if entry.get("device") == "lost")
        assert end(url, bob, login) == 404
        phone.send(op="ack", q=5)
        key = narrow.redis("--scan", "--pattern", f"queue:*:{ann.id}")
        user = key.replace("queue", "user", 1)
        poll(lambda: narrow.redis("hget", user, "device:phone").split()[1] == "5")
        assert narrow.redis("xlen", key) == "5", "held by the other device"
        assert end(url, ann, login) == 204
        assert stolen.closed() == 4500
        poll(lambda: narrow.redis("xlen", key) == "0")
        assert lost.get(other, "/v1/me").status_code == 401
        assert [device["name"] for entry in listed(other, ann) for device in entry["devices"]] == ["phone"]
        b.message("still", to=ann.id)
        assert phone.wait(op="event", body="still")["q"] == 6
    poll(lambda: not any(entry["connected"] for entry in listed(url, ann)))


def test_beyond_the_cap_a_device_rebuilds_from_history(narrow, people):
    ann, bob = people
    with Socket(narrow.gateways[0], ann) as a:
        with Socket(narrow.gateways[1], bob, "phone") as phone:
            first = a.message("0", to=bob.id)
            place = {**phone.cursor, "q": phone.wait(op="event", body="0")["q"]}
            phone.send(op="ack", q=place["q"])
        mids = [a.message(f"{number}", to=bob.id)["mid"] for number in range(1, 400)]
        with Socket(narrow.gateways[0], bob, "phone", resume=place) as phone:
            assert phone.ready["mode"] == "resync"
            a.message("400", to=bob.id)
            seq, found = first["seq"], []
            while True:
                page = bob.history(narrow.gateways[1], bob.conv(ann), after_seq=seq, limit=200)
                found += [message["mid"] for message in page]
                if len(page) < 200:
                    break
                seq = page[-1]["seq"]
            assert found[:399] == mids
            assert phone.wait(op="event", body="400")["q"] == phone.ready["head"] + 1
        with Socket(narrow.gateways[1], bob, "phone", resume=phone.cursor) as phone:
            assert phone.ready["mode"] == "replay"
            assert phone.wait(op="event", type="message")["body"] == "400"


def test_absent_users_cost_their_position_alone(hasty):
    """The queue of somebody long away holds nothing. Coming back is a resync, with history and unread complete; who is
    there gets everything as ever, between two and in a group."""
    urls = hasty.gateways
    ann, bob, eve = (Account(urls[i % 2], name) for i, name in enumerate(("ann", "bob", "eve")))
    body = {"title": "Team", "members": [bob.id, eve.id]}
    headers = {"Authorization": f"Bearer {ann.token}", "Idempotency-Key": "team"}
    group = httpx.post(f"{urls[0]}/v1/conversations", json=body, headers=headers, timeout=PATIENCE).json()["id"]
    with Socket(urls[1], bob, "phone") as phone:
        cursor = phone.cursor
    time.sleep(1.2)
    with Socket(urls[0], ann) as a, Socket(urls[1], eve, ephemeral=True) as e:
        conv = a.message("hello", to=bob.id)["conv"]
        for number in range(40):
            a.message("x" * 10_000, conv=(conv, group)[number % 2])
        assert hasty.redis("--scan", "--pattern", f"queue:*:{bob.id}") == ""
        before = int(hasty.redis("hget", hasty.redis("--scan", "--pattern", f"user:*:{bob.id}"), "absent"))
        for number in range(40):
            a.message("y" * 10_000, conv=(conv, group)[number % 2])
        assert int(hasty.redis("hget", hasty.redis("--scan", "--pattern", f"user:*:{bob.id}"), "absent")) == before + 40
        assert [e.wait(op="event", conv=group, seq=seq)["q"] for seq in (1, 40)] == [2, 41], "eve was here all the time"

        with Socket(urls[0], bob, "phone", resume=cursor) as phone:
            assert phone.ready["mode"] == "resync" and phone.ready["head"] == before + 40
            assert len(bob.history(urls[1], conv, limit=100)) == 41
            rows = bob.get(urls[1], "/v1/conversations").json()["conversations"]
            assert {row["id"]: row["unread"] for row in rows} == {conv: 41, group: 40}
            a.message("welcome", conv=group)
            assert phone.wait(op="event", body="welcome")["q"] == before + 41
        with Socket(urls[1], bob, "phone", resume={**cursor, "q": before + 40}) as phone:
            assert phone.ready["mode"] == "replay" and phone.wait(op="event")["body"] == "welcome"


def test_logout_races_with_sockets(stack):
    """Whatever the interleaving: once logout has answered, no socket of that login lives on."""
    first, second = stack.gateways
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

    # A logout comes at some moment of what opening a few sockets takes here and now.
    began = time.monotonic()
    for number in range(4):
        Socket(first, alice, f"{number}", ephemeral=True).connection.close()
    span = time.monotonic() - began

    for number in itertools.count():
        if number >= 12 and survivors:
            break
        assert number < 60, "logout was always quicker: nothing was tested"
        url, other = next(gates)
        token, go = alice.login(url), threading.Event()
        opener = threading.Thread(target=open_sockets, args=(url, token, number, go))
        opener.start()
        go.set()
        time.sleep(random.uniform(0, span))
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.post(f"{other}/v1/logout", headers=bearer, timeout=PATIENCE).status_code == 204
        opener.join(PATIENCE)
    assert {sock.closed(60) for sock in survivors} == {4500}
    with Socket(second, bob) as b:
        b.message("to those who are gone", to=alice.id)
    assert not [sock for sock in survivors if [f for f in sock.backlog if f.get("type") == "message"]]
