"""What topics hold, read while they are written: the mock cluster keeps only the newest 5 MB of a partition."""

import threading
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

READING_SECONDS = 30  # in which the end is reached when nobody writes any more
MARKS = (b'"n":"', b'"callid":"')  # what stands before a value


class Stored:
    """Reads topics to their ends, in a thread of its own.

    seen: topic → letter → how often each number is there; missed: records that were gone before they were read.
    """

    def __init__(self, bootstrap: str, topics: list[str]) -> None:
        self.seen: dict[str, dict[str, bytearray]] = {topic: {} for topic in topics}
        self.missed = 0
        self.strange: list[bytes] = []
        self.failed: BaseException | None = None
        self.written = threading.Event()
        self.next: dict[tuple[str, int], int] = {}
        settings: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "group.id": "races",  # named because it must be; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
        self.consumer = Consumer(settings)
        for topic in topics:
            for partition in self.consumer.list_topics(topic, READING_SECONDS).topics[topic].partitions:
                self.next[topic, partition] = 0
        self.consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in self.next])
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def finish(self) -> None:
        """Read what is left, when nobody writes any more. Raises what reading raised."""
        self.written.set()
        self.thread.join()
        if self.failed is not None:
            raise self.failed

    def read(self) -> None:
        """The thread."""
        try:
            while not self.written.is_set():
                self.take(0.1)
            ends = {place: self.consumer.get_watermark_offsets(TopicPartition(*place), 10)[1] for place in self.next}
            deadline = time.monotonic() + READING_SECONDS
            while any(self.next[place] < end for place, end in ends.items()):
                assert time.monotonic() < deadline, f"read up to {self.next}, the ends are {ends}"
                self.take(0.1)
        except BaseException as error:
            self.failed = error
        finally:
            self.consumer.close()

    def take(self, seconds: float) -> None:
        """Count some records."""
        for message in self.consumer.consume(5000, seconds):
            error = message.error()
            if error is None:
                self.add(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise AssertionError(f"the consumer failed: {error}")

    def add(self, message: Message) -> None:
        """Count one record."""
        topic, place, offset = message.topic(), (message.topic(), message.partition()), message.offset()
        self.missed += offset - self.next[place]
        self.next[place] = offset + 1
        data = message.value() or b""
        start = max(data.find(mark) + len(mark) if mark in data else 0 for mark in MARKS)
        letter, dot, number = data[start : data.find(b'"', start)].partition(b".")
        if not (start and dot and number.isdigit()):
            self.strange.append(data)
            return
        seen = self.seen[topic].setdefault(letter.decode(), bytearray())
        index = int(number)
        if index >= len(seen):
            seen.extend(bytes(index + 100_000 - len(seen)))
        seen[index] = min(255, seen[index] + 1)

    def count(self, topic: str) -> int:
        """The different values in a topic."""
        return sum(len(seen) - seen.count(0) for seen in self.seen[topic].values())

    def twice(self, topic: str) -> list[str]:
        """The values that a topic holds more than once."""
        return [
            f"{letter}.{number}"
            for letter, seen in self.seen[topic].items()
            if len(seen) != seen.count(0) + seen.count(1)
            for number, count in enumerate(seen)
            if count > 1
        ]

    def values(self, topic: str, letter: str) -> set[str]:
        """The values of that letter in a topic."""
        return {f"{letter}.{number}" for number, count in enumerate(self.seen[topic].get(letter, b"")) if count}
