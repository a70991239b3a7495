"""benchmarks/bridge/measure.py on loads that any machine carries: each side takes part and has its rows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import require

ROOT = Path(__file__).parents[2]
SECONDS = 240


def measure(*options: object) -> "subprocess.CompletedProcess[str]":
    """Run it; what it did."""
    command = [sys.executable, str(ROOT / "benchmarks" / "bridge" / "measure.py"), *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the tables' rows by their first; of rows with one name the last."""
    found = (re.split(r" \| ?", line.strip("| ")) for line in text.splitlines() if line.startswith("| "))
    return {cells[0]: cells[1:] for cells in found}


def test_held_rates_into_kafka_beside_rsyslog(kafka: str) -> None:
    require("rsyslogd", "cc")
    options = ("--rates", "300,500", "--held", 1, "--rounds", 1)
    done = measure("--bootstrap", kafka, *options, "--sides", "bridge,rsyslog,rsyslog-keyed")
    assert done.returncode == 0, done.stderr
    assert "300 events/s for 1 s into Kafka, 1 rounds; medians:" in done.stdout
    assert "500 events/s for 1 s into Kafka, 1 rounds; medians:" in done.stdout
    first, by_thread = done.stdout.split("500 events/s", maxsplit=1)[1].split("By thread, us:")
    sides = rows(first)
    for side in ("bridge", "rsyslog", "rsyslog-keyed"):
        cpu, kernel, p50, p99, lost, *against = sides[side]
        assert float(cpu.removesuffix(" us")) > 0
        assert 0 <= float(kernel.removesuffix("%")) <= 100
        assert 1 <= int(p50.removesuffix(" ms")) <= int(p99.removesuffix(" ms"))
        assert lost == "0"
        assert bool("".join(against)) == (side != "bridge")
    threads = rows(by_thread)
    assert {"rdk:broker", "reports", "rs:main Q:Reg"} <= set(threads["side"])
    assert threads["rsyslog"][threads["side"].index("reports")] == "-"


def test_floods_and_held_rates_with_the_embedded_broker() -> None:
    require("cc")
    done = measure("--rounds", 1, "--seconds", 0.2, "--held", 0.2, "--rate", 500, "--hep-rate", 500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| C, drops | ") == 4
    assert done.stdout.count("| bridge | ") == 4
    assert done.stdout.count("| asyncio | ") == 2
    assert "events: 100 sent at 500 a second, 100 received, 100 acknowledged, 0 dropped" in done.stdout
    assert "HEP: 100 sent at 500 a second, 100 received, 100 acknowledged, 0 dropped" in done.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("--sides", "nobody"), "nobody: not of bridge, rsyslog, rsyslog-keyed"), (("--rates", "0"), "--rates")],
)
def test_wrong_usage_ends_with_2(options: tuple[str, ...], reason: str) -> None:
    done = measure("--bootstrap", "127.0.0.1:1", *options)
    assert done.returncode == 2
    assert reason in done.stderr
