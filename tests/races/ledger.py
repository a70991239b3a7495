"""What the threads of a cell queued, and its comparison with what the client counts and what the topic holds."""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

TOPIC = "t"
PARTITIONS = 2
READING_SECONDS = 20


class Writer:
    """The records of one thread: each has a value of its own, `prefix` and a number."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.made = 0
        self.accepted: list[str] = []

    def next(self, count: int) -> list[str]:
        """That many new values."""
        self.made += count
        return [f"{self.prefix}.{number}" for number in range(self.made - count, self.made)]

    def all(self) -> list[str]:
        """Every value made so far."""
        return [f"{self.prefix}.{number}" for number in range(self.made)]

    def accept(self, values: list[str]) -> None:
        """They were queued."""
        self.accepted += values


@dataclass
class Account:
    """One turn of a cell.

    accepted: what calls queued for the topic; sent: all that calls tried. counted: the sums of stats(), None for
    producers that were dropped; the bridge's "ended" line for a bridge. whole: no record may have failed. retried: the
    mock cluster, which does not look at sequence numbers, may hold a record twice because librdkafka sent it again.
    exact: every call said how much it queued. reported: the report of every record was asked for. ok, bad: the values
    reported. beside: records queued for other topics. unexpected: what else is wrong.
    """

    accepted: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    counted: dict[str, int] | None = None
    bridge: bool = False
    whole: bool = True
    retried: bool = False
    exact: bool = True
    reported: bool = False
    ok: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    beside: int = 0
    unexpected: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def mistakes(account: Account, stored: Counter[str]) -> list[str]:
    """What is wrong with an account, given how often each value is stored; [] when nothing is."""
    found = list(account.unexpected)
    accepted = set(account.sent if account.bridge else account.accepted)
    held = {value for value in accepted if stored[value]}
    if not account.retried and (twice := [value for value in accepted if stored[value] > 1]):
        found.append(f"{len(twice)} records stand twice in the topic, as {twice[:3]}")
    if strange := [value for value in account.sent if value not in accepted and stored[value]]:
        found.append(f"{len(strange)} records are in the topic and no call queued them, as {strange[:3]}")
    if wrong := set(account.ok) - held:
        found.append(f"{len(wrong)} records were reported as delivered and are not there, as {sorted(wrong)[:3]}")
    if account.bridge:
        return found + miscounted_by_bridge(account, len(held))
    if account.whole and held != accepted:
        found.append(f"{len(accepted - held)} of {len(accepted)} records are lost, as {sorted(accepted - held)[:3]}")
    if account.counted is not None:
        found += miscounted(account, len(held))
    if account.reported:
        found += misreported(account)
    return found


def miscounted(account: Account, held: int) -> list[str]:
    """What is wrong with the counters, when `held` of the accepted records are in the topic."""
    assert account.counted is not None
    counted = account.counted
    queued, delivered, failed = (counted[name] for name in ("queued", "delivered", "failed"))
    found = []
    if queued != delivered + failed or counted["in_flight"]:
        found.append(f"queued is not delivered + failed: {counted}")
    if account.exact and queued != len(account.accepted) + account.beside:
        found.append(f"{queued} records count as queued, the calls queued {len(account.accepted) + account.beside}")
    if account.whole and failed:
        found.append(f"{failed} records failed")
    # a request under way when its client ended may have arrived: such a record failed and is there
    if not account.beside and not delivered <= held <= queued:
        found.append(f"delivered {delivered}, the topic holds {held} of the {queued} queued")
    return found


def misreported(account: Account) -> list[str]:
    """What is wrong with the reports."""
    found = []
    reports = Counter(account.ok + account.bad)
    if twice := [value for value, count in reports.items() if count > 1]:
        found.append(f"{len(twice)} records were reported twice, as {twice[:3]}")
    if silent := set(account.accepted) - reports.keys():
        found.append(f"{len(silent)} records were never reported, as {sorted(silent)[:3]}")
    return found


def miscounted_by_bridge(account: Account, held: int) -> list[str]:
    """What is wrong with the bridge's last figures, when `held` of the events sent are in the topic."""
    assert account.counted is not None
    figures = account.counted
    received, queued, delivered, failed, invalid = (
        figures[name] for name in ("received", "queued", "delivered", "failed", "invalid")
    )
    found = []
    if received != queued + invalid:
        found.append(f"received is not queued + invalid: {figures}")
    # dead letters are delivered, and are no events
    if not queued <= delivered + failed <= queued + invalid or figures["in_flight"]:
        found.append(f"events queued and dead letters are not delivered + failed: {figures}")
    if account.exact and invalid > account.beside:
        found.append(f"{account.beside} messages were no events, the bridge counts {invalid}: {figures}")
    if not delivered - invalid <= held <= queued:
        found.append(f"the topic holds {held} events: {figures}")
    if account.whole and (failed or held != queued or account.bad):
        found.append(f"{failed} failed, the topic holds {held} events, {len(account.bad)} error answers: {figures}")
    return found


def value_of(data: bytes) -> str:
    """The value of a record: the record itself, or the params member `n` of an event."""
    if not data.startswith(b"{"):
        return data.decode()
    value: str = json.loads(data)["params"]["n"]
    return value


def read_topic(bootstrap: str) -> Counter[str]:
    """How often each value is in the topic. AssertionError when its end is not reached within READING_SECONDS."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": "races",  # named because it must be; nothing is committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 20,
        "log_level": 0,
    }
    stored: Counter[str] = Counter()
    consumer = Consumer(settings)
    try:
        partitions = consumer.list_topics(TOPIC, READING_SECONDS).topics[TOPIC].partitions
        consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in partitions])
        at_end: set[int | None] = set()
        deadline = time.monotonic() + READING_SECONDS
        while len(at_end) < len(partitions):
            assert time.monotonic() < deadline, f"only the partitions {at_end} of {partitions.keys()} were read"
            messages = consumer.consume(10_000, 0.05)
            for message in messages:
                error = message.error()
                if error is None:
                    data = message.value()
                    assert isinstance(data, bytes)
                    stored[value_of(data)] += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
    finally:
        consumer.close()
    return stored
