"""The faults that were found, one test each: those that can hang or crash in a process of their own, and arguments."""

import inspect
import subprocess
import sys

import pytest

from pykafkaevt import (
    Closed,
    ConfigError,
    Error,
    EventInterface,
    EventTemplate,
    Producer,
    QueueFull,
    SerializeError,
    SerializeTypeError,
)
from tests.races.faults import closing, fatal, lifetime

SECONDS = 60  # the process ends itself before
SOCKET = "kafka:embedded/t"
EVENT = EventTemplate("E", ["n"])
INF, NAN = float("inf"), float("nan")


def cases():
    """The functions without parameters that have their fault's name."""
    helpers = {"locks", "public_classes"}  # of the others
    for module in (closing, fatal, lifetime):
        for name, one in inspect.getmembers(module, inspect.isfunction):
            if one.__module__ == module.__name__ and not inspect.signature(one).parameters and name not in helpers:
                yield name


@pytest.mark.parametrize("name", list(cases()))
def test_a_fault_that_was_found_is_gone(name):
    command = [sys.executable, "-m", "tests.races.faults", name]
    ended = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    assert ended.returncode == 0, f"it ended with {ended.returncode}:\n{ended.stderr[-6000:]}"


@pytest.mark.parametrize("expire", [INF, -INF, NAN, -1, -0.5])
def test_an_expiry_that_is_no_time_subscribes_nothing(expire):
    with EventInterface() as interface:
        interface.publish_event("E")
        with pytest.raises(ValueError, match=r".+"):
            interface.subscribe_event("E", SOCKET, expire)
        assert interface.subscribers_list() == {"Events": []}
        assert interface.raise_event("E", {"n": 1}) == 0


@pytest.mark.parametrize(
    "options",
    [{"full_timeout": -1}, {"full_timeout": NAN}, {"pace": 0}, {"pace": -1}, {"on_full": "wait"}, {"invalid": "x"}],
    ids=str,
)
def test_an_option_that_cannot_work_is_a_value_error(options):
    with pytest.raises(ValueError, match=r".+"):
        Producer(SOCKET, **options)


@pytest.mark.parametrize(
    ("call", "kinds"),
    [
        (lambda p: p.publish(b"x", timestamp_ms=-1), ValueError),
        (lambda p: p.publish_many([b"x", b"y"], timestamps_ms=[-1, 1]), ValueError),
        (lambda p: p.publish(b"x", report=True), (TypeError, ValueError)),
        (lambda p: p.publish_many([b"x"], report=True), (TypeError, ValueError)),
        (lambda p: p.emit(EVENT, 1, report=True), (TypeError, ValueError)),
        (lambda p: p.emit_many(EVENT, [(1,)], report=True), (TypeError, ValueError)),
        (lambda p: p.publish(b"x", headers=[("a\0b", b"v")]), ValueError),
        (lambda p: p.publish_many([b"x"], headers=[("a\0b", b"v")]), ValueError),
        (lambda p: p.publish(b"x", headers={"a\0b": b"v"}), ValueError),
        (lambda p: p.publish_many([b"x", b"y"], [b"k"]), ValueError),
    ],
)
def test_an_argument_that_cannot_work_is_an_error_before_anything_is_queued(call, kinds):
    with Producer(SOCKET) as producer:
        with pytest.raises(kinds):
            call(producer)
        assert producer.stats().queued == 0


@pytest.mark.parametrize("headers", [{"ct": b"x", "n": "é"}, [("ct", b"x"), ("n", "é")]], ids=["mapping", "pairs"])
def test_a_mapping_of_headers_is_taken_as_its_pairs(kafka_embedded, consume, headers):
    kafka_embedded.create_topic("t", 1)
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t") as producer:
        producer.publish(b"1", headers=headers)
        producer.publish_many([b"2"], headers=headers)
        assert producer.flush(10) == 0
    for record in consume(kafka_embedded.bootstrap_servers, "t", 2):
        assert record.headers() == [("ct", b"x"), ("n", "é".encode())]


@pytest.mark.parametrize(
    "properties",
    [
        "g.delivery.report.only.error=true",
        "g.transactional.id=x",
        "g.log.queue=false",
        "g.enabled_events=0",
        "g.security.protocol=sasl_plaintext&g.sasl.mechanism=OAUTHBEARER",
        "g.enable.idempotence=true&g.acks=1",
        "g.enable.idempotence=true&t.acks=1",
    ],
)
def test_a_property_that_breaks_the_account_or_cannot_work_is_a_config_error(properties):
    with pytest.raises(ConfigError) as caught:
        Producer(f"{SOCKET}?{properties}")
    names = [one.partition("=")[0] for one in properties.split("&")]
    assert caught.value.property in names
    assert caught.value.reason


@pytest.mark.parametrize(
    ("rows", "kind", "position"),
    [([(1,), (2,), (object(),), (4,)], SerializeTypeError, 2), ([(1,), ("\ud800",), (3,)], SerializeError, 1)],
)
def test_a_bad_row_says_where_it_is(rows, kind, position):
    with Producer(SOCKET, invalid="strict") as producer:
        with pytest.raises(kind) as caught:
            producer.emit_many(EVENT, rows)
        assert (caught.value.queued, caught.value.position) == (position, position)


def test_a_batch_call_of_a_closed_producer_says_that_nothing_was_queued():
    producer = Producer(SOCKET)
    producer.close(1)
    for call in (lambda: producer.publish_many([b"x"]), lambda: producer.emit_many(EVENT, [(1,)])):
        with pytest.raises(Closed) as caught:
            call()
        assert (caught.value.queued, caught.value.position) == (0, 0)


def test_a_full_queue_is_an_error_with_a_place_after_its_timeout():
    producer = Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=5", full_timeout=0.1)
    try:
        with pytest.raises(QueueFull) as caught:
            producer.publish_many([b"x"] * 9)
        assert (caught.value.queued, caught.value.position) == (5, 5)
        assert isinstance(caught.value, Error)
    finally:
        producer.close(0)
