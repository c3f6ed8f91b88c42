"""The web page in headless Chromium: two people in two browsers of their own, on two gateways."""

import re
import secrets
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from client import poll, uuid7
from conftest import running
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

WAIT = 30
# What may happen to a node between the look at it and the click.
MOVED = [StaleElementReferenceException, ElementNotInteractableException, ElementClickInterceptedException]
FLAGS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--window-size=1280,800", "--lang=en"]
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & \"quotes\""
UNICODE = ["안녕하세요! 반가워요 👋🏽", "مرحبا، كيف حالك؟", "e\u0301 Ⅷ 𝒳 👩‍👩‍👧‍👦", "first line\nsecond line"]
# A network that can be cut for WebSockets.
CUT = """
(() => {
    const Socket = window.WebSocket, sockets = new Set();
    let isCut = false;
    window.WebSocket = class extends Socket {
        constructor(...parameters) {
            if (isCut) throw new Error("no network");
            super(...parameters);
            sockets.add(this);
        }
    };
    window.cut = (on) => {
        isCut = on;
        if (on) sockets.forEach((socket) => socket.close());
        else dispatchEvent(new Event("online"));
    };
})();
"""
# What the browser itself says of a gateway that is not there.
CONNECTION_FAILED = re.compile(r"ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET|ERR_INCOMPLETE|WebSocket connection to")


class Window:
    """A browser with a profile of its own, and what a person sees and does in it."""

    def __init__(self, url):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_page_load_timeout(WAIT)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": CUT})
        self.url = url
        self.username = None
        try:
            self.driver.get(url)
        except Exception:
            self.driver.quit()
            raise

    def wait(self, condition, what, seconds=WAIT):
        """Polls until `condition()` is true; a node that was replaced or moved meanwhile is looked up again."""
        try:
            return WebDriverWait(self.driver, seconds, 0.1, MOVED).until(lambda _: condition())
        except TimeoutException:
            shown = self.one("body").text[-2000:]
        pytest.fail(f"{self.username} waited for {what}; the page says {shown!r}, the console {self.severe()}")

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def shown(self, selector):
        """The first of these that is visible."""
        return next((each for each in self.all(selector) if each.is_displayed()), None)

    def click(self, selector):
        def clicked():
            found = self.shown(selector)
            if found:
                found.click()
            return found

        self.wait(clicked, f"{selector} to be there")

    def type(self, selector, text):
        self.wait(lambda: self.shown(selector), f"{selector} to be there").send_keys(text)

    def online(self, seconds=WAIT):
        self.wait(lambda: self.one("#gateway").get_attribute("data-state") == "online", "to be online", seconds)

    def sign_up(self, username, name):
        self.username = username
        self.click("#to-signup")
        self.type("#username", username)
        self.type("#display-name", name)
        self.type("#password", "correct horse battery")
        self.click("#sign-submit")
        self.online()

    def sign_in(self):
        self.click("#to-signin")
        self.type("#username", self.username)
        self.type("#password", "correct horse battery")
        self.click("#sign-submit")
        self.online()

    def find(self, username):
        """Types the beginning of a name, as people do, and opens the one that is meant."""
        self.type("#search", username[:-2])
        self.click(f"#people [data-username='{username}'] a")
        self.wait(lambda: self.one("#chat-username").text == "@" + username, f"the chat with {username}")

    def write(self, text):
        """By the keyboard; what ChromeDriver cannot type (beyond the basic plane) is pasted."""
        box = self.wait(lambda: self.shown("#text"), "a place to write in")
        if all(ord(letter) < 0x10000 for letter in text):
            for number, line in enumerate(text.split("\n")):
                if number:
                    box.send_keys(Keys.SHIFT, Keys.ENTER)
                box.send_keys(line)
        else:
            self.driver.execute_script(
                "arguments[0].value = arguments[1];"
                "arguments[0].dispatchEvent(new Event('input', {bubbles: true}));", box, text)
        box.send_keys(Keys.ENTER)

    def titled(self, title):
        self.wait(lambda: self.driver.title == title, f"the title {title!r}")

    @property
    def texts(self):
        """What stands in the open conversation: exactly the text that is shown, in order."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll('.message .body')].map(body => body.textContent)")

    def state(self, text):
        """How far one's own message has come."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll('.message.mine')]"
            ".filter(message => message.querySelector('.body').textContent === arguments[0])"
            ".map(message => message.dataset.state)[0]", text)

    def sees(self, *texts):
        self.wait(lambda: set(texts) <= set(self.texts), f"to see {texts}")

    def reached(self, text, *states):
        self.wait(lambda: self.state(text) in states, f"{text!r} to be {' or '.join(states)}")

    @property
    def gateway(self):
        """The port of the gateway that the session is on, as the footer says."""
        shown = self.one("#gateway").get_attribute("data-gateway")
        return urlsplit(shown).port if shown else None

    @property
    def loads(self):
        """How often the page fetched the list of conversations: once for every fresh start of its session."""
        return self.driver.execute_script(
            "return performance.getEntriesByType('resource').filter(({name}) => name.includes('/v1/conversations?'))"
            ".length")

    def cut(self, on):
        """Takes the WebSockets' network away, or gives it back."""
        self.driver.execute_script("cut(arguments[0])", on)

    def severe(self):
        """Errors since the last call, by the browser's console."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]


def on_two_gateways(stay, move):
    """Reloads one window until discovery sends it elsewhere than the other."""
    for _ in range(40):
        if stay.gateway != move.gateway:
            return
        move.driver.refresh()
        move.online()
    pytest.fail(f"discovery never named another gateway than {stay.gateway}")


@pytest.fixture(scope="module")
def fleet(build):
    """A stack with short queues and a short grace, whose gateways these tests may kill."""
    with running(build, PARLEY_QUEUE_CAP="100", PARLEY_PRESENCE_GRACE_MS="5000", PARLEY_DRAIN_MS="20000") as stack:
        yield stack


@pytest.fixture(scope="module")
def windows(fleet):
    """Ada and Bob, signed up, in a conversation of one message each way."""
    opened = []
    page = fleet.gateways[0]
    try:
        # Both names of this machine must do.
        for url in (page.replace("127.0.0.1", "localhost"), page):
            opened.append(Window(url))
        ada, bob = opened
        suffix = secrets.token_hex(3)
        ada.sign_up(f"ada-{suffix}", "Ada Lovelace")
        bob.sign_up(f"bob-{suffix}", "밥 Kim")
        ada.find(bob.username)
        ada.write("hello")
        ada.reached("hello", "sent", "delivered", "read")
        bob.click("#list a")
        bob.sees("hello")
        bob.write("hello, too")
        ada.sees("hello", "hello, too")
        yield ada, bob
    finally:
        for window in opened:
            window.driver.quit()


@pytest.fixture(autouse=True)
def quiet(request, windows):
    """Nothing goes wrong unseen: the console stays empty, apart from gateways that a test took away."""
    yield
    complaints = [line for window in windows for line in window.severe()]
    if "outage" in request.fixturenames:
        complaints = [line for line in complaints if not CONNECTION_FAILED.search(line)]
    assert not complaints


@pytest.fixture
def outage(fleet):
    """kill -9 of gateways by port, and their return: at the latest when the test is over."""
    names = {urlsplit(gateway["url"]).port: gateway["name"] for gateway in fleet.json["gateways"]}

    class Outage:
        ports = set(names)
        killed = set()

        def kill(self, *ports):
            for port in ports:
                fleet("kill", names[port])
                self.killed.add(port)

        def end(self):
            while self.killed:
                fleet("start", names[self.killed.pop()])

    outage = Outage()
    yield outage
    outage.end()


def test_text_is_shown_as_it_was_written(windows):
    ada, bob = windows
    for number, text in enumerate([HOSTILE, *UNICODE]):
        writer, reader = (ada, bob) if number % 2 else (bob, ada)
        writer.write(text)
        reader.sees(text)
    assert ada.texts == bob.texts == ["hello", "hello, too", HOSTILE, *UNICODE]
    for window in windows:
        assert not window.all(".message script, .message img")
        assert "owned" not in window.driver.title


def test_addresses_become_links(windows):
    ada, bob = windows
    ada.write("look: https://example.org/a?b=<c>, javascript:alert(1)")
    bob.sees("look: https://example.org/a?b=<c>, javascript:alert(1)")
    links = [(link.get_attribute("href"), link.get_attribute("rel")) for link in bob.all(".message .body a")]
    assert links == [("https://example.org/a?b=", "noopener noreferrer")]


def test_sent_delivered_and_read(windows):
    ada, bob = windows
    address = bob.driver.current_url
    bob.driver.get("about:blank")
    ada.write("is anybody there?")
    ada.reached("is anybody there?", "sent")
    bob.driver.get(address.split("#")[0])
    bob.wait(lambda: bob.all("#list .badge") and bob.one("#list .badge").text == "1", "one unread message")
    ada.write("and now?")
    ada.reached("and now?", "delivered")
    bob.wait(lambda: bob.one("#list .badge").text == "2", "two unread messages")
    bob.titled("(2) Parley")
    bob.click("#list a")
    ada.reached("and now?", "read")
    ada.reached("is anybody there?", "read")
    bob.titled("Parley")


def test_reload_keeps_the_session_and_shows_history(windows):
    ada, _ = windows
    before = ada.texts
    ada.driver.refresh()
    ada.online()
    ada.wait(lambda: ada.texts == before, f"the same {len(before)} messages")
    ada.reached("hello", "read")


def test_scrolling_up_shows_what_is_older(windows):
    ada, bob = windows
    for number in range(70):
        ada.write(f"number {number}")
    bob.sees("number 69")
    ada.reached("number 69", "sent", "delivered", "read")
    whole = bob.texts
    assert whole[-70:] == [f"number {number}" for number in range(70)]
    ada.driver.refresh()
    ada.sees("number 69")
    assert len(ada.texts) == 50

    def all_there():
        ada.driver.execute_script("document.getElementById('scroll').scrollTop = 0")
        return ada.texts == whole

    ada.wait(all_there, f"all {len(whole)} messages")


def test_a_second_tab_is_another_device(windows):
    ada, bob = windows
    address = ada.driver.current_url
    first = ada.driver.current_window_handle
    ada.driver.switch_to.new_window("tab")
    ada.driver.get(address)
    ada.online()
    ada.write("from the second tab")
    bob.sees("from the second tab")
    ada.driver.close()
    ada.driver.switch_to.window(first)
    ada.sees("from the second tab")
    assert ada.texts.count("from the second tab") == 1


def test_wrong_password_and_sign_out(windows):
    ada, _ = windows
    ada.click("#menu summary")
    ada.click("#sign-out")
    ada.wait(lambda: ada.one("#sign").is_displayed(), "the sign-in card")
    ada.type("#username", ada.username)
    ada.type("#password", "wrong horse battery")
    ada.click("#sign-submit")
    ada.wait(lambda: "do not match" in ada.one("#sign-error").text, "to be refused")
    refusals = ada.wait(ada.severe, "the browser to tell of the refusal")
    assert len(refusals) == 1 and "/v1/login" in refusals[0] and "401" in refusals[0]
    ada.driver.refresh()
    ada.sign_in()
    ada.click("#list a")
    ada.sees("from the second tab")


def test_phone_shows_list_and_chat_as_two_views(windows):
    ada, _ = windows
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    ada.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        ada.wait(lambda: ada.one("#text").is_displayed() and not ada.one("#side").is_displayed(), "the chat alone")
        width = "return document.documentElement.scrollWidth"
        ada.wait(lambda: ada.driver.execute_script(width) == 390, "nothing beyond the edge")
        ada.click("#back")
        ada.wait(lambda: ada.one("#list a").is_displayed() and not ada.one("#text").is_displayed(), "the list alone")
        ada.click("#list a")
        ada.wait(lambda: ada.one("#text").is_displayed(), "the chat again")
    finally:
        ada.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_killed_gateway_loses_nothing(outage, windows):
    """The gateway that dies is the one that served the pages, too: the other one is known by then."""
    on_two_gateways(*windows)
    page = urlsplit(windows[0].url).port
    assert {window.gateway for window in windows} == outage.ports, "the footers name the stack's gateways"
    there, other = sorted(windows, key=lambda window: window.gateway != page)
    # A reconnect may be faster than a poll: the page keeps what its banner said.
    there.driver.execute_script("""
        window.said = [];
        const banner = document.getElementById("banner");
        new MutationObserver(() => window.said.push(banner.textContent)).observe(banner, {childList: true});
    """)
    outage.kill(page)
    there.write("written while it was down")
    other.write("from the other side")
    there.write("and one more")
    there.wait(lambda: there.gateway == other.gateway, "a session on the other gateway")
    other.sees("written while it was down", "and one more")
    there.sees("from the other side")
    for text in ("written while it was down", "and one more"):
        there.reached(text, "delivered", "read")
    assert any(text.startswith("Reconnecting…") for text in there.driver.execute_script("return window.said"))
    there.wait(lambda: there.one("#banner").text == "", "the banner to go")
    outage.end()
    for window in windows:
        for text in ("written while it was down", "from the other side", "and one more"):
            assert window.texts.count(text) == 1
    # History says the same; the page comes from the gateway that is back.
    there.driver.refresh()
    there.sees("written while it was down", "from the other side", "and one more")
    assert there.texts == other.texts[-len(there.texts):]


def test_messages_wait_while_no_gateway_is_there(outage, windows):
    ada, bob = windows
    outage.kill(*outage.ports)
    ada.wait(lambda: ada.one("#banner").text.startswith("Reconnecting…"), "the banner")
    ada.write("kept 1")
    ada.write("kept 2")
    ada.wait(lambda: ada.state("kept 2") == "sending", "the message to wait")
    outage.end()
    for window in windows:
        window.online(2 * WAIT)  # the backoff may have grown to half a minute
    for text in ("kept 1", "kept 2"):
        ada.reached(text, "sent", "delivered", "read")
    bob.sees("kept 1", "kept 2")
    for window in windows:
        assert window.texts[-2:] == ["kept 1", "kept 2"]


RULES = """
const done = arguments[arguments.length - 1];
import("/rules.js").then(({uuidv7, backoff, closeAction, rankGateways, directConversation}) => done({
    ids: Array.from({length: 10000}, () => uuidv7(1700000000000)),
    later: uuidv7(1800000000000),
    back: uuidv7(1600000000000),
    codes: [1000, 1006, 4000, 4003, 4099, 4100, 4199, 4200, 4500, 4501, 4503].map(closeAction),
    waits: [0, 1, 4, 5, 60].map(attempt => [backoff(attempt, 1000, () => 0), backoff(attempt, 1000, () => 1)]),
    ranks: [
        rankGateways(["a", "b", "c"], new Map(), 100000),
        rankGateways(["a", "b", "c"], new Map([["a", 99000]]), 100000),
        rankGateways(["a", "b", "c"], new Map([["a", 99000], ["b", 98000], ["c", 99500]]), 100000),
        rankGateways(["a", "b"], new Map([["a", 50000]]), 100000),
    ],
    conversations: [directConversation("b", "a"), directConversation("a", "b"), directConversation("9", "a")],
}), error => done({error: String(error)}));
"""


def test_rules_of_the_client_library(windows):
    answer = windows[0].driver.execute_async_script(RULES)
    ids = answer["ids"]
    assert ids == sorted(set(ids)), "client message ids increase"
    pattern = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(pattern.fullmatch(each) for each in [*ids, answer["later"]])
    assert int(ids[0].replace("-", "")[:12], 16) == 1700000000000
    assert int(answer["later"].replace("-", "")[:12], 16) == 1800000000000
    assert int(answer["back"].replace("-", "")[:12], 16) == 1600000000000, "a clock that was set right counts"
    assert answer["codes"] == ["backoff"] * 2 + ["resume"] * 3 + ["backoff"] * 2 + ["resync", "refresh", "stop", "stop"]
    assert answer["waits"] == [[0, 1000], [0, 2000], [0, 16000], [0, 30000], [0, 30000]]
    assert answer["ranks"] == [["a", "b", "c"], ["b", "c", "a"], ["b", "a", "c"], ["a", "b"]]
    assert answer["conversations"] == ["d:a:b", "d:a:b", "d:9:a"]


# What the page shows of its connection from now on.
STATES = """
window.states = [];
new MutationObserver(() => states.push(document.querySelector("#gateway").dataset.state))
    .observe(document.querySelector("#gateway"), { attributes: true, attributeFilter: ["data-state"] });
"""


def test_a_gateway_that_drains_is_left_without_a_gap(fleet, windows, outage):
    ada, bob = windows
    ada.find(bob.username)
    bob.find(ada.username)
    before = ada.gateway
    name = next(each["name"] for each in fleet.json["gateways"] if urlsplit(each["url"]).port == before)
    for window in windows:
        window.driver.execute_script(STATES)
    stopping = threading.Thread(target=fleet, args=("stop", name))
    stopping.start()
    texts = []
    try:
        while stopping.is_alive():
            texts.append(f"while it drains {len(texts)}")
            ada.write(texts[-1])
            stopping.join(0.5)
        ada.wait(lambda: ada.gateway not in (None, before), "to be on another gateway")
        bob.sees(*texts)
        ada.reached(texts[-1], "sent", "delivered", "read")
    finally:
        stopping.join()
        fleet("start", name)
    for window in windows:
        assert window.texts[-len(texts):] == texts
        assert set(window.driver.execute_script("return states")) <= {"online"}, "never without a connection"


def test_the_page_outlives_the_gateway_that_served_it(windows, outage):
    ada, bob = windows
    outage.kill(urlsplit(ada.url).port)
    ada.wait(lambda: ada.gateway not in (None, urlsplit(ada.url).port), "to be on another gateway")
    for window in windows:
        window.online()
    # People are found over HTTP, by another gateway than the page's own.
    ada.find(bob.username)
    ada.write("served by another")
    bob.sees("served by another")


def test_groups_are_shown_and_written_in(fleet, windows):
    """They are made by other clients as yet; the page takes what comes of them."""
    ada, bob = windows
    people = []
    for window in windows:
        credentials = {"username": window.username, "password": "correct horse battery"}
        people.append(httpx.post(fleet.gateways[0] + "/v1/login", json=credentials, timeout=WAIT).json())
    owner, member = people
    headers = {"Authorization": f"Bearer {owner['access_token']}", "Idempotency-Key": secrets.token_hex(8)}

    def change(method, path, **body):
        answer = httpx.request(method, fleet.gateways[1] + path, json=body, headers=headers, timeout=WAIT)
        assert answer.is_success, answer.text
        return answer

    path = "/v1/conversations"
    group = change("POST", path, title="Engines", members=[member["user"]["id"]]).json()["id"]
    for window in windows:
        window.driver.get(window.driver.current_url.split("#")[0] + "#" + group)
        window.wait(lambda window=window: window.one("#chat-name").text == "Engines", "the group")
    ada.write("to all of you")
    bob.sees("to all of you")
    change("PATCH", f"{path}/{group}", title="Analytical engines")
    bob.write("to you, too")
    ada.sees("to all of you", "to you, too")
    for window in windows:
        window.wait(lambda window=window: window.one("#chat-name").text == "Analytical engines", "its new title")
    change("DELETE", f"{path}/{group}/members/{member['user']['id']}")
    ada.write("without bob")
    ada.reached("without bob", "sent", "delivered", "read")
    assert "without bob" not in bob.texts


def test_a_friend_has_a_light(fleet, windows):
    ada, bob = windows
    accounts = []
    for window in windows:
        credentials = {"username": window.username, "password": "correct horse battery"}
        accounts.append(httpx.post(fleet.gateways[0] + "/v1/login", json=credentials, timeout=WAIT).json())

    def call(who, path, **body):
        headers = {"Authorization": f"Bearer {accounts[who]['access_token']}"}
        answer = httpx.post(fleet.gateways[1] + path, json=body, headers=headers, timeout=WAIT)
        assert answer.is_success, answer.text

    ids = [account["user"]["id"] for account in accounts]
    row = f"#list [data-conv='d:{':'.join(sorted(ids))}']"
    ada.click(f"{row} a")
    assert ada.one(row).get_attribute("data-light") == "", "strangers have none"
    call(0, "/v1/friends/requests", user=ids[1])
    call(1, f"/v1/friends/requests/{ids[0]}/accept")
    ada.wait(lambda: ada.one(row).get_attribute("data-light") == "online", "bob's light")
    ada.wait(lambda: ada.one("#chat-username").text == f"@{bob.username} · online", "it in words")
    bob.driver.execute_script("cut(true)")
    ada.wait(lambda: "last seen" in ada.one("#chat-username").text, "bob to be gone", seconds=60)
    ada.wait(lambda: ada.one(row).get_attribute("data-light") == "offline", "his light to go out")
    bob.driver.execute_script("cut(false)")
    bob.online()
    ada.wait(lambda: ada.one(row).get_attribute("data-light") == "online", "bob to be back")
    headers = {"Authorization": f"Bearer {accounts[0]['access_token']}"}
    httpx.delete(f"{fleet.gateways[0]}/v1/friends/{ids[1]}", headers=headers, timeout=WAIT)
    ada.wait(lambda: ada.one("#chat-username").text == "@" + bob.username, "the light to go out")


def test_readers_of_a_group_and_a_muted_one(fleet, windows):
    ada, bob = windows
    url, path = fleet.gateways[0], "/v1/conversations"

    def call(who, method, path, body=None, **headers):
        headers = {"Authorization": f"Bearer {who['access_token']}", **headers}
        answer = httpx.request(method, url + path, json=body, headers=headers, timeout=WAIT)
        assert answer.is_success, answer.text
        return answer

    def account(way, username):
        credentials = {"username": username, "password": "correct horse battery"}
        return httpx.post(f"{url}/v1/{way}", json=credentials, timeout=WAIT).json()

    others = [account("signup", f"reader-{secrets.token_hex(4)}") for _ in range(2)]
    owner, member = (account("login", window.username) for window in windows)
    body = {"title": "Readers", "members": [each["user"]["id"] for each in (member, *others)]}
    group = call(owner, "POST", path, body, **{"Idempotency-Key": secrets.token_hex(8)}).json()["id"]
    row, badge = (f"#list [data-conv='{group}']{part}" for part in ("", " .badge"))
    for window, place in ((ada, group), (bob, "")):
        window.driver.get(window.driver.current_url.split("#")[0] + "#" + place)
    ada.wait(lambda: ada.one("#chat-name").text == "Readers", "the group")

    def read(who):
        seq = call(who, "GET", f"{path}/{group}").json()["last"]["seq"]
        call(who, "POST", f"{path}/{group}/read", {"seq": seq})

    def word():
        return ada.driver.execute_script("return document.querySelector('.message.last .word')?.textContent")

    ada.write("who reads this?")
    ada.reached("who reads this?", "sent", "delivered")
    read(others[0])
    ada.wait(lambda: word() == "Read by 1", "one reader")
    bob.wait(lambda: bob.all(badge) and bob.one(badge).text == "1", "one unread message")
    bob.click(row + " a")
    ada.wait(lambda: word() == "Read by 2", "two readers")
    # Who opens it later learns it from the group itself.
    ada.driver.refresh()
    ada.online()
    ada.wait(lambda: word() == "Read by 2", "the same two")
    read(others[1])
    ada.wait(lambda: word() == "Read by all", "all of them")
    # What stood before somebody came is not for them to read.
    late = account("signup", f"reader-{secrets.token_hex(4)}")
    call(owner, "PUT", f"{path}/{group}/members/{late['user']['id']}")
    ada.driver.refresh()
    ada.online()
    ada.wait(lambda: word() == "Read by all", "all who were there")

    bob.click("#mute")
    bob.wait(lambda: bob.one("#mute").text == "Unmute" and bob.all(row + ".muted"), "it to be muted")
    bob.driver.get(bob.driver.current_url.split("#")[0] + "#")
    ada.write("no noise")
    bob.wait(lambda: "no noise" in bob.one(row).text, "the message in the list")
    bob.titled("Parley")
    assert not bob.one(badge).is_displayed()
    bob.driver.refresh()
    bob.online()
    bob.wait(lambda: bob.all(row + ".muted"), "it to be still muted")
    assert not bob.one(badge).is_displayed()
    # As another device would do it.
    call(member, "DELETE", f"{path}/{group}/mute")
    bob.wait(lambda: bob.one(badge).is_displayed() and bob.one(badge).text == "1", "the unread message")
    bob.titled("(1) Parley")
    call(owner, "DELETE", f"{path}/{group}/members/{member['user']['id']}")
    bob.wait(lambda: not bob.all(row), "the group to be gone")


class Script:
    """The person of a window, at work without it."""

    def __init__(self, stack, window):
        self.url = stack.gateways[1]
        credentials = {"username": window.username, "password": "correct horse battery"}
        answer = httpx.post(self.url + "/v1/login", json=credentials, timeout=WAIT).json()
        self.id = answer["user"]["id"]
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {answer['access_token']}"}, timeout=WAIT
        )

    def __call__(self, method, path, **body):
        """Repeated while the gateway cannot know what became of it."""
        key = uuid7()
        while True:
            answer = self.client.request(method, path, json=body or None, headers={"Idempotency-Key": key})
            if answer.status_code != 503:
                assert answer.is_success, answer.text
                return answer.json() if answer.content else None

    def send(self, conv, text):
        return self("POST", f"/v1/conversations/{conv}/messages", body=text)["mid"]

    def history(self, conv):
        """The texts of a conversation's messages that were not deleted."""
        texts, path = [], f"/v1/conversations/{conv}/messages?limit=200"
        page = self("GET", path + "&after_seq=0")
        while True:
            texts += [message["body"] for message in page["messages"] if "body" in message]
            if not page["more"]:
                return texts
            page = self("GET", f"{path}&after={page['messages'][-1]['mid']}")

    def talk(self, *convs):
        """Writes, edits and deletes there until the function that it returns is called; that gives the last text."""
        stopping = threading.Event()
        failures = []

        def run():
            try:
                number = 0
                while not stopping.is_set():
                    for conv in convs:
                        mid = self.send(conv, f"meanwhile {number}")
                        path = f"/v1/conversations/{conv}/messages/{mid}"
                        if number % 3 == 1:
                            self("PATCH", path, body=f"edited {number}")
                        if number % 5 == 2:
                            self("DELETE", path)
                    number += 1
                    time.sleep(0.1)
                for conv in convs:
                    self.send(conv, "the end of it")
            except BaseException as failure:
                failures.append(failure)
                raise

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def stop():
            stopping.set()
            thread.join(2 * WAIT)
            assert not thread.is_alive() and not failures, failures
            return "the end of it"

        return stop


def shows_all(window, texts):
    """Scrolls up to the beginning; what is shown then is exactly this."""

    def all_there():
        window.driver.execute_script("document.getElementById('scroll').scrollTop = 0")
        return len(window.texts) >= len(texts)

    window.wait(all_there, f"all {len(texts)} messages")
    assert window.texts == texts


def fresh_pair(fleet, windows):
    """A group of the two alone, open in Bob's window, with thirty messages."""
    ada, bob = (Script(fleet, window) for window in windows)
    group = ada("POST", "/v1/conversations", title=secrets.token_hex(4), members=[bob.id])["id"]
    mids = [ada.send(group, f"number {number}") for number in range(30)]
    window = windows[1]
    window.driver.get(window.driver.current_url.split("#")[0] + "#" + group)
    window.sees("number 0", "number 29")
    return ada, window, group, mids


def test_beyond_its_queue_a_page_reads_history_anew(fleet, windows):
    ada, bob, group, mids = fresh_pair(fleet, windows)
    loads = bob.loads
    bob.cut(True)
    bob.wait(lambda: bob.one("#banner").text.startswith("Reconnecting…"), "the banner")
    path = f"/v1/conversations/{group}/messages"
    ada("PATCH", f"{path}/{mids[3]}", body="number 3, edited")
    ada("DELETE", f"{path}/{mids[5]}")
    for number in range(250):
        ada.send(group, f"away {number}")
    member = next(user for user in ada("GET", f"/v1/conversations/{group}")["members"] if user != ada.id)
    new = ada("POST", "/v1/conversations", title="A new group", members=[member])["id"]
    ada.send(new, "welcome")
    stop = ada.talk(group, new)
    bob.cut(False)
    bob.online()
    bob.wait(lambda: bob.loads > loads, "a fresh start")
    bob.sees(stop())
    texts = ada.history(group)
    assert "number 3, edited" in texts and "number 5" not in texts and len(texts) > 270
    shows_all(bob, texts)
    assert bob.loads == loads + 1, "one fresh start was enough"
    bob.wait(lambda: "A new group" in bob.one("#list").text, "the group that it did not know")
    bob.driver.get(bob.driver.current_url.split("#")[0] + "#" + new)
    bob.sees("the end of it")
    shows_all(bob, ada.history(new))


def test_a_new_epoch_makes_a_page_read_history_anew(fleet, windows):
    ada, bob, group, mids = fresh_pair(fleet, windows)
    ada("PATCH", f"/v1/conversations/{group}/messages/{mids[7]}", body="number 7, edited")
    bob.sees("number 7, edited")
    poll(lambda: fleet.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{group}' AND rev IS NOT NULL") == "1")
    loads = bob.loads
    fleet.redis("flushall")
    stop = ada.talk(group)
    bob.wait(lambda: bob.loads > loads, "a fresh start")
    bob.online()
    bob.sees(stop())
    shows_all(bob, ada.history(group))


HOLD_OLDER = """
const real = window.fetch;
window.held = [];
window.fetch = async (url, options) => {
    const answer = await real(url, options);
    if (String(url).includes("before=")) await new Promise((resolve) => window.held.push(resolve));
    return answer;
};
"""


def test_an_older_page_that_comes_late_leaves_no_hole(fleet, windows):
    """It was asked for before the session began afresh, and fits no more."""
    ada, bob, group, _ = fresh_pair(fleet, windows)
    for number in range(40):
        ada.send(group, f"later {number}")
    bob.sees("later 39")
    bob.driver.refresh()
    bob.sees("later 39")
    loads = bob.loads
    bob.driver.execute_script(HOLD_OLDER)
    bob.driver.execute_script("document.getElementById('scroll').scrollTop = 0")
    bob.wait(lambda: bob.driver.execute_script("return held.length") == 1, "the older page")
    bob.cut(True)
    for number in range(250):
        ada.send(group, f"away {number}")
    bob.cut(False)
    bob.wait(lambda: bob.loads > loads, "a fresh start")
    bob.driver.execute_script("held.forEach((release) => release()); window.held = { push: (release) => release() };")
    bob.sees("away 249")
    texts = ada.history(group)
    assert bob.texts == texts[-len(bob.texts):]
    shows_all(bob, texts)
