"""E_SIP has one shape, whether the bridge makes it of a HEP packet, the demo of a capture, or the benchmark."""

import json
import struct
from importlib.resources import files
from ipaddress import ip_address

from pykafkaevt import EventTemplate
from pykafkaevt.bench import workload
from pykafkaevt.capture import read_capture
from pykafkaevt.cli.demo import message_rows
from pykafkaevt.sip.hep import hep_to_event
from pykafkaevt.sip.message import SIP_EVENT, SIP_FIELDS, headers

REQUEST = (
    b"INVITE sip:b@c SIP/2.0\r\nCall-ID: a@b\r\nCSeq: 1 INVITE\r\nFrom: <sip:a@b>\r\nTo: <sip:b@c>\r\n"
    b"User-Agent: x\r\n\r\n"
)
RESPONSE = REQUEST.replace(b"INVITE sip:b@c SIP/2.0", b"SIP/2.0 180 Ringing")


def chunk(kind, content):
    return struct.pack(">HHH", 0, kind, 6 + len(content)) + content


def packet(payload, src, src_port, dst, dst_port, time, *more):
    """A HEPv3 packet of a SIP message over UDP and IPv4; time: microseconds since 1970."""
    body = b"".join((
        chunk(0x02, b"\x11"),
        chunk(0x03, ip_address(src).packed),
        chunk(0x04, ip_address(dst).packed),
        chunk(0x07, struct.pack(">H", src_port)),
        chunk(0x08, struct.pack(">H", dst_port)),
        chunk(0x09, struct.pack(">I", time // 1_000_000)),
        chunk(0x0A, struct.pack(">I", time % 1_000_000)),
        chunk(0x0B, b"\x01"),
        *more,
        chunk(0x0F, payload),
    ))  # fmt: skip
    return b"HEP3" + struct.pack(">H", 6 + len(body)) + body


def test_the_bridge_makes_the_fields_in_their_order():
    names = []
    for payload, absent in ((REQUEST, {"status", "reason"}), (RESPONSE, {"method"})):
        more = chunk(0x0C, bytes(4)), chunk(0x11, b"id"), chunk(0x13, b"node")
        event = json.loads(hep_to_event(packet(payload, "192.0.2.1", 5060, "192.0.2.2", 5062, 1, *more), raw=True))
        assert event["method"] == SIP_EVENT
        assert list(event["params"]) == [name for name in SIP_FIELDS if name not in absent]
        names += event["params"]
    assert set(names) == set(SIP_FIELDS)


def test_the_demo_makes_what_the_bridge_makes_of_the_same_packets():
    template = EventTemplate(SIP_EVENT, SIP_FIELDS)
    with files("pykafkaevt.cli").joinpath("sipp-calls.pcap").open("rb") as capture:
        expected = [
            hep_to_event(packet(d.payload, d.source, d.source_port, d.destination, d.destination_port, d.time))
            for d in read_capture(capture)
            if headers(d.payload) is not None
        ]
    assert [template.dumps(*row) for row in message_rows()] == expected


def test_the_benchmark_makes_a_part_of_what_the_bridge_makes():
    row = workload.event_rows(1, seed=1)[0]
    given = dict(zip(workload.FIELDS, row, strict=True))
    message = (
        f"{given['method']} sip:x SIP/2.0\r\nCall-ID: {given['callid']}\r\nCSeq: {given['cseq']} INVITE\r\n"
        f"From: <{given['from_uri']}>\r\nTo: <{given['to_uri']}>\r\n\r\n"
    ).encode()
    places = (given[name] for name in ("src_ip", "src_port", "dst_ip", "dst_port", "time"))
    event = json.loads(hep_to_event(packet(message, *places)))
    assert event["method"] == workload.EVENT
    assert list(given.items()) == [item for item in event["params"].items() if item[0] in given]
