"""The API over HTTP: history, lists, mistakes, browsers."""

import socket
import urllib.parse

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, problem

pytestmark = pytest.mark.usefixtures("unnoticed")


@pytest.fixture(scope="module")
def talk(urls):
    """Alice, Bob and 25 messages of theirs."""
    alice, bob = Account(urls[0], "alice"), Account(urls[1], "bob")
    with Socket(urls[0], alice) as a:
        sent = [a.message(f"m{i}", to=bob.id) for i in range(1, 26)]
    return alice, bob, sent


def test_history_pages(urls, talk, stack):
    alice, bob, sent = talk
    conv, mids = sent[0]["conv"], [s["mid"] for s in sent]

    def check(url):
        def page(**parameters):
            answer = bob.get(url, f"/v1/conversations/{conv}/messages", **parameters).json()
            return [m["mid"] for m in answer["messages"]], answer["more"]

        assert page() == (mids[::-1], False)
        assert page(limit=10) == (mids[:14:-1], True)
        assert page(limit=25) == (mids[::-1], False) and page(limit=24) == (mids[:0:-1], True)
        assert page(before=mids[10]) == (mids[9::-1], False)
        assert page(before=mids[10], limit=3) == (mids[9:6:-1], True)
        assert page(after=mids[20]) == (mids[21:], False)
        assert page(after=mids[10], limit=3) == (mids[11:14], True)
        assert page(after_seq=0, limit=2) == (mids[:2], True)
        assert page(after_seq=20) == (mids[20:], False) and page(after_seq=25) == ([], False)
        assert page(before=mids[0]) == page(after=mids[-1]) == ([], False)

    for url in urls:
        check(url)
    poll(lambda: stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conv}'") == "25")
    for url in urls:
        check(url)
    message = bob.history(urls[0], conv, limit=1)[0]
    expected = {"mid": mids[24], "seq": 25, "from": alice.id, "ts": sent[24]["ts"], "body": "m25"}
    assert expected.items() <= message.items() and "cid" not in message
    assert alice.history(urls[1], conv, limit=1)[0]["cid"] == sent[24]["cid"]
    encoded = bob.get(urls[0], f"/v1/conversations/{urllib.parse.quote(conv, safe='')}/messages")
    assert encoded.status_code == 200


def test_history_refuses(urls, talk):
    alice, bob, sent = talk
    path = f"/v1/conversations/{sent[0]['conv']}/messages"
    for parameters in (
        {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"before": "x"}, {"after": "-1"}, {"after_seq": "x"},
        {"after_seq": -1}, {"before": sent[0]["mid"], "after": sent[1]["mid"]},
        {"after": sent[0]["mid"], "after_seq": 1},
    ):
        problem(bob.get(urls[0], path, **parameters), 422, "invalid")
    stranger = Account(urls[0], "carol")
    for where in (path, path.removesuffix("/messages"), "/v1/conversations/g:none", "/v1/conversations/x%00y/messages"):
        problem(stranger.get(urls[0], where), 404, "not_found")
    problem(httpx.get(urls[0] + path), 401, "unauthorized")


def test_conversation_list(urls, talk):
    alice, bob, sent = talk
    carol = Account(urls[1], "carol")
    with Socket(urls[1], carol) as c:
        latest = c.message("newer", to=bob.id)
    listed = bob.get(urls[0], "/v1/conversations").json()
    assert [c["id"] for c in listed["conversations"]] == [latest["conv"], sent[0]["conv"]] and listed["next"] is None
    older = listed["conversations"][1]
    assert (older["kind"], sorted(older["members"])) == ("direct", sorted([alice.id, bob.id]))
    assert (older["unread"], older["read_seq"]) == (25, 0)
    last = {"mid": sent[24]["mid"], "seq": 25, "from": alice.id, "ts": sent[24]["ts"], "body": "m25"}
    assert last.items() <= older["last"].items()
    first = bob.get(urls[1], "/v1/conversations", limit=1).json()
    assert [c["id"] for c in first["conversations"]] == [latest["conv"]]
    second = bob.get(urls[1], "/v1/conversations", limit=1, cursor=first["next"]).json()
    assert [c["id"] for c in second["conversations"]] == [sent[0]["conv"]]
    assert alice.get(urls[0], f"/v1/conversations/{sent[0]['conv']}").json()["unread"] == 0
    empty = Account(urls[0], "dora").get(urls[0], "/v1/conversations").json()
    assert empty == {"conversations": [], "next": None}


def test_http_mistakes(urls, pair):
    url = urls[0]
    for path in ("/v1/nothing", "/v1/conversations/x/y/z", "/%00"):
        problem(pair[0].get(url, path), 404, "not_found")
    problem(httpx.delete(f"{url}/v1/signup"), 404, "not_found")
    for body, status, code in (
        (b"{", 400, "bad_frame"), (b"", 400, "bad_frame"), (b'{"username":"x",}', 400, "bad_frame"),
        (b"[" * 10000, 400, "bad_frame"), (b"[]", 422, "invalid"), (b'{"username":7}', 422, "invalid"),
        (b'{"username":"ok.name","password":"short"}', 422, "invalid"), (b" " * 70000, 413, "too_large"),
    ):
        problem(httpx.post(f"{url}/v1/signup", content=body), status, code)
    taken = {"username": pair[0].username, "password": "long enough"}
    problem(httpx.post(f"{url}/v1/signup", json=taken), 409, "conflict")
    problem(httpx.post(f"{url}/v1/login", json=taken), 401, "unauthorized")
    problem(httpx.post(f"{url}/v1/token", json={"refresh_token": "nonsense"}), 401, "unauthorized")


def test_garbage_instead_of_http(urls):
    parts = urllib.parse.urlsplit(urls[0])
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 1000, b"GET /" + b"a" * 200_000):
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
            try:
                connection.sendall(garbage + b"\r\n\r\n")
                answer = connection.recv(100)
            except ConnectionError:
                answer = b""
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer


def test_browsers(urls):
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    origin = urls[1].replace("127.0.0.1", "localhost")
    preflight = httpx.options(f"{urls[0]}/v1/login", headers={**ask, "Origin": origin})
    assert preflight.status_code in (200, 204)
    assert preflight.headers["access-control-allow-origin"] == origin
    allowed = {name.strip() for name in preflight.headers["access-control-allow-headers"].lower().split(",")}
    assert {"authorization", "content-type", "idempotency-key", "if-none-match"} <= allowed
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for answer in (
        httpx.get(f"{urls[0]}/v1/gateways", headers={"Origin": origin}),
        httpx.get(f"{urls[0]}/v1/me", headers={"Origin": origin}),
    ):
        assert answer.headers["access-control-allow-origin"] == origin, "a page must see the error too"
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].lower().split(",")}
        assert exposed == {"etag", "retry-after"} and "origin" in answer.headers["vary"].lower()
    foreign = httpx.options(f"{urls[0]}/v1/login", headers={**ask, "Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_gateways_are_listed(urls):
    for url in urls:

        def known(url=url):
            found = httpx.get(f"{url}/v1/gateways").json()["gateways"]
            return found if sorted(g["url"] for g in found) == sorted(urls) else None

        # Each gateway's picture of the others is a second old.
        listed = poll(known)
        assert all(g["zone"] and isinstance(g["load"], (int, float)) for g in listed)


def test_people_are_found(urls, pair):
    alice, bob = pair
    found = alice.get(urls[0], "/v1/users", prefix=bob.username[:-1]).json()
    assert [u["id"] for u in found["users"]] == [bob.id] and found["next"] is None
    assert found["users"][0]["username"] == bob.username and found["users"][0]["display_name"] == "bob"
    for prefix in ("", "a\0b", "x" * 65):
        problem(alice.get(urls[0], "/v1/users", prefix=prefix), 422, "invalid")
    problem(alice.get(urls[0], "/v1/users/nobody1"), 404, "not_found")
    problem(httpx.get(f"{urls[0]}/v1/users?prefix=a"), 401, "unauthorized")


def test_where_web_push_is_not_configured_pages_get_no_key(urls):
    answer = Account(urls[0]).get(urls[1], "/v1/push/vapid")
    assert (answer.status_code, answer.json()) == (200, {"public_key": None})
