"""What becomes of records, and of a producer, when brokers refuse, go away or end it for good."""

import logging
import threading
import time

import pytest

from pykafkaevt import EventInterface, Producer

CLUSTER_AUTHORIZATION_FAILED = 31  # on InitProducerId: fatal for an idempotent producer
OUT_OF_ORDER_SEQUENCE_NUMBER = 45  # on the oldest Produce request under way: fatal, too
NOT_ENOUGH_REPLICAS = 19
INVALID_RECORD = 87


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def socket(kafka_embedded):
    kafka_embedded.create_topic("t", 1)
    return f"kafka:{kafka_embedded.bootstrap_servers}/t?g.linger.ms=0&g.reconnect.backoff.max.ms=200"


def test_a_retriable_error_is_retried_and_nothing_is_lost_or_doubled(kafka_embedded, socket, consume):
    kafka_embedded.push_errors("Produce", [NOT_ENOUGH_REPLICAS] * 5)
    with Producer(socket + "&g.retry.backoff.ms=10") as producer:
        producer.publish_many([b"%03d" % n for n in range(500)], ["k"] * 500)
        assert producer.flush(30) == 0
        assert producer.stats().delivered == 500
    stored = [record.value() for record in consume(kafka_embedded.bootstrap_servers, "t", 500)]
    assert stored == [b"%03d" % n for n in range(500)]


def test_a_permanent_error_fails_the_records_with_its_reason(kafka_embedded, socket):
    kafka_embedded.push_errors("Produce", [INVALID_RECORD])
    reports = []
    with Producer(socket + "&g.enable.idempotence=false", on_delivery=reports.extend) as producer:
        producer.publish(b"refused", report=True)
        producer.flush(30)
        producer.publish(b"taken", report=True)
        producer.flush(30)
        stats = producer.stats()
    assert (stats.delivered, stats.failed, stats.errors) == (1, 1, {INVALID_RECORD: 1})
    refused, taken = reports
    assert (refused.error.code, refused.error.retriable) == (INVALID_RECORD, False)
    assert "record" in refused.error.reason
    assert taken.error is None


def test_a_fatal_error_fails_its_records_and_the_next_use_opens_a_new_producer(kafka_embedded, socket, consume, caplog):
    kafka_embedded.push_errors("InitProducerId", [CLUSTER_AUTHORIZATION_FAILED])
    errors, reports = [], []
    producer = Producer(socket, on_error=errors.append, on_delivery=reports.extend)
    producer.publish_many([b"a", b"b", b"c"], report=True)
    assert wait_until(lambda: any("fatal" in error.reason for error in errors))
    assert producer.publish(b"d", report=True)
    assert producer.flush(30) == 0
    stats = producer.stats()
    assert (stats.queued, stats.delivered, stats.failed) == (4, 1, 3)
    assert {report.value: report.error and report.error.code for report in reports} == {
        **dict.fromkeys((b"a", b"b", b"c"), CLUSTER_AUTHORIZATION_FAILED),
        b"d": None,
    }
    assert [record.value() for record in consume(kafka_embedded.bootstrap_servers, "t", 1)] == [b"d"]
    assert "connected anew after a fatal error" in caplog.text
    assert producer.close() == 0


def test_many_threads_meet_a_fatal_error_and_every_record_is_accounted_for(kafka_embedded, socket):
    with Producer(socket) as producer:
        results = []

        def work():
            for n in range(3000):
                results.append(producer.publish(b"v", b"k"))
                if n == 500:
                    kafka_embedded.push_errors("InitProducerId", [CLUSTER_AUTHORIZATION_FAILED])
                    kafka_embedded.push_errors("Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER])

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert producer.flush(60) == 0
        stats = producer.stats()
        assert sum(results) == 4 * 3000
        assert stats.queued == sum(results) == stats.delivered + stats.failed


def test_a_fatal_error_of_one_subscriber_leaves_the_others_alone(kafka_embedded, socket, consume):
    kafka_embedded.push_errors("InitProducerId", [CLUSTER_AUTHORIZATION_FAILED])
    with EventInterface() as interface:
        event = interface.publish_event("E_A")
        interface.subscribe_event("E_A", socket)
        plain = socket.replace("/t?", "/other?") + "&g.enable.idempotence=false"
        interface.subscribe_event("E_A", plain)
        assert wait_until(lambda: interface.raise_event(event, {"n": 1}) == 2 and interface.stats().failed > 0)
        assert interface.raise_event(event, {"n": 3}) == 2
        assert interface.flush(30) == 0
        stats = interface.stats()
        assert stats.queued == stats.delivered + stats.failed
    consume(kafka_embedded.bootstrap_servers, "other", stats.raised)


def test_a_broker_that_goes_and_comes_back_gets_every_record(kafka_embedded, socket, consume):
    with Producer(socket) as producer:
        for turn in range(3):
            producer.publish_many([b"%d %02d" % (turn, n) for n in range(50)])
            kafka_embedded.set_down(1)
            producer.publish_many([b"%d %02d" % (turn, n) for n in range(50, 100)])
            time.sleep(0.1)
            kafka_embedded.set_up(1)
        assert producer.flush(60) == 0
        assert producer.stats().delivered == 300
    stored = [record.value() for record in consume(kafka_embedded.bootstrap_servers, "t", 300)]
    assert stored == [b"%d %02d" % (turn, n) for turn in range(3) for n in range(100)]


def test_a_real_broker_that_restarts_gets_every_record(broker, consume):
    with Producer(f"kafka:{broker.bootstrap_servers}/t?g.linger.ms=5&g.reconnect.backoff.max.ms=500") as producer:
        producer.publish_many([b"%04d" % n for n in range(1000)], ["k"] * 1000)
        producer.flush(60)
        broker.stop()
        producer.publish_many([b"%04d" % n for n in range(1000, 2000)], ["k"] * 1000)
        broker.start()
        assert producer.flush(120) == 0
        assert producer.stats().delivered == 2000
    assert [m.value() for m in consume(broker.bootstrap_servers, "t", 2000)] == [b"%04d" % n for n in range(2000)]


def test_librdkafkas_lines_reach_logging_with_their_level_and_few_of_them(caplog):
    with Producer("kafka:127.0.0.1:1/t?g.reconnect.backoff.ms=1&g.reconnect.backoff.max.ms=1", name="acc") as producer:
        producer.publish(b"v")
        time.sleep(1.5)
        producer.purge()
    lines = [record for record in caplog.records if record.name == "pykafkaevt.rdkafka"]
    assert 2 <= len(lines) <= 12
    assert lines[0].levelno == logging.ERROR
    assert lines[0].getMessage().startswith("acc: FAIL: ")
    assert "Connection refused" in lines[0].getMessage()


def test_a_slow_logging_handler_holds_nothing_up(kafka_embedded, socket):
    class Slow(logging.Handler):
        lines = 0

        def emit(self, record):
            Slow.lines += 1
            time.sleep(1)

    handler = Slow()
    rdkafka = logging.getLogger("pykafkaevt.rdkafka")
    rdkafka.addHandler(handler)
    rdkafka.setLevel(logging.DEBUG)
    try:
        with Producer(socket + "&g.debug=msg&g.enable.idempotence=false") as producer:
            started = time.monotonic()
            for _ in range(5):
                producer.publish(b"v")
                assert producer.flush(5) == 0
            assert time.monotonic() - started < 1
            assert producer.stats().delivered == 5
    finally:
        rdkafka.removeHandler(handler)
        rdkafka.setLevel(logging.NOTSET)
    assert Slow.lines
