"""The registry, whom it offers to clients, and how gateways and sessions leave: drained, cut off, or too many."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent import futures
from urllib.parse import urlsplit

import httpx
import pytest
from client import PATIENCE, Account, Socket, close_code, poll, uuid7
from conftest import running
from stacklib import processes

LEASE = 3  # seconds
FIELDS = {"url", "zone", "sessions", "capacity", "lag_us", "cpu_pct", "draining", "started", "version", "instance",
          "sent", "delivered", "sends_s", "delivered_s"}
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module")
def fleet(build):
    """Two gateways and a worker that these tests may break; each leaves them running. Ten sessions are already many."""
    with running(build, PARLEY_REBALANCE_SESSIONS="10") as stack:
        yield stack


def entry(stack, name):
    fields = stack.redis("hgetall", f"gateway:{name}").split("\n")
    return dict(zip(fields[::2], fields[1::2]))


def offered(url, **parameters):
    """Empty where the gateway does not know, or does not answer."""
    try:
        answer = httpx.get(f"{url}/v1/gateways", params=parameters, timeout=PATIENCE)
    except httpx.TransportError:
        return []
    return [gateway["url"] for gateway in answer.json().get("gateways", [])]


def known_everywhere(stack, urls):
    return all(sorted(offered(url)) == sorted(urls) for url in urls)


def readiness(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=PATIENCE).status_code
    except httpx.TransportError:
        return None


def launch(stack, name, **settings):
    """A further process of a gateway's kind, outside of the stack."""
    record = stack.processes["gateway-1"]
    log = stack.directory / "logs" / f"extra-{uuid7()}.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [record["argv"][0], "gateway", "--name", name, "--bind", "127.0.0.1"],
            env={**os.environ, **record["env"], **settings}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )
    return child, log


@contextlib.contextmanager
def extra(stack, name, **settings):
    """A further gateway that is ready: its process, its URL and its log."""
    port = processes.free_port(set())
    url = f"http://127.0.0.1:{port}"
    child, log = launch(stack, name, PARLEY_PORT=str(port), PARLEY_PUBLIC_URL=url, **settings)
    try:
        poll(lambda: readiness(url) == 200, 60)
        yield child, url, log
    finally:
        child.kill()
        child.wait()


def test_an_entry_says_what_an_operator_asks(fleet):
    for gateway in fleet.json["gateways"]:
        said = entry(fleet, gateway["name"])
        assert set(said) >= FIELDS
        assert said["url"] == gateway["url"]
        assert (said["zone"], said["capacity"], said["draining"]) == ("default", "18000", "0")
        assert all(int(said[field]) >= 0 for field in ("sessions", "lag_us", "cpu_pct"))
        now = int(fleet.redis("time").split()[0])
        assert now - 3600 < int(said["started"]) / 1000 <= now + 1
        assert 0 < int(fleet.redis("pttl", f"gateway:{gateway['name']}")) <= LEASE * 1000
    with Socket(fleet.gateways[0], Account(fleet.gateways[0])):
        poll(lambda: entry(fleet, "gateway-1")["sessions"] == "1")


def test_offers_by_zone_and_never_the_stale_draining_or_full(fleet):
    urls = fleet.gateways
    poll(lambda: known_everywhere(fleet, urls))
    full = {"url": "http://full", "zone": "default", "sessions": "5", "capacity": "5", "draining": "0"}
    draining = {"url": "http://draining", "zone": "default", "sessions": "0", "capacity": "5", "draining": "1"}
    far = {"url": "http://far", "zone": "far", "sessions": "0", "capacity": "5000", "draining": "0"}
    far["started"] = "9" * 15  # a clock that is wrong by ages
    stale = {"url": "http://stale", "zone": "default", "sessions": "0", "capacity": "5", "draining": "0"}
    others = {"x-full": full, "x-draining": draining, "x-far": far, "x-stale": stale}
    try:
        for name, fields in others.items():
            fleet.redis("hset", f"gateway:{name}", *[part for pair in fields.items() for part in pair])
            fleet.redis("sadd", "gateways", name)
        fleet.redis("pexpire", "gateway:x-stale", "1")
        poll(lambda: all(sorted(offered(url)) == sorted([*urls, "http://far"]) for url in urls))
        for url in urls:
            assert offered(url, zone="far")[0] == "http://far"
            assert all(offered(url, zone="default")[-1] == "http://far" for _ in range(20))
        assert {offered(urls[0], zone="default")[0] for _ in range(100)} == set(urls), "many clients at once spread"
        poll(lambda: fleet.redis("sismember", "gateways", "x-stale") == "0")
    finally:
        for name in others:
            fleet.redis("del", f"gateway:{name}")
            fleet.redis("srem", "gateways", name)
    poll(lambda: known_everywhere(fleet, urls))


def test_a_killed_gateway_is_not_offered_for_long_and_may_have_its_name_again(fleet):
    first, second = fleet.gateways
    poll(lambda: known_everywhere(fleet, [first, second]))
    fleet("kill", "gateway-2")
    poll(lambda: offered(first) == [first])
    fleet("start", "gateway-2")
    assert entry(fleet, "gateway-2")["url"] == second
    poll(lambda: known_everywhere(fleet, [first, second]))
    # Its name is free again at the latest when its lease is over.
    fleet("kill", "gateway-2")
    fleet("start", "gateway-2")
    poll(lambda: known_everywhere(fleet, [first, second]))


def test_a_second_of_the_same_name_does_not_start(fleet):
    instance = entry(fleet, "gateway-1")["instance"]
    child, log = launch(fleet, "gateway-1", PARLEY_PORT=str(processes.free_port(set())))
    try:
        assert child.wait(PATIENCE * 2) == 1
    finally:
        child.kill()
    said = [line for line in log.read_text().splitlines() if line.startswith("parley:")]
    assert len(said) == 1 and "gateway-1" in said[0] and "--name" in said[0], log.read_text()
    assert entry(fleet, "gateway-1")["instance"] == instance


def test_a_gateway_whose_name_is_taken_says_so_and_leaves(fleet):
    name = "taken-1"
    with extra(fleet, name) as (child, url, log):
        try:
            with Socket(url, Account(fleet.gateways[0]), ephemeral=True) as sock:
                fleet.redis("hset", f"gateway:{name}", "instance", "another")
                fleet.redis("persist", f"gateway:{name}")
                assert sock.wait(op="goaway")["url"] in fleet.gateways
                assert sock.closed() == 4000
            assert child.wait(PATIENCE * 2) == 1
            assert [line for line in log.read_text().splitlines() if line.startswith("parley:") and name in line]
            assert entry(fleet, name)["instance"] == "another", "what is another's stays"
        finally:
            fleet.redis("del", f"gateway:{name}")


# Drain


def test_a_drain_is_shown_refuses_newcomers_and_ends_in_order(fleet):
    """With a long window, so that there is time to look; it is over when the last one has gone."""
    with extra(fleet, "drained-1", PARLEY_DRAIN_MS="600000") as (child, url, log):
        ann, bob = Account(fleet.gateways[0], "ann"), Account(fleet.gateways[0], "bob")
        sockets = [Socket(url, ann, f"d{n}", ephemeral=True) for n in range(5)]
        cursor = bob.get(url, "/v1/sync").json()
        with futures.ThreadPoolExecutor() as pool:
            where = {"epoch": cursor["epoch"], "q": cursor["head"], "wait": 30}
            waiting = pool.submit(bob.get, url, "/v1/sync", **where)
            poll(lambda: fleet.redis("pubsub", "numsub", f"user:{bob.id}").split()[-1] == "1")
            child.send_signal(signal.SIGTERM)
            answer = waiting.result()
            assert answer.status_code == 200 and answer.json()["events"] == []
        assert bob.get(url, "/v1/sync", **where).json()["code"] == "unavailable"
        said = [sock.wait(op="goaway") for sock in sockets]
        assert {each["url"] for each in said} <= set(fleet.gateways)
        assert {each["reason"] for each in said} == {"drain"}
        assert all(0 <= each["reconnect_ms"] <= 450_000 for each in said)
        assert len({each["reconnect_ms"] for each in said}) > 1, "spread over the window"
        # The old socket serves on until the client is elsewhere, and requests are answered.
        assert sockets[0].message("while it drains", to=bob.id)["seq"] >= 1
        assert ann.get(url, "/v1/me").status_code == 200
        assert readiness(url) == 503
        poll(lambda: entry(fleet, "drained-1")["draining"] == "1")
        poll(lambda: known_everywhere(fleet, fleet.gateways))
        refused = httpx.get(f"{url}/v1/ws", headers=UPGRADE, timeout=PATIENCE)
        assert refused.status_code == 503 and refused.headers["retry-after"]
        for sock in sockets:
            sock.connection.close()
        assert child.wait(PATIENCE * 2) == 0
        assert entry(fleet, "drained-1") == {}


def test_who_stays_is_closed_within_the_window(fleet):
    with extra(fleet, "drained-2", PARLEY_DRAIN_MS="2000") as (child, url, _):
        ann = Account(fleet.gateways[0], "ann")
        sockets = [Socket(url, ann, f"d{n}", ephemeral=True) for n in range(5)]
        child.send_signal(signal.SIGTERM)
        assert [sock.closed() for sock in sockets] == [4000] * 5
        assert all(any(frame["op"] == "goaway" for frame in sock.backlog) for sock in sockets)
        assert child.wait(PATIENCE * 2) == 0


def test_sends_in_flight_are_answered_before_a_drained_socket_closes(fleet):
    """Redis stands still when the time comes: the answers come first, the close after them."""
    with extra(fleet, "drained-3", PARLEY_DRAIN_MS="0") as (child, url, _):
        ann, bob = Account(fleet.gateways[0], "ann"), Account(fleet.gateways[0], "bob")
        with Socket(url, ann, ephemeral=True) as sock:
            sock.message("opens it", to=bob.id)
            cids = [uuid7() for _ in range(5)]
            fleet("pause", "redis")
            try:
                for cid in cids:
                    sock.send(op="send", cid=cid, to=bob.id, body="in flight")
                sock.barrier()
                child.send_signal(signal.SIGTERM)
                sock.wait(op="goaway")
            finally:
                fleet("resume", "redis")
            # Where Redis stood still for too long, the answer is an error.
            for cid in cids:
                sock.wait(cid=cid)
            assert sock.closed() == 4000
        assert child.wait(PATIENCE * 2) == 0
    poll(lambda: known_everywhere(fleet, fleet.gateways))


def test_a_second_sigterm_ends_at_once(fleet):
    with extra(fleet, "drained-4", PARLEY_DRAIN_MS="600000") as (child, url, log):
        with Socket(url, Account(fleet.gateways[0]), ephemeral=True) as sock:
            child.send_signal(signal.SIGTERM)
            sock.wait(op="goaway")
            poll(lambda: "draining" in log.read_text())
            # It may not listen for the second one yet.
            poll(lambda: child.send_signal(signal.SIGTERM) or child.poll() is not None, pause=1)
            assert child.returncode != 0
            assert close_code(sock.connection, sock.backlog) == 1006
    poll(lambda: known_everywhere(fleet, fleet.gateways))


def test_connections_that_had_said_nothing_do_not_outlive_the_drain(fleet):
    """The first request of one may come when the server ends already. Its answer is its last."""
    with extra(fleet, "drained-5", PARLEY_DRAIN_MS="0") as (child, url, _):
        address = (urlsplit(url).hostname, urlsplit(url).port)
        silent, eager = socket.create_connection(address), socket.create_connection(address)
        eager.settimeout(PATIENCE)
        child.send_signal(signal.SIGTERM)
        poll(lambda: readiness(url) is None, pause=0.02)

        def is_over():
            try:
                eager.sendall(b"GET /healthz HTTP/1.1\r\nHost: parley\r\n\r\n")
                return not eager.recv(4096)
            except OSError:
                return True

        poll(is_over)
        assert child.wait(PATIENCE * 2) == 0
        silent.close()
        eager.close()


def test_a_request_that_never_ends_does_not_keep_the_process(fleet):
    with extra(fleet, "drained-6", PARLEY_DRAIN_MS="0") as (child, url, _):
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as slow:
            slow.sendall(b"POST /v1/login HTTP/1.1\r\nHost: parley\r\nContent-Length: 1000\r\n\r\n{")

            def has_ended():
                with contextlib.suppress(OSError):
                    slow.sendall(b" ")
                return child.poll() is not None

            time.sleep(1)
            assert not has_ended()
            child.send_signal(signal.SIGTERM)
            poll(has_ended, 60, pause=0.5)
    poll(lambda: known_everywhere(fleet, fleet.gateways))


# Cut off from Redis


class Link:
    """A way to Redis that can be broken for one gateway alone."""

    def __init__(self, port):
        self.port, self.is_open, self.pairs = port, True, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.port))
            self.pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def pass_on(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.is_open = False
        for pair in self.pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self.pairs = []

    def mend(self):
        self.is_open = True


def test_a_gateway_cut_off_from_redis_leaves_and_tells_its_clients(fleet):
    link = Link(fleet.json["redis"]["port"])
    redis = f"redis://127.0.0.1:{link.address[1]}"
    with extra(fleet, "lonely", PARLEY_REDIS_URL=redis) as (_, url, _log), contextlib.closing(link.listener):
        poll(lambda: url in offered(fleet.gateways[0]))
        with Socket(url, Account(fleet.gateways[0], "ann"), ephemeral=True) as sock:
            link.cut()
            poll(lambda: known_everywhere(fleet, fleet.gateways))
            goaway = sock.wait(60, op="goaway")
            assert goaway["reason"] == "unavailable" and goaway["url"] in fleet.gateways
            assert readiness(url) == 503
            assert httpx.get(f"{url}/v1/gateways", timeout=PATIENCE).status_code == 503
            # Nobody is thrown out: where the others are no better off, staying is best.
            sock.barrier()
            link.mend()
            poll(lambda: readiness(url) == 200, 60)
            poll(lambda: url in offered(fleet.gateways[0]))
            sock.message("back again", to=Account(fleet.gateways[0], "bob").id)
    poll(lambda: known_everywhere(fleet, fleet.gateways))


def test_without_redis_everybody_stays(fleet):
    ann = Account(fleet.gateways[0], "ann")
    bob = Account(fleet.gateways[0], "bob")
    with Socket(fleet.gateways[0], ann, ephemeral=True) as sock:
        fleet("kill", "redis")
        try:
            goaway = sock.wait(60, op="goaway")
            assert goaway["reason"] == "unavailable"
            # There is nothing better elsewhere, and it says so at once.
            poll(lambda: httpx.get(f"{goaway['url']}/v1/ws", headers=UPGRADE, timeout=PATIENCE).status_code == 503)
        finally:
            fleet("start", "redis")
        poll(lambda: fleet.attempt("status").returncode == 0, 60)
        poll(lambda: known_everywhere(fleet, fleet.gateways))
        cid = uuid7()

        def sent():
            sock.send(op="send", cid=cid, to=bob.id, body="still here")
            frame = sock.wait(cid=cid)
            return frame["op"] == "sent"

        poll(sent)


# Rebalancing


def test_sessions_move_to_a_gateway_that_has_fewer(fleet):
    """Thirty on the first, none on the second: those above the band are told, no more of them, and none comes back."""
    first, second = fleet.gateways
    poll(lambda: known_everywhere(fleet, [first, second]))
    ann = Account(first, "ann")
    at = {first: [Socket(first, ann, f"r{n}", ephemeral=True) for n in range(30)], second: []}

    def follow():
        for url in (first, second):
            for sock in list(at[url]):
                sock.barrier()
                told = [frame for frame in sock.backlog if frame["op"] == "goaway"]
                if told:
                    assert (told[0]["reason"], told[0]["url"]) == ("rebalance", second if url == first else first)
                    moved.append((url, told[0]["url"]))
                    at[told[0]["url"]].append(Socket(told[0]["url"], ann, f"m{len(moved)}", ephemeral=True))
                    sock.connection.close()
                    at[url].remove(sock)

    moved = []
    try:
        # Its share is 15; it stops at half of the band above it.
        poll(lambda: follow() or len(at[first]) <= 16, 60)
        for _ in range(8):
            time.sleep(0.5)
            follow()
        assert len(at[first]) in (15, 16) and len(at[second]) in (14, 15)
        assert {way for way in moved} == {(first, second)}, "nobody is sent back"
    finally:
        for sock in at[first] + at[second]:
            sock.connection.close()
