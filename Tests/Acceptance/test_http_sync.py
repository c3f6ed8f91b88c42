"""Taking part by HTTP alone: sends under an Idempotency-Key, polls and long polls, every one to the other gateway.

Spoken with the standard library's http.client, as a script would.
"""

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import socket
import struct
import threading
import time
import urllib.parse

import pytest
from client import HOUR, PATIENCE, Account, Socket, poll, signed, uuid7

LONG = 30


class Unavailable(Exception):
    """A gateway says that it cannot answer now."""


class Script:
    """Somebody who knows HTTP alone; a connection to each gateway stays open. Each poll goes to the next gateway."""

    def __init__(self, urls, account, device=None, token=None):
        self.account, self.device, self.token = account, device, token or account.token
        self.urls = itertools.cycle(urls)
        self.connections = {}
        self.cursor = {}
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections.values():
            connection.close()

    def call(self, url, method, path, content=None, **headers):
        """Status, headers and body of an answer."""
        if url not in self.connections:
            parts = urllib.parse.urlsplit(url)
            self.connections[url] = http.client.HTTPConnection(parts.hostname, parts.port, timeout=2 * PATIENCE)
        connection = self.connections[url]
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        content = json.dumps(content) if isinstance(content, dict) else content
        content = content.encode() if content else content
        try:
            connection.request(method, path, content, {"Authorization": f"Bearer {self.token}", **headers})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        return answer.status, answer.headers, json.loads(text) if text else None

    def ask(self, url, **parameters):
        return self.call(url, "GET", "/v1/sync?" + urllib.parse.urlencode(parameters))

    def poll(self, url=None, **parameters):
        """One poll that must succeed; the cursor moves with it."""
        if self.device:
            parameters["device"] = self.device
        status, headers, answer = self.ask(url or next(self.urls), **self.cursor, **parameters)
        if status == 503:
            raise Unavailable(answer)
        assert status == 200, answer
        assert headers["Content-Type"] == "application/json" and headers["Cache-Control"] == "no-store"
        assert answer.keys() == {"epoch", "head", "events", "resync"}
        events = answer["events"]
        if events:
            assert [event["q"] for event in events] == list(range(self.cursor["q"] + 1, events[-1]["q"] + 1))
            assert all(event["op"] == "event" for event in events) and not answer["resync"]
        elif self.cursor and not answer["resync"]:
            assert answer["head"] == self.cursor["q"]
        self.events += events
        self.cursor = {"epoch": answer["epoch"], "q": events[-1]["q"] if events else answer["head"]}
        return answer

    def send(self, url, conv, body, cid=None):
        return self.call(
            url, "POST", f"/v1/conversations/{conv}/messages", {"body": body}, Idempotency_Key=cid or uuid7()
        )

    @property
    def messages(self):
        return [event["body"] for event in self.events if event["type"] == "message"]


def code(answer):
    """The code of a problem, after checking that the rest of the answer is one."""
    status, headers, problem = answer
    assert headers["Content-Type"] == "application/problem+json" and problem["status"] == status
    return problem["code"]


def listeners(stack, account):
    """How many gateways hear what is published for a user."""
    return int(stack.redis("pubsub", "numsub", f"user:{account.id}").split()[-1])


@contextlib.contextmanager
def waiting(scripts, url=None):
    """Every script waits for an answer; the futures are theirs."""
    with concurrent.futures.ThreadPoolExecutor(len(scripts)) as pool:
        yield [pool.submit(script.poll, url, wait=LONG) for script in scripts]


# Sending


def test_a_send_reaches_sockets_and_the_other_way(urls, pair):
    alice, bob = pair
    conv = alice.conv(bob)
    with Script(urls, alice, "script") as script, Socket(urls[1], bob) as b, Socket(urls[1], alice) as a:
        script.poll()
        cid = uuid7()
        status, _, sent = script.call(
            urls[0], "POST", f"/v1/conversations/{conv}/messages", '{"body":"héllo","data":{"n" : 2.50}}',
            Idempotency_Key=cid,
        )
        assert status == 201
        assert (sent["conv"], sent["cid"], sent["seq"]) == (conv, cid, 1) and "dup" not in sent
        event = b.wait(op="event")
        assert (event["mid"], event["ts"], event["from"]) == (sent["mid"], sent["ts"], alice.id)
        assert (event["body"], event["data"], "cid" in event) == ("héllo", {"n": 2.5}, False)
        assert a.wait(op="event")["cid"] == cid
        answer = b.message("and back", conv=conv)
        while len(script.events) < 2:
            script.poll(wait=LONG)
        assert [event["mid"] for event in script.events] == [sent["mid"], answer["mid"]]
        assert script.events[0]["cid"] == cid and script.events[0]["data"] == {"n": 2.5}
        assert script.call(urls[1], "POST", f"/v1/conversations/{conv}/read", {"seq": 2})[0] == 204
        assert b.wait(op="event", type="receipt", read=2)["user"] == alice.id


def test_a_key_is_one_message(urls, pair, stack):
    alice, bob = pair
    conv = alice.conv(bob)
    with Script(urls, alice) as script:
        for offset in (0, -HOUR):
            cid = uuid7(offset)
            status, _, sent = script.send(urls[0], conv, f"at {offset}", cid)
            assert status == 201
            for url in urls:
                status, _, again = script.send(url, conv, f"at {offset}", cid)
                assert (status, again) == (200, {**sent, "dup": True})
                assert code(script.send(url, conv, "other", cid)) == "conflict"
        # A socket's cid and a key are one thing.
        with Socket(urls[1], alice) as sock:
            sent = sock.message("by socket", conv=conv)
            assert script.send(urls[0], conv, "by socket", sent["cid"])[2] == {
                **{key: sent[key] for key in ("cid", "conv", "mid", "seq", "ts")}, "dup": True,
            }
    poll(lambda: stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "3")
    assert [message["body"] for message in bob.history(urls[0], conv)] == ["by socket", f"at {-HOUR}", "at 0"]


def test_a_key_at_both_gateways_at_once(urls, pair):
    alice, bob = pair
    conv = alice.conv(bob)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        def send(url, body, cid):
            with Script([url], alice) as script:
                return script.send(url, conv, body, cid)

        for number in range(10):
            cid = uuid7(-HOUR if number % 2 else 0)
            answers = [pool.submit(send, urls[n % 2], f"{number}", cid) for n in range(8)]
            answers = [answer.result() for answer in answers]
            assert sorted(status for status, _, _ in answers) == [200] * 7 + [201]
            assert len({sent["mid"] for _, _, sent in answers}) == 1
    bodies = [message["body"] for message in bob.history(urls[1], conv, after_seq=0)]
    assert bodies == [str(number) for number in range(10)]


def test_mistakes_in_sends(urls, pair):
    alice, bob = pair
    eve = Account(urls[0], "eve")
    conv = alice.conv(bob)
    path = f"/v1/conversations/{conv}/messages"
    with Script(urls, alice) as script, Script(urls, eve) as stranger, Script(urls, alice, token="x") as unknown:

        def post(content, key=None, path=path, by=script):
            return code(by.call(urls[0], "POST", path, content, Idempotency_Key=key or uuid7()))

        assert code(script.call(urls[0], "POST", path, {"body": "x"})) == "bad_frame"
        assert post({"body": "x"}, "no-uuid") == post({"body": "x"}, uuid7(25 * HOUR)) == "invalid"
        assert post("{") == post({}) == post({"body": 1}) == post({"body": "x", "data": []}) == "bad_frame"
        assert post({"body": ""}) == post({"body": "a\0b"}) == "invalid"
        assert post({"body": "x" * 16385}) == post({"body": "x", "data": {"x": "y" * 4096}}) == "too_large"
        assert post({"body": "x", "padding": "y" * 70_000}) == "too_large"
        assert post({"body": "x", "reply_to": "?"}) == post({"body": "x"}, by=stranger) == "not_found"
        for other in (f"d:{alice.id}:{alice.id}", f"d:0:{alice.id}", "g:none", "x"):
            assert post({"body": "x"}, path=f"/v1/conversations/{other}/messages") == "not_found"
        assert post({"body": "x"}, by=unknown) == "unauthorized"
        assert script.send(urls[0], conv, "x" * 16384)[0] == 201
    assert len(bob.history(urls[0], conv)) == 1


# Polling


def test_every_poll_to_the_other_gateway(urls, pair, stack):
    """What flows meanwhile comes once and in order; what was handled leaves the queue."""
    alice, bob = pair
    conv = alice.conv(bob)
    count = 500
    with Script(urls, bob, "script") as script, Script(urls, bob) as reader:
        script.poll()
        reader.poll()

        def talk():
            with Socket(urls[0], alice) as a:
                for start in range(0, count, 20):
                    cids = [uuid7() for _ in range(20)]
                    for number, cid in enumerate(cids, start):
                        a.send(op="send", cid=cid, to=bob.id, body=str(number))
                    for cid in cids:
                        a.wait(op="sent", cid=cid)

        talker = threading.Thread(target=talk, daemon=True)
        talker.start()
        limits = itertools.cycle([1, 7, 50, 200])
        while len(script.messages) < count:
            answer = script.poll(wait=LONG, limit=next(limits))
            assert answer["events"] and not answer["resync"]
        talker.join(PATIENCE)
        assert script.messages == [str(number) for number in range(count)]
        assert [event["seq"] for event in script.events] == list(range(1, count + 1))
        script.poll()
        assert stack.redis("xlen", queue(stack, bob)) == "0", "everything was handled"
        assert reader.poll()["resync"], "the reader's place was nobody's to keep"
        with Socket(urls[0], alice, resume={"epoch": script.cursor["epoch"], "q": 0}) as a:
            # Delivered to the script: said by its polls.
            receipt = {"user": bob.id, "delivered": count, "type": "receipt"}
            assert a.wait(op="event", **receipt)["conv"] == conv


def queue(stack, account):
    return stack.redis("--scan", "--pattern", f"queue:*:{account.id}")


def test_without_a_device_nothing_stays(urls, pair, stack):
    alice, bob = pair
    with Script(urls, bob) as reader, Script(urls, alice) as script:
        reader.poll()
        script.send(urls[0], alice.conv(bob), "hello")
        assert reader.poll(wait=LONG)["events"]
        reader.poll()
        assert stack.redis("--scan", "--pattern", f"user:*:{bob.id}") == ""
        assert stack.redis("xlen", queue(stack, bob)) == "1"
        with Script(urls, bob, "phone") as device:
            device.poll()
        fields = stack.redis("hgetall", stack.redis("--scan", "--pattern", f"user:*:{bob.id}")).split()
        assert fields[0] == "device:phone" and len(fields) == 6
        assert stack.redis("xlen", queue(stack, bob)) == "0", "the only device began at the head"


def test_a_device_changes_from_socket_to_polls(urls, pair):
    alice, bob = pair
    with Script(urls, bob, "phone") as script, Script(urls, alice) as other:
        with Socket(urls[0], bob, "phone") as sock:
            other.send(urls[1], alice.conv(bob), "one")
            q = sock.wait(op="event")["q"]
            script.cursor = {"epoch": sock.ready["epoch"], "q": q}
        other.send(urls[0], alice.conv(bob), "two")
        script.poll(wait=LONG)
        with Socket(urls[1], bob, "phone", resume=script.cursor) as sock:
            assert sock.ready["mode"] == "live"
            # A poll replaces no socket.
            script.poll()
            other.send(urls[0], alice.conv(bob), "three")
            assert sock.wait(op="event")["body"] == "three"
            assert script.poll(wait=LONG)["events"][0]["body"] == "three"


def test_resync(urls, pair):
    alice, bob = pair
    conv = alice.conv(bob)
    with Script(urls, alice) as other, Script(urls, bob) as reader, Script(urls, bob, "script") as device:
        epoch = device.poll()["epoch"]
        for number in range(5):
            other.send(urls[number % 2], conv, str(number))
        stale = [(epoch, 6), (epoch, 2**53 - 1), ("other", 0), ("other", 5), ("x" * 100, 3), ("é &=\0", 3)]
        for wrong, q in stale:
            for wait in (0, LONG):
                reader.cursor = {"epoch": wrong, "q": q}
                answer = reader.poll(wait=wait)
                assert answer == {"epoch": epoch, "head": 5, "events": [], "resync": True}
        while device.cursor["q"] < 5:
            device.poll(limit=2)
        device.poll()
        assert len(device.events) == 5
        reader.cursor = {"epoch": epoch, "q": 2}
        assert reader.poll()["resync"], "below the trim point"
        other.send(urls[0], conv, "5")
        assert reader.poll(wait=LONG)["events"][0]["body"] == "5", "it goes on from the new cursor"


def test_bad_parameters(urls, pair):
    with Script(urls, pair[0]) as script:
        for parameters in (
            {"q": 1}, {"epoch": "e"}, {"epoch": "e", "q": -1}, {"epoch": "e", "q": "x"}, {"epoch": "e", "q": 1.5},
            {"epoch": "e", "q": 2**53}, {"epoch": "e", "q": "9" * 40}, {"limit": 0}, {"limit": 201}, {"limit": "x"},
            {"wait": 31}, {"wait": -1}, {"wait": "x"}, {"wait": 0.5}, {"device": "a b"}, {"device": "x" * 65},
        ):
            assert code(script.ask(urls[0], **parameters)) == "invalid", parameters
        status, _, answer = script.ask(urls[0], epoch="", q="", wait="", limit="", device="", unknown=1)
        assert (status, answer["events"], answer["resync"]) == (200, [], False)
    with Script(urls, pair[0], token="x") as script:
        assert code(script.ask(urls[0])) == "unauthorized"


# Long polling


def test_a_message_at_the_other_gateway_ends_the_wait(urls, pair, stack):
    alice, bob = pair
    with Script([urls[1]], bob) as reader, Script(urls, alice) as other:
        reader.poll()
        for number in range(5):
            with waiting([reader]) as [answer]:
                poll(lambda: listeners(stack, bob) == 1)
                began = time.monotonic()
                other.send(urls[0], alice.conv(bob), str(number))
                assert [event["body"] for event in answer.result()["events"]] == [str(number)]
                assert time.monotonic() - began < LONG / 2
    poll(lambda: listeners(stack, bob) == 0)


def test_a_wait_without_news_ends_empty(urls, pair):
    with Script(urls, pair[1]) as reader:
        start = reader.poll(wait=LONG)
        began = time.monotonic()
        assert reader.poll(wait=2) == start
        assert time.monotonic() - began >= 2


def test_a_wait_ends_with_its_token(urls, pair, stack):
    with Script(urls, pair[1]) as reader:
        reader.poll()
        reader.token = signed(stack, pair[1].token, exp=int(time.time()) + 6)
        began = time.monotonic()
        assert reader.poll(wait=LONG)["events"] == []
        assert time.monotonic() - began < LONG - 5
        poll(lambda: reader.ask(urls[0])[0] == 401)


def test_signing_out_ends_its_waits(urls, pair, stack):
    alice, bob = pair
    token = bob.login(urls[0])
    with Script(urls, bob, token=token) as leaving, Script(urls, bob) as staying, Script(urls, alice) as other:
        leaving.poll()
        staying.poll()
        with concurrent.futures.ThreadPoolExecutor(1) as pool, waiting([staying], urls[1]) as [stays]:
            leaves = pool.submit(leaving.ask, urls[1], **leaving.cursor, wait=LONG)
            poll(lambda: listeners(stack, bob) == 1)
            with Script(urls, bob, token=token) as script:
                assert script.call(urls[0], "POST", "/v1/logout")[0] == 204
            assert code(leaves.result()) == "unauthorized"
            other.send(urls[0], alice.conv(bob), "still here?")
            assert stays.result()["events"]
        assert code(leaving.ask(urls[0], **leaving.cursor, wait=LONG)) == "unauthorized"


@pytest.mark.parametrize("vanishes", [False, True])
def test_a_client_that_leaves_is_forgotten(urls, pair, stack, vanishes):
    """Whether it says so or resets the connection; and a poll, however long it waits, holds no device connected."""
    _, bob = pair
    reader = Script([urls[1]], bob, "phone")
    reader.poll()
    connection = reader.connections[urls[1]]
    query = urllib.parse.urlencode({**reader.cursor, "device": "phone", "wait": LONG})
    connection.request("GET", f"/v1/sync?{query}", headers={"Authorization": f"Bearer {bob.token}"})
    poll(lambda: listeners(stack, bob) == 1)

    def device():
        [entry] = bob.get(urls[0], "/v1/devices").json()["devices"][0]["devices"]
        return entry

    assert device()["name"] == "phone" and not device()["connected"]
    if vanishes:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    poll(lambda: listeners(stack, bob) == 0, LONG / 2)
    assert not device()["connected"]


def test_two_hundred_wait_and_all_are_answered(urls, stack):
    alice = Account(urls[0], "alice")
    people = [Account(urls[n % 2], "bob") for n in range(10)]
    readers = [Script([urls[n % 2]], people[n // 20], f"d{n % 20}" if n % 20 < 10 else None) for n in range(200)]
    with contextlib.ExitStack() as stack_of_readers, Script(urls, alice) as other:
        for reader in readers:
            stack_of_readers.enter_context(reader).poll()
        with waiting(readers) as answers:
            poll(lambda: all(listeners(stack, person) == 2 for person in people))
            assert not any(answer.done() for answer in answers)
            for person in people:
                assert other.send(urls[0], alice.conv(person), "wake up")[0] == 201
            for answer in answers:
                assert [event["body"] for event in answer.result()["events"]] == ["wake up"]
        for reader in readers:
            assert not [event for event in reader.poll()["events"] if event["type"] == "message"]


# When something fails


def test_subscriptions_cut_while_polls_wait(fleet):
    """The next SUBSCRIBE makes all who wait look again."""
    urls = fleet.gateways
    alice = Account(urls[0], "alice")
    readers = [Script(urls, Account(urls[1], "bob")) for _ in range(10)]
    with Script(urls, alice) as other:
        for reader in readers:
            reader.poll()
        with waiting(readers) as answers:
            poll(lambda: all(listeners(fleet, reader.account) == 1 for reader in readers))
            assert int(fleet.redis("client", "kill", "type", "pubsub")) > 0
            for reader in readers:
                other.send(urls[0], alice.conv(reader.account), "hello")
            for answer in answers:
                assert [event["body"] for event in answer.result()["events"]] == ["hello"]


def through(fleet, fault, heal):
    """Messages flow while polls wait and a gateway goes; nothing is missed or doubled, at whichever gateway."""
    urls = fleet.gateways
    alice = Account(urls[0], "alice")
    readers = [Script(urls, Account(urls[n % 2], "bob"), "script" if n % 2 else None) for n in range(10)]
    for reader in readers:
        reader.poll()
    stopping = threading.Event()
    sent = {reader: [] for reader in readers}
    failures = []

    def anywhere(script, call):
        """At one gateway or the other, until one answers."""
        deadline = time.monotonic() + 2 * PATIENCE
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, Unavailable):
                return call(next(script.urls))
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def talk():
        with Script(urls, alice) as script:
            for number in itertools.count():
                for reader in readers:
                    cid, body = uuid7(), str(number)
                    conv = alice.conv(reader.account)
                    status = None
                    while status not in (200, 201):
                        status, _, _ = anywhere(script, lambda url: script.send(url, conv, body, cid))
                    sent[reader].append(body)
                if stopping.wait(0.1):
                    return

    def listen(reader):
        while not (stopping.is_set() and not talker.is_alive() and len(reader.messages) >= len(sent[reader])):
            anywhere(reader, lambda url: reader.poll(url, wait=2))

    def guarded(work, *arguments):
        try:
            work(*arguments)
        except BaseException as failure:
            failures.append(failure)
            raise

    talker = threading.Thread(target=guarded, args=(talk,), daemon=True)
    listeners = [threading.Thread(target=guarded, args=(listen, reader), daemon=True) for reader in readers]
    for thread in [talker, *listeners]:
        thread.start()
    time.sleep(1)
    fault()
    time.sleep(2)
    heal()
    time.sleep(1)
    stopping.set()
    for thread in [talker, *listeners]:
        thread.join(3 * PATIENCE)
        assert not thread.is_alive() and not failures, failures
    for reader in readers:
        assert reader.messages == sent[reader]
        reader.__exit__()


def test_gateway_killed(fleet):
    through(fleet, lambda: fleet("kill", "gateway-2"), lambda: fleet("start", "gateway-2"))


def test_rolling_restart(fleet):
    def roll(name):
        printed = fleet("stop", name)
        assert "killed" not in printed, printed
        fleet("start", name)

    through(fleet, lambda: roll("gateway-1"), lambda: roll("gateway-2"))


def test_drain_ends_the_waits(fleet):
    """Empty, at once, and the process does not wait for them."""
    urls = fleet.gateways
    readers = [Script([urls[1]], Account(urls[0], "bob")) for _ in range(20)]
    for reader in readers:
        reader.poll()
    with waiting(readers) as answers:
        poll(lambda: all(listeners(fleet, reader.account) == 1 for reader in readers))
        began = time.monotonic()
        printed = fleet("stop", "gateway-2")
        assert "killed" not in printed, printed
        assert time.monotonic() - began < LONG - 10
        assert all(answer.result()["events"] == [] and not answer.result()["resync"] for answer in answers)
    fleet("start", "gateway-2")


def test_redis_away(fleet):
    """Polls that begin are told so; those that wait go on when it is back."""
    urls = fleet.gateways
    alice, bob = Account(urls[0], "alice"), Account(urls[1], "bob")
    with Script(urls, bob) as reader, Script(urls, bob) as late, Script(urls, alice) as other:
        reader.poll()
        late.poll()
        with waiting([reader]) as [answer]:
            poll(lambda: listeners(fleet, bob) == 1)
            fleet("kill", "redis")
            try:
                asked = late.ask(urls[0], **late.cursor)
                assert code(asked) == "unavailable" and int(asked[1]["Retry-After"]) >= 1
            finally:
                fleet.revive()
            cid = uuid7()
            poll(lambda: other.send(urls[0], alice.conv(bob), "back", cid)[0] in (200, 201))
            answer.result()
        while not reader.messages:
            assert not reader.poll(wait=LONG)["resync"]
        assert reader.messages == ["back"]
