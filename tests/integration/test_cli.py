"""The command against a real Kafka, as a user runs it."""

import json
import subprocess
import sys

import pytest

PATIENCE = 120  # seconds


def run(*arguments, input=None):
    command = [sys.executable, "-m", "pykafkaevt", *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("text", ["{kafka}/{topic}", "kafka:{kafka}/{topic}?g.linger.ms=5", "[k1]{kafka}/{topic}"])
def test_check_connect_shows_every_partition_with_its_leader(kafka, topic, text):
    run("publish", f"kafka:{kafka}/{topic}", "a")
    done = run("check", "--connect", text.format(kafka=kafka, topic=topic))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith("partition")]
    assert lines
    assert all("leader" in line for line in lines)


def test_check_connect_makes_no_topic(kafka):
    for _ in range(2):
        done = run("check", "--connect", f"kafka:{kafka}/check-makes-no-topic")
        assert done.returncode == 1
        assert b"the cluster has no such topic" in done.stderr


def test_what_publish_sends_tail_prints(kafka, topic):
    text = f"kafka:{kafka}/{topic}?g.linger.ms=1&g.enable.idempotence=true&t.acks=all"
    lines = [f"k{number % 7}:value {number} é \x1b[2J" for number in range(20_000)]
    done = run("publish", text, "--key-separator", ":", "--header", "n=v", input="\n".join(lines).encode())
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"queued 20000, delivered 20000, failed 0\n"
    done = run("tail", text, "--from", "beginning", "--count", 20_000, "--timeout", 30, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(record["headers"] == [["n", "v"]] for record in found)
    for key in {record["key"] for record in found}:
        ours = [record for record in found if record["key"] == key]
        assert len({record["partition"] for record in ours}) == 1
        assert [f"{key}:{record['value']}" for record in ours] == [line for line in lines if line.startswith(f"{key}:")]


def test_events_are_notifications(kafka, topic):
    text = f"kafka:{kafka}/{topic}"
    assert run("publish", text, "--event", "E_CALL", input=b'{"callid":"a"}\n[1,2]\n').returncode == 0
    done = run("tail", text, "--from", "beginning", "--count", 2, "--timeout", 30, "--format", "value")
    assert sorted(done.stdout.splitlines()) == [
        b'{"jsonrpc":"2.0","method":"E_CALL","params":[1,2]}',
        b'{"jsonrpc":"2.0","method":"E_CALL","params":{"callid":"a"}}',
    ]


def test_tail_ends_after_its_timeout(kafka, topic):
    text = f"kafka:{kafka}/{topic}"
    run("publish", text, "a")
    done = run("tail", text, "--from", "end", "--timeout", 1)
    assert (done.returncode, done.stdout) == (0, b"")


def test_demo_finds_every_call_whole_and_in_order(kafka, topic):
    text = f"kafka:{kafka}/{topic}?key=callid"
    run("publish", text, "someone else's")
    for _ in range(2):
        done = run("demo", "--socket", text, "--calls-times", 20)
        assert done.returncode == 0, done.stderr
        report = done.stdout.decode()
        assert "\nacks     18,000\nfailed   0\n" in report
        verdict = "18,000 delivered, lost 0, out of order 0: 3,000 of 3,000 calls whole and in order"
        assert report.splitlines()[-1] == verdict
