"""Suggestions: lists are imported, answered over HTTP and on sockets, and outlive the stores behind them."""

import json
import os
import socket
import subprocess
import urllib.parse

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, problem
from conftest import ROOT, running

KOREAN = "한글\t9\tko\n한국\t5\tko\n감사\t3\tko\n"


@pytest.fixture(scope="module")
def stack(build):
    with running(build, PARLEY_SUGGEST="public") as stack:
        yield stack


@pytest.fixture(autouse=True)
def whole(stack):
    yield
    stack("resume", "redis")
    stack("resume", "postgres")
    poll(stack.is_ready, 60)


def load(stack, build, text, *options):
    """Imports a file; what the command said is the caller's to judge."""
    file = stack.home / "list.tsv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    described = stack.json
    return subprocess.run(
        [str(ROOT / ".build" / build / "parley"), "typeahead", "import", str(file), *options],
        env={
            **os.environ, "PARLEY_REDIS_URL": described["redis"]["url"],
            "PARLEY_POSTGRES_URL": described["postgres"]["url"],
        },
        capture_output=True, text=True, timeout=120, check=False,
    )


def ask(url, q, headers=None, **parameters):
    return httpx.get(f"{url}/v1/suggest", params={"q": q, **parameters}, headers=headers, timeout=PATIENCE)


def texts(url, q, **parameters):
    answer = ask(url, q, **parameters)
    assert answer.status_code == 200, answer.text
    return [item["text"] for item in answer.json()["items"]]


@pytest.fixture(scope="module")
def lists(stack, build):
    """Twenty queries that begin with new, some others, and a Korean list; every gateway has them."""
    many = "".join(f"new {chr(97 + i)}\t{100 - i}\n" for i in range(20))
    done = load(stack, build, many + "Straße\t7\nnext\t50\n\"quoted\"\t1\n" + KOREAN)
    assert done.returncode == 0, done.stderr
    for url in stack.gateways:
        poll(lambda url=url: texts(url, "next") == ["next"] and texts(url, "한", locale="ko") == ["한글", "한국"])
    return stack.gateways


def test_prefixes_are_completed_the_most_frequent_first(lists):
    for url in lists:
        answer = ask(url, "NEW", limit=3).json()
        assert answer["q"] == "NEW" and answer["locale"] == "default" and answer["generation"] > 0
        assert answer["items"] == [{"text": f"new {c}", "score": s} for c, s in (("a", 100), ("b", 99), ("c", 98))]
        assert texts(url, "n", limit=10) == [f"new {c}" for c in "abcdefghij"]
        assert texts(url, "new t") == ["new t"] and texts(url, "new\u3000T") == ["new t"]
        assert texts(url, "STRASS") == ["Straße"] and texts(url, "straß") == ["Straße"]
        assert texts(url, "nothing like it") == [] and texts(url, "x" * 60) == []
        assert texts(url, '"') == ['"quoted"']


def test_locales(lists):
    for url in lists:
        assert texts(url, "ㅎ", locale="ko-KR") == ["한글", "한국"]
        assert texts(url, "gksr", locale="ko") == ["한글", "한국"]
        assert texts(url, "ㅎㄱ", locale="ko_kr") == ["한글", "한국"]
        assert ask(url, "next", locale="fr-CA").json()["locale"] == "default"
        assert texts(url, "next", locale="fr-CA") == ["next"]


@pytest.mark.parametrize("query", [
    "", "q=", "q=%20%00", "q=" + "a" * 10_000, "q=%ED%A0%80", "q=%FF", "q=%zz", "q=a%2", "q=a&limit=0", "q=a&limit=11",
    "q=a&limit=x", "q=a&locale=nowhere!", "q=a&locale=%ED%A0%80",
])
def test_bad_questions_are_told_what_is_wrong(lists, query):
    with httpx.Client(base_url=lists[0], timeout=PATIENCE) as client:
        answer = client.get(f"/v1/suggest?{query}")
        problem(answer, 422, "invalid")
        assert answer.json()["detail"].split(":")[0] in ("q", "limit", "locale")
        assert client.get("/v1/suggest?q=next").json()["items"], "the connection goes on"


def test_strange_prefixes(lists):
    assert texts(lists[0], "n\x00e\x07xt") == ["next"]
    assert texts(lists[0], "\u202enext") == ["next"]
    assert texts(lists[0], "שלום") == []
    assert texts(lists[0], "ｎｅｘｔ") == ["next"]
    assert texts(lists[0], "nехt") == [], "Cyrillic letters are others"


def test_caching(lists):
    answer = ask(lists[0], "next")
    assert answer.headers["cache-control"] == "public, max-age=300" and "Accept" in answer.headers["vary"]
    tag = answer.headers["etag"]
    assert ask(lists[1], "next").headers["etag"] == tag, "every gateway says the same"
    same = ask(lists[0], "new", {"if-none-match": tag})
    assert same.status_code == 304 and not same.content and same.headers["etag"] == tag
    assert ask(lists[0], "next", {"if-none-match": '"0-0"'}).status_code == 200
    browser = ask(lists[0], "NEXT", {"accept": "application/x-suggestions+json"})
    assert browser.headers["content-type"] == "application/x-suggestions+json"
    assert browser.json() == ["NEXT", ["next"]] and browser.headers["etag"] != tag


def test_pages_of_other_origins(lists):
    allowed = ask(lists[0], "next", {"origin": lists[1]})
    assert allowed.headers["access-control-allow-origin"] == lists[1]
    assert "access-control-allow-origin" not in ask(lists[0], "next", {"origin": "http://elsewhere.example"}).headers
    assert ask(lists[0], "", {"origin": lists[1]}).headers["access-control-allow-origin"] == lists[1]


def answers(connection, count):
    """So many whole answers of a connection: status and body."""
    stream = connection.makefile("rb")
    found = []
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline().strip()):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        found.append((status, stream.read(int(headers.get("content-length", 0)))))
    return found


def test_answers_leave_in_the_order_of_the_requests(lists):
    url = urllib.parse.urlsplit(lists[0])
    paths = [
        "/v1/suggest?q=new+r", "/readyz", "/v1/suggest?q=new+s", "/v1/suggest?q=", "/v1/gateways",
        "/v1/suggest?q=new+r", "/nowhere", "/v1/suggest?q=next&limit=1",
    ] * 5
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall("".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode())
        for path, (status, body) in zip(paths, answers(connection, len(paths)), strict=True):
            if path.startswith("/v1/suggest?q=n"):
                asked = urllib.parse.parse_qs(path.partition("?")[2])["q"][0]
                assert status == 200 and json.loads(body)["q"] == asked
            else:
                assert status == {"/readyz": 200, "/v1/gateways": 200, "/nowhere": 404}.get(path, 422), path


def test_a_connection_that_is_to_end(lists):
    url = urllib.parse.urlsplit(lists[0])
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/suggest?q=next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        content = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b" 200 OK" in content and b'"text":"next"' in content


def test_an_older_http(lists):
    url = urllib.parse.urlsplit(lists[0])
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/suggest?q=next HTTP/1.0\r\nHost: x\r\n\r\n")
        [(status, body)] = answers(connection, 1)
        assert status == 200 and json.loads(body)["items"][0]["text"] == "next"


def test_a_client_that_says_no_more_is_still_answered(lists):
    url = urllib.parse.urlsplit(lists[0])
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/suggest?q=new+k HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        content = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b" 200 OK" in content and b'"text":"new k"' in content


def test_sockets_are_answered_too(lists):
    with Socket(lists[0], Account(lists[0], "sue")) as sock:
        sock.send(op="suggest", id=7, text="nex")
        answer = sock.wait(op="suggestions")
        assert answer["id"] == 7 and answer["items"][0]["text"] == "next" and answer["items"][0]["score"] == 50
        sock.send(op="suggest", id=8, text="하", locale="ko-KR")
        assert [item["text"] for item in sock.wait(op="suggestions")["items"]] == ["한글", "한국"]
        for text, locale in (("", "ko"), ("a" * 10_000, "ko"), ("a", "nowhere!")):
            sock.send(op="suggest", id=9, text=text, locale=locale)
            assert sock.wait(op="error")["code"] == "invalid"


def test_an_import_tells_of_bad_lines(stack, build, lists):
    text = b"good\t3\txx\nbad\n\xff\t1\txx\nalso good\t2\txx\n"
    refused = load(stack, build, text, "--all-or-nothing")
    assert refused.returncode == 1 and ":2:" in refused.stderr and ":3:" in refused.stderr
    assert stack.sql("SELECT count(*) FROM suggest_current WHERE locale = 'xx'") == "0"
    done = load(stack, build, text)
    assert done.returncode == 0 and ":2:" in done.stderr and ":3:" in done.stderr and "2 bad lines" in done.stdout
    for url in lists:
        poll(lambda url=url: texts(url, "good", locale="xx") == ["good"])
    poll(lambda: texts(lists[0], "also", locale="xx-YY") == ["also good"])


def forget(stack):
    """Redis loses its lists and nothing else."""
    keys = stack.redis("--scan", "--pattern", "ac:*").splitlines()
    assert keys
    stack.redis("UNLINK", *keys)


def test_redis_that_lost_its_lists_is_filled_again(stack, lists):
    before = sorted(stack.redis("--scan", "--pattern", "ac:{default:*").splitlines())
    forget(stack)
    for url in lists:
        assert texts(url, "new q") == ["new q"] and texts(url, "ne", limit=10) == [f"new {c}" for c in "abcdefghij"]
    poll(lambda: sorted(stack.redis("--scan", "--pattern", "ac:{default:*").splitlines()) == before)
    assert texts(lists[0], "new p") == ["new p"]


def test_without_postgresql_suggestions_come_from_redis(stack, lists):
    stack("pause", "postgres")
    assert texts(lists[0], "new o") == ["new o"]


def test_without_redis_suggestions_come_from_postgresql(stack, lists):
    assert texts(lists[0], "new m") == ["new m"]
    stack("pause", "redis")
    assert texts(lists[0], "new l") == ["new l"]
    stack("pause", "postgres")
    assert texts(lists[0], "new m") == ["new m"], "what is in the cache needs neither"
    problem(ask(lists[0], "new h"), 503, "unavailable")


def test_a_sign_in_is_needed_unless_configured_otherwise(stack, lists):
    with stack.differing("gateway-2", PARLEY_SUGGEST="signed-in"):
        poll(stack.is_ready, 60)
        url = stack.gateways[1]
        problem(ask(url, "next"), 401, "unauthorized")
        account = Account(url, "sam")
        answer = account.get(url, "/v1/suggest", q="next")
        assert [item["text"] for item in answer.json()["items"]] == ["next"]
        assert answer.headers["cache-control"] == "private, max-age=300"
        problem(account.get(url, "/v1/suggest", q=""), 422, "invalid")
    poll(stack.is_ready, 60)
