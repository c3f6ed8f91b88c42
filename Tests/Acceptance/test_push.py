"""Push: those who are not there are told by a service that checks what it gets."""

import base64
import json
import secrets
import subprocess
import time

import httpx
import pytest
from client import PATIENCE, Account, Socket, now_ms, poll, problem, uuid7
from conftest import running
from test_page import Window

LONG = 120  # what a dead worker held is taken over after half a minute


@pytest.fixture(scope="module")
def fleet(build):
    with running(build, options=["--push-mock"]) as stack:
        yield stack


class Mock:
    """The push services of a stack."""

    def __init__(self, stack):
        self.url = stack.json["push-mock"]["url"]

    def browser(self):
        return httpx.post(f"{self.url}/mock/subscriptions").json()

    def faults(self, *faults):
        assert httpx.post(f"{self.url}/mock/faults", json=faults).status_code == 204

    @property
    def counts(self):
        return httpx.get(f"{self.url}/mock/counts").json()

    def pushes(self, device, after=0):
        """What a browser or the holder of a token was shown."""
        name = device["endpoint"].rpartition("/")[2] if isinstance(device, dict) else device
        all_ = httpx.get(f"{self.url}/mock/pushes", params={"after": after}).json()
        return [{**push, **json.loads(push["text"])} for push in all_ if push["device"] == name]

    def wait(self, device, count=1):
        return poll(lambda: (found := self.pushes(device)) and len(found) >= count and found)


@pytest.fixture
def mock(fleet):
    mock = Mock(fleet)
    yield mock
    mock.faults()


def call(method, url, account, path, body=None, token=None):
    headers = {"Authorization": f"Bearer {token or account.token}"}
    return httpx.request(method, f"{url}{path}", headers=headers, json=body)


def register(url, account, body, device="phone", token=None):
    answer = call("PUT", url, account, f"/v1/devices/{device}/push", body, token)
    assert answer.status_code == 204, answer.text


def say(url, sender, recipient, body):
    """Sends without a socket; returns the answer."""
    headers = {"Authorization": f"Bearer {sender.token}", "Idempotency-Key": uuid7()}
    path = f"/v1/conversations/{sender.conv(recipient)}/messages"
    answer = httpx.post(f"{url}{path}", headers=headers, json={"body": body})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def talk(fleet, mock):
    """Ann, and Bob who has a browser and is not there."""
    url = fleet.gateways[0]
    ann, bob, browser = Account(url, "ann"), Account(url, "bob"), mock.browser()
    register(url, bob, {"provider": "webpush", **browser})
    return url, ann, bob, browser


def path_of(browser):
    return "/webpush/" + browser["endpoint"].rpartition("/")[2]


def is_settled(fleet):
    return fleet.redis("xlen", "push") == "0" and fleet.redis("zcard", "push:retries") == "0"


def metric(fleet, name, **labels):
    url = fleet.json["workers"][0]["url"]
    total = 0.0
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rpartition(" ")[2])
    return total


def test_who_is_not_there_is_told(fleet, mock, talk):
    url, ann, bob, browser = talk
    sent = say(url, ann, bob, "grüß dich")
    [push] = mock.wait(browser)
    assert push["title"] == "ann" and push["body"] == "grüß dich" and push["badge"] == 1
    assert push["mid"] == sent["mid"] and push["seq"] == sent["seq"] and push["conv"] == ann.conv(bob)
    assert push["type"] == "message" and push["from"] == ann.id and push["ts"] == sent["ts"]
    assert push["http"] == "2" and push["urgency"] == "high" and 86_000 < int(push["ttl"]) <= 86_400
    say(url, ann, bob, "x" * 16_000)
    long = mock.wait(browser, 2)[1]
    assert long["badge"] == 2 and len(long["body"]) > 3000 and long["body"].endswith("x…")
    assert long["collapse"] == push["collapse"], "the newer one takes the place of the older"
    poll(lambda: is_settled(fleet))
    assert mock.counts["problems"] == {}


def test_a_key_for_pages(fleet):
    url = fleet.gateways[0]
    ann = Account(url, "ann")
    key = call("GET", url, ann, "/v1/push/vapid").json()["public_key"]
    assert len(base64.urlsafe_b64decode(key + "=")) == 65
    problem(httpx.get(f"{url}/v1/push/vapid"), 401, "unauthorized")


def test_bad_registrations_are_refused(fleet, mock):
    url = fleet.gateways[0]
    ann, browser = Account(url, "ann"), mock.browser()
    good = {"provider": "webpush", **browser}
    for change, field in [
        ({"provider": "pigeon"}, "provider"), ({"provider": "apns", "token": "abcd"}, "provider"),
        ({"provider": "webhook"}, "token"), ({"provider": "webhook", "token": ""}, "token"),
        ({"provider": "webhook", "token": "x" * 2049}, "token"), ({"provider": "webhook", "token": "a b"}, "token"),
        ({"endpoint": "http://127.0.0.1/x"}, "endpoint"), ({"endpoint": "https://u:p@example.net/"}, "endpoint"),
        ({"endpoint": "file:///etc/passwd"}, "endpoint"), ({"endpoint": f"https://a.example/{'x' * 2048}"}, "endpoint"),
        ({"keys": {**browser["keys"], "auth": "AAAA"}}, "keys.auth"), ({"keys": None}, "keys"),
        ({"keys": {**browser["keys"], "p256dh": browser["keys"]["p256dh"][:-4] + "AAAA"}}, "keys.p256dh"),
    ]:
        answer = problem(call("PUT", url, ann, "/v1/devices/phone/push", {**good, **change}), 422, "invalid")
        assert answer["detail"].startswith(field), answer
    problem(call("PUT", url, ann, "/v1/devices/a%20b/push", good), 422, "invalid")
    problem(httpx.put(f"{url}/v1/devices/phone/push", json=good), 401, "unauthorized")
    problem(call("DELETE", url, ann, "/v1/devices/phone/push"), 404, "not_found")
    assert fleet.sql(f"SELECT count(*) FROM push_registrations WHERE user_id = '{ann.id}'") == "0"


def test_a_token_moves_to_whoever_registers_it_last(fleet, mock, talk):
    url, ann, bob, browser = talk
    carl = Account(url, "carl")
    register(url, carl, {"provider": "webpush", **browser}, device="tablet")
    say(url, ann, bob, "for bob")
    say(url, ann, carl, "for carl")
    assert [push["body"] for push in mock.wait(browser)] == ["for carl"]
    poll(lambda: is_settled(fleet))
    assert [push["body"] for push in mock.pushes(browser)] == ["for carl"]
    assert call("DELETE", url, carl, "/v1/devices/tablet/push").status_code == 204
    say(url, ann, carl, "gone")
    poll(lambda: is_settled(fleet))
    assert len(mock.pushes(browser)) == 1
    poll(lambda: fleet.redis("sismember", "push:users", carl.id) == "0")


def test_signing_out_ends_it(fleet, mock, talk):
    url, ann, bob, browser = talk
    token, other = bob.login(url), mock.browser()
    register(url, bob, {"provider": "webpush", **other}, device="laptop", token=token)
    assert call("POST", url, bob, "/v1/logout", token=token).status_code in (200, 204)
    say(url, ann, bob, "hello")
    mock.wait(browser)
    poll(lambda: is_settled(fleet))
    assert mock.pushes(other) == []


def test_by_the_sign_in(fleet, mock, talk):
    url, ann, bob, _ = talk
    token, other = bob.login(url), mock.browser()
    devices = call("GET", url, bob, "/v1/devices", token=token).json()["devices"]
    [current] = [entry["id"] for entry in devices if entry["current"]]
    register(url, bob, {"provider": "webpush", **other}, device=current)
    say(url, ann, bob, "hello")
    mock.wait(other)
    assert call("DELETE", url, bob, f"/v1/devices/{current}").status_code == 204
    assert fleet.sql(f"SELECT count(*) FROM push_registrations WHERE device = '{current}'") == "0"


def test_export_and_deletion_know_of_it(fleet, talk):
    url, ann, bob, browser = talk
    lines = call("GET", url, bob, "/v1/me/export").text.splitlines()
    [record] = [line for line in map(json.loads, lines) if line["record"] == "push"]
    assert record["device"] == "phone" and record["token"] == browser["endpoint"]
    say(url, ann, bob, "hello")
    poll(lambda: fleet.redis("keys", f"unread:*:{bob.id}"))
    assert call("DELETE", url, bob, "/v1/me").status_code == 204
    assert fleet.sql(f"SELECT count(*) FROM push_registrations WHERE user_id = '{bob.id}'") == "0"
    assert fleet.redis("sismember", "push:users", bob.id) == "0" and not fleet.redis("keys", f"unread:*:{bob.id}")


def test_not_to_who_has_seen_it(fleet, mock, talk):
    url, ann, bob, browser = talk
    with Socket(url, bob, "laptop") as laptop:
        say(url, ann, bob, "an open laptop keeps it from no phone")
        mock.wait(browser)
        before = metric(fleet, "parley_pushes_dropped_total", reason="acknowledged")
        say(url, ann, bob, "acknowledged")
        laptop.send(op="ack", q=[laptop.wait(op="event", type="message") for _ in range(2)][1]["q"])
        poll(lambda: is_settled(fleet))
        # An acknowledgement is passed on every two seconds; late, it is too late for this and for no test of ours.
        assert len(mock.pushes(browser)) <= 2 and metric(fleet, "parley_pushes_dropped_total") >= before
        shown = len(mock.pushes(browser))
        laptop.send(op="active")
        laptop.barrier()
        poll(lambda: fleet.redis("hget", fleet.redis("keys", f"presence:*:{bob.id}"), "here"))
        say(url, ann, bob, "at the laptop")
        laptop.wait(op="event", body="at the laptop")
        poll(lambda: is_settled(fleet))
        assert len(mock.pushes(browser)) == shown


def test_what_was_read_elsewhere_is_cleared(fleet, mock, talk):
    url, ann, bob, browser = talk
    sent = say(url, ann, bob, "hello")
    mock.wait(browser)
    poll(lambda: is_settled(fleet))
    path = f"/v1/conversations/{ann.conv(bob)}/read"
    assert call("POST", url, bob, path, {"seq": sent["seq"]}).status_code in (200, 204)
    clear = mock.wait(browser, 2)[1]
    assert clear["type"] == "read" and clear["seq"] == sent["seq"] and clear["badge"] == 0 and "title" not in clear
    assert clear["urgency"] == "low"


def test_not_in_a_muted_conversation_nor_in_quiet_hours(fleet, mock, talk):
    url, ann, bob, browser = talk
    mute = f"/v1/conversations/{ann.conv(bob)}/mute"
    say(url, ann, bob, "one")
    mock.wait(browser)
    assert call("PUT", url, bob, mute).status_code == 204
    say(url, ann, bob, "muted")
    poll(lambda: is_settled(fleet))
    assert call("DELETE", url, bob, mute).status_code == 204
    for hours, zone in [({"from": "00:00", "to": "00:00"}, "Asia/Kolkata"), (None, None)]:
        assert call("PATCH", url, bob, "/v1/me", {"quiet_hours": hours, "time_zone": zone}).status_code == 200
        say(url, ann, bob, "loud" if hours is None else "quiet")
        poll(lambda: is_settled(fleet))
    bodies = [push["body"] for push in mock.wait(browser, 2)]
    assert bodies == ["one", "loud"]


def test_quiet_hours_are_those_of_the_time_zone(fleet, mock, talk):
    url, ann, bob, browser = talk
    # Three hours around now in Kolkata, which are not those of UTC.
    local = time.gmtime(time.time() + 5.5 * 3600)
    hours = {"from": f"{(local.tm_hour - 1) % 24:02}:00", "to": f"{(local.tm_hour + 2) % 24:02}:00"}
    for zone, is_shown in [("Asia/Kolkata", False), ("UTC", True)]:
        assert call("PATCH", url, bob, "/v1/me", {"quiet_hours": hours, "time_zone": zone}).status_code == 200
        say(url, ann, bob, zone)
        poll(lambda: is_settled(fleet))
        assert (zone in [push["body"] for push in mock.pushes(browser)]) == is_shown


def test_content_that_must_not_pass(fleet, mock, talk):
    url, ann, bob, browser = talk
    secret = mock.browser()
    register(url, bob, {"provider": "webpush", **secret, "hide_content": True}, device="secret")
    say(url, ann, bob, "for nobody else")
    [push] = mock.wait(secret)
    assert push["title"] == "ann" and push["body_key"] == "new_message" and "for nobody else" not in push["text"]
    assert mock.wait(browser)[0]["body"] == "for nobody else"


def test_groups_and_webhooks(fleet, mock, talk):
    url, ann, bob, browser = talk
    carl, token = Account(url, "carl"), secrets.token_hex(8)
    register(url, carl, {"provider": "webhook", "token": token})
    answer = httpx.post(
        f"{url}/v1/conversations", json={"title": "Team", "members": [bob.id, carl.id]},
        headers={"Authorization": f"Bearer {ann.token}", "Idempotency-Key": uuid7()},
    )
    group = answer.json()["id"]
    with Socket(url, ann) as sender:
        sender.message("to all", conv=group)
    for device in (browser, token):
        [push] = mock.wait(device)
        assert push["title"] == "Team" and push["body_key"] == "group_message"
        assert push["body_args"] == ["ann", "to all"]
        assert push["badge"] == 1 and push["conv"] == group
    assert push["user"] == carl.id and push["device"] == "phone" and push["expires_at"] > now_ms()


@pytest.mark.parametrize("fault", [
    {"kind": "status", "status": 503}, {"kind": "status", "status": 429, "retry_after": 2},
    {"kind": "status", "status": 500}, {"kind": "reset"}, {"kind": "goaway"}, {"kind": "slow", "ms": 3000},
], ids=lambda fault: str(fault.get("status", fault["kind"])))
def test_what_fails_once_is_tried_again(fleet, mock, talk, fault):
    url, ann, bob, browser = talk
    mock.faults({**fault, "times": 2, "path": path_of(browser)})
    say(url, ann, bob, "at last")
    assert [push["body"] for push in mock.wait(browser)] == ["at last"]
    poll(lambda: is_settled(fleet))
    assert len(mock.pushes(browser)) == 1


def test_what_is_gone_is_forgotten(fleet, mock, talk):
    url, ann, bob, browser = talk
    for status in (410, 404):
        register(url, bob, {"provider": "webpush", **browser})
        mock.faults({"kind": "status", "status": status, "times": 1, "path": path_of(browser)})
        say(url, ann, bob, "nobody")
        poll(lambda: fleet.sql(f"SELECT count(*) FROM push_registrations WHERE user_id = '{bob.id}'") == "0")
    poll(lambda: is_settled(fleet))
    assert mock.pushes(browser) == []


def test_too_large_is_shortened(fleet, mock, talk):
    url, ann, bob, browser = talk
    mock.faults({"kind": "status", "status": 413, "times": 2, "path": path_of(browser)})
    say(url, ann, bob, "y" * 8000)
    [push] = mock.wait(browser)
    assert push["body"].endswith("y…") and 100 < len(push["body"]) < 1024


def test_what_is_never_taken_becomes_a_dead_letter(fleet, mock, talk):
    url, ann, bob, browser = talk
    mock.faults({"kind": "status", "status": 400, "times": 1, "path": path_of(browser)})
    say(url, ann, bob, "again, please")

    def parley(*arguments):
        program = fleet.json["gateways"][0]["argv"][0]
        command = [program, "push", *arguments, "--redis-url", fleet.json["redis"]["url"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    [line] = poll(lambda: [line for line in parley("dead").splitlines() if f"user {bob.id}" in line])
    assert line.endswith("status 400") and "again" not in line
    assert mock.pushes(browser) == []
    assert parley("replay", "--id", line.split()[0]) == "1 put back\n"
    assert [push["body"] for push in mock.wait(browser)] == ["again, please"]
    assert parley("replay", "--id", line.split()[0]) == "0 put back\n"


# The browser's own push service is out of reach here: the subscription is the mock's.
SUBSCRIBE = """
PushManager.prototype.subscribe = async function (options) {
    if (!options.userVisibleOnly || !options.applicationServerKey) throw new Error("not as pages must");
    return { toJSON: () => (%s), unsubscribe: async () => true };
};
"""


class Phone(Window):
    """A window whose browser may notify."""

    def __init__(self, url, browser):
        super().__init__("about:blank")
        # Only localhost and HTTPS have service workers.
        self.url = url.replace("127.0.0.1", "localhost")
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["notifications"]})
        script = SUBSCRIBE % json.dumps(browser)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        self.driver.get(self.url)


def test_the_page_subscribes_and_is_pushed_to(fleet, mock):
    url, browser = fleet.gateways[0], mock.browser()
    ann, phone = Account(url, "ann"), Phone(url, browser)
    try:
        name = f"bob.{secrets.token_hex(5)}"
        phone.sign_up(name, "Bob")
        phone.click("#menu summary")
        phone.wait(lambda: phone.one("#notify").text == "Notify me", "notifications to be offered")
        phone.click("#notify")
        phone.wait(lambda: phone.one("#notify").text == "Notifications are on", "notifications to be on")
        bob = json.loads(phone.driver.execute_script("return localStorage.getItem('parley.session')"))["user"]
        registered = f"SELECT provider, token FROM push_registrations WHERE user_id = '{bob}'"
        assert fleet.sql(registered) == f"webpush|{browser['endpoint']}"
        phone.driver.get("about:blank")
        # As if the person had not been at it for a while.
        fleet.redis("hdel", poll(lambda: fleet.redis("keys", f"presence:*:{bob}")), "here")
        conv = "d:" + ":".join(sorted([ann.id, bob]))
        headers = {"Authorization": f"Bearer {ann.token}", "Idempotency-Key": uuid7()}
        answer = httpx.post(f"{url}/v1/conversations/{conv}/messages", headers=headers, json={"body": "are you there?"})
        assert answer.status_code == 201
        [push] = mock.wait(browser)

        assert push["title"] == "ann" and push["body"] == "are you there?"

        phone.driver.get(phone.url)
        phone.online()
        phone.click("#menu summary")
        phone.click("#notify")
        phone.wait(lambda: phone.one("#notify").text == "Notify me", "notifications to be off")
        assert fleet.sql(registered) == ""
        assert phone.severe() == []
    finally:
        phone.driver.quit()


def feed(fleet, sender, recipient, base, count):
    """Puts pushes into the stream as the commit does, faster than messages would."""
    event = json.dumps({
        "mid": "%s", "ts": now_ms(), "seq": 1000, "type": "message", "conv": sender.conv(recipient), "from": sender.id,
        "body": "a push among many",
    }, separators=(",", ":"))
    script = """
    for i = 1, tonumber(ARGV[4]) do
      local mid = string.format('%s%04d', string.sub(ARGV[3], 1, -5), i)
      redis.call('XADD', 'push', '*', 'u', ARGV[1], 'p', 'none 0', 'e', string.format(ARGV[2], mid))
    end"""
    fleet.redis("eval", script, "0", recipient.id, event, base, str(count))


def test_a_worker_killed_amid_ten_thousand_leaves_none_unsent(fleet, mock):
    url, total = fleet.gateways[0], 10_000
    ann, people = Account(url, "ann"), [Account(url, "bob") for _ in range(20)]
    base = say(url, ann, people[0], "hello")["mid"]
    for bob in people:
        register(url, bob, {"provider": "webpush", **mock.browser()})
    poll(lambda: is_settled(fleet), LONG)
    fleet("stop", "worker-1")
    before = mock.counts
    for bob in people:
        feed(fleet, ann, bob, base, total // len(people))
    fleet("start", "worker-1")

    def sent():
        return mock.counts["distinct"] - before["distinct"]

    poll(lambda: sent() > 1000, LONG, 0.02)
    fleet("kill", "worker-1")
    amid = sent()
    assert amid < total, "it was over before it was killed"
    fleet("start", "worker-1")
    poll(lambda: is_settled(fleet), 2 * LONG)
    counts = mock.counts
    repeated = counts["repeated"] - before["repeated"]
    print(f"killed after {amid}, {repeated} came twice")
    assert sent() == total
    assert counts["renamed"] == 0, "what comes twice has the same name"
    assert counts["problems"] == {} and fleet.redis("xlen", "push:dead") == "0"
