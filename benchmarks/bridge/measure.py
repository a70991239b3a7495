"""The bridge beside a C program that only receives and one made of asyncio and confluent-kafka, in turn, in one run.

    python benchmarks/bridge/measure.py [--rounds 5] [--seconds 5] [--rate 200000] [--hep-rate 150000] [--held 10]

1. Full load: a sender floods each side for --seconds; what counts is what was received and, where there is a Kafka,
   acknowledged, over the time from the first datagram to the last acknowledgement. With a sender that calls sendmmsg,
   and with one that has the kernel cut packets (UDP_SEGMENT), which offers several times as much.
2. Held: --rate events/s for --held seconds into the bridge, then --hep-rate HEP packets/s; nothing may be lost.
3. HEP at full load, beside the C program.

The broker is the embedded one, in the process of its bridge. Ends with 1 when a held load lost something. All on
loopback; every load ends by itself. A C compiler ($CC, cc without it) builds the two programs into build/.
"""

import argparse
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
BUILD = HERE / "build"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Werror"]
SOCKET = "kafka:embedded/bridge?key=callid"
PATIENCE = 60.0  # seconds for a program to get ready, to acknowledge the rest, to end
SETTLED = 0.5  # seconds without a change after which nothing more is expected
TICK = 0.02  # seconds between two looks at the bridge's counts, once the sender is done


class Done(NamedTuple):
    """What became of one load. seconds: from the first datagram to the last acknowledgement (or datagram)."""

    sent: int
    offered: float  # a second
    received: int
    acknowledged: int
    seconds: float
    stats: dict | None = None  # the bridge's, at the end

    @property
    def rate(self):
        return self.acknowledged / self.seconds

    @property
    def lost(self):
        return self.sent - self.acknowledged


def build():
    BUILD.mkdir(exist_ok=True)
    for name in ("sender", "receiver"):
        compiler = shlex.split(os.environ.get("CC") or "cc")
        subprocess.run([*compiler, *FLAGS, str(HERE / f"{name}.c"), "-o", str(BUILD / name), "-lm"], check=True)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def send(port, kind, load):
    """Run the sender to its end; gives how many it sent, how many a second, and when it began."""
    command = [str(BUILD / "sender"), str(port), kind, *map(str, load)]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return (done["sent"], done["sent"] / done["seconds"]), done["started"]


@contextmanager
def running(command, **options):
    """A program that is ended, with SIGTERM at first, when the block is left."""
    process = subprocess.Popen([str(part) for part in command], **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def counted(command, kind, load):
    """A load on a program that says "ready" and ends with its JSON; gives what send() gave, and that."""
    port = free_port()
    with running([*command, port], stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{command[-1]} did not start")
        return *send(port, kind, load), json.loads(process.stdout.readline())


def receiver(kind, load):
    """The C program that receives and drops."""
    sent, _, counts = counted([BUILD / "receiver"], kind, load)
    return Done(*sent, counts["received"], counts["received"], counts["seconds"])


def asyncio_bridge(kind, load):
    """The peer, with an embedded broker of its own."""
    sent, started, counts = counted([sys.executable, HERE / "asyncio_bridge.py"], kind, load)
    return Done(*sent, counts["received"], counts["delivered"], counts["ended"] - started)


def call(control, method):
    """The result of a JSON-RPC call on the bridge's control socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(control))
        connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if answer.endswith(b"\n"):
                break
        return json.loads(answer)["result"]


def wait_until_ready(process, control):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            stats = call(control, "kafka_stats")
            if stats["ready"] and all(target["up"] for target in stats["targets"]):
                return
        except OSError:  # not there yet
            pass
        time.sleep(0.1)
    raise SystemExit("the bridge did not get ready")


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
        command = [sys.executable, "-m", "pykafkaevt", "bridge", url, "--to", SOCKET, "--control", control]
        with running([*command, "--log-level", "error"], stdout=subprocess.DEVNULL) as process:
            wait_until_ready(process, control)
            sent, started = send(port, kind, load)
            stats, ended = wait_until_settled(control)
    received = sum(source["received"] for source in stats["inputs"])
    delivered = sum(to["delivered"] for to in stats["targets"])
    return Done(*sent, received, delivered, ended - started, stats)


def compare(title, sides, kind, load, rounds):
    """Load the sides in turn; print each one's medians and the bridge's ratio to it."""
    done = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            done[name].append(side(kind, load))
    print(f"{title}, {rounds} rounds: medians, and the bridge's ratio min / median / max")
    for name, loads in done.items():
        offered = statistics.median(one.offered for one in loads)
        rate = statistics.median(one.rate for one in loads)
        ratios = sorted(own.rate / other.rate for own, other in zip(done["bridge"], loads, strict=True))
        print(
            f"  {name:16} {rate / 1000:6.0f} k/s of {offered / 1000:6.0f} k/s sent   "
            f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f} x",
            flush=True,
        )


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison; 0 for the held rates alone")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each flood")
    parser.add_argument("--rate", type=float, default=200_000, help="events a second, held")
    parser.add_argument("--hep-rate", type=float, default=150_000, help="HEP packets a second, held")
    parser.add_argument("--held", type=float, default=10.0, help="seconds of each held rate; 0 for none")
    options = parser.parse_args()
    build()
    flood = ["--seconds", options.seconds]
    if options.rounds:
        sides = {"C, drops": receiver, "bridge": bridge, "asyncio": asyncio_bridge}
        compare("events, sendmmsg", sides, "json", flood, options.rounds)
        compare("events, UDP_SEGMENT", sides, "json", [*flood, "--gso"], options.rounds)
        del sides["asyncio"]
        compare("HEP, sendmmsg", sides, "hep", flood, options.rounds)
        compare("HEP, UDP_SEGMENT", sides, "hep", [*flood, "--gso"], options.rounds)
    kept = True
    if options.held:
        kept = hold("events", "json", options.rate, options.held)
        kept = hold("HEP", "hep", options.hep_rate, options.held) and kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
