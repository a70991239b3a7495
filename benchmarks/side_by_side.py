"""Ratios, the sides measured in turn in one run: events into the embedded broker (or another), one event into JSON,
reports per message, and what raising an event costs among many.

    python benchmarks/side_by_side.py [--records 500000] [--rounds 5] [--bootstrap HOST:PORT]

Every side sends the same rows, made before the clock starts, with the same properties; the JSON is made inside, and the
clock stops when the last record has its delivery report.
"""

import argparse
import resource
import statistics
import time

import confluent_kafka
import orjson
from confluent_kafka.admin import AdminClient, NewTopic

import pykafkaevt
from pykafkaevt.bench import workload

TEMPLATE = pykafkaevt.EventTemplate(workload.EVENT, workload.FIELDS)
TOPIC = "side-by-side"
PROPERTIES = {"linger.ms": "5", "acks": "all", "enable.idempotence": "false"}  # of both sides


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def settle_topic(bootstrap):
    """The topic, made so that a broker keeps little of it.

    What the log grows by is new memory for the page cache, which here costs the broker more than the records do.
    """
    topic = NewTopic(TOPIC, 4, config={"segment.bytes": "33554432", "retention.bytes": "67108864"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    try:
        admin.create_topics([topic])[TOPIC].result(30)
    except confluent_kafka.KafkaException as error:
        if error.args[0].code() != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def confluent(bootstrap, rows, *, reads=False):
    """confluent-kafka's produce() of what orjson made, with on_delivery; reads: status, key and message of each."""
    delivered = 0

    def count(error, message):
        nonlocal delivered
        delivered += error is None

    def read(error, message):
        nonlocal delivered
        delivered += error is None and len(message.key() or b"warm") > 0 and len(message.value()) > 0

    on_delivery = read if reads else count
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **PROPERTIES})
    producer.produce(TOPIC, b"warm", on_delivery=on_delivery)
    producer.flush()
    started = time.perf_counter(), cpu_seconds()
    for n, row in enumerate(rows):
        value = orjson.dumps(workload.as_dict(row))
        while True:
            try:
                producer.produce(TOPIC, value, row[1], on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.01)
        if n % 500 == 0:
            producer.poll(0)
    producer.flush()
    ended = time.perf_counter(), cpu_seconds()
    assert delivered == len(rows) + 1
    return started, ended


def ours(bootstrap, rows, send, on_delivery=None):
    properties = "&".join(f"g.{name}={value}" for name, value in PROPERTIES.items())
    with pykafkaevt.Producer(f"kafka:{bootstrap}/{TOPIC}?{properties}", on_delivery=on_delivery) as producer:
        producer.publish(b"warm")
        producer.flush()
        started = time.perf_counter(), cpu_seconds()
        send(producer, rows)
        producer.flush()
        ended = time.perf_counter(), cpu_seconds()
        assert producer.stats().delivered == len(rows) + 1
    return started, ended


def emit(producer, rows):
    """One call an event, with the values a program has at hand."""
    emit = producer.emit
    for method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, when in rows:
        emit(TEMPLATE, method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, when, key=callid)


def emit_many(producer, rows):
    """One call for all."""
    producer.emit_many(TEMPLATE, rows, key_field="callid")


def reported(bootstrap, rows):
    """One call for all, and a report of every record, in batches."""
    delivered = 0

    def on_delivery(batch):
        nonlocal delivered
        delivered += len(batch) * batch.ok

    times = ours(
        bootstrap,
        rows,
        lambda producer, rows: producer.emit_many(TEMPLATE, rows, key_field="callid", report=True),
        on_delivery,
    )
    assert delivered == len(rows)
    return times


def raise_many(bootstrap, rows):
    """The Event Interface with one subscriber keyed by Call-ID."""
    properties = "&".join(f"g.{name}={value}" for name, value in PROPERTIES.items())
    call_ids = [row[1] for row in rows]
    with pykafkaevt.EventInterface(producer_options={"on_full": "block", "full_timeout": None}) as interface:
        event = interface.publish_event(workload.EVENT, workload.FIELDS)
        interface.subscribe_event(workload.EVENT, f"kafka:{bootstrap}/{TOPIC}?{properties}&key=callid")
        interface.raise_event(event, rows[0])
        interface.flush()
        started = time.perf_counter(), cpu_seconds()
        interface.raise_many(event, rows, call_ids=call_ids)
        interface.flush()
        ended = time.perf_counter(), cpu_seconds()
        assert interface.stats().delivered == len(rows) + 1
    return started, ended


def routes(bootstrap, rows, send):
    """The connector with a report route that reads what on_delivery reads."""
    seen = 0

    def route(report):
        nonlocal seen
        seen += report.kafka_status == 0 and len(report.kafka_key or b"warm") > 0 and len(report.kafka_msg) > 0

    properties = "&".join(f"g.{name}={value}" for name, value in PROPERTIES.items())
    options = {"on_full": "block", "full_timeout": None}
    with pykafkaevt.Connector([f"[k1]{bootstrap}/{TOPIC}?{properties}"], producer_options=options) as connector:
        connector.kafka_publish("k1", b"warm", None, route)
        connector.flush()
        started = time.perf_counter(), cpu_seconds()
        send(connector, rows, route)
        connector.flush()
        ended = time.perf_counter(), cpu_seconds()
    assert seen == len(rows) + 1
    return started, ended


def kafka_publish(connector, rows, route):
    """One call a message."""
    publish, dumps = connector.kafka_publish, TEMPLATE.dumps
    for row in rows:
        publish("k1", dumps(*row), row[1], route)


def kafka_publish_many(connector, rows, route):
    """One call for all."""
    dumps = TEMPLATE.dumps
    connector.kafka_publish_many("k1", [dumps(*row) for row in rows], [row[1] for row in rows], route)


def spread(values, bases):
    """The ratios round by round: the least, the median, the greatest."""
    ratios = sorted(value / base for value, base in zip(values, bases, strict=True))
    return ratios[0], statistics.median(ratios), ratios[-1]


def compare(title, sides, count, rounds):
    """Run the sides in turn and print, as Markdown, each one's medians and its ratios to the first side."""
    rates = {name: [] for name in sides}
    cpu = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started, ended = side()
            rates[name].append(count / (ended[0] - started[0]))
            cpu[name].append((ended[1] - started[1]) / count * 1e6)
    first = next(iter(sides))
    print(f"{title}: {count} of 277 bytes, key of 25, {rounds} rounds; medians, and the ratio (least to greatest):\n")
    print(f"| | records/s | CPU each | against {first} |\n|---|---|---|---|")
    for name in sides:
        against = ""
        if name != first:
            least, middle, most = spread(rates[name], rates[first])
            against = f"{middle:.2f} x ({least:.2f} to {most:.2f}), CPU {spread(cpu[name], cpu[first])[1]:.2f} x"
        rate = f"{statistics.median(rates[name]) / 1000:,.0f} k"
        print(f"| {name} | {rate} | {statistics.median(cpu[name]):.2f} us | {against} |")
    print(flush=True)


def produce(bootstrap, count, rounds):
    rows = workload.event_rows(count, seed=7)
    compare(
        "events",
        {
            "confluent": lambda: confluent(bootstrap, rows),
            "emit": lambda: ours(bootstrap, rows, emit),
            "emit_many": lambda: ours(bootstrap, rows, emit_many),
            "raise_many": lambda: raise_many(bootstrap, rows),
        },
        count,
        rounds,
    )
    compare(
        "reports in batches",
        {
            "without": lambda: ours(bootstrap, rows, emit_many),
            "of all": lambda: reported(bootstrap, rows),
        },
        count,
        rounds,
    )
    compare(
        "a report route per message",
        {
            "confluent": lambda: confluent(bootstrap, rows, reads=True),
            "kafka_publish": lambda: routes(bootstrap, rows, kafka_publish),
            "kafka_publish_many": lambda: routes(bootstrap, rows, kafka_publish_many),
        },
        count,
        rounds,
    )


def raise_among(rounds):
    """One raise_event to 10 subscribers while 1, 100 and 10,000 events exist."""
    with (
        pykafkaevt.EmbeddedBroker() as broker,
        pykafkaevt.EventInterface(producer_options={"on_full": "block", "full_timeout": None}) as interface,
    ):
        known, count, times = 0, 5000, {}
        row = workload.event_rows(1, seed=7)[0]
        for existing in (1, 100, 10_000):
            for number in range(known, existing):
                interface.publish_event(f"E_{number}", workload.FIELDS)
                for n in range(10):
                    interface.subscribe_event(f"E_{number}", f"kafka:{broker.bootstrap_servers}/t{n}?g.linger.ms=5")
            known = existing
            for _ in range(rounds):
                interface.flush()
                started = time.perf_counter()
                for _ in range(count):
                    interface.raise_event("E_0", row)
                times.setdefault(existing, []).append((time.perf_counter() - started) / count * 1e6)
        for existing, spent in times.items():
            print(f"raise_event to 10 subscribers among {existing:6} events: {statistics.median(spent):6.2f} us")


def serialize(rounds):
    row = workload.event_rows(1, seed=7)[0]
    method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, when = row
    into, buffer, dumps = TEMPLATE.dumps_into, bytearray(1024), orjson.dumps
    event = workload.as_dict(row)
    count = 200_000
    times = {"dumps_into": [], "dumps_many": [], "orjson ready": [], "orjson literal": []}
    hundred = [row] * 100
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for _ in range(count):
            into(buffer, method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, when)
        marks.append(time.perf_counter())
        for _ in range(count // 100):
            TEMPLATE.dumps_many(hundred)
        marks.append(time.perf_counter())
        for _ in range(count):
            dumps(event)
        marks.append(time.perf_counter())
        for _ in range(count):
            dumps(
                {
                    "jsonrpc": "2.0",
                    "method": workload.EVENT,
                    "params": {
                        "method": method,
                        "callid": callid,
                        "cseq": cseq,
                        "from_uri": from_uri,
                        "to_uri": to_uri,
                        "src_ip": src_ip,
                        "src_port": src_port,
                        "dst_ip": dst_ip,
                        "dst_port": dst_port,
                        "time": when,
                    },
                }
            )
        marks.append(time.perf_counter())
        for name, start, end in zip(times, marks, marks[1:], strict=False):
            times[name].append((end - start) / count * 1e9)
    for name, spent in times.items():
        least, middle, most = spread(spent, times["dumps_many"])
        print(
            f"{name:14} {statistics.median(spent):6.0f} ns/event  "
            f"{middle:.2f} x ({least:.2f} to {most:.2f}) the time of dumps_many"
        )
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bootstrap", help="a real broker; the embedded one otherwise")
    options = parser.parse_args()
    serialize(options.rounds)
    if options.bootstrap:
        settle_topic(options.bootstrap)
        produce(options.bootstrap, options.records, options.rounds)
    else:
        with pykafkaevt.EmbeddedBroker(topics=[TOPIC]) as broker:
            produce(broker.bootstrap_servers, options.records, options.rounds)
    raise_among(options.rounds)


if __name__ == "__main__":
    main()
