"""What OpenSIPS itself put on the wire, through every input of the bridge: it arrives in Kafka byte for byte."""

import base64
import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from tests.e2e.conftest import RunningBridge, free_udp_ports
from tests.kafka.broker import free_ports

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden_jsonrpc.json").read_text("utf-8"))
PAYLOADS = [base64.b64decode(vector["payload_b64"]) for vector in GOLDEN]
SECONDS = 30


def is_event(payload: bytes) -> bool:
    """Whether it is JSON: OpenSIPS also writes raw control characters and bytes that are no UTF-8."""
    try:
        return bool(json.loads(payload.decode()))
    except ValueError:
        return False


EVENTS = [payload for payload in PAYLOADS if is_event(payload)]
OTHERS = [payload for payload in PAYLOADS if not is_event(payload)]


def stored(consume: Callable[..., list[Message]], kafka: str, topic: str, count: int) -> Counter[Any]:
    return Counter(message.value() for message in consume(kafka, topic, count, timeout=SECONDS))


def test_datagrams_over_udp_and_unix(
    tmp_path: Path,
    kafka: str,
    topic: str,
    bridge: Callable[..., RunningBridge],
    consume: Callable[..., list[Message]],
) -> None:
    (port,) = free_udp_ports(1)
    path = str(tmp_path / "events.sock")
    running = bridge(f"udp://127.0.0.1:{port}", f"unix:{path}", "--to", f"kafka:{kafka}/{topic}?key=callid")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix,
    ):
        for payload in PAYLOADS:
            udp.sendto(payload, ("127.0.0.1", port))
            unix.sendto(payload, path)
    running.drain(SECONDS)
    assert "dropped" not in running.log.read_text()
    assert stored(consume, kafka, topic, 2 * len(EVENTS)) == Counter(2 * EVENTS)


def test_a_stream_cut_at_every_byte(
    kafka: str, topic: str, bridge: Callable[..., RunningBridge], consume: Callable[..., list[Message]]
) -> None:
    (port,) = free_ports(1)
    running = bridge(f"tcp://127.0.0.1:{port}", "--to", f"kafka:{kafka}/{topic}")
    stream = b"".join(EVENTS)
    for cut in range(1, len(stream)):
        with socket.create_connection(("127.0.0.1", port), SECONDS) as sender:
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sender.sendall(stream[:cut])
            sender.sendall(stream[cut:])
            sender.shutdown(socket.SHUT_WR)
            # read to its end, so that the bridge has taken everything
            assert sender.recv(1) == b""
    running.drain(SECONDS)
    records = (len(stream) - 1) * len(EVENTS)
    assert stored(consume, kafka, topic, records) == Counter({event: len(stream) - 1 for event in EVENTS})


def test_a_reliable_stream_is_answered_when_kafka_has_the_event(
    kafka: str, topic: str, bridge: Callable[..., RunningBridge], consume: Callable[..., list[Message]]
) -> None:
    (port,) = free_ports(1)
    running = bridge(f"tcp://127.0.0.1:{port}", "--to", f"kafka:{kafka}/{topic}")
    requests = [event[:-1] + b',"id":%d}' % number for number, event in enumerate(EVENTS)]
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sender:
        sender.sendall(b"".join(requests))
        answers = sender.makefile("rb")
        text = b""
        while text.count(b'"id":') < len(requests):
            text += answers.read1()
        decoder, found = json.JSONDecoder(), []
        rest = text.decode()
        while rest.strip():
            answer, end = decoder.raw_decode(rest.lstrip())
            found.append(answer)
            rest = rest.lstrip()[end:]
    # answered: it is there before the bridge is asked to end
    assert stored(consume, kafka, topic, len(requests)) == Counter(requests)
    assert sorted(answer["id"] for answer in found) == list(range(len(requests)))
    assert all(answer["jsonrpc"] == "2.0" and "error" not in answer for answer in found)
    running.drain(SECONDS)


def test_what_opensips_writes_that_is_no_json_is_counted(tmp_path: Path, bridge: Callable[..., RunningBridge]) -> None:
    (port,) = free_udp_ports(1)
    running = bridge(f"udp://127.0.0.1:{port}", "--to", "kafka:embedded/t", "--log-format", "json")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for payload in PAYLOADS:
            udp.sendto(payload, ("127.0.0.1", port))
    running.drain(SECONDS)
    (ended,) = [
        json.loads(line) for line in running.log.read_text().splitlines() if json.loads(line)["message"] == "ended"
    ]
    assert (ended["received"], ended["queued"], ended["invalid"]) == (len(PAYLOADS), len(EVENTS), len(OTHERS))
    assert (ended["delivered"], ended["failed"], ended["lost"]) == (len(EVENTS), 0, 0)
