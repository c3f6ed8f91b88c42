"""What stands in the logs and what must not: a run at the most talkative level, canaries in all that is private."""

import json
import pathlib
import secrets

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, uuid7
from conftest import Stack


@pytest.fixture(scope="module")
def stack(build):
    stack = Stack(build, PARLEY_LOG_FORMAT="json")
    try:
        stack("up", "--gateways", 1, "--log-level", "trace")
        yield stack
    finally:
        stack.end()


def lines(stack, name):
    """The log of a process: every line is an object."""
    text = pathlib.Path(stack.processes[name]["log"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_lines_have_a_time_a_level_and_the_process(stack):
    for name in ("gateway-1", "worker-1"):
        found = poll(lambda name=name: lines(stack, name))
        assert all({"time", "level", "message", "process"} <= line.keys() for line in found)
        assert {line["process"] for line in found} == {name}


def test_a_session_is_named_in_its_lines(stack):
    alice = Account(stack.gateways[0], "alice")
    with Socket(stack.gateways[0], alice) as socket:
        session = socket.ready["session"]

    def messages():
        return [line["message"] for line in lines(stack, "gateway-1") if line.get("session") == session]

    poll(lambda: "session ended" in messages())
    assert messages() == ["session begins", "session ended"]


def test_a_request_is_named_in_its_lines_and_its_answer(stack):
    url = stack.gateways[0]
    stack("kill", "postgres")
    try:
        asked = {"X-Request-ID": "of-a-proxy-1"}
        somebody = {"username": "somebody", "password": "a long password"}
        answer = httpx.post(f"{url}/v1/login", json=somebody, headers=asked, timeout=60)
        assert answer.status_code == 503 and answer.headers["x-request-id"] == "of-a-proxy-1"
        poll(lambda: [line for line in lines(stack, "gateway-1") if line.get("request") == "of-a-proxy-1"])
    finally:
        stack("start", "postgres")
    for given in ("a b", "x" * 65, 'a"b'):
        made = httpx.get(f"{url}/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]
        assert made != given and len(made) == 12
    poll(lambda: httpx.get(f"{url}/readyz").status_code == 200)


def test_nothing_private_is_logged(stack):
    url, secret = stack.gateways[0], f"canary{secrets.token_hex(8)}"
    password, body = f"password-{secret}", f"body-{secret}"

    def post(path, content, token=None, **headers):
        headers = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        return httpx.post(f"{url}{path}", content=content, headers=headers, timeout=PATIENCE)

    name = f"canary.{secrets.token_hex(4)}"
    fields = {"username": name, "password": password}
    session = post("/v1/signup", json.dumps({**fields, "display_name": "name-" + secret})).json()
    bob = Account(url, "bob")
    me = Account.__new__(Account)
    me.take(session)
    refresh = session["refresh_token"]
    again = post("/v1/token", json.dumps({"refresh_token": refresh})).json()
    assert post("/v1/login", json.dumps({**fields, "password": "wrong-" + secret})).status_code == 401
    conv = f"/v1/conversations/{me.conv(bob)}/messages"
    with Socket(url, me) as socket:
        cid = uuid7()
        socket.message(body, cid=cid, to=bob.id)
        assert socket.refused(op="send", cid="x" + secret, to=bob.id, body=body)
        assert socket.refused(op="nonsense", token="frame-" + secret)
        socket.connection.send('{"op":"send","body":"' + body)
        socket.barrier()
    key = {"Idempotency-Key": uuid7()}
    assert post(conv, json.dumps({"body": body}), me.token, **key).status_code == 201
    assert post(conv, json.dumps({"body": "other-" + secret}), me.token, **key).status_code == 409
    assert post(conv, '{"body":"broken-' + secret, me.token, **{"Idempotency-Key": uuid7()}).status_code == 400
    assert post(conv, "{}", "token-" + secret).status_code == 401
    assert httpx.get(f"{url}/v1/sync?access_token=query-{secret}", timeout=PATIENCE).status_code == 401
    assert httpx.get(f"{url}/nowhere/{secret}", timeout=PATIENCE).status_code == 404
    stack("stop", "worker-1")
    stack("start", "worker-1")
    private = [secret, me.token, refresh, again["access_token"], again["refresh_token"]]
    logs = list((stack.directory / "logs").iterdir())
    assert len(logs) >= 5
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert not [one for one in private if one in text], log.name
