"""Readiness and liveness of a gateway whose subscriptions are wedged, seen from outside."""

import contextlib
import os
import signal
import socket
import subprocess

import httpx
import pytest
from client import poll
from conftest import running
from metrics import Scrape
from proxy import Proxy


@pytest.fixture(scope="module")
def stack(build):
    with running(build, gateways=1) as stack:
        yield stack


@contextlib.contextmanager
def gateway_behind(stack, port):
    """One more gateway of the stack, which reaches Redis at this port."""
    model = stack.json["gateways"][0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    url = f"http://127.0.0.1:{own}"
    settings = {**model["env"], "PARLEY_REDIS_URL": f"redis://127.0.0.1:{port}", "PARLEY_PUBLIC_URL": url}
    argv = [model["argv"][0], "gateway", "--name", "proxied", "--bind", "127.0.0.1", "--port", str(own)]
    with open(stack.directory / "proxied.log", "wb") as log:
        process = subprocess.Popen(argv, env={**os.environ, **settings}, stderr=log)
    try:
        yield url
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def ready(url):
    """None where it is ready, else the reason; "silent" while nobody answers."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=30)
    except httpx.TransportError:
        return "silent"
    return None if answer.status_code == 200 else answer.json()["detail"]


def test_a_gateway_that_hears_nothing_of_what_is_published_is_not_ready(stack):
    with Proxy(stack.json["redis"]["port"]) as proxy, gateway_behind(stack, proxy.port) as url:
        poll(lambda: ready(url) is None)
        proxy.is_deaf.set()
        poll(lambda: "subscriptions" in (ready(url) or "") and "presence" in (ready(url) or ""))
        # Everything else is well: the stores answer, and there is no reason to restart the process.
        assert "Redis" not in ready(url) and "PostgreSQL" not in ready(url)
        assert httpx.get(f"{url}/healthz").text == "ok\n"
        poll(lambda: Scrape(url).value("parley_redis_subscribers_unhealthy") == 5)
        proxy.is_deaf.clear()
        poll(lambda: ready(url) is None)
        assert Scrape(url).value("parley_redis_reconnects_total", connections="subscriptions") >= 5


def test_without_stores_a_gateway_and_a_worker_live_on(stack):
    urls = [stack.gateways[0], stack.json["workers"][0]["url"]]
    stack("kill", "redis")
    try:
        for url in urls:
            poll(lambda url=url: "Redis" in (ready(url) or ""))
            assert httpx.get(f"{url}/healthz").text == "ok\n"
    finally:
        stack("start", "redis")
    for url in urls:
        poll(lambda url=url: ready(url) is None)
