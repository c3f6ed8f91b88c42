"""A client of the contract on PyPI's websockets and plain sockets; nothing of the server's code is in it."""

import base64
import contextlib
import functools
import hashlib
import hmac
import itertools
import json
import os
import secrets
import socket
import struct
import time
import urllib.parse
import uuid

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

PATIENCE = 30
HOUR = 3_600_000  # in milliseconds
PASSWORD = "a long password"
counter = itertools.count(1)

# By itself httpx waits for five seconds, and reads the certificates of all authorities for every request: 25 ms for
# nothing, since no TLS is spoken here.
for function in (httpx.request, httpx.get, httpx.post, httpx.put, httpx.patch, httpx.delete, httpx.options):
    setattr(httpx, function.__name__, functools.partial(function, timeout=PATIENCE, verify=False))


def now_ms():
    return int(time.time() * 1000)


def uuid7(offset_ms=0):
    """A cid; `offset_ms` moves its time away from now."""
    ms = (now_ms() + offset_ms).to_bytes(6, "big")
    random = bytearray(os.urandom(10))
    random[0] = random[0] & 0x0F | 0x70
    random[2] = random[2] & 0x3F | 0x80
    return str(uuid.UUID(bytes=ms + bytes(random)))


def poll(condition, seconds=PATIENCE, pause=0.1):
    """Waits until `condition` gives something true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(pause)
    return value


class Account:
    """Somebody who signed up."""

    def __init__(self, url, name="user"):
        self.username = f"{name}{next(counter)}.{secrets.token_hex(5)}"
        answer = httpx.post(
            f"{url}/v1/signup",
            json={"username": self.username, "password": PASSWORD, "display_name": name},
            timeout=PATIENCE,
        )
        assert answer.status_code == 201, answer.text
        self.take(answer.json())

    def take(self, session):
        self.id = session["user"]["id"]
        self.token = session["access_token"]

    def login(self, url):
        """The access token of a further sign-in."""
        credentials = {"username": self.username, "password": PASSWORD}
        answer = httpx.post(f"{url}/v1/login", json=credentials, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def get(self, url, path, token=None, **parameters):
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.get(f"{url}{path}", params=parameters, headers=headers, timeout=PATIENCE)

    def history(self, url, conv, **parameters):
        answer = self.get(url, f"/v1/conversations/{conv}/messages", **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["messages"]

    def conv(self, other):
        return "d:" + ":".join(sorted([self.id, other.id]))


def signed(stack, token, **changes):
    """A token as a gateway would sign it, with other claims."""
    header, claims, _ = token.split(".")
    secret = base64.b64decode((stack.directory / "token.key").read_text().split(":")[-1])
    claims = {**json.loads(base64.urlsafe_b64decode(claims + "==")), **changes}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    code = hmac.new(secret, f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}.{payload}.{base64.urlsafe_b64encode(code).decode().rstrip('=')}"


class Socket:
    """A signed-in socket. Frames are taken in any order: what nobody waited for yet stays in `backlog`."""

    def __init__(self, url, account, device="d1", token=None, resume=None, ephemeral=False, **options):
        # Without a bound, so that unread frames do not keep the library from seeing the end.
        options = {"max_queue": None, "legacy": True, **options}
        self.connection = connect(url.replace("http", "ws", 1) + "/v1/ws", open_timeout=PATIENCE, **options)
        self.backlog = []
        auth = {"op": "auth", "token": token or account.token, "device": device}
        if resume:
            auth["resume"] = resume
        if ephemeral:
            auth["ephemeral"] = True
        self.send(**auth)
        self.ready = self.wait(op="ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, **frame):
        self.connection.send(json.dumps(frame))

    def read(self, timeout=PATIENCE):
        return json.loads(self.connection.recv(timeout))

    def wait(self, timeout=PATIENCE, **fields):
        """The next frame that has these fields."""
        for index, frame in enumerate(self.backlog):
            if fields.items() <= frame.items():
                return self.backlog.pop(index)
        deadline = time.monotonic() + timeout
        while True:
            try:
                frame = self.read(max(0.01, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"no {fields}; came: {self.backlog[-5:]}") from None
            if fields.items() <= frame.items():
                return frame
            self.backlog.append(frame)

    def barrier(self):
        """Everything that the gateway wrote before is in `backlog` now. What came to the gateway before, from another
        one perhaps, may not be written yet."""
        name = secrets.token_hex(4)
        self.send(op="ping", id=name)
        return self.wait(op="pong", id=name)

    def message(self, body, cid=None, **target):
        """Sends and returns the answer."""
        cid = cid or uuid7()
        self.send(op="send", cid=cid, body=body, **target)
        return self.wait(cid=cid, op="sent")

    def attempt(self, body, cid=None, **target):
        """Sends and returns the answer, whichever it is."""
        cid = cid or uuid7()
        self.send(op="send", cid=cid, body=body, **target)
        # The sender's own event has the cid too.
        while (answer := self.wait(cid=cid))["op"] == "event":
            pass
        return answer

    def refused(self, **frame):
        """Sends a frame with an id and returns the error's code."""
        name = secrets.token_hex(4)
        self.send(**frame, id=name)
        error = self.wait(op="error", id=name)
        assert error["message"]
        return error["code"]

    def closed(self, timeout=PATIENCE):
        """Waits for the server to close, and returns its code."""
        return close_code(self.connection, self.backlog, timeout)

    @property
    def cursor(self):
        return {"epoch": self.ready["epoch"], "q": self.ready["head"]}


def bare(url, **options):
    """A socket that has not said who it is."""
    return connect(url.replace("http", "ws", 1) + "/v1/ws", open_timeout=PATIENCE, **options)


def come_back(*place, **options):
    """A socket as soon as the gateway takes one: after a loss it may have to find Redis, or to learn the epoch."""

    def attempt():
        with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError):
            return Socket(*place, **options)

    return poll(attempt, 2 * PATIENCE)


def close_code(connection, backlog, timeout=PATIENCE):
    deadline = time.monotonic() + timeout
    try:
        while True:
            backlog.append(json.loads(connection.recv(max(0.01, deadline - time.monotonic()))))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def events(sock, count):
    """The next `count` durable events in the order in which they came."""
    return [sock.wait(op="event") for _ in range(count)]


def problem(answer, status, code=None):
    """An answer of RFC 9457 with the contract's code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["title"] and body["code"]
    if code:
        assert body["code"] == code
    return body


class RawSocket:
    """A WebSocket spoken byte by byte, so that it can be spoken wrongly."""

    def __init__(self, url, token=None, device="raw"):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
        self.input = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        status, _ = self.request(
            f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert status == 101
        if token:
            self.frame(0x1, json.dumps({"op": "auth", "token": token, "device": device}).encode())
            assert self.text()["op"] == "ready"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.input.close()
        self.socket.close()

    def request(self, text):
        self.socket.sendall(text.encode())
        status = int(self.input.readline().split()[1])
        headers = {}
        while line := self.input.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def frame(self, opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
        """`length` announces another length than the payload has."""
        self.socket.sendall(frame(opcode, payload, fin, rsv, masked, length))

    def next(self, pings=False):
        """Opcode and payload of the next frame; (None, b"") at the end of the stream. The gateway's pings come at any
        time, and are left out unless they are what is wanted."""
        while True:
            opcode, payload = self.any()
            if opcode != 0x9 or pings:
                return opcode, payload

    def any(self):
        head = self.input.read(2)
        if len(head) < 2:
            return None, b""
        assert head[0] & 0x70 == 0 and head[1] & 0x80 == 0, "a server's frame has no reserved bits and no mask"
        size = head[1] & 0x7F
        if size == 126:
            size = struct.unpack(">H", self.input.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.input.read(8))[0]
        return head[0] & 0x0F, self.input.read(size)

    def text(self):
        """The next text frame."""
        while True:
            opcode, payload = self.next()
            assert opcode is not None, "the connection ended"
            if opcode == 0x1:
                return json.loads(payload)

    def closed(self):
        """The code of the close frame that ends the stream."""
        while True:
            opcode, payload = self.next()
            if opcode is None:
                return 1006
            if opcode == 0x8:
                return struct.unpack(">H", payload[:2])[0] if payload else 1005


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
    length = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if length < 126:
        head = struct.pack(">BB", first, bit | length)
    elif length < 65536:
        head = struct.pack(">BBH", first, bit | 126, length)
    else:
        head = struct.pack(">BBQ", first, bit | 127, length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
