"""Held rates into a real Kafka: the bridge beside rsyslog, CPU of an event by thread, and its latency.

A datagram says when it was due; Kafka, the topic set to LogAppendTime, when it was written. Between the two lie
receiving, checking, linger and the request: what one side has beyond another is its own. Kafka's time has whole
milliseconds, which count as the greater one here.
"""

import statistics
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from programs import BRIDGE, PATIENCE, Cpu, cpu_of, free_port, markdown, running, send, wait_until_ready
from rsyslog import missing, rsyslog

from pykafkaevt.bench.threads import cpu_by_thread, spent

PARTITIONS = 4
WARM = 1000  # events before the load: connections and a producer ID are there when it begins
WARM_RATE = 2000
SETTLED = 2.0  # seconds without a new record after which nothing more is expected
LOOK = 0.05  # seconds between two looks at the topic
RECORDS = 20_000  # read together


class Held(NamedTuple):
    """What became of one load. cpu: seconds, in all and by thread; latencies: ms, in order."""

    sent: int
    written: int
    cpu: Cpu
    by_thread: dict[str, float]
    latencies: list[int]

    @property
    def cpu_us(self):
        return self.cpu.seconds / self.sent * 1e6

    @property
    def kernel(self):
        return self.cpu.system / self.cpu.seconds if self.cpu.seconds else 0.0

    def quantile(self, share):
        return self.latencies[int(share * (len(self.latencies) - 1))] if self.latencies else 0


class Topic:
    """A topic of its own for a load; a context manager that deletes it."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.name = f"bridge-{uuid.uuid4().hex[:12]}"
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def __enter__(self):
        config = {"message.timestamp.type": "LogAppendTime"}
        self.admin.create_topics([NewTopic(self.name, PARTITIONS, 1, config=config)])[self.name].result(PATIENCE)
        properties = {"bootstrap.servers": self.bootstrap, "group.id": "measure", "fetch.message.max.bytes": 8 << 20}
        self.consumer = Consumer(properties)
        return self

    def __exit__(self, *_):
        self.consumer.close()
        self.admin.delete_topics([self.name])[self.name].result(PATIENCE)

    def written(self):
        """How many records there are."""
        ends = (
            self.consumer.get_watermark_offsets(TopicPartition(self.name, number), PATIENCE)[1]
            for number in range(PARTITIONS)
        )
        return sum(ends)

    def wait_for(self, count):
        """Wait until there are so many records, or no more come; how many there are."""
        before, changed = -1, time.monotonic()
        while True:
            now, found = time.monotonic(), self.written()
            if found != before:
                before, changed = found, now
            if found >= count or now - changed > SETTLED:
                return found
            time.sleep(LOOK)

    def latencies(self, since_us, count):
        """Milliseconds from due to written, of the records that were due from `since_us` on, in order."""
        self.consumer.assign([TopicPartition(self.name, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        found, read, deadline = [], 0, time.monotonic() + PATIENCE
        while read < count and time.monotonic() < deadline:
            for record in self.consumer.consume(min(RECORDS, count - read), 1):
                if record.error():
                    raise SystemExit(f"{self.bootstrap}: {record.error().str()}")
                read += 1
                due = int(record.value()[-18:-2])  # …"time":1790000000000000}}
                if due >= since_us:
                    found.append(int(record.timestamp()[1] + 1 - due / 1000))
        return sorted(found)


@contextmanager
def bridge(folder, port, bootstrap, topic):
    """`pykafkaevt bridge`, which checks each event and sets its Call-ID as the key; the process, once it is ready."""
    control = Path(folder, "control")
    options = ["--to", f"kafka:{bootstrap}/{topic}?key=callid", "--control", control, "--log-level", "error"]
    with running([*BRIDGE, f"udp://127.0.0.1:{port}", *options]) as process:
        wait_until_ready(process, control)
        yield process


def rsyslog_keyed(folder, port, bootstrap, topic):
    return rsyslog(folder, port, bootstrap, topic, keyed=True)


SIDES = {"bridge": bridge, "rsyslog": rsyslog, "rsyslog-keyed": rsyslog_keyed}


def hold(side, bootstrap, rate, seconds):
    """A held rate into one side."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, Topic(bootstrap) as topic:
        with SIDES[side](folder, port, bootstrap, topic.name) as process:
            send(port, "json", ["--count", WARM, "--rate", WARM_RATE, "--clock"])
            warm = topic.wait_for(WARM)
            if not warm:
                raise SystemExit(f"{side} wrote nothing into {bootstrap}")
            threads, cpu = cpu_by_thread(process.pid), cpu_of(process.pid)
            since = time.time_ns() // 1000
            sent = send(port, "json", ["--seconds", seconds, "--rate", rate, "--clock"])["sent"]
            written = topic.wait_for(warm + sent)
            used = cpu_of(process.pid).since(cpu)
            by_thread = spent(threads, cpu_by_thread(process.pid))
        return Held(sent, written - warm, used, by_thread, topic.latencies(since, written))


def middle(held, value):
    return statistics.median(value(one) for one in held)


def row(own, held):
    """The cells of a side: medians, and the bridge's ratio round by round."""
    cells = [
        f"{middle(held, lambda one: one.cpu_us):.2f} us",
        f"{middle(held, lambda one: one.kernel):.0%}",
        f"{middle(held, lambda one: one.quantile(0.5)):.0f} ms",
        f"{middle(held, lambda one: one.quantile(0.99)):.0f} ms",
        f"{sum(one.sent - one.written for one in held)}",
    ]
    ratios = sorted(ours.cpu_us / other.cpu_us for ours, other in zip(own, held, strict=True) if other.cpu_us)
    against = f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else "-"
    return [*cells, "" if own is held else against]


def threads_row(held, names):
    """CPU of an event by thread in us; `-` for the threads a side has not."""
    found = [middle(held, lambda one, name=name: one.by_thread.get(name, 0.0) / one.sent * 1e6) for name in names]
    return [f"{us:.2f}" if us else "-" for us in found]


def measure(bootstrap, rates, seconds, rounds, sides):
    """Every rate into the sides in turn; prints Markdown tables. Gives whether the bridge lost nothing."""
    if any(side.startswith("rsyslog") for side in sides) and (what := missing()):
        raise SystemExit(f"please install {what}, or leave it out: --sides bridge")
    kept = True
    for rate in rates:
        done = {side: [] for side in sides}
        for _ in range(rounds):
            for side, own in done.items():
                own.append(hold(side, bootstrap, rate, seconds))
        heads = ["side", "CPU of an event", "in the kernel", "p50", "p99", "lost", "the bridge's CPU against it"]
        own = done.get("bridge", next(iter(done.values())))
        print(f"{rate:,.0f} events/s for {seconds:g} s into Kafka, {rounds} rounds; medians:\n")
        print(markdown(heads, [[side, *row(own, held)] for side, held in done.items()]), end="\n\n")
        names = dict.fromkeys(
            name
            for held in done.values()
            for name in held[0].by_thread
            if middle(held, lambda one, name=name: one.by_thread.get(name, 0.0) / one.sent * 1e6) >= 0.005
        )
        print("By thread, us:\n")
        print(
            markdown(["side", *names], [[side, *threads_row(held, names)] for side, held in done.items()]), end="\n\n"
        )
        kept = kept and all(one.written >= one.sent for one in done.get("bridge", ()))
    return kept
