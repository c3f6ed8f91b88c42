"""The web page in headless Chromium: two people in two browsers of their fleet, on two gateways."""

import re
import secrets
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

WAIT = 30
FLAGS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--window-size=1280,800", "--lang=en"]
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & \"quotes\""
UNICODE = ["안녕하세요! 반가워요 👋🏽", "مرحبا، كيف حالك؟", "e\u0301 Ⅷ 𝒳 👩‍👩‍👧‍👦", "first line\nsecond line"]
# What the browser itself says of a gateway that is not there.
CONNECTION_FAILED = re.compile(r"ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET|ERR_INCOMPLETE|WebSocket connection to")


class Window:
    """A browser with a profile of its fleet, and what a person sees and does in it."""

    def __init__(self, url):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_page_load_timeout(WAIT)
        self.url = url
        self.username = None
        try:
            self.driver.get(url)
        except Exception:
            self.driver.quit()
            raise

    def wait(self, condition, what, seconds=WAIT):
        """Polls until `condition()` is true; a node that was replaced meanwhile is looked up again."""
        try:
            poll = WebDriverWait(self.driver, seconds, 0.1, [StaleElementReferenceException])
            return poll.until(lambda _: condition())
        except TimeoutException:
            shown = self.one("body").text[-2000:]
        pytest.fail(f"{self.username} waited for {what}; the page says {shown!r}, the console {self.severe()}")

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector):
        self.wait(lambda: [each for each in self.all(selector) if each.is_displayed()], f"{selector} to be there")
        self.one(selector).click()

    def online(self, seconds=WAIT):
        self.wait(lambda: self.one("#gateway").get_attribute("data-state") == "online", "to be online", seconds)

    def sign_up(self, username, name):
        self.username = username
        self.click("#to-signup")
        self.one("#username").send_keys(username)
        self.one("#display-name").send_keys(name)
        self.one("#password").send_keys("correct horse battery")
        self.click("#sign-submit")
        self.online()

    def sign_in(self):
        self.click("#to-signin")
        self.one("#username").send_keys(self.username)
        self.one("#password").send_keys("correct horse battery")
        self.click("#sign-submit")
        self.online()

    def find(self, username):
        """Types the beginning of a name, as people do, and opens the one that is meant."""
        self.one("#search").send_keys(username[:-2])
        self.click(f"#people [data-username='{username}'] a")
        self.wait(lambda: self.one("#chat-username").text == "@" + username, f"the chat with {username}")

    def write(self, text):
        """By the keyboard; what ChromeDriver cannot type (beyond the basic plane) is pasted."""
        box = self.one("#text")
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

    @property
    def texts(self):
        """What stands in the open conversation: exactly the text that is shown, in order."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll('.message .body')].map(body => body.textContent)")

    def state(self, text):
        """How far one's fleet message has come."""
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
    assert bob.driver.title == "(2) Parley"
    bob.click("#list a")
    ada.reached("and now?", "read")
    ada.reached("is anybody there?", "read")
    bob.wait(lambda: bob.driver.title == "Parley", "nothing unread")


def test_reload_keeps_the_session_and_shows_history(windows):
    ada, _ = windows
    before = ada.texts
    ada.driver.refresh()
    ada.online()
    ada.wait(lambda: ada.texts == before, f"the same {len(before)} messages")
    assert ada.state("hello") == "read"


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
    ada.one("#username").send_keys(ada.username)
    ada.one("#password").send_keys("wrong horse battery")
    ada.click("#sign-submit")
    ada.wait(lambda: "do not match" in ada.one("#sign-error").text, "to be refused")
    refusals = ada.severe()
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
        width = ada.driver.execute_script("return document.documentElement.scrollWidth")
        assert width == 390
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
