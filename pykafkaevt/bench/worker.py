"""One measured run in a process of its own: the Spec on standard input, lines of JSON on standard output.

Says {"ready": true} after its warm-up, waits for a line, then {"delivered": N} every 100 ms, and at last
{"result": …} or {"error": TEXT}.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any, cast

from pykafkaevt import EmbeddedBroker
from pykafkaevt.bench.ours import ours
from pykafkaevt.bench.peers import PEERS
from pykafkaevt.bench.schedule import Latencies, schedule
from pykafkaevt.bench.side import SINGLE_CHUNK, Side, Spec, is_ready
from pykafkaevt.bench.threads import ThreadCpu, cpu_by_thread, name_threads, spent
from pykafkaevt.bench.workload import Chunk, make
from pykafkaevt.errors import ConfigError
from pykafkaevt.references import all_resolved, without
from pykafkaevt.sockets import KafkaSocket

SAMPLING = 0.1  # seconds between two looks at the counters
PATIENCE = 30.0  # seconds the warm-up may take


def say(**message: Any) -> None:
    """A line for the parent."""
    print(json.dumps(message), flush=True)


def chunk_size(spec: Spec) -> int:
    """Records between two looks at the schedule."""
    if spec["api"].endswith("_many") and (spec["side"] == "ours" or spec["side"] == "confluent-batch"):
        return spec["batch"]
    return SINGLE_CHUNK


def run(spec: Spec) -> None:
    """Warm up, measure, and say what came of it."""
    workload = make(
        spec["records"],
        ready=is_ready(spec),
        seed=spec["seed"],
        record_size=spec["record_size"],
        payload_file=spec["payload_file"],
    )
    chunks = workload.chunks(chunk_size(spec))
    socket = KafkaSocket(spec["socket"])
    is_embedded = socket.brokers == ("embedded",)
    latencies = Latencies()
    with EmbeddedBroker(topics=[socket.topic]) if is_embedded else nullcontext() as broker:
        servers = socket.bootstrap_servers if broker is None else broker.bootstrap_servers
        side = made_side(spec, servers, socket.topic, latencies)
        for chunk, _ in schedule(chunks, spec["warmup"], None, None, sleep=side.wait):
            # what is in flight counts as sent now: a schedule has its own times
            side.send(chunk, [time.perf_counter()] * len(chunk.keys) if spec["throughput"] else None)
        left = side.flush(PATIENCE)
        if left or side.counts()[1]:
            raise TimeoutError(f"{servers}: {left or side.counts()[1]} records of the warm-up were not acknowledged")
        latencies.clear()
        say(ready=True)
        sys.stdin.readline()
        result = measure(spec, side, chunks)
        result.update(mean_size=workload.mean_size, histogram=latencies.encoded())
        say(result=result)
        side.close()


def made_side(spec: Spec, servers: str, topic: str, latencies: Latencies) -> Side:
    """The side of a spec. Raises ConfigError, RuntimeError with a peer's own words."""
    if spec["side"] == "ours":
        return ours(spec, servers, topic, latencies)
    # ours reads values from the environment and files itself
    settings, hidden = all_resolved("g.", spec["settings"].items())
    try:
        return PEERS[spec["side"]].make(cast(Spec, {**spec, "settings": dict(settings)}), servers, topic, latencies)
    except Exception as error:
        raise RuntimeError(without(hidden, f"{error}" or type(error).__name__)) from None


def measure(spec: Spec, side: Side, chunks: list[Chunk]) -> dict[str, Any]:
    """Send everything, wait for all reports; the fields of Measured, CPU in seconds, in all and by thread."""
    before = side.counts()
    ended = threading.Event()
    series: list[int] = []
    sampler = threading.Thread(target=sample, args=(side, before[0], ended, series), name="sampling")
    threads_before = cpu_by_thread()
    used = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    sampler.start()
    threads = [threading.Thread(target=send, args=(spec, side, chunks, n)) for n in range(1, spec["threads"])]
    for thread in threads:
        thread.start()
    send(spec, side, chunks, 0)
    for thread in threads:
        thread.join()
    side.flush(None)
    seconds = time.perf_counter() - started
    now = resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    by_thread = split(cpu, threads_before, cpu_by_thread())
    ended.set()
    sampler.join()
    delivered, failed = side.counts()
    return {
        "delivered": delivered - before[0],
        "failed": failed - before[1],
        "seconds": seconds,
        "cpu_seconds": cpu,
        "cpu_by_thread": by_thread,
        "rss_kb": now.ru_maxrss,
        "series": series,
    }


def split(cpu: float, before: dict[int, ThreadCpu], after: dict[int, ThreadCpu]) -> dict[str, float]:
    """CPU seconds by thread; what threads used that have ended is under `ended`."""
    by_thread = spent(before, after)
    rest = cpu - sum(by_thread.values())
    # the system brings a running thread's time up to date every few milliseconds
    return {**by_thread, "ended": rest} if by_thread and rest > 0.05 * cpu else by_thread


def send(spec: Spec, side: Side, chunks: list[Chunk], number: int) -> None:
    """The share of one thread."""
    threads = spec["threads"]
    total = None if spec["records"] is None else spec["records"] // threads + (number < spec["records"] % threads)
    rate = None if spec["throughput"] is None else spec["throughput"] / threads
    # each thread starts elsewhere in the pool
    turned = chunks[len(chunks) * number // threads :] + chunks[: len(chunks) * number // threads]
    for chunk, dues in schedule(turned, total, spec["duration"], rate, sleep=side.wait):
        side.send(chunk, dues)


def sample(side: Side, before: int, ended: threading.Event, series: list[int]) -> None:
    """Say every 100 ms how many records were delivered; the differences go to series, the last a part of 100 ms."""
    last = 0
    start = time.perf_counter()
    while True:
        done = ended.wait(max(0.0, start + (len(series) + 1) * SAMPLING - time.perf_counter()))
        delivered = side.counts()[0] - before
        series.append(delivered - last)
        last = delivered
        try:
            say(delivered=delivered)
        except BrokenPipeError:
            # nobody is there any more who would end this process
            os._exit(1)
        if done:
            return


def main() -> None:
    """Run the Spec on standard input; whatever goes wrong is said to the parent."""
    # Ctrl-C reaches all processes of a terminal: the parent ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name_threads()
    try:
        run(json.loads(sys.stdin.readline()))
    except ConfigError as error:
        say(error=error.reason, property=error.property)
        raise SystemExit(1) from None
    except Exception as error:
        say(error=f"{error}" or type(error).__name__)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
