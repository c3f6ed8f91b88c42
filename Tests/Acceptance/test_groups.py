"""Groups as clients see them: who is told what, in which order, and what of it survives."""

import asyncio
import concurrent.futures
import json
import secrets
import threading
import time

import httpx
from client import PATIENCE, Account, Socket, poll, uuid7


class Group:
    """A group over HTTP."""

    def __init__(self, url, owner, *members, title="Team"):
        body = {"title": title, "members": [member.id for member in members]}
        answer = call("POST", url, owner, "/v1/conversations", body, {"Idempotency-Key": secrets.token_hex(8)})
        assert answer.status_code == 201, answer.text
        self.shown = answer.json()
        self.id = self.shown["id"]

    def put(self, url, who, user, **role):
        return call("PUT", url, who, f"/v1/conversations/{self.id}/members/{user.id}", role or None)

    def remove(self, url, who, user):
        return call("DELETE", url, who, f"/v1/conversations/{self.id}/members/{user.id}")

    def rename(self, url, who, title):
        return call("PATCH", url, who, f"/v1/conversations/{self.id}", {"title": title})

    def get(self, url, who):
        return who.get(url, f"/v1/conversations/{self.id}")


def call(method, url, who, path, body=None, headers=()):
    headers = {"Authorization": f"Bearer {who.token}", **dict(headers)}
    return httpx.request(method, url + path, json=body, headers=headers, timeout=PATIENCE)


def told(entry):
    """An event, or an entry of history, in a few words."""
    kind = entry.get("type", "message")
    what = {"message": "body", "conversation": "title"}.get(kind, "user")
    return (entry["mid"], entry["seq"], kind, entry["from"], entry[what])


def events_of(sock, group, count=0):
    """What came to a socket of a group, as soon as it is so many."""

    def come():
        sock.barrier()
        return [frame for frame in sock.backlog if frame["op"] == "event" and frame.get("conv") == group.id]

    poll(lambda: len(come()) >= count)
    return come()


def people(url, count):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: Account(url, "member"), range(count)))


def test_everybody_sees_one_order(stack):
    """A group of five on two gateways; everybody writes while members come and go."""
    first, second = stack.gateways
    owner, *rest = people(first, 5)
    late = Account(second, "late")
    everybody = [owner, *rest, late]
    sockets = [Socket(stack.gateways[i % 2], person) for i, person in enumerate(everybody)]
    group = Group(first, owner, *rest)
    assert group.shown["kind"] == "group" and group.shown["title"] == "Team" and group.shown["owner"] == owner.id
    assert set(group.shown["members"]) == {person.id for person in [owner, *rest]}
    for sock in sockets[:5]:
        created = sock.wait(op="event", type="conversation", conv=group.id)
        assert created["title"] == "Team" and created["from"] == owner.id and created["seq"] == 0
        sock.backlog.append(created)

    def write(index):
        for turn in range(20):
            sockets[index].message(f"{index}.{turn}", conv=group.id)

    writers = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for writer in writers:
        writer.start()
    assert group.put(second, owner, late).status_code == 200
    assert group.rename(first, owner, "Crew").json()["title"] == "Crew"
    assert group.remove(second, owner, rest[3]).status_code == 204
    for writer in writers:
        writer.join(2 * PATIENCE)
        assert not writer.is_alive()

    history = owner.history(first, group.id, limit=200)[::-1]
    order = [told(entry) for entry in history]
    assert len(order) == 80 + 4
    assert [kind for _, _, kind, _, _ in order if kind != "message"] == [
        "conversation", "member_added", "conversation", "member_removed",
    ]
    assert [entry["seq"] for entry in history if "type" not in entry] == list(range(1, 81)), "only messages take a seq"
    joined = next(i for i, entry in enumerate(history) if entry.get("type") == "member_added")
    left = next(i for i, entry in enumerate(history) if entry.get("type") == "member_removed")
    expected = {late.id: order[joined:], rest[3].id: order[: left + 1]}
    for person, sock in zip(everybody, sockets):
        wanted = expected.get(person.id, order)
        seen = [told(event) for event in sorted(events_of(sock, group, len(wanted)), key=lambda event: event["q"])]
        assert seen == wanted, person.username
    assert [told(entry) for entry in late.history(second, group.id, limit=200)[::-1]] == order[joined:]
    assert rest[3].get(first, f"/v1/conversations/{group.id}/messages").json()["code"] == "not_member"

    listed = late.get(second, "/v1/conversations").json()["conversations"]
    assert [conversation["id"] for conversation in listed] == [group.id]
    assert listed[0]["title"] == "Crew" and listed[0]["unread"] == len([e for e in history[joined:] if "type" not in e])
    sockets[5].send(op="read", conv=group.id, seq=80)
    poll(lambda: late.get(second, "/v1/conversations").json()["conversations"][0]["unread"] == 0)
    for sock in sockets:
        sock.connection.close()


def test_woken_together(fleet):
    """Members of a big group are woken by one publication, among whatever else comes for each of them. What gets lost
    of it and what comes between is found by its position."""
    urls = fleet.gateways
    members = people(urls[0], 24)
    sockets = [Socket(urls[i % 2], member) for i, member in enumerate(members)]
    group = Group(urls[0], members[0], *members[1:])

    def listening():
        return int(fleet.redis("pubsub", "numsub", "groups").split()[-1])

    loops = listening()
    assert 2 <= loops <= 6, "few enough that 24 are woken together"

    def write(index, count=30, **target):
        for turn in range(count):
            sockets[index].message(f"{index}.{turn}", **target)

    # Two write to all, two to a pair of them between.
    writers = [threading.Thread(target=write, args=(index,), kwargs={"conv": group.id}) for index in range(2)]
    writers += [threading.Thread(target=write, args=(2 + i,), kwargs={"to": members[6 + i].id}) for i in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        poll(lambda: listening() >= loops)
        assert int(fleet.redis("client", "kill", "type", "pubsub")) > 0
        time.sleep(0.3)
    for writer in writers:
        writer.join(2 * PATIENCE)
        assert not writer.is_alive()
    sockets[0].message("the end", conv=group.id)
    order = [told(entry) for entry in members[0].history(urls[1], group.id, limit=200)[::-1]]
    assert len(order) == 1 + 60 + 1
    for index, sock in enumerate(sockets):
        end = sock.wait(op="event", type="message", conv=group.id, body="the end")
        sock.backlog.append(end)
        events = [frame for frame in sock.backlog if frame["op"] == "event"]
        assert [event["q"] for event in events] == list(range(1, end["q"] + 1)), members[index].username
        assert [told(event) for event in events if event.get("conv") == group.id] == order
        assert [event["body"] for event in events if "cid" in event] == (
            [f"{index}.{turn}" for turn in range(30)] * (index < 4) + ["the end"] * (index == 0)
        )
        sock.connection.close()


def test_resume_after_offline(stack):
    """What was missed comes in order, the removal last, and a replay has changes as well as messages."""
    first, second = stack.gateways
    owner, away = people(first, 2)
    group = Group(first, owner, away)
    with Socket(second, away, "phone") as phone:
        cursor = {**phone.cursor, "q": 0}
    with Socket(first, owner) as sock:
        sent = [sock.message(f"{number}", conv=group.id)["mid"] for number in range(100)]
    group.rename(second, owner, "Later")
    assert group.remove(first, owner, away).status_code == 204
    with Socket(first, owner) as sock:
        sock.message("not for them", conv=group.id)
    with Socket(first, away, "phone", resume=cursor) as phone:
        assert phone.ready["mode"] == "replay"
        phone.wait(op="live")
        events = events_of(phone, group)
    assert [event["q"] for event in events] == list(range(1, 104))
    assert [event["mid"] for event in events[1:101]] == sent
    assert [event["type"] for event in events[101:]] == ["conversation", "member_removed"]


def test_removed_from_a_stale_gateway(stack):
    """The second gateway knows the members from before; what it takes after the removal's answer is not for the removed."""
    first, second = stack.gateways
    owner, writer, removed = people(first, 3)
    group = Group(first, owner, writer, removed)
    with Socket(second, writer) as sock, Socket(second, removed) as victim:
        for turn in range(10):
            sock.message(f"{turn} before", conv=group.id)
            assert group.remove(first, owner, removed).status_code == 204
            answers = [uuid7() for _ in range(8)]
            for cid in answers:
                sock.send(op="send", cid=cid, conv=group.id, body=f"{turn} after")
            seqs = [sock.wait(op="sent", cid=cid)["seq"] for cid in answers]
            assert seqs == list(range(seqs[0], seqs[0] + 8)), "pipelined sends keep their order across the refusal"
            assert victim.refused(op="send", cid=uuid7(), conv=group.id, body="mine") == "not_member"
            assert group.put(first, owner, removed).status_code == 200
        # Of each turn a message, the removal and the joining.
        bodies = [event["body"] for event in events_of(victim, group, 30) if event["type"] == "message"]
        assert bodies == [f"{turn} before" for turn in range(10)]


def test_former_members_and_strangers(stack):
    first, second = stack.gateways
    owner, former, stranger = people(first, 3)
    group = Group(first, owner, former)
    with Socket(second, former) as sock:
        sock.message("once", conv=group.id)
        assert group.remove(second, former, former).status_code == 204
        for person, code, status in ((former, "not_member", 403), (stranger, "not_found", 404)):
            for answer in (
                group.get(first, person), person.get(first, f"/v1/conversations/{group.id}/messages"),
                group.rename(first, person, "Mine"), group.put(first, person, person),
            ):
                assert (answer.status_code, answer.json()["code"]) == (status, code)
            with Socket(second, person, "other") as other:
                cid = uuid7()
                other.send(op="send", cid=cid, conv=group.id, body="let me in")
                assert other.wait(op="error", cid=cid)["code"] == code
                assert other.refused(op="read", conv=group.id, seq=1) == code
                assert other.refused(op="typing", conv=group.id) == code
    with Socket(first, owner) as sock:
        assert sock.refused(op="send", cid=uuid7(), conv="g:nosuchgroup", body="x") == "not_found"


def test_members_that_redis_forgot(stack):
    """Whoever PostgreSQL knows as a member is not refused: Redis gets to know them again."""
    owner, member = people(stack.gateways[0], 2)
    group = Group(stack.gateways[0], owner, member)
    key = stack.redis("keys", f"members:*:{group.id}")
    with Socket(stack.gateways[0], owner) as a, Socket(stack.gateways[1], member) as b:
        a.message("one", conv=group.id)
        stack.redis("del", key)
        b.send(op="read", conv=group.id, seq=1)
        # Where a member joined is known again once the joining is archived; until then the answer is `unavailable`.
        poll(lambda: group.get(stack.gateways[0], member).json().get("unread") == 0)
        assert set(stack.redis("hkeys", key).split()) == {owner.id, member.id}
        stack.redis("del", key)
        b.send(op="typing", conv=group.id)
        assert a.wait(op="typing", conv=group.id)["user"] == member.id
        stack.redis("del", key)
        assert b.message("two", conv=group.id)["seq"] == 2
        assert group.put(stack.gateways[0], owner, member, role="admin").json()["admins"] == [member.id]


def test_typing(stack):
    owner, member, third = people(stack.gateways[0], 3)
    group = Group(stack.gateways[0], owner, member, third)
    with Socket(stack.gateways[0], owner) as a, Socket(stack.gateways[1], member) as b:
        a.send(op="typing", conv=group.id)
        assert b.wait(op="typing", conv=group.id)["user"] == owner.id
        a.barrier()
        assert not [frame for frame in a.backlog if frame["op"] == "typing"]


def test_limits(stack):
    url = stack.gateways[0]
    owner, *others = people(url, 102)
    headers = {"Idempotency-Key": "all-of-them"}
    named = [person.id for person in others]
    answer = call("POST", url, owner, "/v1/conversations", {"title": "Full", "members": named}, headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    group = Group(url, owner, *others[:99])
    assert len(group.shown["members"]) == 100
    answer = group.put(url, owner, others[99])
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert group.put(url, owner, others[5]).status_code == 200, "a member already"
    with Socket(stack.gateways[1], others[98]) as last, Socket(url, owner) as first:
        sent = first.message("to a hundred", conv=group.id)
        assert last.wait(op="event", type="message", conv=group.id)["mid"] == sent["mid"]
    assert group.remove(url, owner, others[0]).status_code == 204
    assert group.put(url, owner, others[99]).status_code == 200


def test_big_group(make_stack, monkeypatch):
    """More than one call delivers to: everybody hears everything in order all the same."""
    monkeypatch.setenv("PARLEY_GROUP_LIMIT", "500")
    stack = make_stack()
    stack("up", "--gateways", 2, "--workers", 1)
    owner, *others = people(stack.gateways[0], 300)
    group = Group(stack.gateways[0], owner, *others)
    listeners = [Socket(stack.gateways[i % 2], others[i]) for i in range(0, 299, 23)]
    with Socket(stack.gateways[0], owner) as a, Socket(stack.gateways[1], others[7]) as b:
        mids = []
        for turn in range(25):
            cids = [(sock, uuid7()) for sock in (a, b)]
            for sock, cid in cids:
                sock.send(op="send", cid=cid, conv=group.id, body=f"{turn}")
            mids += [sock.wait(op="sent", cid=cid)["mid"] for sock, cid in cids]
    for sock in listeners:
        seqs = [sock.wait(op="event", type="message", conv=group.id)["seq"] for _ in mids]
        assert seqs == list(range(1, 51))
        sock.connection.close()
    for account in others[::50]:
        with Socket(stack.gateways[1], account, "new") as sock:
            sock.send(op="sync", epoch=sock.ready["epoch"], q=0)
            sock.wait(op="live")
            assert [e["seq"] for e in events_of(sock, group) if e["type"] == "message"] == list(range(1, 51))
    poll(lambda: stack.redis("keys", "chunks:*") == "")


def test_gateway_killed_between_the_stores(fleet):
    """PostgreSQL has the removal, Redis not yet, the gateway is dead: a worker finishes it, once."""
    first, second = fleet.gateways
    owner, member, removed = people(first, 3)
    group = Group(first, owner, member, removed)
    with Socket(second, member) as sock, Socket(second, removed) as victim:
        sock.message("before", conv=group.id)
        # Redis answers questions, so the request gets in; what would write waits, and is gone with its gateway.
        fleet.redis("client", "pause", "60000", "write")
        query = f"SELECT count(*) FROM conversation_changes WHERE conversation_id = '{group.id}' AND kind = 'removed'"
        try:
            request = threading.Thread(target=attempt, args=(group, first, owner, removed))
            request.start()
            poll(lambda: fleet.sql(query) == "1", pause=0.02)
            fleet("kill", "gateway-1")
            request.join(PATIENCE)
        finally:
            fleet.redis("client", "unpause")
        assert victim.wait(op="event", type="member_removed", conv=group.id)["user"] == removed.id
        sock.message("after", conv=group.id)
        sock.wait(op="event", type="message", body="after")
        assert [e["body"] for e in events_of(victim, group) if e["type"] == "message"] == ["before"]
        poll(lambda: fleet.sql(query) == "0")
        history = member.history(second, group.id)
        assert [entry.get("type", "message") for entry in history] == [
            "message", "member_removed", "message", "conversation",
        ]
    fleet("start", "gateway-1")


def attempt(group, url, owner, user):
    try:
        group.remove(url, owner, user)
    except httpx.HTTPError:
        pass


def test_groups_survive_the_stores(fleet):
    """Redis, a worker and a gateway are killed while members come and go and everybody writes."""
    asyncio.run(Storm(fleet).run())


class Storm:
    """Members write to one group and one of them is removed and added again and again; devices check what they see."""

    SECONDS = 8

    def __init__(self, fleet):
        self.fleet, self.urls = fleet, fleet.gateways
        self.owner, *self.others = people(self.urls[0], 5)
        self.visitor = self.others[-1]
        self.group = Group(self.urls[0], self.owner, *self.others)
        self.answers, self.periods, self.stop = [], [], threading.Event()

    async def run(self):
        writers = [asyncio.to_thread(self.write, index) for index in range(3)]
        await asyncio.gather(*writers, asyncio.to_thread(self.come_and_go), asyncio.to_thread(self.break_things))
        await asyncio.to_thread(self.judge)

    def break_things(self):
        for name in ("gateway-2", "redis", "worker-1"):
            time.sleep(self.SECONDS / 4)
            self.fleet("kill", name)
            self.fleet("start", name)
        time.sleep(self.SECONDS / 4)
        self.stop.set()

    def patiently(self, action):
        """Repeats a request until it is answered."""

        def answered():
            for url in self.urls:
                try:
                    answer = action(url)
                except httpx.HTTPError:
                    continue
                if answer.status_code < 500:
                    return answer
            return None

        return poll(answered, 60)

    def come_and_go(self):
        while not self.stop.is_set():
            assert self.patiently(lambda url: self.group.remove(url, self.owner, self.visitor)).status_code == 204
            gone = time.time()
            time.sleep(0.2)
            # No message that begins here and is answered before the next line is for the visitor.
            self.periods.append((gone, time.time()))
            assert self.patiently(lambda url: self.group.put(url, self.owner, self.visitor)).status_code == 200
            time.sleep(0.2)

    def write(self, index):
        account, turn = [self.owner, *self.others][index], 0
        while not self.stop.is_set():
            body, cid = f"{index}.{turn}", uuid7()
            begun = time.time()
            answer = self.send(account, index, cid, body)
            self.answers.append((begun, time.time(), answer["mid"], body))
            turn += 1

    def send(self, account, index, cid, body):
        """Repeats with the same cid until it is answered."""

        def answered():
            for url in (self.urls[index % 2], self.urls[(index + 1) % 2]):
                try:
                    with Socket(url, account, f"w{index}", ephemeral=True, close_timeout=1) as sock:
                        sock.send(op="send", cid=cid, conv=self.group.id, body=body)
                        frame = next(f for f in iter(sock.read, None) if f.get("cid") == cid and f["op"] != "event")
                        if frame["op"] == "sent":
                            return frame
                        assert frame["code"] in ("unavailable", "overloaded"), frame
                except (OSError, AssertionError, TimeoutError, json.JSONDecodeError) as error:
                    if isinstance(error, AssertionError) and "code" in str(error):
                        raise
                except Exception as error:  # whatever the library says of a connection that ended
                    assert type(error).__module__.startswith("websockets"), error
            return None

        return poll(answered, 90)

    def queue(self, account):
        """Everything that a user was ever sent of the group, from the queue itself."""

        def read():
            try:
                with Socket(self.urls[0], account, "judge", ephemeral=True) as sock:
                    sock.send(op="sync", epoch=sock.ready["epoch"], q=0)
                    sock.wait(op="live")
                    return sorted(events_of(sock, self.group), key=lambda event: event["q"])
            except (OSError, AssertionError):
                return None

        return poll(read, 60)

    def judge(self):
        # Everything is settled when nothing is pending in either store.
        poll(lambda: self.fleet.sql("SELECT count(*) FROM conversation_changes") == "0", 60)
        history, cursor = [], {}
        while True:
            page = self.owner.get(
                self.urls[0], f"/v1/conversations/{self.group.id}/messages", limit=200, **cursor
            ).json()
            history += page["messages"]
            if not page["more"]:
                break
            cursor = {"before": page["messages"][-1]["mid"]}
        order = [told(entry) for entry in reversed(history)]
        messages = [entry for entry in order if entry[2] == "message"]
        assert [seq for _, seq, _, _, _ in messages] == list(range(1, len(messages) + 1))
        assert len({body for *_, body in messages}) == len(messages) == len(self.answers), "each once"
        assert {mid for _, _, mid, _ in self.answers} == {mid for mid, *_ in messages}
        for account in [self.owner, *self.others[:-1]]:
            assert [told(event) for event in self.queue(account)] == order, account.username
        seen, is_member, expected = [told(event) for event in self.queue(self.visitor)], True, []
        for entry in order:
            is_member = is_member or entry[2] == "member_added"
            if is_member:
                expected.append(entry)
            is_member = is_member and entry[2] != "member_removed"
        assert seen == expected
        mids = {mid for mid, *_ in seen}
        leaked = [
            body for begun, ended, mid, body in self.answers
            for gone, back in self.periods if gone < begun and ended < back and mid in mids
        ]
        assert not leaked and self.periods
