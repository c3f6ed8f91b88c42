"""The list of conversations as clients see it: what stands in it, and what each device hears of it."""

import secrets
import time

import httpx
import pytest
from client import PATIENCE, Account, Socket, now_ms, poll, uuid7
from conftest import Stack


@pytest.fixture(scope="module")
def fleet(build):
    """Two gateways and a worker that these tests may pause; each leaves them running."""
    stack = Stack(build)
    try:
        stack("up", "--gateways", 2, "--workers", 1)
        yield stack
    finally:
        stack.end()


@pytest.fixture(params=["archived", "unarchived"])
def archive(request, fleet):
    """Tells when what was committed is archived, or holds the archive up."""
    if request.param == "archived":
        yield lambda mid: poll(lambda: fleet.sql(f"SELECT 1 FROM messages WHERE message_id = {mid}") == "1")
        return
    fleet("pause", "worker-1")
    try:
        yield lambda mid: None
    finally:
        fleet("resume", "worker-1")


def call(method, url, who, path, body=None, **headers):
    headers = {"Authorization": f"Bearer {who.token}", **headers}
    return httpx.request(method, url + path, json=body, headers=headers, timeout=PATIENCE)


def group_of(url, owner, *members, title="Team"):
    body = {"title": title, "members": [member.id for member in members]}
    answer = call("POST", url, owner, "/v1/conversations", body, **{"Idempotency-Key": secrets.token_hex(8)})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def listed(url, who, **parameters):
    answer = who.get(url, "/v1/conversations", **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(fleet, who, conv):
    """A conversation as the list and its own page show it, at either gateway."""
    found = []
    for url in fleet.gateways:
        found += [each for each in listed(url, who)["conversations"] if each["id"] == conv]
        found.append(who.get(url, f"/v1/conversations/{conv}").json())
    assert len(found) == 4
    going_on = {"positions": [], "last_receipts": None}
    for each in found[1:]:
        assert {**each, **going_on} == {**found[0], **going_on}
    return found[0]


def change(sock, op, conv, mid, **fields):
    cid = uuid7()
    sock.send(op=op, cid=cid, conv=conv, mid=mid, **fields)
    return sock.wait(op="sent", cid=cid)


def test_unread_and_the_last_message(fleet, archive):
    first, second = fleet.gateways
    ann, bob, eve = (Account(url, "user") for url in (first, second, first))
    group, direct = group_of(first, ann, bob), ann.conv(bob)
    with Socket(first, ann) as a, Socket(second, bob, "phone") as phone, Socket(first, bob, "desk") as desk:
        for conv in (direct, group):
            mids = [a.message(f"{number}", conv=conv)["mid"] for number in range(3)]
            archive(mids[-1])
            assert shown(fleet, bob, conv)["unread"] == 3 and shown(fleet, ann, conv)["unread"] == 0

            edited = change(a, "edit", conv, mids[2], body="better")
            last = shown(fleet, bob, conv)["last"]
            assert (last["mid"], last["body"], last["rev"]) == (mids[2], "better", edited["rev"])
            change(a, "delete", conv, mids[2])
            last = shown(fleet, bob, conv)["last"]
            assert last["mid"] == mids[2] and last["deleted"] is True and "body" not in last
            assert shown(fleet, bob, conv)["unread"] == 3, "a deleted message keeps its number"

            phone.send(op="read", conv=conv, seq=2)
            assert desk.wait(op="event", type="receipt", conv=conv, user=bob.id)["read"] == 2
            assert (shown(fleet, bob, conv)["unread"], shown(fleet, bob, conv)["read_seq"]) == (1, 2)
            desk.send(op="read", conv=conv, seq=10**6)
            assert phone.wait(op="event", type="receipt", conv=conv, user=bob.id, read=3)
            assert (shown(fleet, bob, conv)["unread"], shown(fleet, bob, conv)["read_seq"]) == (0, 3)

        order = [each["id"] for each in listed(second, bob)["conversations"]]
        assert order == [group, direct]
        a.message("later", conv=direct)
        for url in fleet.gateways:
            assert [each["id"] for each in listed(url, bob)["conversations"]] == [direct, group]
            page = listed(url, bob, limit=1)
            assert [each["id"] for each in page["conversations"]] == [direct]
            page = listed(url, bob, limit=1, cursor=page["next"])
            assert [each["id"] for each in page["conversations"]] == [group] and page["next"] is None

        # Who joins sees nothing of before; who was removed sees nothing.
        put = f"/v1/conversations/{group}/members/{eve.id}"
        assert call("PUT", second, ann, put).status_code == 200
        assert shown(fleet, eve, group)["last"] is None and shown(fleet, eve, group)["unread"] == 0
        archive(a.message("for eve", conv=group)["mid"])
        assert shown(fleet, eve, group)["last"]["body"] == "for eve" and shown(fleet, eve, group)["unread"] == 1
        assert call("DELETE", first, ann, put).status_code == 204
        assert all(listed(url, eve)["conversations"] == [] for url in fleet.gateways)
        assert eve.get(first, f"/v1/conversations/{group}").json()["code"] == "not_member"
        assert Account(first).get(first, f"/v1/conversations/{group}").json()["code"] == "not_found"


def test_no_short_list_without_redis(fleet):
    first, second = fleet.gateways
    ann, bob = Account(first, "ann"), Account(second, "bob")
    conv = ann.conv(bob)
    with Socket(first, ann) as a:
        a.message("hello", conv=conv)
    assert len(listed(second, bob)["conversations"]) == 1
    fleet("kill", "redis")
    try:
        for path in ("/v1/conversations", f"/v1/conversations/{conv}"):
            answer = bob.get(second, path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable") and answer.headers["retry-after"]
    finally:
        fleet.revive()
    assert shown(fleet, bob, conv)["unread"] == 1


def test_a_mute_is_seen_by_the_other_devices(fleet):
    first, second = fleet.gateways
    ann, bob = Account(first, "ann"), Account(second, "bob")
    conv = ann.conv(bob)
    path = f"/v1/conversations/{conv}/mute"
    with Socket(first, ann) as a, Socket(first, bob, "phone") as phone, Socket(second, bob, "desk") as desk:
        assert call("PUT", first, bob, path).json()["code"] == "not_found", "nobody has written yet"
        a.message("hello", conv=conv)
        assert (shown(fleet, bob, conv)["muted"], shown(fleet, bob, conv)["muted_until"]) == (False, None)
        until = now_ms() + 3_600_000
        for body, expected in (({"until": until}, until), (None, None)):
            assert call("PUT", first, bob, path, body).status_code == 204
            for sock in (phone, desk):
                event = sock.wait(op="event", type="mute", conv=conv)
                assert event["muted"] is True and event.get("muted_until") == expected
            assert (shown(fleet, bob, conv)["muted"], shown(fleet, bob, conv)["muted_until"]) == (True, expected)
        # What comes is delivered and counted as ever.
        a.message("still", conv=conv)
        assert desk.wait(op="event", body="still") and shown(fleet, bob, conv)["unread"] == 2
        assert call("DELETE", second, bob, path).status_code == 204
        assert phone.wait(op="event", type="mute", conv=conv, muted=False)
        assert shown(fleet, bob, conv)["muted"] is False and shown(fleet, ann, conv)["muted"] is False
        a.barrier()
        assert not [frame for frame in a.backlog if frame.get("type") == "mute"]
        for absurd in (-1, 0, 1, now_ms() - 60_000, 2**53, 10**30, 1.5, "soon", [], {}):
            assert call("PUT", first, bob, path, {"until": absurd}).json()["code"] == "invalid", absurd

    # A mute whose time is up is over by itself. Set in the store, so that no look at it is taken at that very moment.
    assert call("PUT", second, bob, path, {"until": now_ms() + 60_000}).status_code == 204
    assert shown(fleet, bob, conv)["muted"] is True
    fleet.sql(f"UPDATE conversation_mutes SET until = now_ms() WHERE user_id = '{bob.id}'")
    assert shown(fleet, bob, conv)["muted"] is False


def receipts(sock, conv):
    """The ephemeral receipts that came until now: frames, and how far they say that each member has got."""
    sock.barrier()
    frames = [frame for frame in sock.backlog if frame["op"] == "receipt" and frame["conv"] == conv]
    reached = {}
    for frame in frames:
        assert "q" not in frame
        read, delivered = reached.get(frame["user"], (0, 0))
        assert frame["read"] >= read and frame["delivered"] >= delivered, "positions only go up"
        reached[frame["user"]] = (frame["read"], frame["delivered"])
    return frames, reached


def positions(url, who, conv):
    shown = who.get(url, f"/v1/conversations/{conv}").json()["positions"]
    return {each["user"]: (each["read"], each["delivered"]) for each in shown}


def test_receipts_in_a_group(fleet):
    first, second = fleet.gateways
    ann, bob, eve = (Account(url, "user") for url in (first, second, second))
    conv = group_of(first, ann, bob, eve)
    with Socket(first, ann) as a, Socket(second, bob, "phone") as phone, Socket(first, bob, "desk") as desk:
        for number in range(3):
            a.message(f"{number}", conv=conv)
        phone.send(op="ack", q=phone.wait(op="event", body="2")["q"])
        poll(lambda: receipts(a, conv)[1].get(bob.id) == (0, 3))
        assert {"op": "receipt", "conv": conv, "user": bob.id, "read": 0, "delivered": 3} in receipts(a, conv)[0]
        phone.send(op="read", conv=conv, seq=2)
        assert desk.wait(op="event", type="receipt", conv=conv, user=bob.id)["read"] == 2, "one's own by the queue"
        poll(lambda: receipts(a, conv)[1].get(bob.id) == (2, 3))
        for url in fleet.gateways:
            assert positions(url, eve, conv) == {ann.id: (3, 3), bob.id: (2, 3), eve.id: (0, 0)}

        # Without a socket the same.
        cursor = eve.get(first, "/v1/sync", device="script").json()
        a.message("3", conv=conv)
        events = eve.get(first, "/v1/sync", device="script", epoch=cursor["epoch"], q=cursor["head"], wait=30).json()
        q = events["events"][-1]["q"]
        eve.get(second, "/v1/sync", device="script", epoch=cursor["epoch"], q=q)
        poll(lambda: receipts(a, conv)[1].get(eve.id) == (0, 4))
        read = f"/v1/conversations/{conv}/read"
        assert call("POST", second, eve, read, {"seq": 10**6}).status_code == 204
        poll(lambda: receipts(a, conv)[1].get(eve.id) == (4, 4))
        assert positions(first, bob, conv)[eve.id] == (4, 4) and shown(fleet, eve, conv)["unread"] == 0

        for bad in (-1, 2**53, 1.5, "all"):
            assert call("POST", first, eve, read, {"seq": bad}).status_code in (400, 422), bad
        assert phone.refused(op="read", conv=conv, seq=-1) in ("bad_frame", "invalid")
        assert call("DELETE", first, ann, f"/v1/conversations/{conv}/members/{eve.id}").status_code == 204
        assert call("POST", first, eve, read, {"seq": 4}).json()["code"] == "not_member"
        assert call("POST", first, Account(first), read, {"seq": 4}).json()["code"] == "not_found"
        with Socket(first, eve) as e:
            assert e.refused(op="read", conv=conv, seq=4) == "not_member"
            a.message("4", conv=conv)
            phone.send(op="read", conv=conv, seq=5)
            poll(lambda: receipts(a, conv)[1].get(bob.id) == (5, 5))
            assert receipts(e, conv) == ([], {}), "no longer a member"


def test_receipts_of_many_are_gathered(fleet):
    """Every member reads every message; the others hear of the last ones."""
    members = [Account(fleet.gateways[number % 2], "user") for number in range(16)]
    conv = group_of(fleet.gateways[0], *members)
    sockets = [Socket(fleet.gateways[number % 2], member) for number, member in enumerate(members)]
    for number in range(20):
        sockets[0].message(f"{number}", conv=conv)
    begin = time.monotonic()
    for seq in range(1, 21):
        for sock in sockets[1:]:
            sock.send(op="read", conv=conv, seq=seq)
    for sock in sockets:
        sock.barrier()
    for member, sock in zip(members, sockets):
        expected = {other.id: (20, 20) for other in members[1:] if other is not member}
        poll(lambda sock=sock, expected=expected: receipts(sock, conv)[1] == expected)
        # Once a second, or nearly, each gateway tells how far its members got, 15 in all.
        told, took = receipts(sock, conv)[0], time.monotonic() - begin
        assert len(told) <= 15 * (took / 0.8 + 1), "of 300 steps"
    assert positions(fleet.gateways[0], members[3], conv) == {member.id: (20, 20) for member in members}
    for sock in sockets:
        sock.connection.close()


def test_the_list_counts_who_has_read_and_got_the_last_message(fleet):
    """Of a group of any size; the positions themselves are in its own page."""
    first, second = fleet.gateways
    ann, *others = (Account(first, "user") for _ in range(34))
    conv, read = group_of(first, ann, *others[:-1]), "/v1/conversations/{}/read"
    with Socket(first, ann) as a, Socket(second, others[0]) as b:
        assert listed(second, ann)["conversations"][0]["last_receipts"] is None
        a.message("early", conv=conv)
        # Who comes later is not missing among those who got what was sent before.
        assert call("PUT", first, ann, f"/v1/conversations/{conv}/members/{others[-1].id}").status_code in (200, 204)

        def counts(url, who):
            in_list, alone = listed(url, who)["conversations"][0], who.get(url, f"/v1/conversations/{conv}").json()
            assert [each["user"] for each in in_list["positions"]] == [who.id] and len(alone["positions"]) == 34
            return in_list["last_receipts"], alone["last_receipts"]

        assert [each["of"] for each in counts(first, ann)] == [32, 32]
        a.message("late", conv=conv)
        expected = {"of": 33, "delivered": 0, "read": 0}
        poll(lambda: counts(second, ann) == (expected, expected))
        for reader in others[1:4]:
            assert call("POST", second, reader, read.format(conv), {"seq": 2}).status_code == 204
        b.send(op="ack", q=b.wait(op="event", body="late")["q"])
        expected = {"of": 33, "delivered": 4, "read": 3}
        for url, who in ((first, ann), (second, others[5])):
            poll(lambda url=url, who=who: counts(url, who) == (expected, expected))
    direct = ann.conv(others[0])
    with Socket(first, ann) as a:
        a.message("hello", conv=direct)
    assert listed(second, ann)["conversations"][0]["last_receipts"] == {"of": 1, "delivered": 0, "read": 0}
    assert call("POST", first, others[0], read.format(direct), {"seq": 1}).status_code == 204
    expected = {"of": 1, "delivered": 1, "read": 1}
    poll(lambda: listed(second, ann)["conversations"][0]["last_receipts"] == expected)
