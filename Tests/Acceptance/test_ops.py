"""What Ops gives to those who deploy: systemd takes the units, and they keep what the settings need."""

import re
import shutil
import subprocess

import pytest
from conftest import ROOT

UNITS = ["parley-gateway@1.service", "parley-worker@1.service"]
# What systemd-analyze says of the units, 0 (safe) to 10; a line less in common.conf shows.
EXPOSURE = 1.4


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The units as they are installed, where the program is one that exists."""
    home = tmp_path_factory.mktemp("units") / "systemd"
    shutil.copytree(ROOT / "Ops/systemd", home)
    for unit in home.glob("*@.service"):
        text = unit.read_text()
        assert "ExecStart=/usr/local/bin/parley " in text
        unit.write_text(text.replace("/usr/local/bin/parley", shutil.which("true")))
    for unit in UNITS:
        shutil.copy(home / unit.replace("@1", "@"), home / unit)
    return home


def analyze(units, *arguments):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], cwd=units, capture_output=True, text=True, timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_units(units, unit):
    done = analyze(units, "verify", "--man=no", f"./{unit}")
    # Of a key that it does not know it only warns.
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_a_mistake_would_be_noticed(units):
    common = units / "parley-.service.d/common.conf"
    text = common.read_text()
    try:
        common.write_text(text.replace("ProtectSystem=strict", "ProtectSytem=strict"))
        done = analyze(units, "verify", "--man=no", f"./{UNITS[0]}")
    finally:
        common.write_text(text)
    assert "ProtectSytem" in done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_the_units_are_hardened(units, unit):
    done = analyze(units, "security", "--offline=true", f"./{unit}")
    exposure = re.search(r"Overall exposure level for \S+ ([\d.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure[1]) <= EXPOSURE, done.stdout


def test_the_units_leave_time_to_drain_and_descriptors_for_sockets(units):
    reference = (ROOT / "Ops/CONFIGURATION.md").read_text()
    unit = (units / UNITS[0]).read_text()

    def default(name):
        return int(re.search(rf"\| `{name}` \|.*\| `(\d+)` \|", reference)[1])

    # The window, and the farewell after it.
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) >= default("PARLEY_DRAIN_MS") / 1000 + 15
    assert int(re.search(r"LimitNOFILE=(\d+)", unit)[1]) >= 2 * default("PARLEY_CAPACITY")
