"""Headers and timestamps of the bridge's records."""

import re
import socket
import struct
import time
from urllib.parse import unquote, urlsplit

import pytest

from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes
from tests.unit.conftest import event

# RFC 3986: the characters a URI-reference may have, a % only before two digits
URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-F]{2})+")


@pytest.fixture
def header(producers, kafka_embedded, consume):
    """header(name, count): that header's value in so many records of the topic t."""

    def read(name, count=1):
        producers("t").flush()
        records = consume(kafka_embedded.bootstrap_servers, "t", count)
        return [dict(record.headers())[name].decode() for record in records]

    return read


def test_basic_headers(producers, kafka_embedded, consume):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], headers="basic"))
    assert ingest.feed(event("E_X"), "192.0.2.1:9") is None
    producers("t").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "t", 1)
    assert record.headers() == [
        ("event", b"E_X"),
        ("source", b"192.0.2.1:9"),
        ("content-type", b"application/json"),
    ]


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("1790000000", 1790000000000),
        ("1790000000.25", 1790000000250),
        ("1790000000123", 1790000000123),
        ("1790000000123456", 1790000000123),
        ("1790000000123456789", 1790000000123),
        ('"1790000000"', 1790000000000),
    ],
)
def test_the_time_field_becomes_the_timestamp(producers, kafka_embedded, consume, value, ms):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], time_field="time"))
    assert ingest.feed(b'{"method":"E","params":{"time":%s}}' % value.encode()) is None
    producers("t").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "t", 1)
    assert record.timestamp()[1] == ms


@pytest.mark.parametrize("value", ["0", "-1", "null", "12", '"noon"', "1e300", "{}"])
def test_what_is_no_time_leaves_the_timestamp_to_now(producers, kafka_embedded, consume, value):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], time_field="time"))
    assert ingest.feed(b'{"method":"E","params":{"time":%s}}' % value.encode()) is None
    producers("t").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "t", 1)
    assert abs(record.timestamp()[1] / 1000 - time.time()) < 60


def test_cloudevents_headers(producers, kafka_embedded, consume):
    ingest = Ingest("json", "udp://h:1", Routes([("*", producers("t"), False)], headers="cloudevents"))
    for _ in range(3):
        assert ingest.feed(event("E_X"), "192.0.2.1:9") is None
    producers("t").flush()
    headers = [dict(record.headers()) for record in consume(kafka_embedded.bootstrap_servers, "t", 3)]
    assert len({one.pop("ce_id") for one in headers}) == 3
    expected = {
        "ce_specversion": b"1.0",
        "ce_source": b"udp://192.0.2.1:9",
        "ce_type": b"E_X",
        "content-type": b"application/json",
    }
    assert headers == [expected] * 3


def test_a_cloudevents_id_is_the_events_own_and_no_other_input_has_it(producers, kafka_embedded, consume):
    """The name of the host and the process are the same after a restart in a container: they are not in it."""
    target = [("*", producers("t"), False)]
    routes = Routes(target, headers="cloudevents", subscribers=[("E", producers("sub"), False)])
    for _ in range(2):
        ingest = Ingest("json", "udp://h:1", routes)
        for _ in range(2):
            assert ingest.feed(event("E")) is None
    ids = {}
    for topic in ("t", "sub"):
        producers(topic).flush()
        records = consume(kafka_embedded.bootstrap_servers, topic, 4)
        ids[topic] = [dict(record.headers())["ce_id"].decode() for record in records]
    assert len(set(ids["t"])) == 4
    assert sorted(ids["t"]) == sorted(ids["sub"])
    assert all(re.fullmatch(r"[0-9a-f]{32}-[12]", one) for one in ids["t"])


@pytest.mark.parametrize(
    ("url", "source", "uri"),
    [
        ("udp://0.0.0.0:5060", "192.0.2.1:5060", "udp://192.0.2.1:5060"),
        ("hep+tcp://[::]:9060", "[2001:db8::1]:9060", "hep+tcp://[2001:db8::1]:9060"),
        ("tcp://[::1]:5060", "[fe80::1%eth0]:5060", "tcp://[::1]:5060"),
        ("tcp://localhost:5060", "", "tcp://localhost:5060"),
        ("stdin:", "stdin", "stdin:"),
        ("mi:", "mi", "mi:"),
        ("file:/var/log/a b%.json", "/var/log/a b%.json", "file:/var/log/a%20b%25.json"),
        ("pcap:é[1]?#.pcap", "é[1]?#.pcap", "pcap:%C3%A9%5B1%5D%3F%23.pcap"),
        ("u", "192.0.2.1:9", "//192.0.2.1:9"),
        ("u", "x\ny:1", "u"),
        ("", "", "/"),
    ],
)
def test_the_source_of_a_cloudevent_is_a_uri_reference(producers, header, url, source, uri):
    ingest = Ingest("json", url, Routes([("*", producers("t"), False)], headers="cloudevents"))
    assert ingest.feed(event("E"), source) is None
    assert header("ce_source") == [uri]
    assert URI_REFERENCE.fullmatch(uri)
    urlsplit(uri)


@pytest.mark.parametrize("name", [None, "open sips é%.sock"])
def test_a_unix_sender_is_named_by_its_path(producers, header, tmp_path, name):
    path = str(tmp_path / "input.sock")
    ingest = Ingest("json", f"unix:{path}", Routes([("*", producers("t"), False)], headers="cloudevents"))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        one.bind(path)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        if name:
            sender.bind(str(tmp_path / name))
        sender.sendto(event("E"), path)
        ingest.stop()
        ingest.receive(one.fileno())
    (uri,) = header("ce_source")
    assert URI_REFERENCE.fullmatch(uri)
    assert urlsplit(uri).scheme == "unix"
    assert unquote(urlsplit(uri).path) == str(tmp_path / (name or "input.sock"))
    assert ingest.last_events()[0]["source"] == (str(tmp_path / name) if name else "unix")
