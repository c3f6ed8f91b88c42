"""The examples of a balancer before the gateways, HAProxy's and nginx's, as they stand in Ops but for the ports."""

import getpass
import re
import subprocess
import threading

import httpx
import pytest
from client import PATIENCE, Account, Socket, poll, uuid7
from conftest import ROOT, running
from stacklib import processes
from websockets.exceptions import WebSocketException


@pytest.fixture(scope="module")
def fleet(build):
    """Two gateways and a worker that these tests may break; each leaves them running."""
    with running(build) as stack:
        yield stack


def adapted(name, fleet, port, tmp_path):
    """The example with this stack's ports."""
    text = (ROOT / "Ops" / name).read_text()
    for old, new in zip(("8080", "8081", "8000"), [*(url.rpartition(":")[2] for url in fleet.gateways), str(port)]):
        text, count = re.subn(rf"127\.0\.0\.1:{old}\b", f"127.0.0.1:{new}", text)
        assert count == 1, name
    if name == "nginx.conf":
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
        text = text.replace("http {", "http {\naccess_log off;\n" + paths, 1)
        text = f"daemon off;\nuser {getpass.getuser()};\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\n" + text
    file = tmp_path / name
    file.write_text(text)
    return file


@pytest.fixture(params=["haproxy.cfg", "nginx.conf"])
def proxy(request, fleet, tmp_path):
    """The URL of a balancer that runs."""
    port = processes.free_port(set())
    file = str(adapted(request.param, fleet, port, tmp_path))
    if request.param == "haproxy.cfg":
        check, run = ["haproxy", "-c", "-f", file], ["haproxy", "-db", "-f", file]
    else:
        check, run = ["nginx", "-t", "-p", str(tmp_path), "-c", file], ["nginx", "-p", str(tmp_path), "-c", file]
    done = subprocess.run(check, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    process = subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        poll(lambda: answers(url) and process.poll() is None)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


class Device(threading.Thread):
    """Keeps what comes, from where it was, over connections that end."""

    def __init__(self, url, account):
        super().__init__(daemon=True)
        self.url, self.account = url, account
        self.sock = Socket(url, account, "phone")
        self.cursor = self.sock.cursor
        self.bodies, self.connections, self.is_over = [], 1, False

    def run(self):
        while not self.is_over:
            try:
                frame = self.sock.read(1)
                if frame["op"] != "event" or frame["q"] <= self.cursor["q"]:
                    continue
                assert frame["q"] == self.cursor["q"] + 1, "a hole"
                self.cursor["q"] = frame["q"]
                if frame["type"] == "message":
                    self.bodies.append(frame["body"])
            except TimeoutError:
                pass
            except (WebSocketException, OSError):
                self.come_back()

    def come_back(self):
        while not self.is_over:
            try:
                self.sock = Socket(self.url, self.account, "phone", resume=self.cursor)
                self.connections += 1
                return
            except (WebSocketException, OSError, AssertionError):
                continue

    def end(self):
        self.is_over = True
        self.join(PATIENCE)
        assert not self.is_alive()
        self.sock.connection.close()


def send(url, account, conv, body):
    """Over HTTP, again under the same key until it is answered; returns how often it was not at once."""
    key, failures = uuid7(), 0

    def done():
        nonlocal failures
        headers = {"Authorization": f"Bearer {account.token}", "Idempotency-Key": key}
        try:
            answer = httpx.post(
                f"{url}/v1/conversations/{conv}/messages", json={"body": body}, headers=headers, timeout=PATIENCE
            )
        except httpx.TransportError:
            failures += 1
            return False
        failures += answer.status_code not in (200, 201)
        return answer.status_code in (200, 201)

    poll(done)
    return failures


def test_chat_goes_on_while_gateways_are_killed_and_drained(fleet, proxy):
    ann, bob = Account(proxy, "ann"), Account(proxy, "bob")
    devices = [Device(proxy, bob), Device(proxy, ann)]
    for device in devices:
        device.start()
    bodies = []

    def write(count):
        for _ in range(count):
            bodies.append(f"message {len(bodies)}")
            send(proxy, ann, ann.conv(bob), bodies[-1])

    try:
        write(10)
        fleet("kill", "gateway-1")
        write(10)
        fleet("start", "gateway-1")
        write(10)
        stopping = threading.Thread(target=fleet, args=("stop", "gateway-2"))
        stopping.start()
        write(10)
        stopping.join(120)
        write(10)
        fleet("start", "gateway-2")
        write(10)
        for device in devices:
            poll(lambda device=device: len(device.bodies) >= len(bodies))
    finally:
        for device in devices:
            device.end()
        for name in ("gateway-1", "gateway-2"):
            fleet.attempt("start", name)
    assert all(device.bodies == bodies for device in devices)
    assert sum(device.connections for device in devices) > len(devices), "sockets had to come back"


def test_metrics_stay_inside(fleet, proxy):
    assert httpx.get(f"{proxy}/metrics", timeout=PATIENCE).status_code == 404
    assert httpx.get(f"{fleet.gateways[0]}/metrics", timeout=PATIENCE).status_code == 200


def test_a_long_poll_waits_and_hears(fleet, proxy):
    ann, bob = Account(proxy, "ann"), Account(proxy, "bob")
    cursor = bob.get(proxy, "/v1/sync").json()
    where = {"epoch": cursor["epoch"], "q": cursor["head"], "wait": 30}
    answers_ = []
    waiting = threading.Thread(target=lambda: answers_.append(bob.get(proxy, "/v1/sync", **where)))
    waiting.start()
    poll(lambda: fleet.redis("pubsub", "numsub", f"user:{bob.id}").split()[-1] == "1")
    send(proxy, ann, ann.conv(bob), "hello")
    waiting.join(PATIENCE * 2)
    assert [event["body"] for event in answers_[0].json()["events"]] == ["hello"]
