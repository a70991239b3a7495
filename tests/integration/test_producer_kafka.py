"""The producer against a real Apache Kafka: every record arrives, once, in order per key."""

import base64
import json
import time
import zlib
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from pykafkaevt import EventTemplate, Producer

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden_jsonrpc.json").read_text())


@pytest.mark.parametrize("count", [200_000])
def test_emit_many_delivers_every_record_in_order_per_key(kafka, topic, consume, count):
    template = EventTemplate("E_SIP", ["callid", "cseq", "method"])
    calls = [f"{n:08x}-call@192.0.2.{n % 250}" for n in range(1000)]
    rows = [(calls[n % 1000], n, "INVITE") for n in range(count)]
    with Producer(f"kafka:{kafka}/{topic}?g.linger.ms=5&t.acks=all") as producer:
        assert producer.emit_many(template, rows, key_field="callid") == count
        assert producer.flush(120) == 0
        stats = producer.stats()
    assert (stats.queued, stats.delivered, stats.failed, stats.errors) == (count, count, 0, {})
    assert 0 < stats.latency_p50_us <= stats.latency_p99_us <= stats.latency_max_us
    by_key, partitions = {}, {}
    for message in consume(kafka, topic, count):
        by_key.setdefault(message.key(), []).append(message.value())
        partitions.setdefault(message.key(), set()).add(message.partition())
    assert all(len(where) == 1 for where in partitions.values())
    expected = {}
    for row in rows:
        expected.setdefault(row[0].encode(), []).append(template.dumps(*row))
    assert by_key == expected


def test_a_topic_that_grows_keeps_the_order_of_keys_before_and_after(kafka, topic, consume):
    count, keys = 200_000, [b"%08d@192.0.2.1" % n for n in range(5000)]
    admin = AdminClient({"bootstrap.servers": kafka})
    sent = 0
    with Producer(f"kafka:{kafka}/{topic}?g.topic.metadata.refresh.interval.ms=300") as producer:
        while sent < count:
            if sent == count // 2:
                grown = admin.create_partitions([NewPartitions(topic, 6)])[topic]
            chosen = [keys[n % len(keys)] for n in range(sent, sent + 1000)]
            producer.publish_many([b"%d" % n for n in range(sent, sent + 999)], chosen[:999])
            producer.publish(b"%d" % (sent + 999), chosen[999])
            sent += 1000
            if sent > count // 2 and sent % 10_000 == 0:
                # the second half takes longer than it needs for the growth to be seen
                time.sleep(0.3)
        grown.result(30)
        assert producer.flush(60) == 0
    stored = {}
    for message in consume(kafka, topic, count):
        stored.setdefault(message.key(), {}).setdefault(message.partition(), []).append(int(message.value()))
    assert len({partition for found in stored.values() for partition in found}) == 6
    for key, found in stored.items():
        before, after = zlib.crc32(key) % 4, zlib.crc32(key) % 6
        assert set(found) <= {before, after}
        numbers = found.get(before, []) + (found.get(after, []) if after != before else [])
        assert numbers == list(range(keys.index(key), count, len(keys)))


def test_opensips_bytes_arrive_as_they_are(kafka, topic, consume):
    vectors = [vector for vector in GOLDEN if vector["faithful"]]
    with Producer(f"kafka:{kafka}/{topic}") as producer:
        for vector in vectors:
            template = EventTemplate(vector["event"], [name for name, _ in vector["params"]])
            producer.emit(template, *(value for _, value in vector["params"]), key=vector["name"])
    stored = {message.key().decode(): message.value() for message in consume(kafka, topic, len(vectors))}
    assert stored == {vector["name"]: base64.b64decode(vector["payload_b64"]) for vector in vectors}


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd", "snappy"])
def test_compression_and_reports(kafka, topic, consume, codec):
    offsets = []
    producer = Producer(
        f"kafka:{kafka}/{topic}?g.compression.type={codec}",
        on_delivery=lambda batch: offsets.extend(zip(batch.opaques, batch.partitions, batch.offsets, strict=True)),
    )
    with producer:
        values = [b"%d " % n * 50 for n in range(500)]
        headers = [("content-type", b"application/json")]
        assert producer.publish_many(values, headers=headers, report=True, opaques=range(500)) == 500
        assert producer.flush(60) == 0
    stored = {(message.partition(), message.offset()): message for message in consume(kafka, topic, 500)}
    assert {number: stored[partition, offset].value() for number, partition, offset in offsets} == dict(
        enumerate(values)
    )
    assert all(message.headers() == headers for message in stored.values())


def test_a_record_above_the_brokers_limit_fails_with_its_reason(kafka, topic, consume):
    reports = []
    with Producer(f"kafka:{kafka}/{topic}?g.message.max.bytes=3000000", on_delivery=reports.extend) as producer:
        producer.publish(b"x" * 2_000_000, report=True)
        producer.flush(60)
        producer.publish(b"fits", report=True)
        producer.flush(60)
        stats = producer.stats()
    assert (stats.delivered, stats.failed) == (1, 1)
    assert [report.error and report.error.code for report in reports] == [10, None]
    assert [message.value() for message in consume(kafka, topic, 1)] == [b"fits"]
