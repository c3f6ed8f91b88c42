"""Friends, blocks and who may write, as clients of two gateways see them."""

import json
import secrets
import threading

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, uuid7

FRIEND_EVENTS = ("friend_request", "friend_accepted", "friend_removed")


@pytest.fixture
def people(stack):
    first, second = stack.gateways
    return Account(first, "ann"), Account(second, "bob"), Account(first, "eve")


def call(method, url, who, path, body=None, key=None):
    headers = {"Authorization": f"Bearer {who.token}", **({"Idempotency-Key": key} if key else {})}
    return httpx.request(method, url + path, json=body, headers=headers, timeout=PATIENCE)


def ask(url, who, other):
    return call("POST", url, who, "/v1/friends/requests", {"user": other.id})


def befriend(url, one, other):
    assert ask(url, one, other).status_code == 201
    assert call("POST", url, other, f"/v1/friends/requests/{one.id}/accept").status_code == 200


def block(url, who, other, method="PUT"):
    assert call(method, url, who, f"/v1/blocks/{other.id}").status_code == 204


def take_from(url, who, whom):
    answer = call("PATCH", url, who, "/v1/me", {"may_write": whom})
    assert answer.status_code == 200 and answer.json()["may_write"] == whom


def lists(url, who):
    answer = who.get(url, "/v1/friends")
    assert answer.status_code == 200, answer.text
    return {name: [user["id"] for user in users] for name, users in answer.json().items()}


def told(events):
    return [(event["type"], event["from"], event["user"]) for event in events if event.get("type") in FRIEND_EVENTS]


def test_every_device_of_both_hears(stack, people):
    first, second = stack.gateways
    ann, bob, _ = people
    places = [(first, ann, "phone"), (second, ann, "desk"), (first, bob, "phone"), (second, bob, "desk")]
    sockets = [Socket(url, who, device) for url, who, device in places]
    poller = ann.get(second, "/v1/sync", device="script").json()

    assert ask(first, ann, bob).json() == {"state": "outgoing"}
    assert lists(second, ann) == {"friends": [], "incoming": [], "outgoing": [bob.id]}
    assert lists(second, bob) == {"friends": [], "incoming": [ann.id], "outgoing": []}
    shown = bob.get(first, "/v1/friends").json()["incoming"][0]
    assert shown["username"] == ann.username and shown["display_name"] == "ann"
    # Asking back is the answer.
    assert ask(second, bob, ann).json() == {"state": "friends"}
    assert lists(first, ann)["friends"] == [bob.id] and lists(first, bob)["friends"] == [ann.id]
    assert call("DELETE", second, ann, f"/v1/friends/{bob.id}").status_code == 204
    assert ask(second, bob, ann).status_code == 201
    assert call("DELETE", first, ann, f"/v1/friends/requests/{bob.id}").status_code == 204

    expected = [
        ("friend_request", ann.id, bob.id), ("friend_accepted", bob.id, ann.id), ("friend_removed", ann.id, bob.id),
        ("friend_request", bob.id, ann.id), ("friend_removed", ann.id, bob.id),
    ]
    for sock in sockets:
        events = []
        while len(events) < len(expected):
            events.append(sock.wait(op="event"))
        sock.barrier()
        assert not told(sock.backlog), "each once"
        assert told(events) == expected
        assert [event["q"] for event in events] == list(range(1, 6)), "contiguous"
        assert all(event["ts"] > 1_700_000_000_000 for event in events)
        sock.connection.close()
    polled = ann.get(first, "/v1/sync", epoch=poller["epoch"], q=poller["head"], device="script").json()
    assert told(polled["events"]) == expected
    # One that was away reads on.
    with Socket(second, bob, "late", resume={"epoch": poller["epoch"], "q": 2}) as late:
        assert late.ready["mode"] == "replay"
        late.wait(op="live")
        assert told(late.backlog) == expected[2:]


def test_errors(stack, people):
    url = stack.gateways[0]
    ann, bob, _ = people
    assert ask(url, ann, ann).json()["code"] == "invalid"
    assert call("PUT", url, ann, f"/v1/blocks/{ann.id}").json()["code"] == "invalid"
    assert call("PUT", url, ann, "/v1/blocks/nobody").json()["code"] == "not_found"
    assert call("POST", url, ann, "/v1/friends/requests", {"user": "nobody"}).json()["code"] == "not_found"
    assert call("POST", url, ann, f"/v1/friends/requests/{bob.id}/accept").json()["code"] == "not_found"
    assert httpx.get(f"{url}/v1/friends", timeout=PATIENCE).json()["code"] == "unauthorized"


def refused_on_socket(url, sender, target):
    """The bytes of the error, without what names this send."""
    with Socket(url, sender, secrets.token_hex(4)) as sock:
        cid = uuid7()
        sock.send(op="send", cid=cid, body="hello", **target)
        while True:
            frame = sock.connection.recv(PATIENCE)
            if cid in frame:
                return frame.replace(cid, "<cid>")


def refused_over_http(url, sender, conv):
    """Status, headers and bytes."""
    answer = call("POST", url, sender, f"/v1/conversations/{conv}/messages", {"body": "hello"}, uuid7())
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
    return answer.status_code, headers, answer.content


def test_a_block_looks_like_a_setting(stack, people):
    """Blocked or a stranger to one who takes messages from friends alone: the same bytes, written before or not."""
    first, second = stack.gateways
    ann, bob, eve = people
    shy, former = Account(first, "shy"), Account(second, "former")
    with Socket(first, bob) as b, Socket(second, former) as f:
        b.message("hello", to=ann.id)
        f.message("hello", to=shy.id)
        take_from(second, shy, "friends")
        block(second, ann, bob)
        block(first, ann, eve)
        pairs = [(bob, ann), (former, shy), (eve, ann), (eve, shy), (ann, bob), (ann, eve)]
        frames, answers = set(), []
        for url in stack.gateways:
            for sender, other in pairs:
                conv = sender.conv(other)
                frames.add(refused_on_socket(url, sender, {"conv": conv}))
                frames.add(refused_on_socket(url, sender, {"to": other.id}))
                answers.append(refused_over_http(url, sender, conv))
        assert len(frames) == 1, frames
        error = json.loads(frames.pop())
        assert error.pop("message") and error == {"op": "error", "cid": "<cid>", "code": "forbidden"}
        assert all(answer == answers[0] for answer in answers), answers
        assert answers[0][0] == 403 and json.loads(answers[0][2])["code"] == "forbidden"

        # What was written before stays, and whoever refuses strangers may write to them.
        assert [message["body"] for message in bob.history(second, ann.conv(bob))] == ["hello"]
        assert [message["body"] for message in ann.history(first, ann.conv(bob))] == ["hello"]
        with Socket(first, shy) as s:
            s.message("psst", to=eve.id)
        befriend(first, shy, former)
        f.message("friends now", to=shy.id)
        take_from(first, shy, "everyone")
        block(first, ann, bob, "DELETE")
        b.message("again", to=ann.id)


def test_nothing_after_the_answer(stack, people):
    """Two sockets at two gateways send as fast as they can while they are blocked."""
    first, second = stack.gateways
    ann, bob, _ = people
    conv = ann.conv(bob)
    for turn in range(3):
        sockets = [Socket(url, bob, f"d{number}") for number, url in enumerate(stack.gateways)]
        answered, blocked, ended = [], threading.Event(), threading.Event()

        def write(sock):
            late = 0
            while late < 20:
                # Taken before the send: what begins after the answer to the block must not be committed.
                late += blocked.is_set()
                name = f"{'late' if blocked.is_set() else 'early'} {turn}"
                cid = uuid7()
                sock.send(op="send", cid=cid, to=ann.id, body=name)
                answered.append((name, answer_to(sock, cid)))

        writers = [threading.Thread(target=write, args=(sock,)) for sock in sockets]
        for writer in writers:
            writer.start()
        poll(lambda: len(answered) > 20)
        block(second, ann, bob)
        blocked.set()
        for writer in writers:
            writer.join(PATIENCE)
            assert not writer.is_alive()
        assert {frame["op"] for name, frame in answered if name.startswith("late")} == {"error"}
        assert {frame["code"] for _, frame in answered if frame["op"] == "error"} == {"forbidden"}
        sent = {frame["mid"] for _, frame in answered if frame["op"] == "sent"}
        history = [message for message in ann.history(first, conv, limit=200) if message["body"].endswith(f" {turn}")]
        assert sent and {message["mid"] for message in history} <= sent
        assert {message["body"] for message in history} == {f"early {turn}"}
        for sock in sockets:
            sock.connection.close()
        block(first, ann, bob, "DELETE")


def test_nothing_else_reaches_the_blocker(stack, people):
    """Typing, what was read, what was delivered; edits too."""
    first, second = stack.gateways
    ann, bob, _ = people
    conv = ann.conv(bob)
    with Socket(first, ann) as a, Socket(second, bob, "phone") as b:
        mine = b.message("mine", to=ann.id)
        for number in range(3):
            a.message(f"{number}", to=bob.id)
        last = b.wait(type="message", seq=4)
        b.send(op="read", conv=conv, seq=2)
        assert a.wait(type="receipt", user=bob.id, read=2)
        b.send(op="typing", conv=conv)
        assert a.wait(op="typing")["user"] == bob.id
        block(first, ann, bob)
        b.send(op="ack", q=last["q"])
        poll(lambda: stack.redis("HGET", conversation_key(stack, conv), f"delivered:{bob.id}") == "4")
        b.send(op="read", conv=conv, seq=3)
        b.wait(type="receipt", user=bob.id, read=3)
        with Socket(second, bob, "desk") as desk:
            # Another socket, since typing is told every three seconds at most.
            desk.send(op="typing", conv=conv)
            desk.send(op="edit", cid=uuid7(), conv=conv, mid=mine["mid"], body="worse")
            assert desk.wait(op="error")["code"] == "forbidden"
            desk.send(op="delete", cid=uuid7(), conv=conv, mid=mine["mid"])
            assert desk.wait(op="error")["code"] == "forbidden"
        a.barrier()
        leaks = [frame for frame in a.backlog if frame["op"] == "typing" or frame.get("type") in ("edited", "deleted")]
        leaks += [frame for frame in a.backlog if frame.get("type") == "receipt" and frame["user"] == bob.id]
        assert not leaks
        shown = ann.get(second, f"/v1/conversations/{conv}").json()["positions"]
        assert [position["user"] for position in shown] == [ann.id]


def conversation_key(stack, conv):
    return next(key for key in stack.redis("KEYS", f"conv:*:{conv}").split())


def test_groups(stack, people):
    first, second = stack.gateways
    ann, bob, eve = people

    def create(who, *members, key=None):
        body = {"title": "Team", "members": [member.id for member in members]}
        return call("POST", first, who, "/v1/conversations", body, key or secrets.token_hex(8))

    before = create(bob, ann).json()["id"]
    block(second, ann, bob)
    refused = create(bob, ann, eve)
    assert refused.status_code == 403 and refused.json()["code"] == "forbidden" and ann.id in refused.text
    group = create(bob, eve).json()["id"]
    put = call("PUT", second, bob, f"/v1/conversations/{group}/members/{ann.id}")
    assert put.status_code == 403 and put.json()["code"] == "forbidden"
    # The group that both are in goes on.
    with Socket(first, bob) as b, Socket(second, ann) as a:
        b.message("still here", conv=before)
        assert a.wait(type="message", conv=before)["body"] == "still here"


def test_a_request_of_a_blocked_one(stack, people):
    """It looks like any that nobody answers, and is there when the block ends."""
    first, second = stack.gateways
    ann, bob, eve = people
    befriend(first, ann, bob)
    with Socket(first, ann) as a, Socket(second, bob) as b:
        block(first, ann, bob)
        assert b.wait(type="friend_removed")["from"] == ann.id
        blocked, free = ask(second, bob, ann), ask(second, bob, eve)
        assert (blocked.status_code, blocked.content) == (free.status_code, free.content)
        assert set(lists(first, bob)["outgoing"]) == {ann.id, eve.id}
        assert b.wait(type="friend_request", user=ann.id)["from"] == bob.id
        assert lists(second, ann)["incoming"] == []
        assert [user["id"] for user in ann.get(first, "/v1/blocks").json()["users"]] == [bob.id]
        a.wait(type="friend_removed")
        a.barrier()
        assert not [event for event in told(a.backlog) if event[0] == "friend_request"]
        block(second, ann, bob, "DELETE")
        assert a.wait(type="friend_request")["from"] == bob.id
        assert lists(second, ann)["incoming"] == [bob.id]


def test_a_worker_finishes_what_a_gateway_left(stack, people):
    """As a gateway leaves it that is killed between PostgreSQL and Redis."""
    first, second = stack.gateways
    ann, bob, _ = people
    with Socket(first, bob) as b, Socket(second, ann) as a:
        b.message("hello", to=ann.id)
        stack.sql(
            f"""
            BEGIN;
            INSERT INTO blocks (blocker_id, blocked_id, at) VALUES ('{ann.id}', '{bob.id}', 0);
            UPDATE users SET relations_version = relations_version + 1 WHERE id IN ('{ann.id}', '{bob.id}');
            INSERT INTO right_changes (subject, at) VALUES ('{ann.conv(bob)}', now_ms());
            INSERT INTO relation_events (recipient_id, type, from_id, user_id, at)
            VALUES ('{ann.id}', 'friend_removed', '{ann.id}', '{bob.id}', now_ms());
            COMMIT
            """
        )
        poll(lambda: refused(b, ann))
        assert a.wait(type="friend_removed")["from"] == ann.id
        poll(lambda: stack.sql("SELECT count(*) FROM right_changes") == "0")
        poll(lambda: stack.sql("SELECT count(*) FROM relation_events") == "0")
        a.barrier()
        assert not told(a.backlog), "once"


def answer_to(sock, cid):
    """Not the sender's own event."""
    while (frame := sock.wait(cid=cid))["op"] == "event":
        pass
    return frame


def refused(sock, other):
    cid = uuid7()
    sock.send(op="send", cid=cid, to=other.id, body="hello")
    return answer_to(sock, cid)["op"] == "error"
