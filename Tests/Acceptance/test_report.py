"""The page of a run's results in headless Chromium, as `parley-load report` makes it."""

import json
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from test_page import Window

SAMPLES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "Tests/Acceptance/samples").glob("*.json")}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


class Page:
    """Results on a page in the browser, and what it shows of them."""

    def __init__(self, window, file):
        self.window = window
        self.window.driver.get(file.as_uri())
        self.window.wait(lambda: self.verdict, "the verdict")
        if self.shown("svg"):
            self.window.wait(lambda: all(svg.get_dom_attribute("viewBox") for svg in self.shown("svg")), "the charts")

    def run(self, script, *arguments):
        return self.window.driver.execute_script(script, *arguments)

    def shown(self, selector):
        """The elements that are visible. One question, however many they are."""
        return self.run("return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())",
                        selector)

    def texts(self, selector):
        return self.run("return arguments[0].map((each) => each.innerText ?? each.textContent)", self.shown(selector))

    @property
    def verdict(self):
        return self.run("return document.getElementById('verdict').dataset.state")

    @property
    def sections(self):
        return [section.get_dom_attribute("id") for section in self.shown("main > section")]

    @property
    def figures(self):
        """The key figures, each with its unit, without its note."""
        return self.run("""
            const figures = [...document.querySelectorAll("#figures dl > div")];
            const shown = (dd) => [...dd.childNodes].slice(0, 2).map((node) => node.textContent).join("");
            return Object.fromEntries(figures.map((each) => [each.firstChild.textContent, shown(each.lastChild)]));
        """)

    def points(self, section, key):
        """How many points the line of a series has."""
        line = self.window.one(f"#{section} path[data-key={key}]").get_dom_attribute("d")
        assert "NaN" not in line
        return len(re.findall("[ML]", line))


@pytest.fixture(scope="module")
def window():
    window = Window("about:blank")
    yield window
    window.driver.quit()


@pytest.fixture
def open_page(window, build, tmp_path):
    """Pages of results; nothing goes wrong in them unseen, and they ask nobody for anything."""
    directory = ROOT / ".build" / build if build in ("debug", "release") else pathlib.Path(build)

    def make(results):
        (tmp_path / "results.json").write_text(json.dumps(results, ensure_ascii=False))
        page = tmp_path / "page.html"
        command = [directory / "parley-load", "report", tmp_path / "results.json", "--html", page]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        hosts = set(re.findall(r"https?://([^/'\"]*)", page.read_text()))
        assert hosts == {"www.w3.org"}, "names of namespaces alone"
        return Page(window, page)

    yield make
    assert window.driver.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)") == []
    window.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert [line["message"] for line in window.driver.get_log("browser")] == []


def test_a_run_that_held(open_page):
    results = SAMPLES["chat"]
    page = open_page(results)
    assert page.verdict == "held"
    assert page.texts("#verdict h2") == ["Every promise held"]
    assert page.window.driver.title.startswith("✓ Every promise held")
    assert page.sections == ["verdict", "figures", "timeline", "percentiles", "tables"]
    expected = {"rate achieved": "1,998/s", "p50": "1.2 ms", "connected": "1,000", "lost": "0", "leaked": "0",
                "server CPU a message": "121 µs", "RSS a session": "8.2 KiB", "Redis calls a message": "1.08"}
    assert expected.items() <= page.figures.items()
    assert not page.shown("#figures .bad")
    for key in ("acked", "p50", "p99"):
        assert page.points("timeline", key) == len(results["timeline"])
    assert page.points("percentiles", "latency") == len(results["latency_curve"])
    assert len(page.shown("#timeline .shade")) == 5
    assert not page.shown(".mark")
    assert page.texts("#tables caption") == [
        "From send to …, in ms", "Server CPU a message", "Redis calls a message", "Bytes a message", "Parameters",
        "Counted"]


def test_faults_and_what_they_broke(open_page):
    results = SAMPLES["faults"]
    page = open_page(results)
    assert page.verdict == "broken"
    assert page.texts("#verdict h2, #verdict p") == ["A promise was broken", "3 lost, 1 leaked."]
    assert page.texts("#figures .bad dt") == ["lost", "leaked"]
    shown = page.run("return [...document.querySelectorAll('#violations li')].map((each) => each.textContent)")
    assert shown == [f"{each['kind']} {each['message']}" for each in results["violations"]]
    assert not page.window.all("main img, main script")
    assert page.window.driver.title.startswith("✕ A promise was broken")

    assert len(page.shown("#timeline .mark")) == len(results["faults"])
    assert page.texts("#timeline .label") == [fault["what"] for fault in results["faults"]]
    places = [float(mark.get_dom_attribute("x1")) for mark in page.shown("#timeline .mark")]
    zero, last = (float(page.shown("#timeline .grid")[index].get_dom_attribute("x1")) for index in (0, 9))
    assert places == pytest.approx([zero + (last - zero) * fault["s"] / 45 for fault in results["faults"]])
    there = [second for second in results["timeline"] if "p50" in second]
    assert page.points("timeline", "p50") == len(there) == len(results["timeline"]) - 2
    for key in ("acked", "failed", "late", "connected"):
        assert page.points("timeline", key) == len(results["timeline"])
    assert {"Errors by code", "Faults"} <= set(page.texts("#tables caption"))


def test_rates_step_by_step(open_page):
    results = SAMPLES["steps"]
    page = open_page(results)
    assert page.verdict == "held"
    assert page.figures["highest rate that held"] == "14,000/s"
    assert page.sections == ["verdict", "figures", "rates", "percentiles", "tables"]
    assert len(page.shown("#rates tbody tr")) == len(results["steps"])
    assert len(page.shown("#rates circle[data-key=p99]")) == len(results["steps"])
    assert len(page.shown("#rates .hollow")) == 2, "p50 and p99 of the rate that did not hold"
    assert page.texts("#rates .label") == ["highest that held: 14,000/s"]


def test_sessions_alone(open_page):
    page = open_page(SAMPLES["connect"])
    assert page.verdict == "held"
    assert page.texts("#verdict h2, #verdict p") == [
        "Every session held", "10,000 of 10,000 connected, 0 closed unexpectedly."]
    assert page.sections == ["verdict", "figures", "tables"]
    assert page.figures == {"connected": "10,000", "connecting took": "3.31 s", "connects": "3,019/s",
                            "heartbeats answered": "23,992", "RSS a session": "5.3 KiB"}


@pytest.mark.parametrize(("sample", "change", "verdict", "sentence"), [
    ("connect", {"connected": 9998, "unexpected_closes": 2}, "broken", "9,998 of 10,000 connected, 2 closed"),
    ("connect", {"unexpected_closes": 1}, "broken", "10,000 of 10,000 connected, 1 closed"),
    ("chat", {"reordered": 1}, "broken", "1 reordered"),
    ("chat", {"violations": [{"kind": "unread", "message": "m"}]}, "broken", "Violations: 1"),
    ("chat", {"lost": 2, "ended_early": "a gateway ended"}, "broken", "2 lost. It ended early: a gateway ended"),
    ("chat", {"ended_early": "a gateway ended"}, "unsure", "It ended early: a gateway ended"),
    ("chat", {"acked": 0}, "unsure", "Nothing was acknowledged"),
    ("chat", {"leaked": None}, "unsure", "Not everything was checked"),
])
def test_verdicts(open_page, sample, change, verdict, sentence):
    page = open_page({**SAMPLES[sample], **change})
    assert page.verdict == verdict
    assert sentence in page.texts("#verdict p")[0]


@pytest.mark.parametrize("absent", [
    list(SAMPLES["chat"]), ["timeline"], ["latency_ms", "ack_ms", "latency_curve"], ["faults", "violations", "errors"],
    ["server_cpu_us_per_message", "rss_kb_per_session", "redis_calls_per_message", "bytes_per_message"],
])
def test_what_is_absent_leaves_no_trace(open_page, absent):
    page = open_page({key: value for key, value in SAMPLES["chat"].items() if key not in absent})
    whole = "\n".join(page.texts("body"))
    assert not re.search(r"undefined|NaN|null|Infinity|\[object", whole)
    assert ("timeline" in page.sections) == ("timeline" not in absent)
    assert ("percentiles" in page.sections) == ("latency_curve" not in absent)


def test_empty_and_shortest_timelines(open_page):
    assert "timeline" not in open_page({**SAMPLES["chat"], "timeline": []}).sections
    page = open_page({**SAMPLES["chat"], "timeline": SAMPLES["chat"]["timeline"][:1]})
    assert page.points("timeline", "p99") == 1


def test_hours_of_seconds(open_page):
    seconds = [{"s": s, "acked": 2000 + s % 7, "p50": 1.2, "p99": 5 + s % 11, "connected": 1000, "errors": s // 900,
                "late": 0} for s in range(1, 7201)]
    faults = [{"s": 360 * number + 0.5, "what": f"kill gateway-{number % 2 + 1}"} for number in range(1, 20)]
    page = open_page({**SAMPLES["chat"], "timeline": seconds, "faults": faults})
    for key in ("acked", "p50", "p99", "failed", "late"):
        assert page.points("timeline", key) == len(seconds)
    assert len(page.shown("#timeline .mark")) == len(faults)
    page.shown("#timeline summary")[0].click()
    page.window.wait(lambda: page.run("return document.querySelectorAll('#timeline tbody tr').length") == len(seconds),
                     "a row a second")


def test_pointer_and_keys_read_the_values(open_page):
    page = open_page(SAMPLES["faults"])
    svg = page.shown("#timeline svg")[0]
    assert not page.shown(".tip")
    ActionChains(page.window.driver).scroll_to_element(svg).move_to_element(svg).perform()
    page.window.wait(lambda: page.shown("#timeline .tip"), "the values under the pointer")
    lines = page.texts("#timeline .tip")[0].split("\n")
    second = next(each for each in SAMPLES["faults"]["timeline"] if lines[0].split(" s")[0] == str(each["s"]))
    assert 15 < second["s"] < 30, "in the middle"
    assert f"acknowledged {second['acked']:,}/s" in lines

    svg.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    second = SAMPLES["faults"]["timeline"][1]
    assert svg.get_dom_attribute("aria-valuetext").startswith(f"2 s, warm-up, acknowledged {second['acked']:,}/s, p50 ")
    svg.send_keys(Keys.END, Keys.ARROW_RIGHT)
    assert svg.get_dom_attribute("aria-valuetext").startswith("45 s, ")
    assert svg.get_dom_attribute("aria-valuenow") == svg.get_dom_attribute("aria-valuemax") == "44"
    svg.send_keys(Keys.ESCAPE)
    assert not page.shown("#timeline .tip")


@pytest.mark.parametrize("sample", sorted(SAMPLES))
def test_on_a_phone_nothing_scrolls_sideways(window, open_page, sample):
    window.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page = open_page(SAMPLES[sample])
    for summary in page.shown("summary"):
        summary.click()
    assert page.run("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    for svg in page.shown("svg"):
        assert float(svg.get_dom_attribute("viewBox").split()[2]) == svg.size["width"]


def test_dark_where_the_system_is(window, open_page):
    brightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"
    page = open_page(SAMPLES["chat"])
    light = page.run(brightness)
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    assert page.run(brightness) < 150 < 600 < light
