"""Edits, deletions and replies as clients see them."""

import secrets

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, uuid7


@pytest.fixture(params=["direct", "group"])
def talk(request, stack):
    """Two people at two gateways, and their conversation."""
    here, there = stack.gateways
    ann, bob = Account(here, "ann"), Account(there, "bob")
    conv = ann.conv(bob)
    if request.param == "group":
        headers = {"Authorization": f"Bearer {ann.token}", "Idempotency-Key": secrets.token_hex(8)}
        body = {"title": "Team", "members": [bob.id]}
        answer = httpx.post(f"{here}/v1/conversations", json=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 201, answer.text
        conv = answer.json()["id"]
    with Socket(here, ann) as mine, Socket(there, bob) as theirs:
        yield ann, bob, mine, theirs, conv


def change(socket, op, conv, mid, cid=None, **fields):
    cid = cid or uuid7()
    socket.send(op=op, cid=cid, conv=conv, mid=mid, **fields)
    return socket.wait(op="sent", cid=cid)


def test_changes_on_the_socket(stack, talk):
    ann, bob, mine, theirs, conv = talk
    kept, gone = (mine.message(body, conv=conv) for body in ("kept", "gone"))
    cid = uuid7()
    edited = change(mine, "edit", conv, kept["mid"], cid, body="better")
    assert (edited["mid"], edited["seq"]) == (kept["mid"], kept["seq"])
    again = change(mine, "edit", conv, kept["mid"], cid, body="better")
    assert again == {**edited, "dup": True}
    deleted = change(mine, "delete", conv, gone["mid"])
    assert deleted["rev"] > edited["rev"]

    first = theirs.wait(op="event", type="edited")
    second = theirs.wait(op="event", type="deleted")
    assert second["q"] == first["q"] + 1, "in order, and the repeat is nothing"
    assert (first["mid"], first["seq"], first["rev"], first["body"]) == (
        kept["mid"], kept["seq"], edited["rev"], "better"
    )
    assert (second["mid"], second["seq"], second["rev"]) == (gone["mid"], gone["seq"], deleted["rev"])
    assert "body" not in second and "cid" not in first
    assert mine.wait(op="event", type="edited")["cid"] == cid, "the author's devices hear of it too"

    assert theirs.refused(op="edit", cid=uuid7(), conv=conv, mid=kept["mid"], body="x") == "forbidden"
    assert theirs.refused(op="delete", cid=uuid7(), conv=conv, mid=kept["mid"]) == "forbidden"
    assert mine.refused(op="edit", cid=uuid7(), conv=conv, mid=gone["mid"], body="x") == "not_found"
    assert mine.refused(op="edit", cid=uuid7(), conv=conv, mid="7", body="x") == "not_found"

    def shown(url):
        newest = bob.history(url, conv, limit=2)
        assert [entry["mid"] for entry in newest] == [gone["mid"], kept["mid"]]
        assert newest[0]["deleted"] is True and "body" not in newest[0]
        assert newest[1]["edited"] is True and newest[1]["body"] == "better"
        assert [entry["rev"] for entry in newest] == [deleted["rev"], edited["rev"]]

    for url in stack.gateways:
        shown(url)
    # A mid is its place in the log: archived, once the archive is past the deletion's.
    archived = f"SELECT rev FROM messages WHERE message_id = {gone['mid']}"
    assert poll(lambda: stack.sql(archived) == str(deleted["rev"]))
    shown(stack.gateways[0])
    listed = bob.get(stack.gateways[1], f"/v1/conversations/{conv}").json()["last"]
    assert listed["mid"] == gone["mid"] and "body" not in listed


def test_a_reply_on_the_socket(talk):
    _, _, mine, theirs, conv = talk
    asked = mine.message("why?", conv=conv)
    answer = theirs.message("because", conv=conv, reply_to=asked["mid"])
    assert mine.wait(op="event", mid=answer["mid"])["reply_to"] == asked["mid"]
    assert theirs.refused(op="send", cid=uuid7(), conv=conv, body="x", reply_to="7") == "invalid"
    assert theirs.message("later", conv=conv)["seq"] == answer["seq"] + 1
