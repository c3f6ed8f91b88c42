"""Records what clients send and see while things fail, and judges it afterwards.

Every device is a client as the contract describes it: it goes to any gateway that takes it, resumes by (epoch, q),
repeats unanswered sends with the same cid, and asks history when it is told to resync.
"""

import asyncio
import collections
import contextlib
import itertools
import json
import random
import time

import httpx
from client import PATIENCE, Account, uuid7
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

SETTLE = 90
UNANSWERED = 24
TRANSIENT = {"unavailable", "overloaded", "rate_limited"}
connections = itertools.count(1)


class Send:
    """One logical send: its attempts, and what came of it."""

    def __init__(self, sender, to, body):
        self.sender, self.to, self.body, self.cid = sender, to, body, uuid7()
        self.attempts = []  # (connection, place in it)
        self.answer = None
        self.failed = None


class Device:
    """One device of one user; `seen` holds what it knows, by mid."""

    def __init__(self, run, account, name):
        self.run, self.account, self.name = run, account, name
        self.cursor = None
        self.seen = {}
        self.wire = []  # (connection, conv, seq) in the order of arrival
        self.resyncs = 0
        self.closes = collections.Counter()
        self.outbox = collections.deque()
        self.unanswered = {}
        self.socket = None
        self.ready = asyncio.Event()

    async def live(self):
        """Connects again and again until the run ends."""
        wait = 0.05
        while True:
            try:
                await self.session(random.choice(self.run.urls))
                wait = 0.05
            except (OSError, TimeoutError, InvalidHandshake, httpx.HTTPError) as error:
                self.closes[type(error).__name__] += 1
            except WebSocketException:
                code = self.socket.close_code if self.socket else None
                self.closes[code] += 1
            finally:
                self.ready.clear()
            await asyncio.sleep(random.uniform(wait / 2, wait))
            wait = min(2 * wait, 1)

    async def session(self, url):
        self.socket = None
        async with connect(url.replace("http", "ws", 1) + "/v1/ws", open_timeout=15, ping_interval=5) as sock:
            self.socket = sock
            auth = {"op": "auth", "token": self.account.token, "device": self.name}
            if self.cursor:
                auth["resume"] = self.cursor
            await sock.send(json.dumps(auth))
            ready = json.loads(await asyncio.wait_for(sock.recv(), 15))
            if ready["op"] != "ready":
                await sock.wait_closed()
                raise OSError(f"turned away: {ready}")
            connection = next(connections)
            if ready["mode"] == "resync" or self.cursor is None:
                self.cursor = {"epoch": ready["epoch"], "q": ready["head"]}
                if ready["mode"] == "resync":
                    self.resyncs += 1
                    await asyncio.to_thread(self.resync, url)
            elif ready["mode"] == "live":
                self.run.expect(ready["head"] == self.cursor["q"], f"{self}: live, but {ready} at {self.cursor}")
            self.run.expect(self.cursor["epoch"] == ready["epoch"], f"{self}: resumed across epochs: {ready}")
            self.place = itertools.count()
            self.connection = connection
            for send in list(self.unanswered.values()):
                await self.transmit(send)
            self.ready.set()
            pump = asyncio.ensure_future(self.pump())
            try:
                while True:
                    self.received(connection, json.loads(await sock.recv()))
                    if self.cursor["q"] % 10 == 0:
                        await sock.send(json.dumps({"op": "ack", "q": self.cursor["q"]}))
            finally:
                pump.cancel()
                with contextlib.suppress(asyncio.CancelledError, WebSocketException):
                    await pump

    def received(self, connection, frame):
        if frame["op"] == "event":
            self.run.expect(frame["q"] == self.cursor["q"] + 1, f"{self}: q {frame['q']} after {self.cursor['q']}")
            self.cursor = {**self.cursor, "q": frame["q"]}
            if frame["type"] == "message":
                self.wire.append((connection, frame["conv"], frame["seq"]))
                self.learn(frame)
        elif frame["op"] == "sent":
            send = self.unanswered.pop(frame["cid"], None)
            if send:
                send.answer = frame
        elif frame["op"] == "error":
            send = self.unanswered.get(frame.get("cid"))
            if frame["code"] in TRANSIENT and send:
                self.run.refusals[frame["code"]] += 1
                asyncio.get_running_loop().call_later(frame.get("retry_ms", 500) / 1000, self.again, send)
            elif send:
                send.failed = frame
                del self.unanswered[send.cid]
                self.run.expect(False, f"{self}: {frame}")
            else:
                self.run.expect(False, f"{self}: {frame}")

    def again(self, send):
        if send.cid in self.unanswered and self.ready.is_set():
            self.run.spawn(self.transmit(send))

    async def transmit(self, send):
        send.attempts.append((self.connection, next(self.place)))
        frame = {"op": "send", "cid": send.cid, "to": send.to.id, "body": send.body}
        with contextlib.suppress(WebSocketException):
            await self.socket.send(json.dumps(frame))

    async def pump(self):
        while True:
            while self.outbox and len(self.unanswered) < UNANSWERED:
                send = self.outbox.popleft()
                self.unanswered[send.cid] = send
                await self.transmit(send)
            await asyncio.sleep(0.01)

    def resync(self, url):
        """What the contract has a client do: ask every conversation for what it does not know."""
        listed = self.account.get(url, "/v1/conversations", limit=200)
        if listed.status_code != 200:
            raise OSError(f"resync: {listed.status_code}")
        for conversation in listed.json()["conversations"]:
            for message in self.run.pages(self.account, url, conversation["id"]):
                self.learn({**message, "conv": conversation["id"]})

    def learn(self, message):
        fact = (message["conv"], message["seq"], message["from"], message["body"])
        known = self.seen.setdefault(message["mid"], fact)
        self.run.expect(known == fact, f"{self}: {message['mid']} was {known} and is {fact}")
        self.run.claim(message["conv"], message["seq"], message["mid"], f"{self}")

    def __str__(self):
        return f"{self.account.username}/{self.name}"


class Run:
    """Pairs of users with some devices each; the first device of each writes to the other user."""

    def __init__(self, urls, pairs=4, devices=2):
        self.urls = urls
        self.violations = []
        self.refusals = collections.Counter()
        self.claims = {}
        self.sends = []
        self.tasks = set()
        self.pairs = []
        for index in range(pairs):
            self.pairs.append((Account(urls[0], f"l{index}"), Account(urls[-1], f"r{index}")))
        self.devices = {
            account.id: [Device(self, account, f"d{number + 1}") for number in range(devices)]
            for pair in self.pairs for account in pair
        }

    def expect(self, truth, complaint):
        if not truth:
            self.violations.append(complaint)

    def claim(self, conv, seq, mid, who):
        """A place in a conversation belongs to one message, whoever sees it, for ever."""
        first = self.claims.setdefault((conv, seq), mid)
        self.expect(first == mid, f"{who}: {conv} {seq} is {mid}, was {first}")

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.violations.append(f"the client failed: {task.exception()!r}")

    async def __aenter__(self):
        for device in self.all_devices:
            self.spawn(device.live())
        for device in self.all_devices:
            await asyncio.wait_for(device.ready.wait(), 60)
        return self

    async def __aexit__(self, *_):
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def all_devices(self):
        return [device for devices in self.devices.values() for device in devices]

    async def flow(self, seconds, rate=100):
        """Open-loop sends from everybody, whatever the answers do."""
        loop = asyncio.get_running_loop()
        people = [(a, b) for pair in self.pairs for a, b in (pair, pair[::-1])]
        end, turn = loop.time() + seconds, 0
        while loop.time() < end:
            sender, to = people[turn % len(people)]
            send = Send(sender, to, f"{turn} from {sender.username}")
            self.sends.append(send)
            self.devices[sender.id][0].outbox.append(send)
            turn += 1
            await asyncio.sleep(1 / rate)

    async def during(self, *actions, before=2, after=2, rate=100):
        """Runs blocking actions one after the other while messages flow."""
        flow = asyncio.ensure_future(self.flow(3600, rate))
        try:
            await asyncio.sleep(before)
            for action in actions:
                await asyncio.to_thread(action)
            await asyncio.sleep(after)
        finally:
            flow.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await flow

    async def until(self, condition, what, seconds=SETTLE):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what()}; {self.violations[:5]}"
            await asyncio.sleep(0.05)

    def pages(self, account, url, conv):
        """The whole conversation, oldest first, paged by after_seq. A gateway whose store is just back may say so."""
        after, deadline = 0, time.monotonic() + PATIENCE
        while True:
            answer = account.get(url, f"/v1/conversations/{conv}/messages", after_seq=after, limit=200)
            if answer.status_code == 503 and time.monotonic() < deadline:
                time.sleep(int(answer.headers["retry-after"]))
                continue
            if answer.status_code != 200:
                raise OSError(f"history: {answer.status_code} {answer.text}")
            page = answer.json()
            yield from page["messages"]
            if not page["more"]:
                return
            after = page["messages"][-1]["seq"]

    def waiting(self):
        return sum(len(d.outbox) + len(d.unanswered) for d in self.all_devices)

    def missing(self):
        """Acknowledged messages that a device of either user does not know."""
        return [
            (str(device), send.answer["conv"], send.answer["seq"])
            for send in self.sends if send.answer
            for user in (send.sender, send.to)
            for device in self.devices[user.id]
            if send.answer["mid"] not in device.seen
        ]

    async def settle(self):
        """Waits until every send is answered and every acknowledged message is everywhere."""
        await self.until(lambda: self.waiting() == 0, lambda: f"{self.waiting()} sends have no answer")
        await self.until(lambda: not self.missing(), lambda: f"not delivered: {self.missing()[:5]}")

    async def judge(self, contiguous=True):
        """Settles, compares everything with history, and fails for whatever broke a promise."""
        await self.settle()
        assert len(self.sends) > 50, "too little was sent to tell anything"
        acknowledged = collections.Counter(send.answer["mid"] for send in self.sends if send.answer)
        self.expect(max(acknowledged.values()) == 1, "two sends were acknowledged as one message")
        for send in self.sends:
            if send.answer:
                conv, seq = send.answer["conv"], send.answer["seq"]
                self.claim(conv, seq, send.answer["mid"], "acknowledgement")
                fact = (conv, seq, send.sender.id, send.body)
                for device in self.devices[send.to.id] + self.devices[send.sender.id]:
                    got = device.seen[send.answer["mid"]]
                    self.expect(got == fact, f"{device}: {got} is not {fact}")
        self.check_order()
        for left, right in self.pairs:
            for account, url in ((left, self.urls[0]), (right, self.urls[-1])):
                messages = await asyncio.to_thread(lambda: list(self.pages(account, url, left.conv(right))))
                self.check_history(left, right, messages, contiguous)
        assert not self.violations, (len(self.violations), self.violations[:10])

    def check_history(self, left, right, messages, contiguous):
        conv = left.conv(right)
        seqs = [m["seq"] for m in messages]
        self.expect(all(a < b for a, b in zip(seqs, seqs[1:])), f"{conv}: history is out of order or repeats")
        if contiguous:
            self.expect(seqs == list(range(1, len(seqs) + 1)), f"{conv}: seq is not contiguous in history")
        sent = [s for s in self.sends if s.sender.id in (left.id, right.id)]
        bodies = collections.Counter((m["from"], m["body"]) for m in messages)
        # All bodies of a run differ: nothing stands there twice, and nothing that nobody sent.
        self.expect(set(bodies.values()) <= {1}, f"{conv}: twice in history: {bodies.most_common(3)}")
        self.expect(set(bodies) <= {(s.sender.id, s.body) for s in sent}, f"{conv}: never sent, but in history")
        mids = {m["mid"] for m in messages}
        lost = [s.answer for s in sent if s.answer and s.answer["mid"] not in mids]
        self.expect(not lost, f"{conv}: acknowledged, but not in history: {lost[:3]}")
        for device in self.devices[left.id] + self.devices[right.id]:
            self.expect(set(device.seen) <= mids, f"{device} knows what history does not")

    def check_order(self):
        by_connection = collections.defaultdict(list)
        for send in self.sends:
            if send.answer and len(send.attempts) == 1:
                connection, place = send.attempts[0]
                by_connection[connection].append((place, send.answer["seq"]))
        for connection, answers in by_connection.items():
            seqs = [seq for _, seq in sorted(answers)]
            self.expect(seqs == sorted(seqs), f"connection {connection} lost its order: {seqs}")
        for device in self.all_devices:
            last = {}
            for connection, conv, seq in device.wire:
                self.expect(last.get((connection, conv), 0) < seq, f"{device}: {conv} {seq} out of order")
                last[connection, conv] = seq
