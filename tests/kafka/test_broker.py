"""The broker rig itself: what the other tests rely on."""

import socket

import pytest
from confluent_kafka import KafkaException, Producer

from tests.kafka import broker as rig
from tests.kafka.broker import BrokerError, KafkaBroker, free_ports
from tests.kafka.records import consume


def produce(bootstrap, topic, count):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=number % 4)
    assert producer.flush(30) == 0


def test_records_come_back_by_partition_and_in_order(kafka, topic):
    produce(kafka, topic, 1000)
    records = consume(kafka, topic, 1000)
    assert [(record.partition(), record.offset()) for record in records] == [
        (partition, offset) for partition in range(4) for offset in range(250)
    ]
    assert [int(record.value()) for record in records[:3]] == [0, 4, 8]


@pytest.mark.parametrize(("expected", "found"), [(0, 10), (9, 10), (11, 10)])
def test_consume_refuses_any_other_number_of_records(kafka, topic, expected, found):
    produce(kafka, topic, found)
    with pytest.raises(AssertionError, match=f"{found} records of {expected}"):
        consume(kafka, topic, expected, timeout=2)


def test_an_empty_topic_has_no_records(kafka, topic):
    assert consume(kafka, topic, 0, timeout=10) == []


def test_a_topic_that_is_not_there_is_refused(kafka):
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC"):
        consume(kafka, "never-made", 0, timeout=1)


def test_a_stopped_broker_comes_back_with_its_records(broker):
    produce(broker.bootstrap_servers, "made-by-producing", 100)
    first = broker.process
    broker.stop()
    assert not broker.running
    assert first.returncode is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), 1)
    broker.start()
    assert len(consume(broker.bootstrap_servers, "made-by-producing", 100)) == 100
    broker.close()
    assert not broker.running
    assert not broker.folder.exists()


@pytest.mark.usefixtures("kafka_programs")
def test_a_broker_that_dies_shows_the_end_of_its_log():
    broker = KafkaBroker()
    broker.format()
    broker.config.write_text("process.roles=broker\n")
    with pytest.raises(BrokerError, match=r"(?s)died while it started; the end of .*ConfigException"), broker:
        pass
    assert not broker.folder.exists()


@pytest.mark.usefixtures("kafka_programs")
def test_a_storage_that_cannot_be_formatted_shows_why():
    broker = KafkaBroker()
    broker.controller_port = broker.port  # one port for two listeners
    with pytest.raises(BrokerError, match=r"(?s)formatting Kafka's storage: java ended with .*port"), broker:
        pass
    assert not broker.folder.exists()


@pytest.mark.usefixtures("kafka_programs")
def test_a_broker_without_an_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(rig, "START_SECONDS", 0)
    broker = KafkaBroker()
    with pytest.raises(BrokerError, match="no answer within 0 s"), broker:
        pass
    assert not broker.running


def test_free_ports_are_different_and_below_the_ephemeral_range():
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(port in rig.PORTS for port in ports)
