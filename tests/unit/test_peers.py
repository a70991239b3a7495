"""The C program that the benchmarks compare with: its line of JSON, its rate, what ends it."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pykafkaevt.kafka import library

ROOT = Path(__file__).parents[2]
SECONDS = 60
ATTEMPTS = 5  # of a timed run, on a machine that is busy with others


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """peer(*options): what the program did, on its embedded broker, with the librdkafka that the package loads."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if not shutil.which(compiler[0]):
        pytest.skip(f"no C compiler {compiler[0]}")
    program = tmp_path_factory.mktemp("peers") / "c"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Werror", "-pthread"]
    source = ROOT / "benchmarks" / "peers" / "c" / "producer.c"
    subprocess.run([*compiler, *flags, f"-I{ROOT}/ext/pykafkaevt/kafka", source, "-o", program, "-ldl"], check=True)

    def run(*options):
        command = [program, "--bootstrap", "embedded", "--librdkafka", library.library_path(), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    return run


def measured(done):
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["single", "batch"])
@pytest.mark.parametrize("config", [[], ["enable.idempotence=true", "queue.buffering.max.messages=1000"]])
def test_every_record_has_its_report(peer, mode, config):
    options = ["--topic", "t", "--records", "20000", "--mode", mode]
    result = measured(peer(*options, *(["--config", *config] if config else [])))
    assert (result["records"], result["failed"]) == (20_000, 0)
    assert result["seconds"] > 0
    assert result["cpu_us_per_record"] > 0
    assert result["rss_kb"] > 1000
    by_thread = result["cpu_us_by_thread"]
    assert {"main", "reports", "rdk:broker", "rdk:mock"} <= by_thread.keys()
    assert sum(by_thread.values()) == pytest.approx(result["cpu_us_per_record"], rel=0.1)
    latency = result["latency_us"]
    assert list(latency) == ["p50", "p90", "p99", "p99.9", "max"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    assert latency["max"] <= result["seconds"] * 1e6


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_a_rate_is_held(peer, mode):
    for _ in range(ATTEMPTS):
        options = ["--topic", "t", "--records", "6000", "--throughput", "20000", "--mode", mode]
        result = measured(peer(*options))
        assert result["seconds"] > 0.29  # never before its time, however busy the machine is
        if result["seconds"] < 0.33:
            return
    pytest.fail(f"6000 records at 20000/s took {result['seconds']} s")


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_a_rate_that_cannot_be_held_shows_in_the_latencies(peer, mode):
    options = ["--topic", "t", "--records", "20000", "--throughput", "1e9", "--mode", mode]
    result = measured(peer(*options, "--config", "queue.buffering.max.messages=1000"))
    # the last record was due at once and has its report at the end
    assert 0.8 < result["latency_us"]["max"] / 1e6 / result["seconds"] <= 1


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_records_that_are_refused_end_it_with_1(peer, mode):
    options = ["--topic", "t", "--records", "100", "--size", "2000", "--mode", mode]
    done = peer(*options, "--config", "message.max.bytes=1000")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == 100
    assert done.stderr == "c: 100 of 100 records were not delivered: Broker: Message size too large\n"


def test_a_library_that_is_not_there_ends_it_with_1(peer):
    done = peer("--topic", "t", "--records", "1", "--librdkafka", "/nowhere/librdkafka.so")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/nowhere/librdkafka.so" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--topic and --records are needed"),
        (["--topic", "t", "--records", "0"], "--records takes a whole number"),
        (["--topic", "t", "--records", "-1"], "--records takes a whole number"),
        (["--topic", "t", "--records", "5", "--mode", "both"], "--mode is single or batch, not 'both'"),
        (["--topic", "t", "--records", "5", "--throughput", "0"], "--throughput takes records per second"),
        (["--topic", "t", "--records", "5", "--config", "linger"], "--config takes name=value, not 'linger'"),
        (["--topic", "t", "--records", "5", "--config", "no.such=1"], 'No such configuration property: "no.such"'),
        (["--topic", "t", "--records", "5", "a=b"], "nothing is known of 'a=b'"),
        (["--topic", "t", "--records", "5", "--colour"], "--colour"),
        (["--topic", "t", "--records"], "--records"),
    ],
)
def test_wrong_usage_ends_it_with_2(peer, options, reason):
    done = peer(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
