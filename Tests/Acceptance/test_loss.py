"""Redis loses data that was acknowledged."""

import os
import pathlib
import threading

import pytest
from client import Account, Socket, poll, uuid7
from websockets.exceptions import ConnectionClosed, InvalidHandshake


@pytest.fixture
def own(make_stack):
    """A stack for what cannot be made good again."""
    stack = make_stack()
    stack("up", "--gateways", 2, "--workers", 1)
    return stack


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
                answer = sock.attempt(body, cid, to=target.id)
                return answer if answer["op"] == "sent" else None
        except (ConnectionClosed, InvalidHandshake, OSError, AssertionError):
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
    poll(lambda: own.lane_lengths() == 0)
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
