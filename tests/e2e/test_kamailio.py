"""Calls of sipp through Kamailio, its HEP packets and JSON events through the bridge, read back from Apache Kafka."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from tests.e2e.conftest import Program, RunningBridge, free_udp_ports, path_of, require

CALLS = 500
CALLS_PER_SECOND = 100
CALL_SECONDS = 60
DRAIN_SECONDS = 30
READ_SECONDS = 30
SOCKET_BUFFER = 1 << 20  # bytes; the kernel gives what it allows, and that is more than sipp's own 64 KiB
CAPTURE_ID = 2023  # hep_capture_id of kamailio.cfg
# What sipp's own scenarios uac and uas exchange in a call.
MESSAGES = ["INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"]
ADDRESS = ("src_ip", "src_port", "dst_ip", "dst_port", "transport", "capture_id")
# The columns of sipp's -trace_shortmsg.
SHORT_MESSAGE = ("date", "time", "epoch", "direction", "callid", "cseq", "first_line")


class Sip:
    """Kamailio between the two sides of sipp, which places CALLS calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proxy_port, self.caller_port, self.callee_port, self.hep_port, self.events_port = free_udp_ports(5)

    def kamailio(self) -> Program:
        """The proxy, in the foreground; it keeps its files in the test's folder."""
        defined = {
            "UAS": f"sip:127.0.0.1:{self.callee_port}",
            "HEP_URI": f"sip:127.0.0.1:{self.hep_port}",
            "EVENTS_URI": f"sip:127.0.0.1:{self.events_port}",
        }
        return Program(
            *("kamailio", self.folder, path_of("kamailio") or "kamailio"),
            *("-f", Path(__file__).with_name("kamailio.cfg"), "-DD", "-E"),
            *("-m", "16", "-M", "4", "-Y", self.folder, "-l", f"udp:127.0.0.1:{self.proxy_port}"),
            *(text for name, value in defined.items() for text in ("-A", f'{name}="{value}"')),
        )

    def sipp(self, name: str, port: int, *arguments: str) -> Program:
        """One side. -nr: no retransmissions, so that a slow machine makes no message twice."""
        common = ("-i", "127.0.0.1", "-p", str(port), "-nostdin", "-nr", "-buff_size", str(SOCKET_BUFFER))
        limit = ("-timeout", str(CALL_SECONDS))
        return Program(f"sipp-{name}", self.folder, "sipp", "-sn", name, *common, *limit, *arguments)

    def place_calls(self) -> None:
        """Run all the calls to their end; AssertionError with what sipp printed when one fails."""
        load = ("-m", str(CALLS), "-r", str(CALLS_PER_SECOND), "-timeout_error")
        traces = ("-trace_stat", "-stf", "statistics.csv", "-trace_shortmsg", "-shortmessage_file", "messages.tsv")
        with self.kamailio() as proxy, self.sipp("uas", self.callee_port) as callee:
            proxy.wait_until(lambda: listens(self.proxy_port))
            callee.wait_until(lambda: listens(self.callee_port))
            with self.sipp("uac", self.caller_port, f"127.0.0.1:{self.proxy_port}", *load, *traces) as caller:
                caller.wait(CALL_SECONDS + 5)

    def statistics(self) -> dict[str, str]:
        """Sipp's statistics at its end; the columns (C) are cumulative."""
        with (self.folder / "statistics.csv").open(newline="") as file:
            return list(csv.DictReader(file, delimiter=";"))[-1]

    def messages(self) -> dict[str, list[str]]:
        """By Call-ID the messages that the calling sipp sent and received, in its order, as in MESSAGES."""
        calls: dict[str, list[str]] = defaultdict(list)
        with (self.folder / "messages.tsv").open(newline="") as file:
            for row in csv.DictReader(file, SHORT_MESSAGE, delimiter="\t"):
                first, second, _ = row["first_line"].split(" ", 2)
                method = row["cseq"].split()[-1]
                calls[row["callid"]].append(f"{second} {method}" if first == "SIP/2.0" else first)
        return calls


def listens(port: int) -> bool:
    """Whether a process has this UDP port. Source: proc(5), /proc/net/udp has local addresses in hexadecimal."""
    return f":{port:04X} " in Path("/proc/net/udp").read_text()


def events(records: list[Message]) -> Iterator[tuple[str, dict[str, Any], str, int]]:
    """Name, params, record key and partition of each record, which must be a notification."""
    for record in records:
        event = json.loads(record.value())
        assert (event["jsonrpc"], "id" in event) == ("2.0", False)
        yield event["method"], event["params"], record.key().decode(), record.partition()


@pytest.fixture
def sip(tmp_path: Path) -> Sip:
    require("kamailio", "sipp")
    return Sip(tmp_path)


def test_every_call_of_sipp_is_in_kafka_in_order_in_one_partition(
    sip: Sip, kafka: str, topic: str, bridge: Callable[..., RunningBridge], consume: Callable[..., list[Message]]
) -> None:
    inputs = (f"hep://127.0.0.1:{sip.hep_port}", f"udp://127.0.0.1:{sip.events_port}")
    running = bridge(*inputs, "--to", f"kafka:{kafka}/{topic}?key=callid")
    sip.place_calls()
    running.drain(DRAIN_SECONDS)

    statistics = sip.statistics()
    outcome = {name: int(statistics[name]) for name in ("TotalCallCreated", "SuccessfulCall(C)", "FailedCall(C)")}
    assert outcome == {"TotalCallCreated": CALLS, "SuccessfulCall(C)": CALLS, "FailedCall(C)": 0}
    placed = sip.messages()
    assert placed == dict.fromkeys(placed, MESSAGES)
    assert len(placed) == CALLS

    records = consume(kafka, topic, CALLS * (len(MESSAGES) + 2), timeout=READ_SECONDS)
    traced: dict[str, list[str]] = defaultdict(list)
    told: dict[str, list[str]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    addresses: Counter[tuple[Any, ...]] = Counter()
    for name, params, key, partition in events(records):
        call_id = params["callid"]
        assert key == call_id
        partitions[call_id].add(partition)
        if name == "E_SIP":
            traced[call_id].append(params.get("method") or f"{params['status']} {params['cseq_method']}")
            addresses[tuple(params[field] for field in ADDRESS)] += 1
        else:
            told[call_id].append(name)
    assert traced == placed
    assert told == {call_id: ["E_CALL_START", "E_CALL_END"] for call_id in placed}
    assert {call_id: len(found) for call_id, found in partitions.items()} == dict.fromkeys(placed, 1)
    assert len(set().union(*partitions.values())) > 1
    assert addresses == {
        ("127.0.0.1", port, "127.0.0.1", sip.proxy_port, "udp", CAPTURE_ID): CALLS * len(MESSAGES) // 2
        for port in (sip.caller_port, sip.callee_port)
    }
