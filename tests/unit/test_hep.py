"""HEPv3 packets into events, against the chunks of "HEP3 Network Protocol Specification" rev. 12."""

import json
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykafkaevt.sip.hep import hep_to_event
from pykafkaevt.sip.hep_stream import HepSplitter

INVITE = (
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds\r\n"
    b"To: Bob <sip:bob@biloxi.com>\r\n"
    b"From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n"
    b"Call-ID: a84b4c76e66710@pc33.atlanta.com\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"User-Agent: Softphone Beta1.5\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)
INVITE_PARAMS = {
    "method": "INVITE",
    "callid": "a84b4c76e66710@pc33.atlanta.com",
    "cseq": 314159,
    "cseq_method": "INVITE",
    "from_uri": "sip:alice@atlanta.com",
    "to_uri": "sip:bob@biloxi.com",
    "user_agent": "Softphone Beta1.5",
}
RINGING = b"SIP/2.0 180 Ringing\r\nCall-ID: a@b\r\nCSeq: 1 INVITE\r\n\r\n"
OPTIONS = b"OPTIONS sip:b SIP/2.0\r\n\r\n"


def chunk(kind: int, body: bytes, vendor: int = 0) -> bytes:
    return struct.pack("!HHH", vendor, kind, 6 + len(body)) + body


def packet(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def addressed(family: int, src: str, dst: str) -> list[bytes]:
    ipv6 = family == socket.AF_INET6
    return [
        chunk(0x0001, bytes([10 if ipv6 else 2])),
        chunk(0x0002, b"\x11"),
        chunk(0x0005 if ipv6 else 0x0003, socket.inet_pton(family, src)),
        chunk(0x0006 if ipv6 else 0x0004, socket.inet_pton(family, dst)),
        chunk(0x0007, struct.pack("!H", 5060)),
        chunk(0x0008, struct.pack("!H", 65535)),
        chunk(0x0009, struct.pack("!I", 1433719443)),
        chunk(0x000A, struct.pack("!I", 979)),
        chunk(0x000C, struct.pack("!I", 2001)),
    ]


IPV4 = addressed(socket.AF_INET, "192.168.100.1", "10.0.0.255")
IPV4_PARAMS = {
    "transport": "udp",
    "src_ip": "192.168.100.1",
    "src_port": 5060,
    "dst_ip": "10.0.0.255",
    "dst_port": 65535,
    "time": 1433719443000979,
    "capture_id": 2001,
}
FULL = packet(
    *IPV4,
    chunk(0x000B, b"\x01"),
    chunk(0x000D, b"\x00\x1e"),
    chunk(0x000E, b"myHep"),
    chunk(0x0011, b"corr-1"),
    chunk(0x0012, b"\x00\x07"),
    chunk(0x0013, b"edge-1"),
    chunk(0x0001, b"any size", vendor=3),
    chunk(0x000F, INVITE),
)
FULL_PARAMS = {**INVITE_PARAMS, **IPV4_PARAMS, "correlation_id": "corr-1", "node": "edge-1"}


def sip(payload: bytes, *chunks: bytes) -> bytes:
    return packet(chunk(0x000B, b"\x01"), *chunks, chunk(0x000F, payload))


def event(data: bytes, raw: bool = False) -> dict:
    return json.loads(hep_to_event(data, raw=raw))


def params(data: bytes, raw: bool = False) -> dict:
    return event(data, raw)["params"]


def test_an_event_is_a_compact_notification_with_its_members_in_a_fixed_order():
    expected = {"jsonrpc": "2.0", "method": "E_SIP", "params": FULL_PARAMS}
    assert hep_to_event(FULL) == json.dumps(expected, separators=(",", ":")).encode()


def test_any_bytes_like_packet_will_do():
    assert hep_to_event(bytearray(FULL)) == hep_to_event(memoryview(FULL)) == hep_to_event(FULL)
    with pytest.raises(TypeError):
        hep_to_event("HEP3")


def test_the_authentication_key_is_shown_nowhere():
    assert b"myHep" not in hep_to_event(FULL, raw=True)


def test_a_response_has_status_and_reason_and_no_method():
    assert params(sip(RINGING)) == {
        "status": 180,
        "reason": "Ringing",
        "callid": "a@b",
        "cseq": 1,
        "cseq_method": "INVITE",
    }


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], {}),
        ([chunk(0x0002, b"\x06")], {"transport": "tcp"}),
        ([chunk(0x0002, b"\x11")], {"transport": "udp"}),
        ([chunk(0x0002, b"\x16")], {"transport": "tls"}),
        ([chunk(0x0002, b"\x32")], {"transport": "ws"}),
        ([chunk(0x0002, b"\x84")], {"transport": "sctp"}),
        ([chunk(0x0002, b"\x01")], {}),
        ([chunk(0x0003, bytes(4))], {"src_ip": "0.0.0.0"}),
        ([chunk(0x0004, b"\xff\xff\xff\xff")], {"dst_ip": "255.255.255.255"}),
        ([chunk(0x0005, bytes(15) + b"\x01")], {"src_ip": "::1"}),
        ([chunk(0x0006, b"\x20\x01\x0d\xb8" + bytes(12))], {"dst_ip": "2001:db8::"}),
        ([chunk(0x0006, b"\xff" * 16)], {"dst_ip": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}),
        ([chunk(0x0007, b"\x00\x00")], {"src_port": 0}),
        ([chunk(0x0008, b"\xff\xff")], {"dst_port": 65535}),
        ([chunk(0x0009, b"\xff\xff\xff\xff")], {"time": 4294967295000000}),
        ([chunk(0x0009, b"\x00\x00\x00\x01"), chunk(0x000A, b"\x00\x00\x00\x02")], {"time": 1000002}),
        ([chunk(0x000A, b"\x00\x00\x00\x02")], {}),
        ([chunk(0x000C, b"\xff\xff\xff\xff")], {"capture_id": 4294967295}),
        ([chunk(0x000C, b"\x00\x7b")], {"capture_id": 123}),
        ([chunk(0x000D, b"\x00\x1e")], {}),
        ([chunk(0x000E, b"secret")], {}),
        ([chunk(0x0011, b"a@b")], {"correlation_id": "a@b"}),
        ([chunk(0x0011, b"")], {}),
        ([chunk(0x0011, b'a"\\\n\xff\xc3\xa4')], {"correlation_id": 'a"\\\n\ufffdä'}),
        ([chunk(0x0013, b"node")], {"node": "node"}),
        ([chunk(0x0065, b'{"a":1}')], {}),
        ([chunk(0x0007, b"\x00\x01", vendor=2)], {}),
        ([chunk(0x0007, b"\x00\x01"), chunk(0x0007, b"\x00\x02")], {"src_port": 1}),
        ([chunk(0x0003, bytes(4)), chunk(0x0005, bytes(16))], {"src_ip": "0.0.0.0"}),
        ([chunk(0x0010, b"x\x9c")], {}),
    ],
)
def test_a_chunk_is_a_parameter_and_what_is_missing_is_left_out(chunks, expected):
    assert params(sip(OPTIONS, *chunks)) == {"method": "OPTIONS", **expected}


def test_ipv6_addresses_have_their_short_form():
    found = params(sip(OPTIONS, *addressed(socket.AF_INET6, "2001:db8:0:0:1:0:0:1", "fe80::1")))
    assert (found["src_ip"], found["dst_ip"]) == ("2001:db8::1:0:0:1", "fe80::1")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (b"i: a@b\r\nf: <sip:a>\r\nt: <sip:b>\r\n", {"callid": "a@b", "from_uri": "sip:a", "to_uri": "sip:b"}),
        (b"User-Agent: a\r\n b\r\n\tc\r\n", {"user_agent": "a b c"}),
        (b"User-Agent:\r\n \r\n a\r\n", {"user_agent": "a"}),
        (b"User-Agent: \xff\xfe\xe2\x82\xac\xe2\x82\r\n", {"user_agent": "\ufffd\ufffd€\ufffd"}),
        (b'User-Agent: "a\\b"\x01\r\n', {"user_agent": '"a\\b"\x01'}),
        (b"Call-ID: \r\nUser-Agent:\r\n", {}),
        (b"CSeq: 4294967296 INVITE\r\n", {}),
        (b"CSeq: 0 INVITE\r\n", {"cseq": 0, "cseq_method": "INVITE"}),
    ],
)
def test_headers_are_text_without_folds(headers, expected):
    assert params(sip(b"OPTIONS sip:b SIP/2.0\r\n" + headers + b"\r\n")) == {"method": "OPTIONS", **expected}


@pytest.mark.parametrize("payload", [INVITE, OPTIONS + b'\x00\xff"\\', OPTIONS + bytes(range(128)) * 100])
def test_raw_is_the_whole_sip_message_at_the_end(payload):
    with_raw = params(sip(payload), raw=True)
    assert list(with_raw)[-1] == "raw"
    assert with_raw.pop("raw") == payload.decode("utf-8", "replace")
    assert with_raw == params(sip(payload))


@pytest.mark.parametrize(
    ("kind", "name", "extra"),
    [(5, "E_RTCP", {}), (100, "E_LOG", {}), (0, "E_HEP", {"type": 0}), (34, "E_HEP", {"type": 34})],
)
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"ssrc":1}', {"ssrc": 1}),
        (b' {"a":[{}]}\r\n', {"a": [{}]}),
        (b'{"a":1', '{"a":1'),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
        (b'{"a":1}\0', '{"a":1}\0'),
        (b"[1]", "[1]"),
        (b'NOTICE: "x"\n', 'NOTICE: "x"\n'),
    ],
)
def test_other_types_have_their_payload_as_an_object_or_as_text(kind, name, extra, payload, expected):
    data = packet(*IPV4, chunk(0x0011, b"a@b"), chunk(0x000B, bytes([kind])), chunk(0x000F, payload))
    assert event(data, raw=True) == {
        "jsonrpc": "2.0",
        "method": name,
        "params": {**extra, **IPV4_PARAMS, "correlation_id": "a@b", "payload": expected},
    }


def test_a_payload_alone_is_an_event():
    assert params(packet(chunk(11, b"\x64"), chunk(15, b"x"))) == {"payload": "x"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "hep_short"),
        (b"HEP3\x00", "hep_short"),
        (b"\x01\x10\x02\x11\x13\xc4\x13\xc4" + bytes(8) + INVITE, "hep_v1"),
        (b"\x02\x10\x02\x11\x13\xc4\x13\xc4" + bytes(20) + INVITE, "hep_v2"),
        (b"\x01", "hep_v1"),
        (b"\x02", "hep_v2"),
        (b"hep3" + FULL[4:], "hep_not_hep"),
        (b"HEP2" + FULL[4:], "hep_not_hep"),
        (b"G", "hep_not_hep"),
        (INVITE, "hep_not_hep"),
        (b'{"jsonrpc":"2.0"}', "hep_not_hep"),
        (FULL + b"\x00", "hep_trailing"),
        (b"HEP3\x00\x00", "hep_trailing"),
        (packet(), "hep_no_payload"),
        (packet(*IPV4, chunk(0x000B, b"\x01")), "hep_no_payload"),
        (sip(b""), "hep_no_payload"),
        (packet(*IPV4, chunk(0x000B, b"\x01"), chunk(0x0010, b"x\x9c")), "hep_compressed"),
        (packet(*IPV4, chunk(0x000F, INVITE)), "hep_no_type"),
        (sip(b"\r\n\r\n"), "hep_keepalive"),
        (sip(b"\0\0\0\0"), "hep_keepalive"),
        (sip(b"jaK"), "hep_not_sip"),
        (sip(b"INVITE sip:bob@biloxi.com SIP/3.0\r\n\r\n"), "hep_not_sip"),
        (packet(chunk(0x000B, b"\x01"), b"\0"), "hep_bad_chunk"),
        (packet(b"\0\0\0\x0f\0\0"), "hep_bad_chunk"),
        (packet(b"\0\0\0\x0f\0\x05"), "hep_bad_chunk"),
        (packet(b"\0\0\0\x0f\0\x07"), "hep_bad_chunk"),
        (packet(b"\0\x01\0\x0f\xff\xff"), "hep_bad_chunk"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(data, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        hep_to_event(data)


SIZES = {2: 1, 3: 4, 4: 4, 5: 16, 6: 16, 7: 2, 8: 2, 9: 4, 10: 4, 11: 1, 12: 4}


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind, right in SIZES.items() for size in sorted({0, right - 1, right + 1, 2 * right + 1})],
)
def test_a_chunk_of_the_wrong_size_is_refused(kind, size):
    with pytest.raises(ValueError, match=r"^hep_bad_chunk$"):
        hep_to_event(sip(OPTIONS, chunk(kind, bytes(size))))


def test_a_truncated_packet_is_refused():
    for size in range(len(FULL)):
        with pytest.raises(ValueError, match=r"^hep_(short|truncated)$"):
            hep_to_event(FULL[:size])


def test_a_packet_cut_with_its_length_set_right_is_refused():
    for size in range(6, len(FULL)):
        with pytest.raises(ValueError, match=r"^hep_(bad_chunk|no_payload)$"):
            hep_to_event(b"HEP3" + struct.pack("!H", size) + FULL[6:size])


@pytest.mark.parametrize("byte", [b"\x01", b"\xff", b'"', b"a", b"\n"])
@pytest.mark.parametrize("field", ["payload", "header", "correlation"])
def test_the_largest_packet_has_room(byte, field):
    fill = byte * 65000
    data = {
        "payload": sip(OPTIONS + fill),
        "header": sip(b"OPTIONS sip:b SIP/2.0\r\nCall-ID: x" + fill + b"\r\n\r\n"),
        "correlation": sip(OPTIONS, chunk(0x0011, fill)),
    }[field]
    assert params(data, raw=True)["method"] == "OPTIONS"


bodies = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([INVITE, RINGING, OPTIONS, b'{"a":[1,"\\ud800"]}', b"\x01", b"\x05", b"\x64", b"\r\n"]),
    st.sampled_from([INVITE, RINGING]).flatmap(
        lambda text: st.tuples(st.integers(0, len(text)), st.binary(max_size=8)).map(
            lambda cut: text[: cut[0]] + cut[1] + text[cut[0] :]
        )
    ),
)
chunks_of_anything = st.lists(
    st.builds(chunk, st.integers(0, 0x14), bodies, st.sampled_from([0, 0, 0, 1])), max_size=12
).map(lambda chunks: packet(*chunks))
mutations = st.lists(st.tuples(st.integers(0, len(FULL) - 1), st.integers(0, 255)), min_size=1, max_size=8)


def check(data: bytes, raw: bool) -> None:
    try:
        text = hep_to_event(data, raw=raw)
    except ValueError:
        return
    assert json.loads(text)["method"] in ("E_SIP", "E_RTCP", "E_LOG", "E_HEP")


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(packet), chunks_of_anything), st.booleans())
def test_any_packet_is_valid_json_or_refused(data, raw):
    check(data, raw)


@settings(max_examples=500, deadline=None)
@given(mutations, st.booleans())
def test_a_mutated_packet_is_valid_json_or_refused(changes, raw):
    data = bytearray(FULL)
    for at, byte in changes:
        data[at] = byte
    check(bytes(data), raw)


SMALL = sip(OPTIONS)
HUGE = sip(OPTIONS + b"x" * 600)
STREAMS = [
    (b"", []),
    (SMALL + FULL + SMALL, [(SMALL, None), (FULL, None), (SMALL, None)]),
    (packet() + SMALL, [(packet(), None), (SMALL, None)]),
    (b"GET / HTTP/1.1\r\n\r\n" + SMALL, [(b"GET / HTTP/1.1\r\n\r\n", "garbage"), (SMALL, None)]),
    (SMALL + b"HEHEP" + SMALL + b"H", [(SMALL, None), (b"HEHEP", "garbage"), (SMALL, None), (b"H", "truncated")]),
    (b"HEP3\0\x05" * 3 + SMALL, [(b"HEP3\0\x05" * 3, "garbage"), (SMALL, None)]),
    (b"xHEP", [(b"xHEP", "garbage")]),
    (b"xHEP3", [(b"x", "garbage"), (b"HEP3", "truncated")]),
    (b"x" * 1000 + SMALL + b"y" * 128, [(b"x" * 128, "garbage"), (SMALL, None), (b"y" * 128, "garbage")]),
    (HUGE + SMALL + HUGE, [(HUGE[:128], "too_large"), (SMALL, None), (HUGE[:128], "too_large")]),
    (HUGE[:200], [(HUGE[:128], "too_large")]),
    (HUGE[:100], [(HUGE[:100], "truncated")]),
    (FULL[:-1], [(FULL[:128].replace(b"myHep", b"*****"), "truncated")]),
    (b"HEP3\0", [(b"HEP3\0", "truncated")]),
]


def split(*parts: bytes, limit: int = len(FULL)) -> list:
    splitter = HepSplitter(limit)
    found = [one for part in parts for one in splitter.feed(part)] + splitter.finish()
    assert splitter.finish() == []
    return found


@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_a_stream_is_split_the_same_wherever_it_is_cut(stream, expected):
    assert split(stream) == expected
    assert split(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    for at in range(len(stream)):
        assert split(stream[:at], stream[at:]) == expected


def test_a_splitter_is_as_new_after_the_end():
    splitter = HepSplitter(len(FULL))
    for rest in (HUGE[:200], FULL[:50], b"garbage", b"x" * 500):
        splitter.feed(rest)
        splitter.finish()
        assert splitter.feed(SMALL) == [(SMALL, None)]


def test_a_limit_below_a_header_is_an_error():
    with pytest.raises(ValueError, match="limit must be 6 bytes or more"):
        HepSplitter(5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([SMALL, FULL, HUGE, b"HEP3", b"HE"]), st.binary(max_size=200))), st.data())
def test_any_stream_is_split_the_same_wherever_it_is_cut(parts, data):
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert split(*pieces) == split(stream)
