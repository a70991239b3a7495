"""Ratios, the sides measured in turn in one run: events into the embedded broker (or another), one event into JSON.

    python benchmarks/side_by_side.py [--records 500000] [--rounds 5] [--bootstrap HOST:PORT]

Every side sends the same rows, made before the clock starts, with the same properties; the JSON is made inside, and the
clock stops when the last record has its delivery report.
"""

import argparse
import resource
import statistics
import time

import confluent_kafka
import events
import orjson

import pykafkaevt

TEMPLATE = pykafkaevt.EventTemplate(events.METHOD, events.FIELDS)
TOPIC = "side-by-side"
PROPERTIES = {"linger.ms": "5", "acks": "all", "enable.idempotence": "false"}  # of both sides


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def confluent(bootstrap, rows):
    """confluent-kafka's produce() of what orjson made, with on_delivery."""
    delivered = 0

    def on_delivery(error, message):
        nonlocal delivered
        delivered += error is None

    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **PROPERTIES})
    producer.produce(TOPIC, b"warm", on_delivery=on_delivery)
    producer.flush()
    started = time.perf_counter(), cpu_seconds()
    for n, row in enumerate(rows):
        value = orjson.dumps(events.as_dict(row))
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


def ours(bootstrap, rows, send):
    properties = "&".join(f"g.{name}={value}" for name, value in PROPERTIES.items())
    with pykafkaevt.Producer(f"kafka:{bootstrap}/{TOPIC}?{properties}") as producer:
        producer.publish(b"warm")
        producer.flush()
        started = time.perf_counter(), cpu_seconds()
        send(producer, rows)
        producer.flush()
        ended = time.perf_counter(), cpu_seconds()
        assert producer.stats().delivered == len(rows) + 1
    return started, ended


def emit(producer, rows):
    """One call an event."""
    emit = producer.emit
    for row in rows:
        emit(TEMPLATE, *row, key=row[1])


def emit_many(producer, rows):
    """One call for all."""
    producer.emit_many(TEMPLATE, rows, key_field="callid")


def produce(bootstrap, count, rounds):
    rows = events.rows(count)
    sides = {
        "confluent": lambda: confluent(bootstrap, rows),
        "emit": lambda: ours(bootstrap, rows, emit),
        "emit_many": lambda: ours(bootstrap, rows, emit_many),
    }
    rates = {name: [] for name in sides}
    cpu = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started, ended = side()
            rates[name].append(count / (ended[0] - started[0]))
            cpu[name].append((ended[1] - started[1]) / count * 1e6)
    print(f"{count} records of 277 bytes, key of 25, {rounds} rounds; medians, and ratios min / median / max")
    for name in sides:
        ratios = sorted(own / base for own, base in zip(rates[name], rates["confluent"], strict=True))
        print(
            f"{name:10} {statistics.median(rates[name]) / 1000:8.0f} k records/s  "
            f"{statistics.median(cpu[name]):5.2f} us CPU/record  "
            f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f} x confluent"
        )


def serialize(rounds):
    row = events.rows(1)[0]
    method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, when = row
    into, buffer, dumps = TEMPLATE.dumps_into, bytearray(1024), orjson.dumps
    event = events.as_dict(row)
    count = 200_000
    times = {"dumps_into": [], "orjson ready": [], "orjson literal": []}
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for _ in range(count):
            into(buffer, method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, when)
        marks.append(time.perf_counter())
        for _ in range(count):
            dumps(event)
        marks.append(time.perf_counter())
        for _ in range(count):
            dumps(
                {
                    "jsonrpc": "2.0",
                    "method": events.METHOD,
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
        ratios = sorted(other / own for other, own in zip(spent, times["dumps_into"], strict=True))
        print(
            f"{name:14} {statistics.median(spent):6.0f} ns/event  "
            f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f} x the time of dumps_into"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bootstrap", help="a real broker; the embedded one otherwise")
    options = parser.parse_args()
    serialize(options.rounds)
    if options.bootstrap:
        produce(options.bootstrap, options.records, options.rounds)
        return
    with pykafkaevt.EmbeddedBroker(topics=[TOPIC]) as broker:
        produce(broker.bootstrap_servers, options.records, options.rounds)


if __name__ == "__main__":
    main()
