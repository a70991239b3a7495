"""Reads a topic back, to compare what arrived with what was produced."""

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

BATCH = 10_000
# A batch that is not full is handed over after this many seconds.
BATCH_SECONDS = 0.05


def wait_for_topic(client: AdminClient | Consumer, topic: str, timeout: float) -> list[int]:
    """The partitions of `topic` once the broker knows it and each has a leader, a moment after creation.

    timeout: seconds. KafkaException when the topic is not there by then.
    """
    deadline = time.monotonic() + timeout
    while True:
        metadata = client.list_topics(topic, timeout).topics[topic]
        if not metadata.error and all(found.leader >= 0 for found in metadata.partitions.values()):
            return sorted(metadata.partitions)
        if time.monotonic() > deadline:
            raise KafkaException(metadata.error or KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        time.sleep(0.02)


def consume(bootstrap: str, topic: str, count: int, timeout: float = 60) -> list[Message]:
    """Read the `count` records of `topic`, by partition and in a partition by offset.

    timeout: seconds for the whole. AssertionError when fewer have come by then, or when there are more: after
    the last expected record every partition must be at its end.
    """
    deadline = time.monotonic() + timeout
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests",  # named because it must be; partitions are assigned and nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.min.bytes": 1,
            "fetch.wait.max.ms": 50,
            "fetch.message.max.bytes": 16_000_000,
            "fetch.max.bytes": 64_000_000,
            "receive.message.max.bytes": 80_000_000,
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": 262_144,
        }
    )
    try:
        records: dict[int, list[Message]] = {n: [] for n in wait_for_topic(consumer, topic, timeout)}
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in records])
        at_end: set[int] = set()
        read = 0
        while read <= count and (read < count or len(at_end) < len(records)):
            if time.monotonic() > deadline:
                break
            for message in consumer.consume(BATCH, BATCH_SECONDS):
                number = message.partition()
                error = message.error()
                if error is None:
                    records[number].append(message)
                    at_end.discard(number)
                    read += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(number)
                elif not error.retriable():
                    raise KafkaException(error)
    finally:
        consumer.close()
    if read != count or len(at_end) < len(records):
        by_partition = {number: len(part) for number, part in records.items()}
        raise AssertionError(
            f"topic {topic}: {read} records of {count} within {timeout} s, by partition {by_partition}, "
            f"partitions read to their end {sorted(at_end)}"
        )
    return [message for part in records.values() for message in part]
