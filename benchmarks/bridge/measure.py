"""The bridge beside a C program that only receives and one made of asyncio and confluent-kafka, in turn, in one run.

    python benchmarks/bridge/measure.py [--rounds 5] [--seconds 5] [--rate 200000] [--hep-rate 150000] [--held 10]

1. Full load: a sender floods each side for --seconds; what counts is what was received and, where there is a Kafka,
   acknowledged, over the time from the first datagram to the last acknowledgement. With a sender that calls sendmmsg,
   and with one that has the kernel cut packets (UDP_SEGMENT), which offers several times as much.
2. Held: --rate events/s for --held seconds into the bridge, then --hep-rate HEP packets/s; nothing may be lost.
3. HEP at full load, beside the C program.

The broker is the embedded one, in the process of its bridge, and so in its CPU. Into a real Kafka, beside rsyslog:

    TMPDIR=/dev/shm python -m tests.kafka.broker              # prints HOST:PORT; from the root of the sources
    python benchmarks/bridge/measure.py --bootstrap HOST:PORT [--rates 20000,80000] [--rounds 5] [--held 10] [--sides …]

holds each rate into each side in turn; see into_kafka.py. Ends with 1 when a held load lost something in the bridge.
All on loopback; every load ends by itself. A C compiler ($CC, cc without it) builds the two programs into build/.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import into_kafka
from programs import (
    BRIDGE,
    BUILD,
    HERE,
    PATIENCE,
    Cpu,
    build,
    call,
    cpu_of,
    free_port,
    markdown,
    running,
    send,
    wait_until_ready,
)

SOCKET = "kafka:embedded/bridge?key=callid"
SETTLED = 0.5  # seconds without a change after which nothing more is expected
TICK = 0.02  # seconds between two looks at the bridge's counts, once the sender is done


class Done(NamedTuple):
    """What became of one load. seconds: from the first datagram to the last acknowledgement (or datagram)."""

    sent: int
    offered: float  # a second
    received: int
    acknowledged: int
    seconds: float
    cpu: Cpu
    stats: dict | None = None  # the bridge's, at the end

    @property
    def rate(self):
        return self.acknowledged / self.seconds

    @property
    def lost(self):
        return self.sent - self.acknowledged

    @property
    def cpu_us(self):
        """Of a datagram received."""
        return self.cpu.seconds / max(self.received, 1) * 1e6


def counted(command, kind, load):
    """A load on a program that says "ready" and ends with its JSON; gives what the sender says, that, and its CPU."""
    port = free_port()
    with running([*command, port], stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{command[-1]} did not start")
        before = cpu_of(process.pid)
        said = send(port, kind, load)
        counts = json.loads(process.stdout.readline())
        return said, counts, cpu_of(process.pid).since(before)


def offered(said):
    """How many were sent, and how many a second."""
    return said["sent"], said["sent"] / said["seconds"]


def receiver(kind, load):
    """The C program that receives and drops."""
    said, counts, cpu = counted([BUILD / "receiver"], kind, load)
    return Done(*offered(said), counts["received"], counts["received"], counts["seconds"], cpu)


def asyncio_bridge(kind, load):
    """The peer, with an embedded broker of its own."""
    said, counts, cpu = counted([sys.executable, HERE / "asyncio_bridge.py"], kind, load)
    seconds = counts["ended"] - said["started"]
    return Done(*offered(said), counts["received"], counts["delivered"], seconds, cpu)


def wait_until_settled(control):
    """The counts when no more change, and when the last acknowledgement was seen."""
    before, ended = None, time.monotonic()
    while True:
        stats = call(control, "kafka_stats")
        now = time.monotonic()
        counts = [source["received"] for source in stats["inputs"]], [to["delivered"] for to in stats["targets"]]
        if counts != before:
            before, ended = counts, now
        waiting = any(to["in_flight"] for to in stats["targets"])
        if now - ended > (PATIENCE if waiting else SETTLED):
            return stats, ended
        time.sleep(TICK)


def bridge(kind, load):
    """`pykafkaevt bridge` with the embedded broker."""
    port = free_port()
    url = f"{'hep' if kind == 'hep' else 'udp'}://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder, "control")
        command = [*BRIDGE, url, "--to", SOCKET, "--control", control]
        with running([*command, "--log-level", "error"], stdout=subprocess.DEVNULL) as process:
            wait_until_ready(process, control)
            before = cpu_of(process.pid)
            said = send(port, kind, load)
            stats, ended = wait_until_settled(control)
            cpu = cpu_of(process.pid).since(before)
    received = sum(source["received"] for source in stats["inputs"])
    delivered = sum(to["delivered"] for to in stats["targets"])
    return Done(*offered(said), received, delivered, ended - said["started"], cpu, stats)


def compare(title, sides, kind, load, rounds):
    """Load the sides in turn; print a table with each one's medians and the bridge's ratio to it."""
    done = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            done[name].append(side(kind, load))
    rows = []
    for name, loads in done.items():
        offered_rate, rate, cpu, kernel = (
            statistics.median(value(one) for one in loads)
            for value in (
                lambda one: one.offered,
                lambda one: one.rate,
                lambda one: one.cpu_us,
                lambda one: one.cpu.system / max(one.cpu.seconds, 1e-9),
            )
        )
        ratios = sorted(own.rate / other.rate for own, other in zip(done["bridge"], loads, strict=True))
        against = f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rates = [f"{offered_rate / 1000:.0f} k/s", f"{rate / 1000:.0f} k/s"]
        rows.append([name, *rates, f"{cpu:.2f} us", f"{kernel:.0%}", "" if name == "bridge" else against])
    heads = ["side", "sent", "received, acknowledged", "CPU of a datagram", "in the kernel", "the bridge against it"]
    print(f"{title}, {rounds} rounds; medians:\n\n{markdown(heads, rows)}\n", flush=True)


def hold(title, kind, rate, seconds):
    """A held rate into the bridge; gives whether nothing was lost."""
    done = bridge(kind, ["--rate", rate, "--seconds", seconds])
    drops = sum(source["kernel_drops"] for source in done.stats["inputs"])
    latencies = ", ".join(
        f"{name} {done.stats['targets'][0][f'latency_{name}_us'] / 1000:.1f}" for name in ("p50", "p99")
    )
    print(
        f"{title}: {done.sent} sent at {rate:.0f} a second, {done.received} received, "
        f"{done.acknowledged} acknowledged, {drops} dropped by the kernel, {done.lost} lost; latency ms: {latencies}",
        flush=True,
    )
    return done.lost == 0


def rates(text):
    """Numbers above 0 with commas between."""
    found = [float(part) for part in text.split(",")]
    if min(found) <= 0:
        raise ValueError
    return found


def sides(text):
    """Names of into_kafka's sides, with commas between."""
    if unknown := set(text.split(",")) - set(into_kafka.SIDES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not of {', '.join(into_kafka.SIDES)}")
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison; 0 for the held rates alone")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each flood")
    parser.add_argument("--rate", type=float, default=200_000, help="events a second, held")
    parser.add_argument("--hep-rate", type=float, default=150_000, help="HEP packets a second, held")
    parser.add_argument("--held", type=float, default=10.0, help="seconds of each held rate; 0 for none")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a real Kafka: only the held rates into it")
    parser.add_argument("--rates", type=rates, default="20000,80000", help="events a second, held into Kafka")
    parser.add_argument("--sides", type=sides, default="bridge,rsyslog,rsyslog-keyed", help="into Kafka")
    options = parser.parse_args()
    build()
    if options.bootstrap:
        kept = into_kafka.measure(options.bootstrap, options.rates, options.held, options.rounds, options.sides)
        return 0 if kept else 1
    flood = ["--seconds", options.seconds]
    if options.rounds:
        flooded = {"C, drops": receiver, "bridge": bridge, "asyncio": asyncio_bridge}
        compare("events, sendmmsg", flooded, "json", flood, options.rounds)
        compare("events, UDP_SEGMENT", flooded, "json", [*flood, "--gso"], options.rounds)
        del flooded["asyncio"]
        compare("HEP, sendmmsg", flooded, "hep", flood, options.rounds)
        compare("HEP, UDP_SEGMENT", flooded, "hep", [*flood, "--gso"], options.rounds)
    kept = True
    if options.held:
        kept = hold("events", "json", options.rate, options.held)
        kept = hold("HEP", "hep", options.hep_rate, options.held) and kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
