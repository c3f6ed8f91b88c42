"""What ends a socket and what does not: tokens, bad frames, violations of RFC 6455."""

import base64
import json
import random
import struct
import time

import httpx
import pytest
from client import RawSocket, Socket, bare, close_code, frame, signed, uuid7

pytestmark = pytest.mark.usefixtures("unnoticed")


def test_no_auth_in_time(urls):
    begin = time.monotonic()
    with bare(urls[0]) as sock:
        sock.ping()
        assert close_code(sock, []) == 4500
        assert time.monotonic() - begin > 3


def test_only_our_valid_tokens(urls, pair, stack):
    alice, bob = pair
    good = signed(stack, alice.token, exp=int(time.time()) + 60)
    with Socket(urls[0], alice, token=good):
        pass
    header, claims, code = alice.token.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    bad = [
        signed(stack, alice.token, exp=int(time.time()) - 1),
        signed(stack, alice.token, aud="another"),
        signed(stack, alice.token, iss="another"),
        f"{none}.{claims}.", f"{none}.{claims}.{code}", f"{header}.{claims}.", f"{header}.{claims}",
        f"{header}.{claims}.{code[:-6]}AAAAAA", f"{header}.{bob.token.split('.')[1]}.{code}",
        "", "a.b.c", "x" * 5000, alice.token + ".", "é.é.é",
    ]
    for token in bad:
        with bare(random.choice(urls)) as sock:
            sock.send(json.dumps({"op": "auth", "token": token, "device": "d1"}))
            assert close_code(sock, []) == 4500, token
        if token.isascii() and token:
            assert alice.get(urls[0], "/v1/me", token=token).status_code == 401, token


@pytest.mark.parametrize(
    "first",
    ['{"op":"ping"}', "{", "[]", '{"op":"nonsense"}', '{"op":"auth"}', '{"op":"auth","token":1,"device":"d"}',
     '{"op":"auth","token":"x","device":"bad device"}', "", " " * 65536],
)
def test_first_frame_must_be_auth(urls, first):
    with bare(urls[0]) as sock:
        sock.send(first)
        assert close_code(sock, []) == 4500


def test_second_auth_is_a_bad_frame(urls, pair):
    with Socket(urls[0], pair[0]) as a:
        assert a.refused(op="auth", token=pair[1].token, device="d1") == "bad_frame"
        a.barrier()


BAD = [
    "{", "", "null", "7", "[]", '"x"', '{"op":"ping"} x', '{"op":"ping",}', "{'op':'ping'}", '{"op":"nonsense"}',
    '{"op":7}', '{"op":"send"}', '{"op":"ack"}', '{"op":"ack","q":"1"}', '{"op":"ack","q":1.5}',
    '{"op":"ack","q":9007199254740993}', '{"op":"ping","id":{}}', '{"op":"ping","id":"' + "x" * 65 + '"}',
    '{"op":"ping","x":' + "[" * 20000 + "]" * 20000 + "}", '{"op":"ping","x":' * 3000 + "1" + "}" * 3000,
    '{"op":"ping","x":"\\ud800"}'[:-2], '{"op":"ping","x":01}', '{"op":"ping","x":"\x01"}', '{"op":"ping","x":tru}',
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_bad_frame_leaves_the_socket(urls, pair, bad):
    with Socket(urls[0], pair[0]) as a:
        a.connection.send(bad)
        assert a.wait(op="error")["code"] == "bad_frame"
        a.barrier()


def test_send_must_name_one_target(urls, pair):
    alice, bob = pair
    with Socket(urls[0], alice) as a:
        base = {"op": "send", "cid": uuid7(), "body": "x"}
        for change in (
            {}, {"to": bob.id, "conv": alice.conv(bob)}, {"to": 7}, {"to": bob.id, "body": 7},
            {"to": bob.id, "body": None}, {"to": bob.id, "data": []}, {"to": bob.id, "data": "x"},
        ):
            assert a.refused(**{**base, **change}) == "bad_frame", change


def test_the_tenth_bad_frame_closes(urls, pair):
    with Socket(urls[0], pair[0]) as a:
        for _ in range(9):
            assert a.refused(op="nonsense") == "bad_frame"
        # Mistakes in content do not count.
        assert a.refused(op="send", cid=uuid7(), to="nobody1", body="x") == "not_found"
        a.barrier()
        a.connection.send("{")
        assert a.closed() == 4501


VIOLATIONS = {
    "unmasked": (1002, lambda s: s.frame(0x1, b"{}", masked=False)),
    "unmasked control": (1002, lambda s: s.frame(0x9, b"", masked=False)),
    "rsv1": (1002, lambda s: s.frame(0x1, b"{}", rsv=4)),
    "rsv2": (1002, lambda s: s.frame(0x1, b"{}", rsv=2)),
    "rsv3 in a control frame": (1002, lambda s: s.frame(0x9, b"", rsv=1)),
    "opcode 3": (1002, lambda s: s.frame(0x3, b"{}")),
    "opcode 11": (1002, lambda s: s.frame(0xB, b"")),
    "fragmented ping": (1002, lambda s: s.frame(0x9, b"", fin=False)),
    "long ping": (1002, lambda s: s.frame(0x9, b"x" * 126)),
    "continuation of nothing": (1002, lambda s: s.frame(0x0, b"{}")),
    "text within a message": (1002, lambda s: (s.frame(0x1, b"{", fin=False), s.frame(0x1, b"}"))),
    "close of one byte": (1002, lambda s: s.frame(0x8, b"\x03")),
    "close 1005": (1002, lambda s: s.frame(0x8, struct.pack(">H", 1005))),
    "close 999": (1002, lambda s: s.frame(0x8, struct.pack(">H", 999))),
    "close reason not UTF-8": (1007, lambda s: s.frame(0x8, struct.pack(">H", 1000) + b"\xff")),
    "not UTF-8": (1007, lambda s: s.frame(0x1, b'{"op":"\xc3\x28"}')),
    "surrogate": (1007, lambda s: s.frame(0x1, b'"\xed\xa0\x80"')),
    "overlong": (1007, lambda s: s.frame(0x1, b'"\xc0\xaf"')),
    "cut character": (1007, lambda s: s.frame(0x1, b'"\xe2\x82')),
    "not UTF-8 in a fragment": (1007, lambda s: (s.frame(0x1, b'"\xe2', fin=False), s.frame(0x0, b'\x28\xa1"'))),
    "binary": (1003, lambda s: s.frame(0x2, b"{}")),
    "announced too large": (1009, lambda s: s.frame(0x1, b"", length=65537)),
    "announced huge": (1009, lambda s: s.frame(0x1, b"", length=2**40)),
    "fragments too large": (
        1009, lambda s: (s.frame(0x1, b" " * 40000, fin=False), s.frame(0x0, b"", length=40000)),
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violation_closes(urls, pair, name):
    code, violate = VIOLATIONS[name]
    for token in (None, pair[0].token):
        with RawSocket(urls[0], token) as raw:
            violate(raw)
            assert raw.closed() == code


def test_what_looks_odd_but_is_right(urls, pair):
    """Fragments with a control frame between, a character cut in two, single bytes, the largest frame."""
    with RawSocket(urls[1], pair[0].token) as raw:
        raw.frame(0x1, '{"op":"ping","id":"é'.encode()[:-1], fin=False)
        raw.frame(0x9, b"between")
        raw.frame(0x0, b"\xa9", fin=False)
        raw.frame(0x0, b"", fin=False)
        raw.frame(0x0, b'"}')
        assert raw.next() == (0xA, b"between")
        assert raw.text() == {"op": "pong", "head": 0, "id": "é"}
        for byte in frame(0x1, b'{"op":"ping","id":2}'):
            raw.socket.sendall(bytes([byte]))
        assert raw.text()["id"] == 2
        text = b'{"op":"ping","id":3}'
        raw.frame(0x1, text + b" " * (65536 - len(text)))
        assert raw.text()["id"] == 3
        raw.frame(0xA, b"a pong that nobody asked for")
        raw.frame(0x8, struct.pack(">H", 1000) + "tschüß".encode())
        assert raw.closed() == 1000


def test_close_without_a_code(urls, pair):
    with RawSocket(urls[1], pair[0].token) as raw:
        raw.frame(0x8)
        assert raw.closed() == 1005


def test_logout_closes_the_sockets_of_that_login(urls, pair):
    alice, bob = pair
    second = alice.login(urls[1])
    with (
        Socket(urls[0], alice) as a, Socket(urls[1], alice, "d2") as a2,
        Socket(urls[0], alice, "d3", token=second) as other, Socket(urls[1], bob) as b,
    ):
        bearer = {"Authorization": f"Bearer {alice.token}"}
        assert httpx.post(f"{urls[1]}/v1/logout", headers=bearer).status_code == 204
        assert a.closed() == 4500 and a2.closed() == 4500
        sent = other.message("still signed in here", to=bob.id)
        assert b.wait(op="event")["mid"] == sent["mid"]
        for url in urls:
            with bare(url) as sock:
                sock.send(json.dumps({"op": "auth", "token": alice.token, "device": "d1"}))
                assert close_code(sock, []) == 4500
            assert alice.get(url, "/v1/me").status_code == 401
            assert alice.get(url, "/v1/me", token=second).status_code == 200
