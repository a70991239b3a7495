"""SIGHUP while events come in at full rate: every one is in Kafka once, in the old topic or in the new."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Message

from tests.e2e.conftest import RunningBridge, free_udp_ports

SECONDS = 30
RELOADS = 10
PACE = 20_000  # datagrams/s


def test_no_datagram_is_lost_by_a_reload(
    tmp_path: Path, kafka: str, topic: str, bridge: Callable[..., RunningBridge], consume: Callable[..., list[Message]]
) -> None:
    (port,) = free_udp_ports(1)
    config = tmp_path / "bridge.toml"

    def write(number: int) -> None:
        target = f"kafka:{kafka}/{topic}?key=callid&g.client.id=reload{number}&t.message.timeout.ms=60000"
        config.write_text(f'input = ["udp://127.0.0.1:{port}"]\nto = "{target}"\n')

    write(0)
    running = bridge("--config", str(config), "--log-format", "json")
    sent = 0
    ending = threading.Event()

    def send() -> None:
        nonlocal sent
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            started = time.monotonic()
            while not ending.is_set():
                if sent > (time.monotonic() - started) * PACE:
                    time.sleep(0.001)
                    continue
                params = {"callid": f"{sent % 50}@h", "n": sent}
                sender.sendto(
                    json.dumps({"jsonrpc": "2.0", "method": "E", "params": params}).encode(), ("127.0.0.1", port)
                )
                sent += 1

    thread = threading.Thread(target=send)
    thread.start()
    for number in range(1, RELOADS + 1):
        time.sleep(0.3)
        write(number)
        running.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    # a configuration with a mistake changes nothing
    config.write_text("to = 7\n")
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.7)
    ending.set()
    thread.join()
    running.drain(SECONDS)

    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [line["message"] for line in lines].count("reloaded") == RELOADS
    assert any("the configuration stays as it was" in line["message"] for line in lines)
    (ended,) = [line for line in lines if line["message"] == "ended"]
    counts = {name: ended[name] for name in ("received", "queued", "delivered", "kernel_drops", "failed", "lost")}
    whole = dict.fromkeys(("received", "queued", "delivered"), sent)
    assert counts == {**whole, "kernel_drops": 0, "failed": 0, "lost": 0}
    numbers = [json.loads(record.value())["params"]["n"] for record in consume(kafka, topic, sent, timeout=SECONDS)]
    assert sorted(numbers) == list(range(sent))
