"""Who is let in and how much of everything they may have, on a stack with small limits. Each test comes from loopback
addresses of its own, so that none uses up another's."""

import base64
import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse

import httpx
import pytest
from client import PASSWORD, PATIENCE, Account, Socket, frame, poll, uuid7
from conftest import running
from websockets.exceptions import ConnectionClosed

STRANGERS = 60
CONNECTIONS = 100
PROXY = "127.0.0.100"
BACKLOG = 120
# The lasting rates are slow: a busy machine must not take for longer than the tests to reach them.
LIMITS = {
    "handshake": "20/s:40", "send": "10/m:40", "change": "10/m:5", "typing": "10/m:5", "read": "10/m:5",
    "watch": "20/m:20", "sync": "10/m:5", "history": "20/m:20", "search": "10/m:5", "friend": "10/m:5",
    "password": "10/m:5", "request": "10/m:5", "frame": "10/m:40", "signup": "60/m:60", "token": "10/m:5",
    "login": "20/m:30", "account": "10/m:8", "guess": "10/m:4",
}
hosts = (f"127.0.{third}.{fourth}" for third in itertools.count(1) for fourth in range(1, 250))


@pytest.fixture(scope="module")
def limited(build):
    settings = {
        "PARLEY_ADDRESS_STRANGERS": str(STRANGERS), "PARLEY_ADDRESS_CONNECTIONS": str(CONNECTIONS),
        "PARLEY_TRUSTED_PROXIES": PROXY, "PARLEY_BACKLOG": str(BACKLOG),
        "PARLEY_LIMITS": ",".join(f"{name}={limit}" for name, limit in LIMITS.items()),
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


def ask(connection, **headers):
    """Asks for a socket."""
    key = base64.b64encode(os.urandom(16)).decode()
    given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    request = (
        "GET /v1/ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{given}\r\n"
    )
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # turned away before it was said
        connection.sendall(request.encode())


def upgrade(connection, **headers):
    """Asks for a socket; gives the answer's status, headers and body."""
    ask(connection, **headers)
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


def test_more_connections_than_descriptors_end_no_gateway(limited):
    limit = 400
    limited("kill", "gateway-2")
    command = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *limited.command("start", "gateway-2")]
    subprocess.run(command, timeout=300, check=True, capture_output=True)
    try:
        record = limited.processes["gateway-2"]
        url, files = record["url"], f"/proc/{record['pid']}/fd"
        # It says, and registers, what it can hold.
        log = (limited.directory / "logs/gateway-2.log").read_text()
        capacity = int(re.search(f"PARLEY_CAPACITY .*`ulimit -n` of {limit} leaves room for (\\d+)", log)[1])
        assert limited.redis("--raw", "hget", "gateway:gateway-2", "capacity") == str(capacity)
        with contextlib.ExitStack() as stack:
            silent = [(host, stack.enter_context(opened(url, host))) for host in list(itertools.islice(hosts, 20)) * 40]
            poll(lambda: len(os.listdir(files)) > capacity)
            for _ in range(30):
                assert len(os.listdir(files)) < limit
                time.sleep(0.1)
            assert len(silent) > limit
        # They have gone: it serves again.
        account = Account(limited.gateways[0], "late")
        with talk(url, account)[0] as late:
            late.barrier()
        assert limited.processes["gateway-2"]["pid"] == record["pid"]
    finally:
        limited("kill", "gateway-2")
        limited("start", "gateway-2")


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
    begin, refusals, waiting = time.monotonic(), 0, []
    with contextlib.ExitStack() as stack:
        # All at once: asked before any of them is answered.
        addresses = [next(hosts) for _ in range(5)] * 50
        storm = [(host, stack.enter_context(opened(url, host))) for host in addresses]
        for _, connection in storm:
            ask(connection)
        for host, connection in storm:
            status, headers, body = answer(connection)
            if status != 101:
                refusals += 1
                waiting.append((time.monotonic() + wait_of(status, headers, body), host))
    assert refusals > 50
    while waiting:
        due, host = min(waiting)
        waiting.remove((due, host))
        time.sleep(max(0, due - time.monotonic()))
        with opened(url, host) as connection:
            status, headers, body = upgrade(connection)
            if status != 101:
                wait = wait_of(status, headers, body)
                assert wait < 60
                waiting.append((time.monotonic() + wait, host))
        assert time.monotonic() - begin < 120, f"{len(waiting)} are still outside"


def test_a_handshake_is_to_be_quick_and_short(url, host):
    with opened(url, host) as slow, opened(url, host) as long:
        begin = time.monotonic()
        slow.sendall(b"GET /v1/ws HTTP/1.1\r\nHost: test\r\n")
        long.sendall(b"GET /v1/ws HTTP/1.1\r\nHost: test\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                long.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        status, _, body = answer(long)
        assert status == 413 and json.loads(body)["code"] == "too_large"
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < begin + PATIENCE:
                slow.sendall(b"X-Filler: x\r\n")
                if readable(slow):
                    break
                time.sleep(0.2)
        assert time.monotonic() < begin + PATIENCE
    with contextlib.ExitStack() as stack:
        def entered():
            connection = stack.enter_context(opened(url, host))
            return upgrade(connection)[0] == 101 and connection

        wordy = poll(entered)
        wordy.sendall(frame(0x1, b" " * 10_000))
        assert wordy.recv(4)[2:] == (4500).to_bytes(2, "big")


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


def exhausted(attempt, burst):
    """Repeats an attempt until it is refused; gives when it may be repeated, and the statuses from before."""
    passed = []
    while len(passed) <= 4 * burst + 20:
        answer = attempt()
        if answer.status_code == 429:
            problem = answer.json()
            assert problem["code"] == "rate_limited" and problem["status"] == 429
            assert problem["retry_ms"] > 0 and int(answer.headers["retry-after"]) * 1000 >= problem["retry_ms"]
            return time.monotonic() + problem["retry_ms"] / 1000, passed
        passed.append(answer.status_code)
    raise AssertionError(f"never refused: {passed}")


def burst(name):
    return int(LIMITS[name].partition(":")[2])


def test_each_request_has_a_limit_that_ends_when_it_says(url):
    ann, bob = Account(url, "ann"), Account(url, "bob")
    conv = ann.conv(bob)

    def calls(who, other):
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {who.token}"}, timeout=PATIENCE)
        return {
            "send": lambda: client.post(
                f"/v1/conversations/{conv}/messages", headers={"Idempotency-Key": uuid7()}, json={"body": "hello"}
            ),
            "change": lambda: client.patch(
                f"/v1/conversations/{conv}/messages/1", headers={"Idempotency-Key": uuid7()}, json={"body": "hello"}
            ),
            "read": lambda: client.post(f"/v1/conversations/{conv}/read", json={"seq": 1}),
            "history": lambda: client.get("/v1/conversations"),
            "search": lambda: client.get("/v1/users", params={"prefix": "bob"}),
            "sync": lambda: client.get("/v1/sync"),
            "friend": lambda: client.post("/v1/friends/requests", json={"user": other.id}),
            "password": lambda: client.put("/v1/me/password", json={"password": "wrong", "new_password": "x"}),
            "request": lambda: client.get("/v1/me"),
        }

    mine, others, again = calls(ann, bob), calls(bob, ann), {}
    for name, call in mine.items():
        again[name], passed = exhausted(call, burst(name))
        assert len(passed) >= burst(name), f"{name}: {passed}"
        assert others[name]().status_code != 429, f"{name}: another user is harmed"
    for name, due in again.items():
        time.sleep(max(0, due - time.monotonic()))
        poll(lambda name=name: mine[name]().status_code != 429)


def test_each_frame_has_a_limit_that_ends_when_it_says(url):
    ann, bob = Account(url, "ann"), Account(url, "bob")
    conv, mid = ann.conv(bob), "250477757187403776"
    frames = {
        "send": lambda: {"op": "send", "cid": uuid7(), "to": bob.id, "body": "hello"},
        "change": lambda: {"op": "edit", "cid": uuid7(), "conv": conv, "mid": mid, "body": "hello"},
        "typing": lambda: {"op": "typing", "conv": conv},
        "read": lambda: {"op": "read", "conv": conv, "seq": 1},
        "watch": lambda: {"op": "watch", "users": [bob.id]},
        "sync": lambda: {"op": "sync", **one.cursor},
    }

    def refusal(name):
        """What a frame gets, if it is refused for its limit."""
        key = f"{name}{next(counter)}"
        one.send(**frames[name](), id=key)
        if name in ("send", "change"):
            one.backlog.append(one.wait(id=key))
        # The limit answers at once: before the pong.
        one.barrier()
        for frame in one.backlog:
            if frame["op"] == "error" and frame.get("id") == key and frame["code"] == "rate_limited":
                assert frame["retry_ms"] > 0
                return frame
        return None

    counter, again = itertools.count(), {}
    one, other = talk(url, ann, bob)
    with one, other:
        for name in frames:
            for number in range(4 * burst(name) + 20):
                if error := refusal(name):
                    break
            assert error and number >= burst(name), name
            assert ("cid" in error) == (name in ("send", "change"))
            again[name] = time.monotonic() + error["retry_ms"] / 1000
        # Neither another user nor this one's other frames are harmed.
        other.message("hello", to=ann.id)
        one.wait(type="message", body="hello", **{"from": bob.id})
        for name, due in again.items():
            time.sleep(max(0, due - time.monotonic()))
            poll(lambda name=name: not refusal(name))


def test_who_does_not_wait_is_sent_away(url):
    ann, bob = Account(url, "ann"), Account(url, "bob")
    one, other = talk(url, ann, bob)
    with one, other:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(1000):
                one.send(op="watch", users=[])
        assert one.closed() == 4101
        assert any(frame.get("code") == "rate_limited" and frame["retry_ms"] > 0 for frame in one.backlog)
        other.barrier()
    # Who comes back and behaves is welcome.
    with talk(url, ann)[0] as again:
        again.barrier()


class Door:
    """Signs in from an address."""

    def __init__(self, url, host):
        self.client = httpx.Client(base_url=url, transport=httpx.HTTPTransport(local_address=host), timeout=PATIENCE)

    def __call__(self, name, password="not the password"):
        return self.client.post("/v1/login", json={"username": name, "password": password})


def test_an_account_is_not_guessed_nor_its_owner_locked_out(url):
    ann, home = Account(url, "ann"), Door(url, next(hosts))
    assert home(ann.username, PASSWORD).status_code == 200
    # From one address, for a name that exists and for one that does not.
    for name in (ann.username, "nobody-has-this-name"):
        again, passed = exhausted(lambda name=name, door=Door(url, next(hosts)): door(name), burst("guess"))
        assert set(passed) == {401} and len(passed) >= burst("guess")
    # From many.
    statuses = [Door(url, next(hosts))(ann.username).status_code for _ in range(4 * burst("account"))]
    assert set(statuses) == {401, 429}
    assert home(ann.username, PASSWORD).status_code == 200
    # The world's allowance is a slow one, not a lock.
    time.sleep(max(0, again - time.monotonic()))
    poll(lambda: Door(url, next(hosts))(ann.username, PASSWORD).status_code == 200)


def test_signing_up_and_tokens_are_limited_by_address(url, host):
    client = httpx.Client(base_url=url, transport=httpx.HTTPTransport(local_address=host), timeout=PATIENCE)
    for name, body in (
        ("signup", {"username": "A bad name", "password": PASSWORD}), ("token", {"refresh_token": "x" * 43}),
    ):
        again, passed = exhausted(lambda name=name, body=body: client.post(f"/v1/{name}", json=body), burst(name))
        assert len(passed) >= burst(name) and set(passed) <= {401, 422}
        assert httpx.post(f"{url}/v1/{name}", json=body, timeout=PATIENCE).status_code != 429
        time.sleep(max(0, again - time.monotonic()))
        poll(lambda name=name, body=body: client.post(f"/v1/{name}", json=body).status_code != 429)


def test_a_burst_of_sign_ins_costs_no_hashing(url, host):
    ann, bob = Account(url, "ann"), Account(url, "bob")
    tries, connections = int(os.environ.get("SIGN_INS", "2000")), 4
    body = json.dumps({"username": ann.username, "password": "not the password"}).encode()
    request = (
        f"POST /v1/login HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )

    def hammer(_):
        statuses = collections.Counter()
        with opened(url, host) as connection, connection.makefile("rb") as reader:
            for _ in range(tries // connections):
                connection.sendall(request)
                status = int(reader.readline().split()[1])
                statuses[status] += 1
                length = 0
                while line := reader.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                reader.read(length)
        return statuses

    begin = time.monotonic()
    one, other = talk(url, ann, bob)
    with one, other, concurrent.futures.ThreadPoolExecutor(connections) as pool:
        hammering = [pool.submit(hammer, number) for number in range(connections)]
        for number in range(10):
            one.message(f"{number}", to=bob.id)
            assert other.wait(type="message", body=str(number))
        statuses = sum((one.result() for one in hammering), collections.Counter())
    elapsed = time.monotonic() - begin
    assert sum(statuses.values()) == tries and set(statuses) == {401, 429}
    # Only these were hashed.
    assert statuses[401] <= burst("guess") + elapsed / 6 + 1
    print(f"{tries} sign-ins in {elapsed:.1f} s: {dict(statuses)}")


def test_under_load_what_matters_least_is_given_up_first(limited, url):
    users = [Account(url, "crowd") for _ in range(5)]
    sockets = talk(url, *users)
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        reader = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {users[0].token}"}, timeout=PATIENCE
        )

        def error(socket, **frame):
            name = uuid7()
            socket.send(**frame, id=name)
            socket.barrier()
            found = [answer for answer in socket.backlog if answer["op"] == "error" and answer.get("id") == name]
            return found[0] if found and found[0]["code"] == "overloaded" else None

        def sent(number):
            """Whether one more message is committed, of whoever may send one."""
            sender, other = sockets[number % 5], users[(number + 1) % 5]
            cid = uuid7()
            sender.send(op="send", cid=cid, to=other.id, body="hello")
            answer = sender.wait(cid=cid)
            assert answer["op"] == "sent" or answer["retry_ms"] > 0
            return answer["op"] == "sent"

        def backlog():
            """What waits for the archive, as the gateways count it."""
            lanes = limited.redis("--scan", "--pattern", "lane:*").split()
            return sum(int(limited.redis("XLEN", lane)) for lane in lanes)

        poll(lambda: backlog() < BACKLOG // 2)
        limited("stop", "worker-1")
        try:
            # Nothing is archived: presence goes first, while sends go on.
            numbers = itertools.count()
            while backlog() < BACKLOG * 83 // 100:
                assert sent(next(numbers))
            refusal = poll(lambda: error(sockets[4], op="watch", users=[]))
            assert refusal["retry_ms"] > 0
            assert reader.get("/v1/conversations").status_code == 200
            while backlog() < BACKLOG * 97 // 100:
                assert sent(next(numbers))
            answer = poll(lambda: (found := reader.get("/v1/conversations")).status_code == 503 and found)
            assert answer.json()["code"] == "overloaded" and int(answer.headers["retry-after"]) > 0
            answer = poll(lambda: (found := Door(url, next(hosts))("nobody")).status_code == 503 and found)
            assert answer.json()["code"] == "overloaded"
            assert sent(next(numbers)), "sends go last"
        finally:
            limited("start", "worker-1")
        poll(lambda: reader.get("/v1/conversations").status_code == 200, seconds=60)
        poll(lambda: not error(sockets[4], op="watch", users=[]), seconds=60)
