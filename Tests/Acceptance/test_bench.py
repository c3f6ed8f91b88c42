"""Scripts/bench: results, the README's tables, comparisons. Nothing is measured here, and little runs."""

import importlib.machinery
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from benchlib import benchmarks, running
from conftest import ROOT

README = """# Title
before
<!-- bench: begin -->
old figures
<!-- bench: end -->
between
<!-- scaling: begin -->
<!-- scaling: end -->
<!-- transports: begin -->
<!-- transports: end -->
<!-- capacity: begin -->
<!-- capacity: end -->
after
"""
MACHINE = {"cores": 2, "cpu": "Some CPU", "memory_gib": 23.5, "kernel": "6.1", "date": "2026-01-02", "commit": "abc"}
CHAT = {
    "scenario": "chat", "sent": 100_000, "acked": 100_000, "lost": 0, "duplicated": 0, "reordered": 0, "leaked": 0,
    "latency_ms": {"p50": 1.234, "p99": 26.8}, "generator_cpu_us_per_message": 90.5, "highest_rate": 14000,
    "unexpected_closes": 1500, "wrong": 0, "rss_kb_per_session": 5.3,
    "gone_shown": 0, "gone_ms": {"p50": 30100, "max": 30800},
    "server_cpu_us_per_message": {"gateways": 198.3, "workers": 27, "redis": 200, "postgres": 9.96, "total": 435.26},
    "rate_achieved": 20000.4, "deliveries_per_second": 45000, "http_requests_per_message": 2.46,
    "ack_ms": {"max": 900}, "reconnect_seconds": 12, "errors_undisturbed": 0,
    "first_ms": {"p50": 8, "p99": 12}, "all_ms": {"p50": 25, "p99": 40}, "incomplete": 0,
}
CONNECT = {
    "scenario": "connect", "connected": 10_000, "connect_seconds": 3.333, "rss_kb_per_session": 5.3,
    "server_cpu_us_per_session_second": 38.2, "http_requests_per_second": 1000.4,
}


@pytest.fixture
def bench(build):
    """Runs Scripts/bench; output and exit status are the caller's to judge."""
    def call(*arguments):
        extra = ["--build", build] if arguments[0] in ("run", "table") and "--build" not in arguments else []
        head, mark, tail = list(map(str, arguments)), [], []
        if "--" in head:
            at = head.index("--")
            head, mark, tail = head[:at], ["--"], head[at + 1:]
        return subprocess.run(
            [ROOT / "Scripts/bench", *head, *extra, *mark, *tail], capture_output=True, text=True, timeout=300,
            check=False,
        )
    return call


@pytest.fixture
def results(tmp_path):
    """A directory with a result of every benchmark."""
    return make_results(tmp_path / "results")


def make_results(directory, **changes):
    """`changes` are by benchmark, merged into its result."""
    directory.mkdir()
    (directory / "machine.json").write_text(json.dumps({**MACHINE, **changes.get("machine", {})}))
    for benchmark in benchmarks.ALL:
        run = {
            "command": f"parley-load {benchmark.arguments}", "build": "release", "commit": "abc", "date": "2026-01-02"
        }
        result = CONNECT if benchmark.arguments.startswith("connect") else CHAT
        result = {**result, "run": run, **changes.get(benchmark.name, {})}
        (directory / f"{benchmark.name}.json").write_text(json.dumps(result))
    return directory


@pytest.fixture
def readme(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(README)
    return file


# The table


def test_table_stands_between_its_markers(bench, results, readme):
    done = bench("table", results, "--readme", readme)
    assert done.returncode == 0, done.stderr
    text = readme.read_text()
    assert "2 cores (Some CPU), 23.5 GiB, Linux 6.1; 2026-01-02 (abc)." in text
    assert "`parley-load chat --users 1000 --rate 2000 --duration 60`" in text
    rows = text.splitlines()
    assert "| send to delivery, p50 | 1.2 ms | ≤ 1.5 ms |" in rows
    assert "| send to delivery, p99 | 27 ms | ≤ 6 ms |" in rows
    assert "| of it gateways, workers, Redis, PostgreSQL | 198, 27, 200, 10.0 µs |  |" in rows
    lost = "| lost, duplicated, reordered, leaked of 100,000 messages, each delivered to two devices | 0, 0, 0, 0 | 0 |"
    assert rows.count(lost) == sum(benchmarks.PROMISES in benchmark.figures for benchmark in benchmarks.TABLE)
    assert "| memory of a gateway for each | 5.3 KiB | ≤ 6 KiB |" in rows
    assert "| highest rate that held | 14,000/s | ≥ 15,000/s |" in rows
    assert "old figures" not in text
    # The capacity model reckons from the same results: 198.3 µs a message.
    assert "| messages, peak | 46,296/s | 23,148/s × 2 peak |" in rows
    assert "198 µs ÷ 3" in text
    # Nothing else has changed, and a second time changes nothing.
    kept = [row for row in README.splitlines() if row != "old figures"]
    assert [row for row in rows if row in kept] == kept
    bench("table", results, "--readme", readme)
    assert readme.read_text() == text


def test_table_names_every_version_that_was_measured(bench, tmp_path, readme):
    connect = benchmarks.ALL[0]
    run = {"command": f"parley-load {connect.arguments}", "build": "release", "commit": "old", "date": "2026-01-01"}
    results = make_results(tmp_path / "results", connect={"run": run})
    assert bench("table", results, "--readme", readme).returncode == 0
    assert "2026-01-01 (old), 2026-01-02 (abc)." in readme.read_text()


def test_table_of_transports(bench, results, readme):
    other = {**CHAT, "http_requests_per_message": 0, "latency_ms": {"p50": 0.7, "p99": 9.5}}
    (results / "receive-websocket.json").write_text(json.dumps(
        {**json.loads((results / "receive-websocket.json").read_text()), **other}))
    assert bench("table", results, "--readme", readme).returncode == 0
    text = readme.read_text()
    assert "`parley-load chat --users 1000 --rate 200 --duration 30 --receive … --seed-users`" in text
    rows = text.splitlines()
    assert "| websocket | 435 | 0 | 0.7 | 9.5 | 38 | 1,000 |" in rows
    assert "| poll --poll-every 1s | 435 | 2.5 | 1.2 | 27 | 38 | 1,000 |" in rows
    (results / "idle-poll.json").unlink()
    refuses(bench("table", results, "--readme", readme), "idle-poll.json", "there is no")
    assert readme.read_text() == text
    # Results of a time before they were measured make the other tables.
    (results / "receive-websocket.json").unlink()
    assert bench("table", results, "--readme", readme).returncode == 0


def test_table_of_scaling(bench, results, readme):
    scaling = {
        "run": {"command": "parley-load chat", "build": "release", "commit": "abc", "date": "2026-01-02"},
        "machine": MACHINE,
        "points": [
            {**CHAT, "gateways": 1},
            {**CHAT, "gateways": 8, "server_cpu_us_per_message": {
                "gateways": 250, "workers": 27, "redis": 210, "postgres": 9.9, "total": 500.549}},
        ],
    }
    (results / "scaling.json").write_text(json.dumps(scaling))
    assert bench("table", results, "--readme", readme).returncode == 0
    rows = readme.read_text().splitlines()
    assert "| 1 | 198 | 27 | 200 | 10.0 | 435 | 1.00 | 27 |" in rows
    assert "| 8 | 250 | 27 | 210 | 9.9 | 501 | 1.15 | 27 |" in rows


@pytest.mark.parametrize("name, content, said", [
    ("chat.json", None, "there is no"),
    ("chat.json", "{", "damaged"),
    ("chat.json", "[]", "damaged"),
    ("chat.json", '{"run": 5}', "damaged"),
    ("chat.json", json.dumps(CHAT), "damaged: KeyError('run')"),
    ("machine.json", None, "there is no"),
    ("machine.json", "{}", "damaged"),
    ("scaling.json", '{"points": []}', "damaged"),
])
def test_table_of_bad_results(bench, results, readme, name, content, said):
    if content is None:
        (results / name).unlink()
    else:
        (results / name).write_text(content)
    refuses(bench("table", results, "--readme", readme), name, said)
    assert readme.read_text() == README


@pytest.mark.parametrize("field, value, said", [
    ("command", "parley-load chat --duration 3", "Scripts/bench run --only chat"), ("build", "debug", "of build debug"),
])
def test_table_shows_the_benchmarks_as_listed_only(bench, results, readme, field, value, said):
    file = results / "chat.json"
    result = json.loads(file.read_text())
    result["run"][field] = value
    file.write_text(json.dumps(result))
    refuses(bench("table", results, "--readme", readme), "chat.json", said)
    assert readme.read_text() == README


def test_table_lacks_a_number(bench, results, readme):
    file = results / "connect.json"
    result = json.loads(file.read_text())
    del result["connect_seconds"]
    file.write_text(json.dumps(result))
    refuses(bench("table", results, "--readme", readme), "connect.json", "connect_seconds")


def test_readme_without_markers(bench, results, readme):
    readme.write_text("# Title\n")
    refuses(bench("table", results, "--readme", readme), "bench: begin")
    assert readme.read_text() == "# Title\n"
    refuses(bench("table", results, "--readme", readme.with_name("none")), "none")


def refuses(done, *words):
    """It could not take place, and a line says why."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


# The comparison


def test_compare_shows_changes_and_marks_what_got_worse(bench, results, tmp_path):
    new = make_results(tmp_path / "new", chat={
        "latency_ms": {"p50": 1.357, "p99": 26.9}, "lost": 1,
        "server_cpu_us_per_message": {**CHAT["server_cpu_us_per_message"], "total": 230},
    }, connect={"connected": 8_000}, **{"chat-steps": {"highest_rate": 15_000}})
    done = bench("compare", results, new)
    assert done.returncode == 0, done.stderr
    cells = {" ".join(line.split()[:2]): line.split()[2:] for line in done.stdout.splitlines()}
    assert cells["chat latency_ms.p50"] == ["ms", "1.23", "1.36", "+10.0%"]
    assert cells["chat latency_ms.p99"] == ["ms", "26.80", "26.90", "+0.4%"]
    assert cells["chat lost"] == ["0", "1", "worse"]
    assert cells["chat duplicated"] == ["0", "0"]
    assert cells["chat server_cpu_us_per_message.total"] == ["µs", "435.26", "230", "-47.2%"]
    # More of these is better.
    assert cells["connect connected"] == ["10,000", "8,000", "-20.0%", "worse"]
    assert cells["chat-steps highest_rate"] == ["/s", "14,000", "15,000", "+7.1%"]
    assert "machines differ" not in done.stdout
    worse = bench("compare", new, results).stdout
    assert "+89.2%  worse" in worse


def test_compare_tells_of_different_machines_and_runs(bench, results, tmp_path):
    run = {"command": "parley-load chat -r 9"}
    new = make_results(tmp_path / "new", machine={"cores": 8, "commit": "def"}, chat={"run": run})
    (new / "self-test.json").unlink()
    said = bench("compare", results, new).stdout
    assert "The machines differ: cores 2 / 8." in said
    listed = "parley-load chat --users 1000 --rate 2000 --duration 60"
    assert f"chat ran differently: {listed} / parley-load chat -r 9" in said
    assert f"self-test.json stands in {results} alone." in said


def test_compare_bad_results(bench, results, tmp_path):
    refuses(bench("compare", results, tmp_path / "none"), "there is no", "none/machine.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "machine.json").write_text(json.dumps(MACHINE))
    refuses(bench("compare", results, empty), "no benchmark in common")
    (results / "chat.json").write_text("oops")
    refuses(bench("compare", results, results), "chat.json", "damaged")


# Running


def test_run_refuses_what_it_does_not_know(bench, tmp_path):
    out = ("--out", tmp_path / "out")
    refuses(bench("run", *out, "--only", "chat,swimming"), "chat,swimming", "connect, chat,")
    refuses(bench("run", *out, "--build", tmp_path / "none"), "there is no", "none/parley-load")
    assert not (tmp_path / "out").exists()
    done = bench("scaling", "--rate", "0", *out)
    assert done.returncode == 2 and "--rate" in done.stderr


def test_run_keeps_its_hands_off_a_running_stack(bench, stack, tmp_path):
    refuses(bench("run", "--dir", stack.directory, "--out", tmp_path / "out"), "a stack runs in", "stack down")
    stack("status")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thing").touch()
    refuses(bench("run", "--dir", tmp_path / "mine", "--out", tmp_path / "out"), "there is something in")
    assert (tmp_path / "mine" / "thing").exists()


@pytest.fixture
def own(tmp_path_factory):
    """Options for a stack's directory that PostgreSQL's user can reach, and the directory."""
    home = tmp_path_factory.mktemp("bench")
    directory = home / "stack"
    yield ["--dir", str(directory), "--out", str(home / "out")], directory, home / "out"
    subprocess.run([ROOT / "Scripts/stack", "down", "--wipe", "--dir", directory], capture_output=True, check=False)


def test_run_for_real(bench, own, readme):
    options, directory, out = own
    arguments = ["--users", "20", "--rate", "50", "--duration", "2", "--warmup", "0.5"]
    done = bench("run", "--only", "chat", *options, "--", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chat: 1:1 chat over two gateways" in done.stdout
    assert "about 80 s" in done.stdout
    result = json.loads((out / "chat.json").read_text())
    assert result["acked"] > 0 and result["server_cpu_us_per_message"]["total"] > 0
    assert result["run"]["command"].endswith("--rate 50 --duration 2 --warmup 0.5")
    assert json.loads((out / "machine.json").read_text())["cores"] > 0
    assert not directory.exists()
    # The figures of a trial do not get into the README.
    assert bench("table", out, "--readme", readme).returncode == 2
    assert readme.read_text() == README


@pytest.fixture
def fake(build, tmp_path):
    """Makes a build whose parley-load is a shell script."""
    def make(script):
        directory = tmp_path / "fake"
        directory.mkdir()
        real = ROOT / ".build" / build if build in ("debug", "release") else pathlib.Path(build).resolve()
        (directory / "parley").symlink_to(real / "parley")
        (directory / "parley-load").write_text(f"#!/bin/bash\n{script}\n")
        (directory / "parley-load").chmod(0o755)
        return str(directory)
    return make


def test_run_goes_on_after_a_failure(bench, own, fake):
    options, directory, out = own
    out.mkdir()
    (out / "chat.json").write_text("of an earlier run")
    script = """
        for path; do :; done  # the last argument
        case $1 in
            chat) exit 2 ;;
            self-test) echo '{"rate_achieved": 5}' >"$path" ;;
        esac
    """
    done = bench("run", "--only", "chat,self-test", *options, "--build", fake(script))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 benchmarks failed\nchat: parley-load ended with status 2" in done.stderr
    assert json.loads((out / "self-test.json").read_text())["rate_achieved"] == 5
    assert not (out / "chat.json").exists()
    assert not directory.exists()


def test_a_broken_promise_fails_but_its_result_stays(bench, own, fake):
    options, _, out = own
    script = 'for path; do :; done; echo \'{"lost": 3}\' >"$path"; exit 1'
    done = bench("run", "--only", "self-test", *options, "--build", fake(script))
    assert done.returncode == 1
    assert "a promise was broken" in done.stderr
    assert json.loads((out / "self-test.json").read_text())["lost"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(own, fake, tmp_path, number):
    options, directory, _ = own
    mark = tmp_path / "pid"
    build = fake(f"echo $$ >{mark}.new; mv {mark}.new {mark}; exec sleep 600")
    running_bench = subprocess.Popen(
        [ROOT / "Scripts/bench", "run", "--only", "chat,self-test", *options, "--build", build],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not mark.exists():
            assert running_bench.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        load = int(mark.read_text())
        stack = json.loads((directory / "stack.json").read_text())
        running_bench.send_signal(number)
        _, said = running_bench.communicate(timeout=120)
    finally:
        running_bench.kill()
    assert running_bench.returncode == 130
    assert "interrupted" in said
    assert not directory.exists()
    for pid in [load, stack["redis"]["pid"], stack["postgres"]["pid"], *(each["pid"] for each in stack["gateways"])]:
        assert not alive(pid)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_scaling_measures_each_number_of_gateways(build, tmp_path, readme, monkeypatch):
    measured = []

    def run(self, arguments, path, gateways):
        measured.append(gateways)
        cpu = {**CHAT["server_cpu_us_per_message"], "total": 100.0 + gateways}
        run = {"command": " ".join(arguments), "build": "release", "commit": "abc", "date": "2026-01-02"}
        pathlib.Path(path).write_text(json.dumps({**CHAT, "server_cpu_us_per_message": cpu, "run": run}))

    monkeypatch.setattr(running.Runner, "run", run)
    monkeypatch.setattr(sys, "argv", [
        "bench", "scaling", "--rate", "300", "--build", build, "--out", str(tmp_path / "out"),
        "--dir", str(tmp_path / "stack"), "--readme", str(readme),
    ])
    loader = importlib.machinery.SourceFileLoader("bench", str(ROOT / "Scripts/bench"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
    loader.exec_module(module)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert module.main() == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert measured == [1, 2, 4, 8]
    result = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert [point["gateways"] for point in result["points"]] == measured
    text = readme.read_text()
    assert "chat --users 1000 --rate 300 --duration 15" in text
    # 108 ÷ 101
    assert "| 101 | 1.00 | 27 |" in text and "| 108 | 1.07 | 27 |" in text
    assert "old figures" in text
