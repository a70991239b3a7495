"""Millions of events through one process: resident memory and cost per record after each million.

    python benchmarks/endurance.py [--millions 20] [--bootstrap HOST:PORT]

Memory and cost at the end are those after the first million: nothing grows with the number of records sent.
"""

import argparse
import resource
import time
from contextlib import nullcontext
from pathlib import Path

from side_by_side import PROPERTIES, TEMPLATE, TOPIC, settle_topic

import pykafkaevt
from pykafkaevt.bench import workload

MILLION = 1_000_000
PAGE = resource.getpagesize()


def resident():
    """Resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=int, default=20)
    parser.add_argument("--bootstrap", help="a real broker; the embedded one, which keeps 5 MB a partition, otherwise")
    options = parser.parse_args()
    rows = workload.event_rows(100_000, seed=7)
    properties = "&".join(f"g.{name}={value}" for name, value in PROPERTIES.items())
    with nullcontext() if options.bootstrap else pykafkaevt.EmbeddedBroker(topics=[TOPIC]) as broker:
        servers = options.bootstrap or broker.bootstrap_servers
        if options.bootstrap:
            settle_topic(servers)
        with pykafkaevt.Producer(f"kafka:{servers}/{TOPIC}?{properties}") as producer:
            first = 0
            for million in range(1, options.millions + 1):
                started, cpu = time.perf_counter(), time.process_time()
                for _ in range(MILLION // len(rows)):
                    producer.emit_many(TEMPLATE, rows, key_field="callid")
                producer.flush()
                seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
                memory = resident()
                first = first or memory
                print(
                    f"{million:3} million: {MILLION / seconds / 1000:5.0f} k/s, {cpu / MILLION * 1e6:.2f} us CPU each, "
                    f"{memory / 1e6:.1f} MB ({memory / first - 1:+.1%})",
                    flush=True,
                )
            stats = producer.stats()
            assert (stats.delivered, stats.failed) == (options.millions * MILLION, 0), stats


if __name__ == "__main__":
    main()
