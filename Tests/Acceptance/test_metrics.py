"""/metrics of gateways and workers: its form, and that it counts what happens."""

import re

import httpx
import pytest
from client import Account, RawSocket, Socket, poll, uuid7
from conftest import ROOT
from metrics import Scrape


@pytest.fixture(scope="module")
def pair(fleet):
    return Account(fleet.gateways[0], "alice"), Account(fleet.gateways[0], "bob")


@pytest.fixture(scope="module")
def worker(fleet):
    return fleet.json["workers"][0]["url"]


class Watch:
    """How far the metrics of a process have moved since."""

    def __init__(self, url):
        self.url, self.before = url, Scrape(url)

    def moved(self, name, **labels):
        return Scrape(self.url).value(name, **labels) - self.before.value(name, **labels)

    def until(self, name, count, **labels):
        poll(lambda: self.moved(name, **labels) == count)


def catalogue():
    """Ops/METRICS.md: kind, labels and exporters by name."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|", (ROOT / "Ops/METRICS.md").read_text(), re.M)
    return {name: (kind, set(re.findall(r"\w+", labels)), where) for name, kind, labels, where in rows}


def test_everything_in_the_catalogue_is_exported_and_nothing_else(fleet, worker):
    httpx.get(f"{fleet.gateways[0]}/healthz")
    for url, role in ((fleet.gateways[0], "gateways"), (worker, "workers")):
        scrape = Scrape(url)
        expected = {name: entry for name, entry in catalogue().items() if role in entry[2]}
        assert scrape.types == {name: kind for name, (kind, _, _) in expected.items()}
        for name, (_, labels, _) in expected.items():
            assert scrape.labels(name) == labels, name


def test_messages_are_counted_where_they_are_sent_and_where_they_arrive(fleet, pair):
    alice, bob = pair
    first, second = (Watch(url) for url in fleet.gateways)
    with Socket(fleet.gateways[0], alice) as sender, Socket(fleet.gateways[1], bob) as receiver:
        cid = uuid7()
        for _ in range(2):
            sender.message("hello", cid=cid, to=bob.id)
        sender.message("again", to=bob.id)
        for _ in range(2):
            receiver.wait(op="event")
        sender.barrier(), receiver.barrier()
        first.until("parley_messages_committed_total", 2, transport="socket")
        first.until("parley_messages_duplicate_total", 1, transport="socket")
        first.until("parley_ack_latency_seconds_count", 3)
        first.until("parley_redis_command_duration_seconds_count", 3 + 1, pipeline="commit")
        second.until("parley_messages_delivered_total", 2, transport="socket")
        second.until("parley_delivery_latency_seconds_count", 2)
        assert first.moved("parley_sessions") == 1 and second.moved("parley_sessions") == 1
        assert first.moved("parley_socket_received_bytes_total") > 100
        assert second.moved("parley_socket_sent_bytes_total") > 100
    first.until("parley_sessions", 0)
    first.until("parley_socket_closes_total", 1, code="client")


def test_http_is_counted_by_route(fleet, pair):
    alice, bob = pair
    url = fleet.gateways[0]
    watch = Watch(url)
    alice.get(url, f"/v1/conversations/{alice.conv(bob)}/messages")
    assert httpx.get(f"{url}/{'x' * 50}").status_code == 404
    scrape = Scrape(url)
    route = "/v1/conversations/{id}/messages"
    assert scrape.value("parley_http_request_duration_seconds_count", method="GET", route=route, status="2xx") >= 1
    assert scrape.value("parley_http_request_duration_seconds_count", method="any", route="none", status="4xx") >= 1
    assert not [labels for _, labels, _ in scrape.samples if alice.id in str(labels) or "xxx" in str(labels)]
    assert watch.moved("parley_refusals_total", transport="http", code="not_found") == 1


def test_refusals_and_closes_are_counted_by_code(fleet, pair):
    watch = Watch(fleet.gateways[0])
    with Socket(fleet.gateways[0], pair[0]) as socket:
        assert socket.refused(op="nonsense") == "bad_frame"
        watch.until("parley_refusals_total", 1, transport="socket", code="bad_frame")
        socket.connection.send(b"\x00")
        assert socket.closed() == 1003
    watch.until("parley_socket_closes_total", 1, code="1003")
    raw = RawSocket(fleet.gateways[0])
    watch.until("parley_sockets_unauthenticated", 1)
    raw.__exit__()
    watch.until("parley_sockets_unauthenticated", 0)
    watch.until("parley_socket_closes_total", 1, code="lost")


def test_the_archive_is_watched(fleet, pair, worker):
    alice, bob = pair
    # What others have sent does not come in between.
    poll(lambda: fleet.lane_lengths() == 0)
    watch = Watch(worker)
    with Socket(fleet.gateways[0], alice) as sender:
        sender.message("to the archive", to=bob.id)
    watch.until("parley_entries_archived_total", 1)
    poll(lambda: Scrape(worker).value("parley_archive_lag_seconds") == 0)
    fleet.sql("UPDATE lanes SET owner = 'nobody', token = token + 1, lease_until = now_ms() + 3600000")
    try:
        with Socket(fleet.gateways[0], alice) as sender:
            sender.message("not to the archive", to=bob.id)
        poll(lambda: Scrape(worker).value("parley_archive_lag_seconds") > 2)
        assert Scrape(worker).value("parley_commit_log_entries") >= 1
    finally:
        fleet.sql("UPDATE lanes SET owner = NULL, lease_until = 0")
    poll(lambda: Scrape(worker).value("parley_archive_lag_seconds") == 0)


def test_the_process_is_described(fleet, worker):
    for url, pid in ((fleet.gateways[0], fleet.json["gateways"][0]["pid"]), (worker, fleet.json["workers"][0]["pid"])):
        scrape = Scrape(url)
        resident = int(open(f"/proc/{pid}/statm", encoding="ascii").read().split()[1]) * 4096
        assert resident / 2 < scrape.value("process_resident_memory_bytes") < resident * 2
        assert 5 < scrape.value("process_open_fds") < scrape.value("process_max_fds")
        assert scrape.value("process_cpu_seconds_total") > 0
        assert scrape.value("parley_event_loop_lag_seconds_count") > 0
        assert scrape.value("parley_build_info") == 1
