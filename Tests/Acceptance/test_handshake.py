"""What comes before the upgrade to a WebSocket, or in place of it."""

import socket
import urllib.parse

import httpx
import pytest
from client import PATIENCE, RawSocket, Socket, bare, problem
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.usefixtures("unnoticed")


UPGRADE = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    "status, change",
    [
        (400, {"Sec-WebSocket-Protocol": "other.v1"}),
        (400, {"Upgrade": None, "Connection": None}),
        (400, {"Upgrade": "h2c"}),
        (400, {"Sec-WebSocket-Version": "8"}),
        (400, {"Sec-WebSocket-Version": None}),
        (400, {"Sec-WebSocket-Key": None}),
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "null"}),
    ],
)
def test_refused_before_the_upgrade(urls, status, change):
    headers = {name: value for name, value in {**UPGRADE, **change}.items() if value is not None}
    answer = httpx.get(f"{urls[0]}/v1/ws", headers=headers, timeout=PATIENCE)
    problem(answer, status)


def test_plain_get_of_the_socket(urls):
    problem(httpx.get(f"{urls[0]}/v1/ws"), 400, "bad_frame")


def test_offers_and_origins_that_pass(urls):
    for origin in (urls[0], urls[1], urls[0].replace("127.0.0.1", "localhost"), None):
        with bare(urls[0], origin=origin, subprotocols=["other.v1", "parley.v1"]) as sock:
            assert sock.subprotocol == "parley.v1"
    with bare(urls[0]) as sock:
        assert sock.subprotocol is None
    with pytest.raises(InvalidStatus) as refusal:
        bare(urls[0], origin="http://evil.example")
    assert refusal.value.response.status_code == 403


def test_upgrade_as_second_request(urls):
    parts = urllib.parse.urlsplit(urls[0])
    headers = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        reader = connection.makefile("rb")
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        assert b" 200 " in reader.readline()
        size = 0
        while line := reader.readline().strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        reader.read(size)
        connection.sendall(f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode())
        assert b" 307 " in reader.readline()
        reader.close()


def test_slow_handshakes_are_ended(urls):
    parts = urllib.parse.urlsplit(urls[0])
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n")
        assert connection.recv(100) == b"", "the gateway waits for the rest for ever"


def test_many_half_open_sockets(urls, pair):
    parts = urllib.parse.urlsplit(urls[0])
    held = [socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) for _ in range(400)]
    strangers = [RawSocket(urls[0]) for _ in range(50)]
    try:
        alice, bob = pair
        with Socket(urls[0], alice) as a, Socket(urls[0], bob) as b:
            sent = a.message("through the crowd", to=bob.id)
            assert b.wait(op="event")["mid"] == sent["mid"]
        assert {stranger.closed() for stranger in strangers} == {4500}
    finally:
        for connection in held:
            connection.close()
        for stranger in strangers:
            stranger.__exit__()
