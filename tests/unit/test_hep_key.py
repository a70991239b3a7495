"""No secret that senders put into messages comes into samples, the log or dead letters."""

import socket
import struct
import subprocess
import sys

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes
from pykafkaevt.sip.hep_stream import HepSplitter
from tests.unit.conftest import PROMPT
from tests.unit.test_hep import INVITE, IPV4, OPTIONS, chunk, packet

KEY = b"K3y~S3cr3t!"
KEY_CHUNK = chunk(0x000E, KEY)
BLANKED = chunk(0x000E, b"*" * len(KEY))
TYPE = chunk(0x000B, b"\x01")
PAYLOAD = chunk(0x000F, INVITE)
VALID = packet(TYPE, KEY_CHUNK, PAYLOAD)
PIECES = [KEY[i : i + 3] for i in range(len(KEY) - 2)]


def shows_key(data: bytes | str) -> bool:
    """Whether three bytes of the key are in it."""
    return any((piece if isinstance(data, bytes) else piece.decode()) in data for piece in PIECES)


def resized(data: bytes, size: int) -> bytes:
    """A packet whose header says that size."""
    return data[:4] + struct.pack("!H", size) + data[6:]


@pytest.fixture
def handle(producers, stored):
    """handle(messages, kind): the samples' excerpts and the dead letters of messages, all invalid."""

    def handled(messages, kind="hep", feed=Ingest.feed):
        routes = Routes([("*", producers("t"), True)], dead_letter=producers("dead"))
        ingest = Ingest(kind, "u", routes)
        excerpts = []
        for message in messages:
            before = bytes(bytearray(message))
            assert feed(ingest, message) not in (None, "unrouted")
            # bytes are immutable: what was fed is not changed
            assert message == before
            excerpts += [sample["excerpt"] for sample in ingest.samples()]
        producers("dead").flush()
        dead = [value or b"" for _, value in stored("dead", len(messages))]
        return excerpts, dead

    return handled


def excerpt_of(data: bytes) -> str:
    return repr(data[:200])[2:-1]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (VALID + b"x", packet(TYPE, BLANKED, PAYLOAD) + b"x"),
        (packet(KEY_CHUNK), packet(BLANKED)),
        (packet(KEY_CHUNK, TYPE, KEY_CHUNK), packet(BLANKED, TYPE, BLANKED)),
        (
            packet(TYPE, KEY_CHUNK, chunk(0x0002, b"xx"), KEY_CHUNK),
            packet(TYPE, BLANKED, chunk(0x0002, b"xx"), BLANKED),
        ),
        # what led to the key has a wrong size
        (packet(b"\0\0\0\x0b\0\x05\x01", KEY_CHUNK), packet(b"\0\0\0\x0b\0\x05\x01", BLANKED)),
        (packet(b"\0\0\0\x0b\xff\xff\x01", KEY_CHUNK), packet(b"\0\0\0\x0b\xff\xff\x01", BLANKED)),
        (b"HEP2" + VALID[4:], b"HEP2" + packet(TYPE, BLANKED, PAYLOAD)[4:]),
        (b"\x02" + KEY_CHUNK, b"\x02" + BLANKED),
        # behind the packet's end
        (packet() + KEY_CHUNK, packet() + BLANKED),
        # the key's own size goes beyond the packet, or cannot be right: all that follows is blanked
        (packet(b"\0\0\0\x0e\xff\xff" + KEY), packet(b"\0\0\0\x0e\xff\xff" + b"*" * len(KEY))),
        (packet(b"\0\0\0\x0e\0\x05" + KEY), packet(b"\0\0\0\x0e\0\x05" + b"*" * len(KEY))),
        # a false header hides no true one behind it, nor one within what it covers
        (packet(b"\0\0\0\x0e\0\x0c", KEY_CHUNK), packet(b"\0\0\0\x0e\0\x0c", b"*" * (6 + len(KEY)))),
        (packet(b"\0\0\0\x0e\0\x08", KEY_CHUNK), packet(b"\0\0\0\x0e\0\x08", b"**" + BLANKED[2:])),
        # no key: an empty one, one of a vendor
        (packet(chunk(0x000E, b"")), packet(chunk(0x000E, b""))),
        (packet(chunk(0x000E, b"vendor", vendor=1)), packet(chunk(0x000E, b"vendor", vendor=1))),
    ],
)
@pytest.mark.parametrize("kind", ["hep", "json"])
def test_the_key_is_blanked_in_samples_and_dead_letters(handle, kind, data, shown):
    excerpts, dead = handle([data], kind)
    assert dead == [shown]
    assert excerpts == [excerpt_of(shown)]


def test_the_key_of_a_valid_packet_is_nowhere(producers, stored):
    ingest = Ingest("hep", "u", Routes([("*", producers("t"), True)]), raw=True)
    assert ingest.feed(VALID) is None
    producers("t").flush()
    assert not shows_key(stored("t", 1)[0][1])
    assert ingest.samples() == []


def test_the_key_of_a_rejected_record_is_blanked(producers, stored):
    small = producers("t", PROMPT + "&g.message.max.bytes=1000")
    ingest = Ingest("hep", "u", Routes([("*", small, True)], dead_letter=producers("dead")), raw=True)
    large = chunk(0x000F, INVITE + b"x" * 2000)
    assert ingest.feed(packet(TYPE, KEY_CHUNK, large)) == "rejected"
    producers("dead").flush()
    assert stored("dead", 1) == [(None, packet(TYPE, BLANKED, large))]


def test_a_packet_cut_anywhere_shows_no_key(handle):
    cut = [VALID[:size] for size in range(len(VALID))]
    cut += [resized(VALID[:size], size) for size in range(6, len(VALID))]
    excerpts, dead = handle(cut)
    assert not any(map(shows_key, excerpts + dead))
    assert sorted(map(len, dead)) == sorted(map(len, cut))


def test_datagrams_of_one_batch_have_each_its_own_key_blanked(producers, stored):
    ingest = Ingest("hep", "u", Routes([("*", producers("t"), True)], dead_letter=producers("dead")))
    rests = [bytes([n]) * 50 for n in range(65, 75)]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        one.bind(("127.0.0.1", 0))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        for rest in rests:
            for message in (packet(TYPE, KEY_CHUNK) + rest, rest, VALID):
                sender.sendto(message, one.getsockname())
        ingest.stop()
        ingest.receive(one.fileno())
    producers("dead").flush()
    expected = [message for rest in rests for message in (packet(TYPE, BLANKED) + rest, rest)]
    assert sorted(value for _, value in stored("dead", len(expected))) == sorted(expected)
    assert not any(shows_key(sample["excerpt"]) for sample in ingest.samples())


changes = st.lists(
    st.tuples(st.sampled_from(["set", "insert", "delete"]), st.integers(0, 400), st.integers(0, 255)), max_size=8
)


def changed(data: bytes, what) -> bytes:
    mutable = bytearray(data)
    for kind, place, byte in what:
        at = min(place, len(mutable))
        mutable[at : at + (kind != "insert")] = b"" if kind == "delete" else bytes([byte])
    return bytes(mutable)


def test_whatever_else_is_changed_in_a_packet_its_key_is_not_shown(producers, stored):
    routes = Routes([("*", producers("t"), True)], dead_letter=producers("dead"))
    ingest = Ingest("hep", "u", routes)
    head, tail = packet(*IPV4, TYPE), PAYLOAD + chunk(0x0011, b"corr")

    @settings(max_examples=500, deadline=None, database=None)
    @given(changes, changes, st.sampled_from([b"", KEY_CHUNK, b"\0\0\0\x0e\0\x09", b"\0\0\0\x0e"]), st.integers(0, 800))
    def check(before, behind, more, size):
        data = changed(head, before) + more + KEY_CHUNK + changed(tail, behind)
        ingest.feed(data[:size])
        assert not any(shows_key(sample["excerpt"]) for sample in ingest.samples())

    check()
    producers("dead").flush()
    dead = stored("dead", ingest.counts()["invalid"])
    assert len(dead) > 100
    assert not any(shows_key(value or b"") for _, value in dead)


# Streams

LARGE = packet(TYPE, KEY_CHUNK, chunk(0x000F, OPTIONS + b"x" * 600))
SHORT = VALID.index(KEY) + 4  # a size that ends within the key


def excerpts_of(*parts: bytes, limit: int = 400) -> list:
    splitter = HepSplitter(limit)
    found = [one for part in parts for one in splitter.feed(part)] + splitter.finish()
    return [(data, reason) for data, reason in found if reason is not None]


@pytest.mark.parametrize(
    ("stream", "reasons"),
    [
        (VALID[:-1], ["truncated"]),
        (LARGE + VALID, ["too_large"]),
        (b"x" + VALID[1:] + VALID, ["garbage"]),
        (resized(VALID, 5), ["garbage"]),
        # the rest of the key is no packet
        (resized(VALID, SHORT) + VALID, ["garbage"]),
        (resized(VALID, SHORT - 5) + VALID, ["garbage"]),
        (resized(VALID, VALID.index(KEY) - 3) + VALID, ["garbage"]),
        (VALID + resized(LARGE, len(LARGE) - 9) + VALID, ["too_large", "garbage"]),
        (
            resized(packet(TYPE, chunk(0x000F, b"x" * 600), KEY_CHUNK), 6 + 7 + 606 + 10) + VALID,
            ["too_large", "garbage"],
        ),
    ],
)
def test_a_stream_shows_no_key_wherever_it_is_cut(stream, reasons):
    expected = excerpts_of(stream)
    assert [reason for _, reason in expected] == reasons
    for at in range(len(stream)):
        assert excerpts_of(stream[:at], stream[at:]) == expected
    assert excerpts_of(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    assert not any(shows_key(data) for data, _ in expected)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(changes, changes), min_size=1, max_size=4), st.data())
def test_whatever_else_is_changed_in_a_stream_its_keys_are_not_shown(packets, data):
    head, tail = packet(TYPE), PAYLOAD + chunk(0x0011, b"corr")
    stream = b"".join(changed(head, before) + KEY_CHUNK + changed(tail, behind) for before, behind in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert excerpts_of(*pieces) == excerpts_of(stream)
    assert not any(shows_key(found) for found, _ in excerpts_of(stream))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_bridge_logs_no_key_of_a_capture(tmp_path, log_format):
    path = tmp_path / "c.pcap"
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for message in (VALID, VALID + b"x", VALID[:-1], resized(VALID, SHORT), packet(KEY_CHUNK)):
            udp = dpkt.udp.UDP(sport=5060, dport=9060, data=message, ulen=8 + len(message))
            ip = dpkt.ip.IP(src=b"\x7f\0\0\x01", dst=b"\x7f\0\0\x01", p=17, data=udp, len=28 + len(message))
            writer.writepkt(dpkt.ethernet.Ethernet(data=ip), 1.0)
    command = [sys.executable, "-m", "pykafkaevt", "bridge", f"pcap:{path}", "--to", "kafka:embedded/t"]
    command += ["--dead-letter", "kafka:embedded/dead", "--log-format", log_format]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr.count("***********") == 4
    assert not shows_key(ended.stdout + ended.stderr)


# Credentials

DIGEST = 'REGISTER sip:h SIP/2.0\r\nAuthorization: Digest username="a", nonce="n1", '


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (DIGEST + 'response="0123abcd", cnonce="c"\r\n', DIGEST + 'response="********", cnonce="c"\r\n'),
        (DIGEST + 'RESPONSE = "0123abcd"', DIGEST + 'RESPONSE = "********"'),
        (DIGEST + 'response=\r\n "0123abcd"', DIGEST + 'response=\r\n "********"'),
        (DIGEST + "response=0123abcd, qop=auth", DIGEST + "response=********, qop=auth"),
        (DIGEST + 'response="0123', DIGEST + 'response="****'),
        (DIGEST + "response=", DIGEST + "response="),
        (DIGEST + "response", DIGEST + "response"),
        (
            '{"raw":"' + 'Authorization: Digest response=\\"0123\\",x=1',
            '{"raw":"Authorization: Digest response=\\"****\\",x=1',
        ),
        ('Proxy-Authorization: Digest response="01"', 'Proxy-Authorization: Digest response="**"'),
        ("Proxy-authorization :\r\n Basic YTpi\r\nA: b", "Proxy-authorization :\r\n Basic ****\r\nA: b"),
        (
            "GET / HTTP/1.1\r\nAuthorization: Bearer abc.def\r\n\r\n",
            "GET / HTTP/1.1\r\nAuthorization: Bearer *******\r\n\r\n",
        ),
        ('{"raw":"Authorization: Basic YTpi\\r\\nA: b', '{"raw":"Authorization: Basic ****\\r\\nA: b'),
        ('Authentication-Info: rspauth="01", nc=1', 'Authentication-Info: rspauth="**", nc=1'),
        ("Authorization:", "Authorization:"),
        ("Authorization: Basic", "Authorization: Basic"),
        ("a response to it: x", "a response to it: x"),
    ],
)
def test_credentials_are_blanked_in_samples(handle, text, shown):
    data = text.encode()
    excerpts, dead = handle([data], "json")
    assert excerpts == [excerpt_of(shown.encode())]
    # a dead letter is for who repairs it: all but the key of HEP
    assert dead == [data]


def test_a_response_cut_anywhere_is_not_shown(handle):
    text = (DIGEST + 'response="~!~!"').encode()
    padded = [b"x" * n + text for n in range(60, 200)]
    excerpts, _ = handle(padded, "json")
    assert not any("~" in excerpt for excerpt in excerpts)
