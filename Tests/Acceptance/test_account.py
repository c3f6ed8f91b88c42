"""What becomes of an account and its history: the export, deletion, retention."""

import json
import pathlib
import socket
import time
import urllib.parse

import httpx
import pytest
from client import PASSWORD, PATIENCE, Account, Socket, poll, uuid7

DAY = 86_400_000
# Messages of the user whose export is big.
MANY = 14_000


def headers(account, token=None):
    return {"Authorization": f"Bearer {token or account.token}"}


def export(url, account):
    """The lines of a whole export."""
    answer = account.get(url, "/v1/me/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def records(lines, kind):
    return [line for line in lines if line["record"] == kind]


def shift(stack, conv, days, where="true"):
    """Makes archived messages of a conversation older, once they are."""
    stack.sql(
        f"UPDATE messages SET message_id = message_id - ({days * DAY}::bigint << 22) "
        f"WHERE conversation_id = '{conv}' AND {where}"
    )
    stack.sql(
        "UPDATE conversation_heads AS head SET last_mid = (SELECT max(message_id) FROM messages AS m "
        f"WHERE m.conversation_id = head.conversation_id AND type IS NULL) WHERE conversation_id = '{conv}'"
    )


def archived(stack, conv, count):
    poll(lambda: stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == str(count))


# Export


def test_export_holds_what_the_api_shows(stack):
    first, second = stack.gateways
    alice, bob, carol = (Account(first, name) for name in ("alice", "bob", "carol"))
    with Socket(first, alice, "phone") as a, Socket(second, bob) as b, Socket(first, carol) as c:
        data = {"url": "https://example.org/a b", "n": [1, {"deep": "\u2028\n"}]}
        sent = a.message("hello\nBob", to=bob.id, data=data)
        conv = sent["conv"]
        b.message("hello Alice", to=alice.id, reply_to=sent["mid"])
        a.message("to Carol", to=carol.id)
        c.message("not Alice's", to=bob.id)
        headers = {"Authorization": f"Bearer {alice.token}"}
        asked = httpx.post(f"{first}/v1/friends/requests", json={"user": bob.id}, headers=headers)
        blocked = httpx.put(f"{first}/v1/blocks/{carol.id}", headers=headers)
        assert (asked.status_code, blocked.status_code) == (201, 204)
        lines = export(second, alice)  # what was just acknowledged is in it, from any gateway
    profile = alice.get(first, "/v1/me").json()
    assert lines[0]["record"] == "export" and lines[0]["user"] == alice.id and lines[0]["version"] == 1
    assert records(lines, "profile") == [{"record": "profile", **profile}]
    sign_ins = alice.get(first, "/v1/devices").json()["devices"]
    assert [line["id"] for line in records(lines, "sign_in")] == [each["id"] for each in sign_ins]
    assert [line["current"] for line in records(lines, "sign_in")] == [True]
    assert [line["device"] for line in records(lines, "device")] == ["phone"]

    assert [line["id"] for line in records(lines, "request_to")] == [bob.id]
    assert [line["id"] for line in records(lines, "block")] == [carol.id]

    convs = [line["id"] for line in records(lines, "conversation")]
    assert convs == sorted([conv, alice.conv(carol)])
    for line in records(lines, "conversation"):
        assert {"record": "conversation", **alice.get(first, f"/v1/conversations/{line['id']}").json()} == line
    for conv in convs:
        shown = [{"record": "message", "conv": conv, **m} for m in reversed(alice.history(first, conv))]
        assert [m for m in records(lines, "message") if m["conv"] == conv] == shown
    assert next(m for m in lines if m.get("body") == "hello\nBob")["data"] == data
    assert lines[-1] == {"record": "end", "complete": True, "conversations": 2, "messages": 3}

    # Bob's is his.
    assert {line["conv"] for line in records(export(first, bob), "message")} == {conv, bob.conv(carol), alice.conv(bob)} - {
        alice.conv(carol)
    }


def test_export_needs_a_sign_in(stack):
    answer = httpx.get(f"{stack.gateways[0]}/v1/me/export")
    assert answer.status_code == 401 and answer.json()["code"] == "unauthorized"


@pytest.fixture
def rich(fleet):
    """Somebody with many messages of 3 kB, of two months ago."""
    url = fleet.gateways[0]
    alice, bob = Account(url, "alice"), Account(url, "bob")
    with Socket(url, alice) as a:
        conv = a.message("today", to=bob.id)["conv"]
        archived(fleet, conv, 1)
    fleet.sql(f"UPDATE messages SET seq = {MANY + 1} WHERE conversation_id = '{conv}'")
    fleet.sql(
        "INSERT INTO messages (conversation_id, message_id, seq, sender_id, body) "
        "SELECT conversation_id, message_id - ((60 * 86400000::bigint - n * 10) << 22), n, sender_id, "
        f"rpad(n::text, 3000, 'x') FROM messages, generate_series(1, {MANY}) AS n WHERE conversation_id = '{conv}'"
    )
    return alice, conv


class Download:
    """An export that is read by hand, so that it can be read slowly."""

    def __init__(self, url, account, token=None):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
        self.socket.sendall(
            f"GET /v1/me/export HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {token or account.token}\r\n\r\n".encode()
        )
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self, count):
        """At least so many bytes more, unless it ends before."""
        wanted = len(self.received) + count
        while len(self.received) < wanted:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                return False
            self.received += part
            if self.received.endswith(b"0\r\n\r\n"):
                return False
        return True

    @property
    def is_complete(self):
        return self.received.endswith(b"\r\n0\r\n\r\n") and b'"complete":true' in self.received[-300:]


def peak(pid):
    """The most memory that a process ever had, in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def test_export_of_very_much_takes_little_memory(fleet, rich):
    alice, conv = rich
    url, pid = fleet.gateways[0], fleet.processes["gateway-1"]["pid"]
    before = peak(pid)
    with Download(url, alice) as download:
        assert download.read(1_000_000)
        # A slow client holds nobody's memory; a second export has to wait.
        time.sleep(3)
        for gateway in fleet.gateways:
            second = alice.get(gateway, "/v1/me/export")
            assert second.status_code == 429 and second.json()["code"] == "rate_limited"
            assert int(second.headers["retry-after"]) > 0
        while download.read(1_000_000):
            pass
        assert download.is_complete
        assert download.received.count(b'"record":"message"') == MANY + 1
        assert download.received.count(conv.encode()) > MANY + 1
    assert len(download.received) > 3000 * MANY
    assert peak(pid) - before < 30
    # The next one may begin at once.
    with Download(fleet.gateways[1], alice) as download:
        assert download.read(100_000) and download.received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_export_cut_off_is_seen(fleet, rich, how):
    alice, _ = rich
    with Download(fleet.gateways[0], alice) as download:
        assert download.read(1_000_000)
        try:
            fleet(how, "gateway-1")
        finally:
            fleet("start", "gateway-1")
        while download.read(1_000_000):
            pass
        assert not download.is_complete
    # A killed gateway's turn ends by itself; this test does not wait for it.
    fleet.sql("UPDATE exports SET lease_until = 0")
    assert export(fleet.gateways[1], alice)[-1]["complete"]


def test_export_ends_with_its_sign_in(fleet, rich):
    alice, _ = rich
    url = fleet.gateways[0]
    token = alice.login(url)
    with Download(url, alice, token) as download:
        assert download.read(1_000_000)
        httpx.post(f"{url}/v1/logout", headers=headers(alice, token))
        deadline = time.monotonic() + 60
        while download.read(10_000):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not download.is_complete


# Deletion


def delete(url, account, token=None, **body):
    return httpx.request("DELETE", f"{url}/v1/me", headers=headers(account, token), json=body or None, timeout=PATIENCE)


def keys(stack, user):
    return [key for key in stack.redis("--scan", "--pattern", f"*:{user}").split() if key.startswith(("queue:", "user:"))]


def test_deleted_account_leaves_its_messages_and_nothing_else(fleet):
    first, second = fleet.gateways
    alice, bob = Account(first, "alice"), Account(first, "bob")
    other_token = alice.login(second)
    with (
        Socket(first, alice) as a, Socket(second, alice, "d2", token=other_token) as a2, Socket(second, bob) as b,
        Socket(first, bob, "d2") as b2,
    ):
        kept = a.message("remember me", to=bob.id)
        conv = kept["conv"]
        last = b.message("I do", conv=conv)
        a.barrier()
        user = next(key for key in keys(fleet, alice.id) if key.startswith("user:"))
        assert delete(first, alice, password="wrong password").json()["code"] == "forbidden"
        assert delete(first, alice, password=PASSWORD).status_code == 204

        # Nobody is signed in any more, on any gateway.
        assert a.closed() == 4500
        assert a2.closed() == 4500
        assert delete(second, alice).status_code == 204, "who asks again is told the same"
        for token in (alice.token, other_token):
            assert alice.get(second, "/v1/me", token).status_code == 401
        login = {"username": alice.username, "password": PASSWORD}
        assert httpx.post(f"{second}/v1/login", json=login).status_code == 401

        # Bob keeps what they wrote, under an id that stands for nobody.
        for url in fleet.gateways:
            assert [m["from"] for m in bob.history(url, conv)] == [bob.id, alice.id]
            shown = bob.get(url, f"/v1/users/{alice.id}").json()
            assert shown == {"id": alice.id, "username": "", "display_name": "Deleted user", "deleted": True}
        listed = bob.get(first, "/v1/conversations").json()["conversations"]
        assert [c["members"] for c in listed] == [sorted([alice.id, bob.id])]
        assert export(first, bob)[-1]["messages"] == 2

        # Nobody writes to her, from sockets that did before and from those that did not.
        for sock in (b, b2):
            for target in ({"to": alice.id}, {"conv": conv}):
                assert sock.refused(op="send", cid=uuid7(), body="are you there?", **target) == "not_found"
            sock.send(op="read", conv=conv, seq=1)
            sock.send(op="typing", conv=conv)
            sock.barrier()
        stranger = Account(second, "carol")
        with Socket(second, stranger) as c:
            assert c.refused(op="send", cid=uuid7(), body="hello", to=alice.id) == "not_found"
        # But a repeat of what was acknowledged is still a repeat.
        b.send(op="send", cid=last["cid"], conv=conv, body="I do")
        again = b.wait(op="sent", cid=last["cid"])
        assert again["dup"] and again["mid"] == last["mid"]
        assert [m["seq"] for m in bob.history(first, conv)] == [2, 1]

        poll(lambda: keys(fleet, alice.id) == [])
        # What was under way may have made something again: it is looked after once more.
        fleet.redis("hset", user, "device:late", "e 1 1 login -")
        fleet.sql("UPDATE account_deletions SET due_at = 0")
        poll(lambda: fleet.sql("SELECT count(*) FROM account_deletions") == "0")
        assert keys(fleet, alice.id) == []
    assert fleet.sql(f"SELECT count(*) FROM conversation_members WHERE user_id = '{alice.id}'") == "0"
    assert fleet.sql(f"SELECT count(*) FROM deleted_users WHERE id = '{alice.id}'") == "1"
    # The name may be taken again; it is another person.
    again = httpx.post(f"{first}/v1/signup", json={**login, "display_name": "Alice"}, timeout=PATIENCE)
    assert again.status_code == 201 and again.json()["user"]["id"] != alice.id
    with Socket(first, bob, "d3") as b:
        assert b.message("hello, stranger", to=again.json()["user"]["id"])["seq"] == 1


def test_gateway_dies_while_it_deletes(fleet):
    """Between PostgreSQL, where the account is gone, and Redis, where it is not yet."""
    first, second = fleet.gateways
    alice, bob = Account(first, "alice"), Account(first, "bob")
    with Socket(second, alice) as a, Socket(second, bob) as b:
        conv = a.message("hello", to=bob.id)["conv"]
        a.barrier()
        fleet.redis("client", "pause", "60000", "write")
        try:
            request = DeleteRequest(first, alice)
            poll(lambda: fleet.sql(f"SELECT count(*) FROM deleted_users WHERE id = '{alice.id}'") == "1", pause=0.02)
            fleet("kill", "gateway-1")
            request.close()
        finally:
            fleet.redis("client", "unpause")
            fleet("start", "gateway-1")
        assert a.closed(60) == 4500
        poll(lambda: fleet.sql("SELECT count(*) FROM account_deletions WHERE passes = 0") == "0")
        assert keys(fleet, alice.id) == []
        for target in ({"to": alice.id}, {"conv": conv}):
            assert b.refused(op="send", cid=uuid7(), body="hello?", **target) == "not_found"
        assert alice.get(second, "/v1/me").status_code == 401
        assert delete(fleet.gateways[0], alice).status_code == 204


class DeleteRequest:
    """A DELETE whose answer nobody waits for."""

    def __init__(self, url, account):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
        self.socket.sendall(
            f"DELETE /v1/me HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {account.token}\r\n\r\n".encode()
        )

    def close(self):
        self.socket.close()


# Retention


def test_retention(make_stack, monkeypatch):
    monkeypatch.setenv("PARLEY_RETENTION_DAYS", "30")
    monkeypatch.setenv("PARLEY_PARTITION", "week")
    stack = make_stack()
    stack("up", "--gateways", 1, "--workers", 1)
    url = stack.gateways[0]
    alice, bob, carol = (Account(url, name) for name in ("alice", "bob", "carol"))
    with Socket(url, alice) as a:
        mids = [a.message(f"number {n}", to=bob.id)["mid"] for n in range(1, 8)]
        conv, silent = alice.conv(bob), alice.conv(carol)
        for n in range(3):
            a.message(f"number {n}", to=carol.id)
    archived(stack, conv, 7)
    archived(stack, silent, 3)
    shift(stack, conv, 90, "seq <= 4")
    shift(stack, silent, 60)
    assert [m["seq"] for m in bob.history(url, conv)] == [7, 6, 5, 4, 3, 2, 1]
    before = {c["id"]: c for c in bob.get(url, "/v1/conversations").json()["conversations"]}
    assert before[conv]["unread"] == 7
    stack("stop", "worker-1")
    stack("start", "worker-1")
    poll(lambda: stack.sql("SELECT count(*) FROM messages") == "3")
    assert stack.sql("SELECT count(*) FROM messages_default") == "0"

    # Every page shows what there is, and says that there is no more.
    for window in ({}, {"before": mids[6]}, {"after_seq": 0}, {"after_seq": 2}, {"after": "1"}):
        answer = bob.get(url, f"/v1/conversations/{conv}/messages", **window).json()
        assert sorted(m["seq"] for m in answer["messages"]) == ([5, 6] if "before" in window else [5, 6, 7])
        assert answer["more"] is False
    assert bob.history(url, conv, before=mids[4]) == []
    # Only what can be read is unread; what has nothing left is not listed until somebody writes.
    listed = {c["id"]: c for c in bob.get(url, "/v1/conversations").json()["conversations"]}
    assert listed[conv]["unread"] == 3 and listed[conv]["last"]["seq"] == 7
    assert carol.get(url, "/v1/conversations").json()["conversations"] == []
    shown = carol.get(url, f"/v1/conversations/{silent}").json()
    assert shown["last"] is None and shown["unread"] == 0
    assert [line["seq"] for line in records(export(url, bob), "message")] == [5, 6, 7]

    with Socket(url, alice) as a, Socket(url, carol) as c:
        # A cid of then may have been sent then.
        assert a.refused(op="send", cid=uuid7(-80 * DAY), to=bob.id, body="late") == "invalid"
        assert a.message("late", cid=uuid7(-20 * DAY), to=bob.id)["seq"] == 8
        # Numbers go on.
        assert c.message("again", conv=silent)["seq"] == 4
    listed = alice.get(url, "/v1/conversations").json()["conversations"]
    assert [(each["id"], each["unread"]) for each in listed] == [(silent, 1), (conv, 0)]
