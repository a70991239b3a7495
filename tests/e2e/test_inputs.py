"""Inputs that end by themselves, and datagram inputs with several workers, as a user runs them."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from tests.e2e.conftest import RunningBridge, free_udp_ports

SECONDS = 60


def run(*arguments: str, given: bytes = b"") -> str:
    """`pykafkaevt bridge` to its own end, which must be with 0; its log."""
    command = (sys.executable, "-m", "pykafkaevt", "bridge", *arguments)
    done = subprocess.run(command, input=given, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stderr.decode()


def test_a_capture_becomes_sip_events_in_the_order_of_each_call(
    kafka: str, topic: str, consume: Callable[..., list[Message]]
) -> None:
    capture = files("pykafkaevt.cli") / "sipp-calls.pcap"
    run(f"pcap:{capture}", "--speed", "0", "--to", f"kafka:{kafka}/{topic}?key=callid", "--time-field", "time")
    calls: dict[bytes | None, list[str]] = defaultdict(list)
    for record in consume(kafka, topic, 900, timeout=SECONDS):
        params = json.loads(record.value())["params"]
        assert record.timestamp()[1] == params["time"] // 1000
        calls[record.key()].append(params.get("method") or f"{params['status']}")
    assert len(calls) == 150
    assert all(messages == ["INVITE", "180", "200", "ACK", "BYE", "200"] for messages in calls.values())


@pytest.mark.parametrize("scheme", ["stdin", "file"])
def test_plain_objects_a_line_become_events(
    tmp_path: Path, kafka: str, topic: str, consume: Callable[..., list[Message]], scheme: str
) -> None:
    lines = b"".join(b'{"call_id": "c%d", "n": %d}\n' % (n % 7, n) for n in range(5000)) + b"not json\n"
    (tmp_path / "lines").write_bytes(lines)
    log = run(
        *(
            "stdin:" if scheme == "stdin" else f"file:{tmp_path / 'lines'}",
            "--method",
            "E_LINE",
            "--log-format",
            "json",
        ),
        *("--to", f"kafka:{kafka}/{topic}?key=callid"),
        given=lines if scheme == "stdin" else b"",
    )
    ended = json.loads(log.splitlines()[-1])
    assert (ended["message"], ended["delivered"], ended["invalid"]) == ("ended", 5000, 1)
    numbers = defaultdict(list)
    for record in consume(kafka, topic, 5000, timeout=SECONDS):
        event = json.loads(record.value())
        assert (event["method"], record.key().decode()) == ("E_LINE", event["params"]["call_id"])
        numbers[record.key()].append(event["params"]["n"])
    assert numbers == {b"c%d" % n: list(range(n, 5000, 7)) for n in range(7)}


def test_workers_share_the_senders_and_lose_nothing(
    tmp_path: Path,
    kafka: str,
    topic: str,
    bridge: Callable[..., RunningBridge],
    consume: Callable[..., list[Message]],
) -> None:
    (port,) = free_udp_ports(1)
    path = str(tmp_path / "events.sock")
    running = bridge(
        *(f"udp://127.0.0.1:{port}", f"unix:{path}", "--workers", "3", "--to", f"kafka:{kafka}/{topic}?key=callid")
    )
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    senders += [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)]
    for number in range(200):
        for place, sender in enumerate(senders):
            message = json.dumps({"jsonrpc": "2.0", "method": "E", "params": {"callid": f"s{place}", "n": number}})
            sender.sendto(message.encode(), path if sender.family == socket.AF_UNIX else ("127.0.0.1", port))
    for sender in senders:
        sender.close()
    running.drain(SECONDS)
    numbers = defaultdict(list)
    for record in consume(kafka, topic, 200 * len(senders), timeout=SECONDS):
        numbers[record.key().decode()].append(json.loads(record.value())["params"]["n"])
    assert numbers == {f"s{place}": list(range(200)) for place in range(len(senders))}


def test_what_the_kernel_drops_is_counted_and_said(bridge: Callable[..., RunningBridge]) -> None:
    (port,) = free_udp_ports(1)
    running = bridge(
        *(f"udp://127.0.0.1:{port}", "--receive-buffer", "4096", "--to", "kafka:embedded/t", "--log-format", "json")
    )
    running.process.send_signal(signal.SIGSTOP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(500):
            sender.sendto(b'{"method":"E"}', ("127.0.0.1", port))
    running.process.send_signal(signal.SIGCONT)
    running.wait_until(lambda: "the kernel dropped datagrams" in running.log.read_text())
    running.drain(SECONDS)
    ended = json.loads(running.log.read_text().splitlines()[-1])
    assert 0 < ended["received"] < 500
    assert ended["received"] + ended["kernel_drops"] == 500


def test_a_sender_that_never_pauses_does_not_keep_the_bridge_from_draining(
    bridge: Callable[..., RunningBridge],
) -> None:
    (port,) = free_udp_ports(1)
    running = bridge(*(f"udp://127.0.0.1:{port}", "--drain", "4", "--to", "kafka:embedded/t", "--log-format", "json"))
    ended = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not ended.is_set():
                sender.sendto(b'{"method":"E"}', ("127.0.0.1", port))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        time.sleep(1)
        running.drain(SECONDS)
    finally:
        ended.set()
        thread.join()
    last = json.loads(running.log.read_text().splitlines()[-1])
    assert last["queued"] == last["delivered"] > 0
    assert (last["failed"], last["lost"]) == (0, 0)


def test_a_second_signal_gives_up_at_once(bridge: Callable[..., RunningBridge], broker: Any) -> None:
    (port,) = free_udp_ports(1)
    running = bridge(
        *(f"udp://127.0.0.1:{port}", "--drain", "600", "--to", f"kafka:{broker.bootstrap_servers}/t"),
        *("--log-format", "json"),
    )
    broker.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(10):
            sender.sendto(b'{"method":"E"}', ("127.0.0.1", port))
    running.process.terminate()
    running.wait_until(lambda: '"draining"' in running.log.read_text())
    time.sleep(0.5)
    running.process.terminate()
    assert running.process.wait(SECONDS) == 1
    last = json.loads(running.log.read_text().splitlines()[-1])
    assert (last["message"], last["queued"], last["delivered"], last["failed"]) == ("ended", 10, 0, 10)
