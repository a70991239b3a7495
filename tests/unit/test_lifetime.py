"""What the calls of a client's life promise beside records: limits, errors in callbacks, what is said at the end."""

import logging
import os
import threading
import time

import pytest

from pykafkaevt import Connector, Error, EventInterface, Producer, QueueFull

AWAY = "kafka:127.0.0.1:1/t?g.log_level=0"


def make_producer(address):
    return Producer(address), lambda producer: producer.publish(b"v")


def make_interface(address):
    interface = EventInterface()
    interface.publish_event("E")
    interface.subscribe_event("E", address)
    return interface, lambda one: one.raise_event("E", {"n": 1})


def make_connector(address):
    return Connector([f"[k]{address}"]), lambda connector: connector.kafka_publish("k", b"v")


@pytest.mark.parametrize("make", [make_producer, make_interface, make_connector])
def test_leaving_with_says_what_was_not_delivered(make, caplog, monkeypatch):
    monkeypatch.setattr("pykafkaevt.producer.CLOSE_TIMEOUT", 0.1)
    made, queue = make(AWAY)
    with caplog.at_level(logging.WARNING, "pykafkaevt"), made:
        queue(made)
    assert "were not delivered within 0.1 s" in caplog.text
    assert "1 " in caplog.text


def test_who_leaves_in_haste_waits_no_longer_than_at_exit():
    producer = Producer(AWAY)
    producer.exit_timeout = 0.2
    started = time.monotonic()
    producer.publish(b"v")
    with pytest.raises(KeyboardInterrupt), producer:
        raise KeyboardInterrupt
    assert time.monotonic() - started < 2
    assert producer.closed


def errors_of(calls):
    found = []
    for call in calls:
        try:
            call()
        except Error as error:
            found.append(str(error))
    return found


def test_what_would_wait_for_itself_is_an_error_in_on_error():
    found, told = [], threading.Event()

    def on_error(_error):
        found.extend(errors_of([producer.flush, producer.close]))
        told.set()

    producer = Producer(AWAY, on_error=on_error)
    producer.publish(b"v")
    assert told.wait(10)
    # the broker may have been away twice by now
    assert len(found) >= 2
    assert all("would wait for itself" in text for text in found)
    assert not producer.closed
    producer.close(0)


def test_what_would_wait_for_itself_is_an_error_in_reports(kafka_embedded):
    socket = f"kafka:{kafka_embedded.bootstrap_servers}/t"
    found, told = [], threading.Event()
    interface, _ = make_interface(socket)
    connector, _ = make_connector(socket)

    def report(_report):
        found.extend(errors_of([interface.flush, interface.close]))
        told.set()

    interface.raise_event("E", {"n": 1}, report=report)
    assert told.wait(10)
    told.clear()

    def route(_report):
        found.extend(errors_of([connector.flush, connector.close]))
        told.set()

    connector.kafka_publish("k", b"v", None, route)
    assert told.wait(10)
    assert len(found) == 4
    assert all("would wait for itself" in text for text in found)
    # nothing was half done: both still work, and close
    assert interface.raise_event("E", {"n": 2}) == 1
    assert connector.kafka_publish("k", b"v") == 1
    assert interface.close() == 0
    assert connector.close() == 0


def test_a_full_queue_is_raised_at_once_in_a_callback():
    found, told = [], threading.Event()

    def on_delivery(_batch):
        try:
            while True:
                producer.publish(b"v")
        except QueueFull as error:
            found.append(error)
        told.set()

    producer = Producer(AWAY + "&g.queue.buffering.max.messages=3&g.message.timeout.ms=300", on_delivery=on_delivery)
    producer.publish(b"v", report=True)
    assert told.wait(10)
    assert len(found) == 1
    producer.close(0)


def test_clients_of_a_pool_close_side_by_side(kafka_embedded):
    address = kafka_embedded.bootstrap_servers
    names = [f"k{number}" for number in range(4)]
    connector = Connector([f"[{name}]{address}/t?g.client.id={name}" for name in names])
    started = threading.Barrier(len(names) + 1)

    def slow(_report):
        started.wait(10)
        time.sleep(3)

    for name in names:
        connector.kafka_publish(name, b"v", None, slow)
    started.wait(10)
    begun = time.monotonic()
    # each has its report, though its route has not returned
    assert connector.close(0.3) == 0
    assert time.monotonic() - begun < 1.8


def test_a_child_counts_from_0(kafka_embedded):
    producer = Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t")
    producer.publish_many([b"v"] * 5)
    producer.flush()
    child = os.fork()
    if child == 0:
        before = producer.stats()
        producer.publish(b"v")
        left = producer.close(5)
        after = producer.stats()
        os._exit(0 if (before.queued, left, after.queued, after.delivered) == (0, 0, 1, 1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert producer.stats().delivered == 5
    producer.close()
