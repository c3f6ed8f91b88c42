"""The load generator, as people run it."""

import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time

import pytest
from conftest import ROOT


@pytest.fixture
def load(parley_load):
    """Runs parley-load to its end."""

    def run(*arguments, code=0):
        done = subprocess.run(
            [parley_load, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    return run


def chat(stack, *arguments, users=20, rate=100, duration=2):
    return [
        "chat", "--stack", stack.directory / "stack.json", "--users", users, "--rate", rate, "--duration", duration,
        "--warmup", 1.5, *arguments,
    ]


@pytest.fixture
def mortal(fleet):
    """A stack that a test may leave without some of its processes."""
    yield fleet
    fleet.revive()


def test_two_processes_count_as_one(stack, load, tmp_path):
    done = load(*chat(stack, "--processes", 2, "--json", tmp_path / "chat.json"))
    assert "Every promise held." in done.stdout
    result = json.loads((tmp_path / "chat.json").read_text())
    assert result["scenario"] == "chat" and result["processes"] == 2
    assert result["sessions"] == result["connected"] == 20
    assert result["sent"] == result["acked"] > 0
    assert result["deliveries_expected"] == result["delivered"] == 2 * result["acked"]
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]
    assert result["conversations_read"] == 10 and result["violations"] == []
    assert set(result["latency_ms"]) == set(result["ack_ms"]) == {"p50", "p90", "p99", "p999", "max"}
    assert set(result["server_cpu_us_per_message"]) == {"gateways", "workers", "redis", "postgres", "total"}
    assert result["latency_curve"][-1][0] == 100
    assert [point["warmup"] for point in result["timeline"]][0] is True


def test_mixed_holds_idle_sessions_besides(stack, load, tmp_path):
    arguments = chat(stack, "--idle", 30, "--json", tmp_path / "mixed.json")
    load("mixed", *arguments[1:])
    result = json.loads((tmp_path / "mixed.json").read_text())
    assert result["connected"] == result["sessions"] == 50
    assert result["acked"] > 0 and result["conversations_read"] == 10


def test_groups_with_several_devices(stack, load, tmp_path):
    arguments = chat(
        stack, "--members", 5, "--devices", 2, "--processes", 2, "--journal", tmp_path / "journal",
        "--json", tmp_path / "group.json", rate=40,
    )
    load("group", *arguments[1:])
    result = json.loads((tmp_path / "group.json").read_text())
    assert result["scenario"] == "group" and result["members"] == 5 and result["devices"] == 2
    assert result["connected"] == result["sessions"] == 40 and result["conversations_read"] == 4
    # All devices of all members, the sender's among them.
    assert result["delivered"] == result["deliveries_expected"] == 10 * result["acked"] > 0
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]
    assert "Every promise held." in load("check", tmp_path / "journal").stdout
    (tmp_path / "journal/chat-1.journal").unlink()
    assert "1 of the run's 2 journals" in load("check", tmp_path / "journal", code=2).stderr
    assert "multiple of --members" in load("group", *arguments[1:], "--members", 7, code=64).stderr


def test_resume(stack, load, tmp_path):
    """More than a page of it; each of the two gateways is come back to."""
    arguments = ["resume", "--stack", stack.directory / "stack.json", "--users", 3, "--missed", 150, "--seed-users"]
    done = load(*arguments, "--json", tmp_path / "resume.json")
    result = json.loads((tmp_path / "resume.json").read_text())
    assert (result["scenario"], result["users"], result["missed"], result["incomplete"]) == ("resume", 3, 150, 0)
    assert 0 < result["first_ms"]["p50"] < result["all_ms"]["p50"] <= result["all_ms"]["max"]
    assert "not exactly what was missed   0" in done.stdout
    assert "--missed" in load(*arguments, "--missed", 10_000, code=64).stderr


def test_connect(stack, load, tmp_path):
    load(
        "connect", "--gateways", ",".join(stack.gateways), "--users", 40, "--duration", 1, "--processes", 2,
        "--json", tmp_path / "connect.json",
    )
    result = json.loads((tmp_path / "connect.json").read_text())
    assert result["sessions"] == result["connected"] == 40
    assert "acked" not in result and "server_cpu_us_per_message" not in result


@pytest.mark.parametrize("receive", [["websocket"], ["long-poll"], ["poll", "--poll-every", "500ms"]])
def test_listeners_by_every_transport(stack, load, tmp_path, receive):
    done = load(*chat(stack, "--receive", *receive, "--processes", 2, "--json", tmp_path / "chat.json", duration=3))
    assert "Every promise held." in done.stdout
    result = json.loads((tmp_path / "chat.json").read_text())
    assert result["sessions"] == result["connected"] == 20 and result["unexpected_closes"] == 0
    assert result["acked"] > 0 and result["delivered"] == result["deliveries_expected"] == 2 * result["acked"]
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]
    assert (result["http_requests"] > 0) == (receive != ["websocket"])
    assert (result["http_requests_per_message"] > 0) == (receive != ["websocket"])


def test_idle_listeners(stack, load, tmp_path):
    requests = {}
    for receive in (["long-poll"], ["poll", "--poll-every", "500ms"]):
        path = tmp_path / f"{receive[0]}.json"
        load(
            "connect", "--stack", stack.directory / "stack.json", "--users", 20, "--duration", 3,
            "--receive", *receive, "--json", path,
        )
        result = json.loads(path.read_text())
        assert result["connected"] == 20 and result["server_cpu_us_per_session_second"] > 0
        requests[receive[0]] = result["http_requests"]
    assert requests["long-poll"] <= 20 < requests["poll"], "who waits asks once, who polls again and again"


def test_steps_go_up_to_the_limit(stack, load, tmp_path):
    done = load(
        *chat(stack, "--step", 50, "--until-p99", "0.001ms", "--json", tmp_path / "steps.json", duration=1)
    )
    result = json.loads((tmp_path / "steps.json").read_text())
    assert [step["rate"] for step in result["steps"]] == [100, 100]
    assert "highest_rate" not in result
    assert "no rate had a p99" in done.stdout
    assert result["sent"] == result["acked"] > 0, "of the last that was tried"


def edit(journal, kind, change):
    """Changes a line of that kind in the middle of a journal; `change` takes all lines and the line's place."""
    lines = journal.read_text().splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith(f"{kind} ")]
    change(lines, places[len(places) // 2])
    journal.write_text("\n".join(lines) + "\n")


def drop(lines, place):
    del lines[place]


def double(lines, place):
    lines.insert(place, lines[place])


def swap(lines, place):
    """Brings a delivery after the next one on the same device."""
    device = lines[place].split()[2]
    later = next(
        at for at, line in enumerate(lines) if at > place and line.startswith("d ") and line.split()[2] == device
    )
    lines.insert(later, lines.pop(place))


def leak(lines, place):
    """Brings a delivery to a device of another pair besides."""
    fields = lines[place].split()
    fields[2] = str((int(fields[2]) + 2) % 20)
    lines.insert(place, " ".join(fields))


@pytest.mark.parametrize(
    "kind, change, verdict",
    [
        ("d", drop, "lost"), ("e", drop, None), ("d", double, "duplicated"), ("d", swap, "reordered"),
        ("d", leak, "leaked"),
    ],
)
def test_a_damaged_journal_is_found_out(healthy_journal, load, tmp_path, kind, change, verdict):
    copy = tmp_path / "chat-0.journal"
    copy.write_bytes(healthy_journal.read_bytes())
    assert "Every promise held." in load("check", tmp_path).stdout
    edit(copy, kind, change)
    if verdict is None:
        # A history that is shorter than it says it is.
        assert "not a line of a journal" in load("check", tmp_path, code=2).stderr
    else:
        output = load("check", tmp_path, code=1).stdout
        assert re.search(rf"{verdict} +[1-9]", output) and re.search(rf"{verdict}: message \d+ \(seq", output)


@pytest.fixture(scope="module")
def healthy_journal(stack, parley_load, tmp_path_factory):
    directory = tmp_path_factory.mktemp("journal") / "run"
    command = [parley_load, *map(str, chat(stack, "--journal", directory))]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return directory / "chat-0.journal"


def test_a_journal_that_was_cut_off(healthy_journal, load, tmp_path):
    copy = tmp_path / "chat-0.journal"
    copy.write_bytes(healthy_journal.read_bytes()[:-300])
    done = load("check", tmp_path, code=2)
    assert "cut off" in done.stderr and "acknowledged" in done.stdout


def test_a_full_disk_ends_the_run_with_the_figures_so_far(stack, parley_load, tmp_path):
    def bound():
        # Writing fails beyond so many bytes, as it does on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = chat(stack, "--journal", tmp_path / "run", "--json", tmp_path / "chat.json", rate=500, duration=100)
    done = subprocess.run(
        [parley_load, *map(str, command)], capture_output=True, text=True, timeout=90, preexec_fn=bound, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "chat-0.journal could not be written: File too large" in done.stdout
    assert json.loads((tmp_path / "chat.json").read_text())["acked"] > 0
    assert "was cut off" in subprocess.run(
        [parley_load, "check", tmp_path / "run"], capture_output=True, text=True, timeout=60, check=False
    ).stderr


def test_a_journal_of_another_run_is_left_alone(stack, load, healthy_journal):
    before = healthy_journal.read_bytes()
    assert "another run" in load(*chat(stack, "--journal", healthy_journal.parent), code=2).stderr
    assert healthy_journal.read_bytes() == before


def test_nobody_listens(load):
    done = load("chat", "--gateways", "http://127.0.0.1:1", "--users", 2, "--duration", 1, code=2)
    assert "http://127.0.0.1:1" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["chat"], "--gateways or --stack"),
        (["chat", "--gateways", "http://x", "--users", "3"], "even"),
        (["chat", "--gateways", "http://x", "--rate", "0"], "--rate"),
        (["chat", "--gateways", "http://x", "--until-p99", "fast"], "--until-p99"),
        (["chat", "--gateways", "http://x", "--processes", "0"], "--processes"),
        (["chat", "--gateways", "http://x", "--body", "3"], "--body"),
        (["mixed", "--gateways", "http://x", "--idle", "-1"], "--idle"),
        (["chat", "--gateways", "http://x", "--receive", "pigeon"], "--receive"),
        (["connect", "--gateways", "http://x", "--receive", "poll", "--poll-every", "0s"], "--poll-every"),
    ],
)
def test_bad_arguments(load, arguments, word):
    assert word in load(*arguments, code=64).stderr


def test_bad_places(load, tmp_path):
    assert "https://x" in load("chat", "--gateways", "https://x", code=2).stderr
    assert "does not describe" in load("chat", "--stack", tmp_path / "none.json", code=2).stderr
    assert "no journal" in load("check", tmp_path, code=2).stderr


def test_interrupted_runs_report_what_they_have(stack, parley_load, tmp_path):
    command = [parley_load, *map(str, chat(stack, "--json", tmp_path / "chat.json", "--processes", 2, duration=120))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if re.match(r" +([6-9]|\d\d+)\.\d ", line):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert "ended early: interrupted" in rest
    result = json.loads((tmp_path / "chat.json").read_text())
    assert result["ended_early"] == "interrupted" and result["acked"] > 0 and result["lost"] == 0
    assert result["duration_s"] < 100 and 50 < result["rate_achieved"] < 200, "of the time that was measured"
    assert result["generator_cpu_us_per_message"] > 0


def test_an_interrupt_ends_a_sign_up_that_nobody_answers(parley_load):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [parley_load, "chat", "--gateways", url, "--users", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert "signing up" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, complaint = process.communicate(timeout=30)  # its own patience would take longer
        finally:
            process.kill()
    assert (process.returncode, complaint) == (2, "parley-load: interrupted\n")


def test_a_generator_process_that_dies(stack, parley_load, tmp_path):
    command = [parley_load, *map(str, chat(stack, "--json", tmp_path / "chat.json", "--processes", 2, duration=120))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if re.match(r" +([3-9]|\d\d+)\.\d ", line):
                break
        children = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
        first, _ = sorted(int(pid) for each in children for pid in each.read_text().split())
        os.kill(first, signal.SIGKILL)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 2, rest
    finally:
        process.kill()
    assert f"generator process {first} has ended" in rest and "These are the figures so far." in rest
    assert "Every promise held" not in rest
    result = json.loads((tmp_path / "chat.json").read_text())
    assert result["sessions"] == 10 and result["conversations_read"] == 5
    assert result["acked"] > 0 and result["delivered"] == 2 * result["acked"]
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]


@pytest.mark.parametrize("receive", [["long-poll"], ["poll", "--poll-every", "300ms"]])
def test_polls_outlive_a_killed_gateway(mortal, load, tmp_path, receive):
    (tmp_path / "faults").write_text("2s kill gateway-1\n4s start gateway-1\n")
    load(
        *chat(mortal, "--faults", tmp_path / "faults", "--stack-command", ROOT / "Scripts/stack",
              "--receive", *receive, "--json", tmp_path / "chat.json", duration=8)
    )
    result = json.loads((tmp_path / "chat.json").read_text())
    assert result["unexpected_closes"] > 0 and result["connected"] == 20
    assert result["acked"] > 0 and result["delivered"] == 2 * result["acked"]
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]


def test_faults_happen_while_it_runs(mortal, load, tmp_path):
    """Seeded users, a gateway and the worker killed meanwhile, and everything of it on the page."""
    (tmp_path / "faults").write_text("2s kill gateway-1\n3s start gateway-1\n4s kill worker-1  # for good\n")
    done = load(
        *chat(mortal, "--faults", tmp_path / "faults", "--seed-users", "--stack-command", ROOT / "Scripts/stack",
              "--html", tmp_path / "chat.html", "--json", tmp_path / "chat.json", rate=200, duration=10)
    )
    assert "worker-1 stays ended" in done.stdout
    result = json.loads((tmp_path / "chat.json").read_text())
    assert [fault["what"] for fault in result["faults"]] == ["kill gateway-1", "start gateway-1", "kill worker-1"]
    assert result["acked"] > 0 and result["delivered"] == 2 * result["acked"] and result["connected"] == 20
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]
    assert result["redis_calls_per_message"]["fcall"] >= 1 and result["bytes_per_message"]["to_redis"] > 100
    assert result["server_cpu_us_per_message"]["total"] > 0
    page = (tmp_path / "chat.html").read_text()
    assert "kill gateway-1" in page and "http-equiv" in page


def test_friends_stay_in_sight_when_sessions_move(mortal, load, tmp_path):
    """A gateway asks its sessions to go to the other one, where they must ask again for whom they watch."""
    (tmp_path / "faults").write_text("3s stop gateway-1\n5s start gateway-1\n")
    done = load(
        "presence", "--stack", mortal.directory / "stack.json", "--users", 60, "--friends", 4, "--rate", 5,
        "--warmup", 1, "--duration", 18, "--drain", 90, "--seed-users", "--faults", tmp_path / "faults",
        "--stack-command", ROOT / "Scripts/stack", "--json", tmp_path / "presence.json",
    )
    assert "Every promise held." in done.stdout
    result = json.loads((tmp_path / "presence.json").read_text())
    assert result["wrong"] == result["leaked"] == 0 and result["violations"] == []
    assert result["pictures"] > 0 and result["changes_shown"] > 0


def test_gateways_killed_under_groups_with_several_devices(mortal, load, tmp_path):
    """A group of 100 with three devices each, and either gateway killed while they write."""
    (tmp_path / "faults").write_text(
        "3s kill gateway-1\n5s start gateway-1\n9s kill gateway-2\n11s start gateway-2\n"
    )
    arguments = chat(
        mortal, "--members", 100, "--devices", 3, "--seed-users", "--faults", tmp_path / "faults",
        "--stack-command", ROOT / "Scripts/stack", "--json", tmp_path / "group.json", users=100, rate=5, duration=15,
    )
    done = load("group", *arguments[1:])
    assert "Every promise held." in done.stdout
    result = json.loads((tmp_path / "group.json").read_text())
    assert result["connected"] == result["sessions"] == 300 and result["unexpected_closes"] >= 300
    assert result["delivered"] == result["deliveries_expected"] == 300 * result["acked"] > 0
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "script, word",
    [("soon kill redis", "a time such as"), ("1s kill gateway-9", "gateway-9"), ("1h kill redis", "a time such as")],
)
def test_bad_fault_scripts(stack, load, tmp_path, script, word):
    (tmp_path / "faults").write_text(script + "\n")
    command = chat(stack, "--faults", tmp_path / "faults", "--stack-command", ROOT / "Scripts/stack")
    assert word in load(*command, code=2).stderr


def test_seeding_with_wrong_credentials(stack, load):
    done = load(*chat(stack, "--seed-users", "--database", "postgres://nobody:wrong@127.0.0.1:1/x"), code=2)
    assert done.stderr.startswith("parley-load: ") and "wrong" not in done.stderr


def test_a_gateway_that_dies_for_good(mortal, parley_load, tmp_path):
    command = [
        parley_load, *map(str, chat(mortal, "--json", tmp_path / "chat.json", "--drain", 60, rate=200, duration=8)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if re.match(r" +([2-9]|\d\d+)\.\d ", line):
                break
        mortal("kill", "gateway-2")
        began = time.monotonic()
        output = process.stdout.read()
        assert process.wait(timeout=120) == 0, output
    finally:
        process.kill()
    assert time.monotonic() - began < 100
    result = json.loads((tmp_path / "chat.json").read_text())
    assert result["unexpected_closes"] >= 10 and result["connected"] == 20
    assert result["delivered"] == 2 * result["acked"] > 0
    assert [result[name] for name in ("lost", "duplicated", "reordered", "leaked")] == [0, 0, 0, 0]
