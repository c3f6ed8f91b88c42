"""The list of conversations as clients see it: what stands in it, and what each device hears of it."""

import secrets

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, uuid7
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
    for each in found[1:]:
        assert {**each, "positions": []} == {**found[0], "positions": []}
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
