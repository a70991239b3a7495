"""The module's document, row by row, against a real Kafka: each thing is done and the records are read back."""

import json
import time
import zlib

import pytest

from pykafkaevt import ConfigError, Connector, EventInterface, dumps

EVENT = "E_PIKE_BLOCKED"
PARAMS = {"ip": "192.168.2.11"}
PAYLOAD = b'{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"192.168.2.11"}}'


@pytest.fixture
def raised(kafka, topic, consume):
    """Subscribe a socket, raise the event `times` times with a Call-ID and give the records."""

    def raise_and_read(text, times=1, call_id="a84b4c76e66710@pc33.atlanta.com"):
        with EventInterface() as interface:
            event = interface.publish_event(EVENT)
            interface.subscribe_event(EVENT, text.format(kafka=kafka, topic=topic))
            assert [interface.raise_event(event, PARAMS, call_id=call_id) for _ in range(times)] == [1] * times
            assert interface.flush(60) == 0
            return consume(kafka, topic, times)

    return raise_and_read


@pytest.mark.parametrize(
    "text",
    [
        "kafka:{kafka}/{topic}",
        "{kafka}/{topic}",
        "kafka:127.0.0.1:1,{kafka}/{topic}",
        "kafka: {kafka} , {kafka} / {topic} ",
        "kafka:{kafka}/{topic}?g.linger.ms=1",
        "kafka:{kafka}/{topic}?t.acks=all",
        "kafka:{kafka}/{topic}?g.linger.ms=1&t.acks=1&g.compression.type=gzip&t.message.timeout.ms=30000",
        "kafka:{kafka}/{topic}?g.topic.metadata.refresh.interval.ms=1000",
        "kafka:{kafka}/{topic}?g.topic.metadata.refresh.sparse=false&t.acks=all",
        "kafka:{kafka}/{topic}?key=callid",
        "kafka:{kafka}/{topic}?g.linger.ms=1&key=callid&t.acks=all",
    ],
)
def test_a_socket_of_the_document_delivers_the_payload(raised, text):
    (record,) = raised(text)
    assert record.value() == PAYLOAD
    assert record.key() == (b"a84b4c76e66710@pc33.atlanta.com" if "key=callid" in text else None)


def test_key_callid_outside_a_sip_message_has_no_key(raised):
    (record,) = raised("kafka:{kafka}/{topic}?key=callid", call_id=None)
    assert record.key() is None


def test_g_properties_are_global_ones_of_the_library(kafka, topic):
    with EventInterface() as interface:
        event = interface.publish_event(EVENT)
        interface.subscribe_event(EVENT, f"kafka:{kafka}/{topic}?g.client.id=opensips-1&g.statistics.interval.ms=10")
        (subscription,) = event.subscriptions
        deadline = time.monotonic() + 10
        while (text := subscription.producer.client.statistics_text()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads(text)["client_id"] == "opensips-1"


def test_t_properties_are_topic_ones_of_the_library(raised):
    call_id = "the same"
    records = raised("kafka:{kafka}/{topic}?t.partitioner=consistent&key=callid", 20, call_id)
    assert {record.partition() for record in records} == {zlib.crc32(call_id.encode()) % 4}


@pytest.mark.parametrize(
    "property",
    ["t.topic.metadata.refresh.interval.ms=1000", "t.linger.ms.x=1", "g.no.such=1", "t.acks=lots"],
)
def test_what_the_library_does_not_know_is_refused_with_its_reason(kafka, topic, property):
    with EventInterface() as interface:
        interface.publish_event(EVENT)
        with pytest.raises(ConfigError, match=property.split("=", maxsplit=1)[0]):
            interface.subscribe_event(EVENT, f"kafka:{kafka}/{topic}?{property}")


@pytest.mark.parametrize("params", [None, PARAMS, {"n": 5060, "text": 'a"b\r\n', "uri": "sip:é@x"}])
def test_the_payload_is_a_json_rpc_notification(kafka, topic, consume, params):
    with EventInterface() as interface:
        interface.publish_event(EVENT)
        interface.subscribe_event(EVENT, f"kafka:{kafka}/{topic}")
        interface.raise_event(EVENT, params)
    (record,) = consume(kafka, topic, 1)
    expected = {"jsonrpc": "2.0", "method": EVENT} | ({"params": params} if params else {})
    assert json.loads(record.value()) == expected
    assert record.value() == dumps(EVENT, params)


def test_broker_id_many_times_and_what_kafka_publish_returns(kafka, topic, consume):
    with Connector() as connector:
        for n in range(3):
            connector.broker_id(f"[k{n}]{kafka}/{topic}?g.linger.ms={n}&key=callid")
        assert [connector.kafka_publish(f"k{n}", f"message {n}", f"key {n}") for n in range(3)] == [1, 1, 1]
        assert connector.kafka_publish("k0", "no key") == 1
        assert connector.kafka_publish("k9", "nobody") == -1
        assert connector.kafka_publish("k0", "x" * 2_000_000) == -1
    stored = {(record.value(), record.key()) for record in consume(kafka, topic, 4)}
    assert stored == {(b"message %d" % n, b"key %d" % n) for n in range(3)} | {(b"no key", None)}


@pytest.mark.parametrize("by_name", [True, False])
def test_the_report_route_has_its_four_values(kafka, topic, consume, by_name):
    reports = []
    with Connector([f"[k1]{kafka}/{topic}?g.message.max.bytes=3000000"]) as connector:
        connector.route("kafka_report")(reports.append)
        route = "kafka_report" if by_name else reports.append
        messages = [("my msg content", "ci"), (b"", b""), (b"\x00\xff", b"\xfe"), ("no key", None)]
        for message, key in messages:
            assert connector.kafka_publish("k1", message, key, route) == 1
        # above the broker's own limit: queued, and refused there
        assert connector.kafka_publish("k1", "x" * 2_000_000, "large", route) == 1
    found = [(report.kafka_id, report.kafka_status, report.kafka_key, report.kafka_msg) for report in reports]
    expected = [("k1", 0, key, message) for message, key in messages] + [("k1", -1, "large", "x" * 2_000_000)]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    (refused,) = [report for report in reports if report.kafka_status == -1]
    assert refused.error.code == 10
    stored = {(record.partition(), record.offset()): record.value() for record in consume(kafka, topic, 4)}
    for report in reports:
        if report.kafka_status == 0:
            text = report.kafka_msg
            assert stored[report.partition, report.offset] == (text.encode() if isinstance(text, str) else text)
