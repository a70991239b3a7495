"""The partition of a key is librdkafka's: the same as confluent-kafka's default, whatever the key's length."""

import random
import zlib

import confluent_kafka

from pykafkaevt import Producer


def test_keys_go_where_confluent_kafka_puts_them(kafka_embedded, consume):
    random_ = random.Random(5)
    keys = [random_.randbytes(size) for size in range(1, 70) for _ in range(3)]
    for topic in ("ours", "theirs"):
        kafka_embedded.create_topic(topic, 7)
    other = confluent_kafka.Producer({"bootstrap.servers": kafka_embedded.bootstrap_servers})
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/ours") as producer:
        producer.publish_many(keys, keys)
        for key in keys:
            other.produce("theirs", key, key)
        other.flush(30)
    ours, theirs = (
        {message.key(): message.partition() for message in consume(kafka_embedded.bootstrap_servers, topic, len(keys))}
        for topic in ("ours", "theirs")
    )
    assert ours == theirs == {key: zlib.crc32(key) % 7 for key in keys}


def test_records_with_an_empty_key_or_none_reach_every_partition(kafka_embedded, consume):
    kafka_embedded.create_topic("t", 3)
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t?g.sticky.partitioning.linger.ms=1") as producer:
        for _ in range(200):
            producer.publish_many([b"v"] * 2, [b"", None])
            producer.flush()
    stored = consume(kafka_embedded.bootstrap_servers, "t", 400)
    for key in (b"", None):
        assert {message.partition() for message in stored if message.key() == key} == {0, 1, 2}


def test_a_partitioner_of_the_users_holds(kafka_embedded, consume):
    kafka_embedded.create_topic("t", 7)
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t?t.partitioner=fnv1a") as producer:
        producer.publish_many([b"v"] * 20, [b"key %d" % n for n in range(20)])
    stored = consume(kafka_embedded.bootstrap_servers, "t", 20)
    assert any(message.partition() != zlib.crc32(message.key()) % 7 for message in stored)
