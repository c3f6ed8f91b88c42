"""What Ops has for Prometheus and Grafana: held by promtool, and tried on a running stack."""

import json
import re
import subprocess
import urllib.parse

import httpx
import pytest
import yaml
from client import PATIENCE, Account, Socket, poll
from conftest import ROOT
from metrics import Scrape

TOOLS = ROOT / ".venv/prometheus"
NAME = re.compile(r"\b(?:parley|process)_[a-z_]+\b")
# Those that Prometheus itself gives to every series.
OWN_LABELS = {"job", "instance", "le"}


def promtool(*arguments):
    done = subprocess.run([TOOLS / "promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def alerts():
    """Expressions by the alert's name."""
    rules = yaml.safe_load((ROOT / "Ops/alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in rules for rule in group["rules"]}


@pytest.fixture(scope="module")
def panels():
    """Expressions of the dashboard, by what shows them."""
    board = json.loads((ROOT / "Ops/grafana-dashboard.json").read_text())
    found = {note["name"]: note["expr"] for note in board["annotations"]["list"]}
    for panel in board["panels"]:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"].replace("$__rate_interval", "1m")
    return found


@pytest.fixture(scope="module")
def scrapes(stack):
    """Of a gateway and a worker, after something has happened."""
    with Socket(stack.gateways[0], Account(stack.gateways[0])):
        pass
    return [Scrape(stack.gateways[0]), Scrape(stack.json["workers"][0]["url"])]


def test_promtool_takes_them():
    promtool("check", "rules", "Ops/alerts.yml")
    promtool("check", "config", "Ops/prometheus.yml")
    promtool("test", "rules", "Tests/Acceptance/alerts-test.yml")


def test_every_alert_stands_in_the_runbook(alerts):
    described = re.findall(r"^\| `(Parley\w+)` \|", (ROOT / "Ops/RUNBOOK.md").read_text(), re.M)
    assert sorted(described) == sorted(alerts)


def test_names_and_labels_are_exported(alerts, panels, scrapes):
    labels = {}
    for scrape in scrapes:
        for name in scrape.types:
            labels[name] = scrape.labels(name)
            if scrape.types[name] == "histogram":
                labels |= {f"{name}_{part}": labels[name] for part in ("bucket", "sum", "count")}
    values = {(key, value) for scrape in scrapes for _, has, _ in scrape.samples for key, value in has.items()}
    for title, expression in {**alerts, **panels}.items():
        names = set(NAME.findall(expression))
        assert names <= labels.keys(), title
        known = OWN_LABELS.union(*(labels[name] for name in names))
        for selector in re.findall(r"\{(.*?)\}", expression):
            for key, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"(.*?)"', selector):
                assert key in known, title
                if key == "code":
                    assert all((key, one) in values for one in value.split("|")), title
        for group in re.findall(r"\b(?:by|without) \((.*?)\)", expression):
            assert set(re.split(r",\s*", group)) <= known, title


def test_every_metric_of_ours_is_shown(panels, scrapes):
    shown = {re.sub("_(bucket|sum|count)$", "", name) for text in panels.values() for name in NAME.findall(text)}
    missing = {name for scrape in scrapes for name in scrape.types} - shown
    assert missing == {"parley_build_info", "parley_log_lines_dropped_total"}


@pytest.fixture(scope="module")
def prometheus(stack, tmp_path_factory):
    """A Prometheus that asks the stack every second, as Ops/prometheus.yml says."""
    home = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((ROOT / "Ops/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "Ops/alerts.yml")]
    urls = {"parley-gateways": stack.gateways, "parley-workers": [worker["url"] for worker in stack.json["workers"]]}
    for job in config["scrape_configs"]:
        targets = [urllib.parse.urlsplit(url).netloc for url in urls[job["job_name"]]]
        job["static_configs"] = [{"targets": targets}]
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    # It takes any free port and says which.
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            [TOOLS / "prometheus", f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
             "--web.listen-address=127.0.0.1:0"],
            stderr=log,
        )
    try:
        url = "http://" + poll(lambda: re.search(r'msg="Listening on" address=(\S+)', (home / "log").read_text()))[1]
        # It listens before it can answer.
        poll(lambda: httpx.get(f"{url}/-/ready", timeout=PATIENCE).status_code == 200, 60)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def ask(prometheus, expression):
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=PATIENCE).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    return answer["data"]["result"]


def test_prometheus_scrapes_the_stack_and_computes_everything(prometheus, stack, alerts, panels):
    poll(lambda: [series["value"][1] for series in ask(prometheus, "up")] == ["1"] * 3)
    account = Account(stack.gateways[0])
    with Socket(stack.gateways[0], account) as one, Socket(stack.gateways[1], account, "d2"):
        before = float(ask(prometheus, "sum(parley_messages_committed_total)")[0]["value"][1])
        for _ in range(5):
            one.message("hello", to=Account(stack.gateways[0]).id)
        poll(lambda: float(ask(prometheus, "sum(parley_messages_committed_total)")[0]["value"][1]) >= before + 5)
        for expression in {**alerts, **panels}.values():
            ask(prometheus, expression)
        # The left sides of the alerts have something to compare, except where nothing ever goes wrong.
        for name in ("ParleySendsSlow", "ParleyArchiveBehind", "ParleyAlmostFull", "ParleyEventLoopLate"):
            poll(lambda name=name: ask(prometheus, alerts[name].rpartition(" > ")[0]))


def test_prometheus_evaluates_every_alert(prometheus, alerts):
    def health():
        groups = httpx.get(f"{prometheus}/api/v1/rules", timeout=PATIENCE).json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    poll(lambda: health() == dict.fromkeys(alerts, "ok"))
