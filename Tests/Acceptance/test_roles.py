"""Capabilities placed apart: a gateway for HTTP, one for sockets, and a worker for each role do everything together."""

import secrets

import httpx
import pytest
from client import PATIENCE, PASSWORD, Account, Socket, poll, uuid7
from conftest import Stack
from test_page import Window
from websockets.exceptions import InvalidStatus


@pytest.fixture(scope="module")
def apart(build):
    stack = Stack(build, PARLEY_HEARTBEAT_MS="2000", PARLEY_PRESENCE_GRACE_MS="2000")
    placed = {
        "gateway-1": "PARLEY_SERVE=api", "gateway-2": "PARLEY_SERVE=sockets",
        "worker-1": "PARLEY_ROLES=archiver,push", "worker-2": "PARLEY_ROLES=presence",
    }
    options = [part for name, setting in placed.items() for part in ("--set", name, setting)]
    try:
        stack("up", "--gateways", 2, "--workers", 2, *options)
        yield stack
    finally:
        stack.end()


@pytest.fixture
def api(apart):
    return apart.gateways[0]


@pytest.fixture
def sockets(apart):
    return apart.gateways[1]


def offered(url):
    return [gateway["url"] for gateway in httpx.get(f"{url}/v1/gateways", timeout=PATIENCE).json()["gateways"]]


def test_only_who_has_sockets_is_offered(api, sockets):
    for url in (api, sockets):
        poll(lambda: offered(url) == [sockets])


def test_each_refuses_what_the_other_does(api, sockets):
    answer = httpx.post(f"{sockets}/v1/signup", json={"username": "x", "password": PASSWORD}, timeout=PATIENCE)
    assert answer.status_code == 404 and answer.json()["code"] == "not_found"
    assert httpx.get(sockets, timeout=PATIENCE).status_code == 404
    with pytest.raises(InvalidStatus) as refused:
        Socket(api, Account(api))
    assert refused.value.response.status_code == 404
    assert b"/v1/gateways" in refused.value.response.body
    for url in (api, sockets):
        assert httpx.get(f"{url}/healthz", timeout=PATIENCE).status_code == 200


def test_messages_reach_sockets_polls_and_history(apart, api, sockets):
    ann, bob = Account(api, "ann"), Account(api, "bob")
    start = bob.get(api, "/v1/sync", device="poll").json()
    with Socket(sockets, ann) as a, Socket(sockets, bob) as b:
        sent = a.message("by a socket", to=bob.id)
        assert b.wait(op="event", type="message")["mid"] == sent["mid"]
        answer = httpx.post(
            f"{api}/v1/conversations/{ann.conv(bob)}/messages", json={"body": "by HTTP"}, timeout=PATIENCE,
            headers={"Authorization": f"Bearer {ann.token}", "Idempotency-Key": uuid7()},
        )
        assert answer.status_code == 201, answer.text
        assert b.wait(op="event", type="message", body="by HTTP")["mid"] == answer.json()["mid"]
    polled = bob.get(api, "/v1/sync", device="poll", epoch=start["epoch"], q=start["head"], wait=30).json()
    assert [event["body"] for event in polled["events"] if event["type"] == "message"] == ["by a socket", "by HTTP"]
    poll(lambda: apart.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{ann.conv(bob)}'") == "2")
    assert len(ann.history(api, ann.conv(bob))) == 2
    # Lanes are the affair of the worker that archives.
    assert apart.sql("SELECT string_agg(DISTINCT owner, ',') FROM lanes WHERE owner IS NOT NULL") == "worker-1"


def test_the_lights_go_out_by_the_worker_of_presence(api, sockets):
    ann, bob = Account(api, "ann"), Account(api, "bob")
    for who, whom, path in ((ann, bob, ""), (bob, ann, f"/{ann.id}/accept")):
        answer = httpx.post(
            f"{api}/v1/friends/requests{path}", json={"user": whom.id}, timeout=PATIENCE,
            headers={"Authorization": f"Bearer {who.token}"},
        )
        assert answer.status_code in (200, 201), answer.text
    with Socket(sockets, ann) as a:
        a.send(op="watch", users=[bob.id])
        with Socket(sockets, bob) as b:
            a.wait(op="presence", user=bob.id, status="online")
            a.backlog.clear()
            b.connection.socket.shutdown(2)  # without a close frame: the lease has to end
            a.wait(op="presence", user=bob.id, status="offline")


def test_the_page_of_one_has_its_socket_at_the_other(api, sockets):
    window = Window(api)
    try:
        window.sign_up(f"ann.{secrets.token_hex(5)}", "Ann")
        assert window.one("#gateway").get_attribute("data-gateway") == sockets
    finally:
        window.driver.quit()
