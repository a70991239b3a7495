"""How long a new producer's first record takes until it is acknowledged, over several starts.

    python benchmarks/first_record.py [--starts 20] [--bootstrap HOST:PORT]

By default on the embedded broker; idempotence is on, so that a producer ID has to come first.
"""

import argparse
import contextlib
import statistics
import time

import confluent_kafka

from pykafkaevt import EmbeddedBroker, Producer

TOPIC = "first-record"


def ours(bootstrap):
    """Seconds from nothing to the report."""
    started = time.perf_counter()
    with Producer(f"kafka:{bootstrap}/{TOPIC}?g.linger.ms=0") as producer:
        producer.publish(b"first")
        producer.flush()
        assert producer.stats().delivered == 1
        return time.perf_counter() - started


def confluent(bootstrap):
    """The same by confluent-kafka."""
    started = time.perf_counter()
    properties = {"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": True}
    producer = confluent_kafka.Producer(properties)
    producer.produce(TOPIC, b"first")
    assert producer.flush() == 0
    return time.perf_counter() - started


def main():
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--bootstrap")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        bootstrap = options.bootstrap or stack.enter_context(EmbeddedBroker(topics=[TOPIC])).bootstrap_servers
        confluent(bootstrap)
        times = {side.__name__: [] for side in (ours, confluent)}
        for _ in range(options.starts):
            for side in (ours, confluent):
                times[side.__name__].append(side(bootstrap) * 1000)
    for name, found in times.items():
        print(
            f"{name:10} first record: median {statistics.median(found):.0f} ms ({min(found):.0f} to {max(found):.0f})"
        )


if __name__ == "__main__":
    main()
