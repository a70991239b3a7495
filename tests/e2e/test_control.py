"""`pykafkaevt ctl` and a running bridge: subscribers come and go, events are raised by hand, figures add up."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from tests.e2e.conftest import RunningBridge, free_udp_ports

SECONDS = 30


@pytest.fixture
def ctl(tmp_path: Path) -> Callable[..., Any]:
    """ctl(*arguments): the result of a method; a CalledProcessError with what it printed when it fails."""

    def call(*arguments: str) -> Any:
        command = (sys.executable, "-m", "pykafkaevt", "ctl", "--control", str(tmp_path / "control.sock"), *arguments)
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout)

    return call


def test_a_subscriber_has_the_event_until_it_expires(
    tmp_path: Path,
    kafka: str,
    topic: str,
    bridge: Callable[..., RunningBridge],
    ctl: Callable[..., Any],
    consume: Callable[..., list[Message]],
) -> None:
    (port,) = free_udp_ports(1)
    other = f"kafka:{kafka}/{topic}-subscriber"
    control = str(tmp_path / "control.sock")
    running = bridge(f"udp://127.0.0.1:{port}", "--to", f"kafka:{kafka}/{topic}?key=callid", "--control", control)
    assert ctl("event_subscribe", "event=E_CDR", f"socket={other}", "expire=3") == "OK"
    assert [one["name"] for one in ctl("events_list")["Events"]] == ["E_CDR"]
    (listed,) = ctl("subscribers_list")["Events"]
    assert [one["socket"] for one in listed["Subscribers"]] == [other]
    assert ctl("raise_event", json.dumps({"event": "E_CDR", "params": {"callid": "a@b", "n": 1}})) == "OK"
    assert ctl("raise_event", "event=E_OTHER") == "OK"
    deadline = time.monotonic() + SECONDS
    while ctl("kafka_stats")["subscribers"]:
        assert time.monotonic() < deadline
    assert ctl("raise_event", json.dumps({"event": "E_CDR", "params": {"callid": "a@b", "n": 2}})) == "OK"
    assert ctl("reload") == "OK"
    stats = ctl("kafka_stats")
    assert stats["events"] == {"E_CDR": 2, "E_OTHER": 1}
    (mi,) = [one for one in stats["inputs"] if one["url"] == "mi:"]
    assert (mi["received"], mi["queued"], mi["invalid"]) == (3, 3, 0)
    running.drain(SECONDS)
    first, second = ({"callid": "a@b", "n": n} for n in (1, 2))
    found = [(one.key(), json.loads(one.value())) for one in consume(kafka, topic, 3, timeout=SECONDS)]
    assert [value["params"] for key, value in found if key == b"a@b"] == [first, second]
    (copy,) = consume(kafka, f"{topic}-subscriber", 1, timeout=SECONDS)
    assert json.loads(copy.value())["params"] == first


def test_an_outage_is_ridden_out_and_drained(
    kafka_programs: None, broker: Any, bridge: Callable[..., RunningBridge], consume: Callable[..., list[Message]]
) -> None:
    (port,) = free_udp_ports(1)
    running = bridge(f"udp://127.0.0.1:{port}", "--to", f"kafka:{broker.bootstrap_servers}/t", "--drain", "60")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def send(first: int, count: int) -> None:
            for n in range(first, first + count):
                message = json.dumps({"jsonrpc": "2.0", "method": "E", "params": {"n": n}})
                sender.sendto(message.encode(), ("127.0.0.1", port))

        send(0, 100)
        broker.stop()
        send(100, 1000)
        broker.start()
        send(1100, 100)
    running.drain(90)
    numbers = [
        json.loads(record.value())["params"]["n"]
        for record in consume(broker.bootstrap_servers, "t", 1200, timeout=SECONDS)
    ]
    assert sorted(numbers) == list(range(1200))
