"""The deployment as people see it: redis-cli's functions and `parley top`, on a stack that is broken meanwhile."""

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest
from client import Account, Socket, poll
from conftest import running


@pytest.fixture(scope="module")
def shown(build):
    """Three gateways and a worker; each test leaves them running. Devices are missed after a second."""
    with running(build, gateways=3, PARLEY_ABSENCE_S="1") as stack:
        yield stack


def ask(stack, function, *arguments):
    return stack.redis("FCALL_RO", function, "0", *arguments).splitlines()


def row(lines, name):
    """The cells of the table's row of that name; None without one."""
    return next((line.split() for line in lines if line.split()[:1] == [name]), None)


def line(lines, beginning):
    return next((line for line in lines if line.startswith(beginning)), "")


def test_gateways_come_and_go(shown):
    lines = poll(lambda: (top := ask(shown, "parley_top")) and line(top, "gateways").startswith("gateways  3,") and top)
    poll(lambda: "0 of groups" in line(ask(shown, "parley_top"), "outboxes"))
    for number in (1, 2, 3):
        cells = row(lines, f"gateway-{number}")
        assert "serving" in cells, cells
        assert cells[-1] == shown.gateways[number - 1]
    shown("kill", "gateway-3")
    died = time.monotonic()
    poll(lambda: row(ask(shown, "parley_top"), "gateway-3") is None)
    print(f"a killed gateway left after {time.monotonic() - died:.1f} s")
    starting = subprocess.Popen(shown.command("start", "gateway-3"))
    try:
        started = time.monotonic()
        poll(lambda: "serving" in (row(ask(shown, "parley_top"), "gateway-3") or []))
        print(f"a started gateway was there after {time.monotonic() - started:.1f} s, its start included")
    finally:
        assert starting.wait(60) == 0


def test_sessions_count(shown):
    url = shown.gateways[0]

    def has(sessions):
        return (row(ask(shown, "parley_gateways"), "gateway-1") or [])[2:3] == [str(sessions)]

    def totals():
        return int(shown.redis("HGET", "gateway:gateway-1", "sent") or 0)

    poll(lambda: has(0))
    before = poll(lambda: row(ask(shown, "parley_gateways"), "gateway-1")) and totals()
    ann, bob = Account(url), Account(url)
    with Socket(url, ann) as socket, Socket(url, bob):
        poll(lambda: has(2))
        for number in range(5):
            socket.message(str(number), conv=ann.conv(bob))
        poll(lambda: totals() == before + 5)
    poll(lambda: has(0))


def test_a_paused_worker_shows(shown):
    url = shown.gateways[0]
    ann, bob = Account(url), Account(url)
    poll(lambda: "everything is archived" in line(ask(shown, "parley_top"), "lanes"))
    roles = "archiver,presence,push,typeahead"
    poll(lambda: (row(ask(shown, "parley_top"), "worker-1") or [])[1:3] == [roles, "256"])
    shown("pause", "worker-1")
    try:
        with Socket(url, ann) as socket:
            for number in range(7):
                socket.message(str(number), conv=ann.conv(bob))
        lanes = ask(shown, "parley_lanes")
        assert lanes[0].startswith("lanes     7 not archived, the oldest for ")
        assert [cells for cells in map(str.split, lanes[1:]) if cells[1] == "7"], lanes
        senders = ask(shown, "parley_senders")
        assert row(senders, ann.id) == [ann.id, "7", "100.0", "%"]
        assert row(senders, ann.conv(bob)) == [ann.conv(bob), "7", "100.0", "%"]
        top = poll(lambda: (top := ask(shown, "parley_top")) and "gone" in row(top, "worker-1") and top)
        assert "  ! 256 lanes have no worker" in top
        assert line(top, "workers") == "workers   ! none: nothing is archived, and no fan-out finished"
        oldest = re.search(r"the oldest for ([\d.]+) s", line(top, "lanes"))
        assert oldest and float(oldest[1]) > 5
    finally:
        shown("resume", "worker-1")
    poll(lambda: "everything is archived" in line(ask(shown, "parley_top"), "lanes"))
    poll(lambda: "working" in row(ask(shown, "parley_top"), "worker-1"))


def test_a_stopped_worker_leaves(shown):
    shown("stop", "worker-1")
    poll(lambda: row(ask(shown, "parley_top"), "worker-1") is None)
    shown("start", "worker-1")
    poll(lambda: row(ask(shown, "parley_top"), "worker-1"))


def test_why_a_user_gets_nothing(shown):
    """By a killed gateway, a queue trimmed above a device's place, and for want of any device."""
    near, far = shown.gateways[0], shown.gateways[2]
    ann, bob = Account(near), Account(far)
    conv = ann.conv(bob)

    def problems(mark):
        return [text for text in ask(shown, "parley_user", bob.id) if text.startswith("! ") and mark in text]

    with Socket(near, ann) as sender:
        with Socket(far, bob, device="phone") as phone:
            sender.message("first", conv=conv)
            phone.send(op="ack", q=phone.wait(op="event")["q"])
            # Its place, what it lacks, and who has it.
            poll(lambda: {"1", "0", "gateway-3"} <= set(row(ask(shown, "parley_user", bob.id), "phone") or []))
            poll(lambda: not problems(""))
            shown("kill", "gateway-3")
            gone = poll(lambda: problems("gateway-3 is not in the registry"))
            assert gone[0].startswith("! phone: "), gone
        poll(lambda: problems("no gateway has a socket"))
        # So many that Redis looks at the queue's bounds, and finds nobody there for a second.
        for number in range(70):
            sender.message(str(number), conv=conv)
        poll(lambda: problems("absent: ") or not sender.message("more", conv=conv))
        assert problems("phone: the queue was trimmed above its place")
        assert "nothing is kept" in ask(shown, "parley_user", bob.id)[1]
        conversation = ask(shown, "parley_conversation", conv)
        assert row(conversation, ann.id) and row(conversation, bob.id), conversation
    shown("start", "gateway-3")


def test_wrong_ids_get_one_line(shown):
    for function, text in (("parley_user", "NOBODY"), ("parley_conversation", "d:b:a")):
        said = subprocess.run(
            ["redis-cli", "-p", str(shown.json["redis"]["port"]), "FCALL_RO", function, "0", text],
            capture_output=True, text=True, timeout=30, check=False,
        ).stdout.strip()
        assert said.startswith(f"ERR {function} takes one id") and said.endswith(f"; {text} is none")
        assert "\n" not in said


class Screen:
    """`parley top` at a terminal of its own."""

    def __init__(self, stack, rows=40, columns=140):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            top(stack), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.slave = slave
        self.modes = termios.tcgetattr(slave)
        os.set_blocking(self.master, False)
        # A read may end within a letter.
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        try:
            self.text += self.decoder.decode(os.read(self.master, 1 << 16))
        except BlockingIOError:
            pass
        return self.text

    @property
    def frame(self):
        """The lines painted last, and to their end, without their escapes."""
        whole = [painted for painted in self.read().split("\x1b[?1049l")[0].split("\x1b[H") if "\x1b[J" in painted]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", whole[-1]).split("\r\n") if whole else []

    def end(self):
        try:
            self.process.wait(30)
            self.read()
            assert self.text.endswith("\x1b[?25h\x1b[?1049l"), "the terminal is as it was"
            assert termios.tcgetattr(self.slave)[:4] == self.modes[:4]
        finally:
            self.process.kill()
            os.close(self.master)
            os.close(self.slave)


def top(stack, *options):
    parley = stack.processes["gateway-1"]["argv"][0]
    return [parley, "top", "--redis-url", f"redis://127.0.0.1:{stack.json['redis']['port']}", *options]


@pytest.mark.parametrize("end", [b"q", b"\x03", signal.SIGTERM])
def test_the_screen_at_a_terminal(shown, end):
    screen = Screen(shown)
    poll(lambda: row(screen.frame, "gateway-1"))
    assert screen.frame[0].startswith("parley top  redis://127.0.0.1:")
    assert screen.text.startswith("\x1b[?1049h")
    clock = screen.frame[0]
    poll(lambda: screen.frame and screen.frame[0] != clock)
    screen.resize(6, 30)
    small = poll(lambda: len(screen.frame) == 6 and screen.frame)
    assert max(map(len, small)) <= 30
    assert small[-1].startswith("(") and "more lines" in small[-1]
    if isinstance(end, bytes):
        os.write(screen.master, end)
    else:
        screen.process.send_signal(end)
    screen.end()
    assert screen.process.returncode == 0


def test_the_screen_outlives_redis(shown):
    screen = Screen(shown)
    poll(lambda: row(screen.frame, "gateway-1"))
    shown("pause", "redis")
    try:
        poll(lambda: [text for text in screen.frame if text.startswith("! Redis does not answer")])
    finally:
        shown("resume", "redis")
    poll(lambda: row(screen.frame, "gateway-1"))
    os.write(screen.master, b"q")
    screen.end()


def test_plain_text_into_a_pipe(shown):
    once = subprocess.run(top(shown, "--once"), capture_output=True, text=True, timeout=60, check=True)
    assert "\x1b" not in once.stdout
    assert row(once.stdout.splitlines(), "gateway-1")
    assert "stalls" in once.stdout
    process = subprocess.Popen(top(shown), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        frames = 0
        while frames < 2:
            text = process.stdout.readline()
            assert text and "\x1b" not in text
            frames += text.startswith("epoch ")
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()


def test_without_redis_one_line_says_so(shown):
    parley = shown.processes["gateway-1"]["argv"][0]
    done = subprocess.run(
        [parley, "top", "--once", "--redis-url", "redis://127.0.0.1:1"],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("parley: Redis does not answer")
    assert done.stderr.count("\n") == 1
