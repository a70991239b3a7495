"""The connector on the embedded broker: what kafka_publish returns, and what a report route gets."""

import time

import pytest

from pykafkaevt import Closed, ConfigError, Connector, EventError, SerializeTypeError, SocketError

FAST = "g.linger.ms=0&g.enable.idempotence=false"


@pytest.fixture
def address(kafka_embedded):
    return kafka_embedded.bootstrap_servers


@pytest.fixture
def connector(address):
    with Connector([f"[k1]{address}/one?{FAST}", f"[k2]kafka:{address}/two?{FAST}"]) as made:
        yield made


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("text", "key"),
        ("é€", "ключ"),
        (b"bytes", b"key"),
        ("", ""),
        (b"", None),
        ("no key", None),
        (b"\x00\xff\n", b"\x00\xff"),
        ("x" * 100_000, "k"),
    ],
)
def test_the_report_has_what_was_published(connector, address, consume, message, key):
    reports = []
    assert connector.kafka_publish("k1", message, key, reports.append) == 1
    assert connector.kafka_publish_many("k2", [message, message], [key, key], reports.append) == 2
    assert connector.flush(30) == 0
    seen = {(report.kafka_id, report.kafka_status, report.kafka_key, report.kafka_msg) for report in reports}
    assert seen == {("k1", 0, key, message), ("k2", 0, key, message)}
    assert len(reports) == 3
    assert all(report.error is None and report.offset >= 0 and report.partition >= 0 for report in reports)
    encoded = [text.encode() if isinstance(text, str) else text for text in (message, key)]
    for topic, count in (("one", 1), ("two", 2)):
        assert [[m.value(), m.key()] for m in consume(address, topic, count)] == [encoded] * count


def test_routes_by_name_and_by_callable_and_none(connector):
    named, called = [], []

    @connector.route("kafka_report")
    def kafka_report(report):
        named.append(report.kafka_msg)

    assert kafka_report is connector.routes["kafka_report"]
    connector.kafka_publish("k1", "a", report_route="kafka_report")
    connector.kafka_publish("k1", "b", report_route=called.append)
    connector.kafka_publish("k1", "c")
    connector.flush(30)
    assert (named, [report.kafka_msg for report in called]) == (["a"], ["b"])


def test_an_exception_in_a_route_is_logged_with_its_name_and_stops_no_other(connector, caplog):
    seen = []

    @connector.route("broken")
    def broken_route(report):
        seen.append(report.kafka_msg)
        raise RuntimeError("route is broken")

    connector.kafka_publish_many("k1", ["a", "b", "c"], report_route="broken")
    connector.flush(30)
    assert sorted(seen) == ["a", "b", "c"]
    assert "broken_route" in caplog.text
    # a traceback a second, and the number of those between
    assert caplog.text.count("RuntimeError: route is broken") == 1
    time.sleep(1.1)
    connector.kafka_publish("k1", "d", report_route="broken")
    connector.flush(30)
    assert caplog.text.count("RuntimeError: route is broken") == 2
    assert "broken_route raised (2 more tracebacks held back)" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("nowhere", "m"), -1),
        (("k1", b"x" * 2_000_000), -1),
        (("k1", b"x" * 2_000_000, None, print), -1),
        (("k1", "m"), 1),
        (("k1", None, "tombstone"), 1),
    ],
)
def test_kafka_publish_returns_1_when_queued_and_minus_1_otherwise(connector, arguments, result):
    assert connector.kafka_publish(*arguments) == result
    assert connector.kafka_publish("k1", "goes on") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("k1", 5), SerializeTypeError),
        (("k1", "m", 5), SerializeTypeError),
        (("k1", "m", None, 5), TypeError),
        (("k1", "m", None, "no such route"), EventError),
    ],
)
def test_wrong_arguments_are_refused(connector, arguments, error):
    with pytest.raises(error):
        connector.kafka_publish(*arguments)
    assert connector.kafka_publish("k1", "goes on") == 1


def test_a_full_queue_returns_minus_1_at_once_and_failures_are_reported():
    reports = []
    properties = "g.queue.buffering.max.messages=5&g.log_level=0"
    connector = Connector([f"[dead]127.0.0.1:1/t?{properties}"])
    started = time.monotonic()
    results = [connector.kafka_publish("dead", f"m{n}", "k", reports.append) for n in range(8)]
    assert connector.kafka_publish_many("dead", ["a", "b"], report_route=reports.append) == 0
    assert time.monotonic() - started < 2
    assert results == [1] * 5 + [-1] * 3
    assert connector.close(0.1) == 5
    assert {(r.kafka_id, r.kafka_status, r.kafka_key, r.kafka_msg) for r in reports} == {
        ("dead", -1, "k", f"m{n}") for n in range(5)
    }
    assert all(report.error.code < 0 and report.error.reason for report in reports)


def test_key_callid_is_accepted_without_effect_and_warned_about_once(address, consume, caplog):
    with Connector([f"[a]{address}/t?key=callid&{FAST}", f"[b]{address}/u?key=callid&{FAST}"]) as connector:
        assert connector.kafka_publish("a", "m") == 1
    assert [message.key() for message in consume(address, "t", 1)] == [None]
    assert caplog.text.count("key=callid has no effect") == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[k1]127.0.0.1:9092/other", ConfigError),
        ("127.0.0.1:9092/t", SocketError),
        ("[]127.0.0.1:9092/t", SocketError),
        ("[k9]127.0.0.1:9092/", SocketError),
        ("[k9]127.0.0.1:9092/t?g.nonsense=1", ConfigError),
    ],
)
def test_a_bad_broker_id_is_refused_and_the_others_stay(connector, text, error):
    with pytest.raises(error):
        connector.broker_id(text)
    assert sorted(connector.brokers) == ["k1", "k2"]
    connector.broker_id("[k3]127.0.0.1:1/t?g.log_level=0")
    assert connector.kafka_publish("k1", "m") == connector.kafka_publish("k3", "m") == 1
    connector.close(0.2)


def test_after_close_every_call_says_closed(connector):
    connector.kafka_publish("k1", "m")
    assert connector.close() == 0
    assert connector.close() == 0
    for call in (
        lambda: connector.kafka_publish("k1", "m"),
        lambda: connector.kafka_publish_many("k1", ["m"]),
        lambda: connector.broker_id("[k5]h/t"),
        connector.flush,
    ):
        with pytest.raises(Closed):
            call()
