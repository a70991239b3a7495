"""The partition of a key is librdkafka's, whatever the key's length, in batches too, which are sorted by partition."""

import random
import zlib

import confluent_kafka
import pytest

from pykafkaevt import EmbeddedBroker, Producer, QueueFull


@pytest.mark.parametrize("partitioner", [None, "consistent_random", "murmur2_random", "murmur2"])
@pytest.mark.parametrize("place", ["t", "g"])
def test_keys_go_where_confluent_kafka_puts_them(kafka_embedded, consume, partitioner, place):
    random_ = random.Random(5)
    keys = [random_.randbytes(size) for size in range(1, 70) for _ in range(3)]
    if partitioner and "murmur2" in partitioner:
        keys.append(b"")
    for topic in ("ours", "theirs"):
        kafka_embedded.create_topic(topic, 7)
    properties = {} if partitioner is None else {"partitioner": partitioner}
    other = confluent_kafka.Producer({"bootstrap.servers": kafka_embedded.bootstrap_servers, **properties})
    asked = "".join(f"?{place}.{name}={value}" for name, value in properties.items())
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/ours{asked}") as producer:
        # before the topic is known, one at a time, and sorted
        producer.publish_many(keys, keys)
        producer.flush()
        for key in keys:
            producer.publish(key, key)
            other.produce("theirs", key, key)
        producer.publish_many(keys, keys)
        producer.publish_many(keys, keys)
        other.flush(30)
    ours = consume(kafka_embedded.bootstrap_servers, "ours", 4 * len(keys))
    theirs = consume(kafka_embedded.bootstrap_servers, "theirs", len(keys))
    assert {(one.key(), one.partition()) for one in ours} == {(one.key(), one.partition()) for one in theirs}
    if "murmur2" not in (partitioner or ""):
        assert {one.key(): one.partition() for one in ours} == {key: zlib.crc32(key) % 7 for key in keys}


@pytest.mark.parametrize("partitions", [1, 4, 64, 300])
def test_the_records_of_a_key_keep_their_order(kafka_embedded, consume, partitions):
    kafka_embedded.create_topic("t", partitions)
    count = 20_000
    keys = [None if n % 50 == 0 else b"" if n % 50 == 1 else b"%d" % (n * n % 97) for n in range(count)]
    values = [b"%d" % n for n in range(count)]
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t") as producer:
        # some while the topic is not known yet
        for start in range(0, count, 1000):
            producer.publish_many(values[start : start + 999], keys[start : start + 999])
            producer.publish(values[start + 999], keys[start + 999])
    where, stored = {}, {}
    for message in consume(kafka_embedded.bootstrap_servers, "t", count):
        stored.setdefault(message.key(), []).append(int(message.value()))
        where.setdefault(message.key(), set()).add(message.partition())
    for key, partitions_of_key in where.items():
        if key:
            assert stored[key] == sorted(stored[key])
            assert partitions_of_key == {zlib.crc32(key) % partitions}
    assert sorted(number for numbers in stored.values() for number in numbers) == list(range(count))


@pytest.mark.parametrize("limit", ["messages=700", "kbytes=35"])
@pytest.mark.parametrize("full_timeout", [None, 0.01])
def test_a_queue_that_is_full_refuses_the_end_of_a_batch(consume, limit, full_timeout):
    """Though the batch goes to many partitions in turn."""
    options = {"on_full": "raise"} if full_timeout is None else {"full_timeout": full_timeout}
    values = [b"%050d" % n for n in range(900)]
    keys = [b"%d" % (n % 90) for n in range(900)]
    with EmbeddedBroker(topics={"t": 8}) as broker:
        socket = f"kafka:{broker.bootstrap_servers}/t?g.queue.buffering.max.{limit}"
        with Producer(socket, pace=None, **options) as producer:
            producer.publish_many(values[:100], keys[:100])
            producer.publish_many(values[:100], keys[:100])
            producer.flush()
            broker.set_down(1)
            with pytest.raises(QueueFull) as raised:
                producer.publish_many(values, keys)
            assert raised.value.queued == raised.value.position == (700 if "messages" in limit else 35 * 1024 // 50)
            broker.set_up(1)
            producer.flush()
        queued = consume(broker.bootstrap_servers, "t", 200 + raised.value.position)
    assert sorted(one.value() for one in queued) == sorted(values[:100] * 2 + values[: raised.value.position])


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
