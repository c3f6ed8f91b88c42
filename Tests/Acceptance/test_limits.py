"""Who is let in and how much of everything they may have, on a stack with small limits. Each test comes from loopback
addresses of its own, so that none uses up another's."""

import base64
import contextlib
import itertools
import json
import os
import socket
import time
import urllib.parse

import pytest
from client import PATIENCE, Account, Socket, frame, poll
from conftest import running

STRANGERS = 60
CONNECTIONS = 100
PROXY = "127.0.0.100"
LIMITS = {
    "handshake": "40/s:80",
}
hosts = (f"127.0.{third}.{fourth}" for third in itertools.count(1) for fourth in range(1, 250))


@pytest.fixture(scope="module")
def limited(build):
    settings = {
        "PARLEY_ADDRESS_STRANGERS": str(STRANGERS), "PARLEY_ADDRESS_CONNECTIONS": str(CONNECTIONS),
        "PARLEY_TRUSTED_PROXIES": PROXY, "PARLEY_LIMITS": ",".join(f"{name}={limit}" for name, limit in LIMITS.items()),
    }
    with running(build, options=["--rate-limits"], **settings) as stack:
        yield stack


@pytest.fixture
def url(limited):
    return limited.gateways[0]


@pytest.fixture
def host():
    """A client's address that no other test has."""
    return next(hosts)


def opened(url, host):
    """A connection from `host` on which nothing was said yet."""
    parts = urllib.parse.urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE, source_address=(host, 0))
    connection.settimeout(PATIENCE)
    return connection


def upgrade(connection, **headers):
    """Asks for a socket; gives the answer's status, headers and body."""
    key = base64.b64encode(os.urandom(16)).decode()
    given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    request = (
        "GET /v1/ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{given}\r\n"
    )
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # turned away before it was said
        connection.sendall(request.encode())
    return answer(connection)


def answer(connection):
    with connection.makefile("rb") as reader:
        status = int(reader.readline().split()[1])
        headers = {}
        while line := reader.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, reader.read(int(headers.get("content-length", 0)))


def wait_of(status, headers, body):
    """Seconds until a refusal says that it makes sense to try again."""
    problem = json.loads(body)
    assert status == problem["status"] == 503 and problem["code"] == "overloaded", problem
    assert problem["retry_ms"] > 0 and int(headers["retry-after"]) * 1000 >= problem["retry_ms"]
    return problem["retry_ms"] / 1000


def talk(url, *accounts):
    """Sockets of these accounts, let in sooner or later."""
    def enter(account):
        with contextlib.suppress(Exception):
            return Socket(url, account)
    return [poll(lambda account=account: enter(account)) for account in accounts]


def test_thousands_of_half_open_connections_from_one_address_harm_nobody(url, host):
    ann, bob = Account(url, "ann"), Account(url, "bob")
    with contextlib.ExitStack() as stack:
        first, second = [stack.enter_context(one) for one in talk(url, ann, bob)]
        silent = [stack.enter_context(opened(url, host)) for _ in range(2000)]
        # Most are turned away; of an answer's reading depends nothing.
        refused = poll(lambda: [one for one in silent if readable(one)])
        wait_of(*answer(refused[0]))
        for number in range(20):
            first.message(f"{number}", to=bob.id)
            assert second.wait(type="message", body=str(number))
        # Others may come meanwhile, and this address too when it has waited.
        third, = [stack.enter_context(one) for one in talk(url, ann)]
        third.barrier()
        poll(lambda: len([one for one in silent if readable(one)]) == 2000)
        with opened(url, host) as late:
            assert upgrade(late)[0] in (101, 503)


def readable(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) is not None
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(PATIENCE)


def test_an_address_has_so_many_connections(url, host):
    ann = Account(url, "ann")
    auth = json.dumps({"op": "auth", "token": ann.token, "device": "d", "ephemeral": True}).encode()
    with contextlib.ExitStack() as stack:
        def enter(number):
            connection = stack.enter_context(opened(url, host))
            status, headers, body = upgrade(connection)
            if status == 101:
                connection.sendall(frame(0x1, auth.replace(b'"d"', b'"d%d"' % number)))
                return 0
            problem = json.loads(body)
            wait = wait_of(status, headers, body)
            if "connections from" in problem["detail"]:
                return wait
            time.sleep(min(wait, 1))
            return enter(number)

        assert all(enter(number) == 0 for number in range(CONNECTIONS // 2))
        # Idle connections for requests count as well.
        wait = 0
        while not wait:
            connection = stack.enter_context(opened(url, host))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
            status, headers, body = answer(connection)
            wait = 0 if status == 200 else wait_of(status, headers, body)
        with opened(url, next(hosts)) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
            assert answer(other)[0] == 200
    # The connections have ended: soon there is room again.
    def enters():
        with opened(url, host) as connection:
            return upgrade(connection)[0] == 101
    poll(enters)


def test_a_storm_of_handshakes_is_spread_and_then_let_in(url):
    addresses = [next(hosts) for _ in range(5)]
    waiting = [(0.0, addresses[number % 5]) for number in range(300)]
    refusals, begin = 0, time.monotonic()
    while waiting:
        due, address = min(waiting)
        waiting.remove((due, address))
        time.sleep(max(0, begin + due - time.monotonic()))
        with opened(url, address) as connection:
            status, headers, body = upgrade(connection)
            if status != 101:
                refusals += 1
                wait = wait_of(status, headers, body)
                assert wait < 60
                waiting.append((time.monotonic() - begin + wait, address))
        assert time.monotonic() - begin < 120, f"{len(waiting)} are still outside"
    assert refusals > 50


def test_a_handshake_is_to_be_quick_and_short(url, host):
    with opened(url, host) as slow, opened(url, host) as long:
        begin = time.monotonic()
        long.sendall(b"GET /v1/ws HTTP/1.1\r\nHost: test\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                long.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        status, _, body = answer(long)
        assert status == 413 and json.loads(body)["code"] == "too_large"
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < begin + PATIENCE:
                slow.sendall(b"X-Filler: x\r\n" if time.monotonic() > begin + 1 else b"GET /v1/ws HTTP/1.1\r\nHost: t\r\n")
                if readable(slow):
                    break
                time.sleep(0.2)
        assert time.monotonic() < begin + PATIENCE


def test_only_the_proxy_says_where_a_client_is_from(url, host):
    def fill(source, **headers):
        """Opens sockets that say nothing until one is refused for its address."""
        for _ in range(10 * STRANGERS):
            connection = stack.enter_context(opened(url, source))
            status, told, body = upgrade(connection, **headers)
            if status == 503:
                wait = wait_of(status, told, body)
                detail = json.loads(body)["detail"]
                if "connections from" in detail:
                    return detail
                time.sleep(min(wait, 0.2))
        raise AssertionError("never refused")

    with contextlib.ExitStack() as stack:
        assert "198.51.100.7" in fill(PROXY, X_Forwarded_For="203.0.113.1, 198.51.100.7")
        poll(lambda: upgrade(stack.enter_context(opened(url, PROXY)), X_Forwarded_For="198.51.100.8")[0] == 101)
        assert "2001:db8:1:2::" in fill(PROXY, X_Forwarded_For="2001:db8:1:2:3::4")
        assert host in fill(host, X_Forwarded_For="198.51.100.9")
