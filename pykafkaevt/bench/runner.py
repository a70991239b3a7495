"""Runs: a process for each, ours and the peers' in turn, and what came of all."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from statistics import median
from typing import Any, cast

from pykafkaevt.bench import peers, programs
from pykafkaevt.bench.schedule import quantiles
from pykafkaevt.bench.side import Spec
from pykafkaevt.errors import ConfigError
from pykafkaevt.references import shown
from pykafkaevt.sockets import KafkaSocket

OURS = "ours"
NAMES = (*peers.PEERS, *programs.NAMES)
# The settings of all sides unless the socket says otherwise: librdkafka's defaults, spelled out.
SETTINGS = {
    "linger.ms": "5",
    "acks": "all",
    "enable.idempotence": "false",
    "compression.type": "none",
    "queue.buffering.max.messages": "100000",
    "queue.buffering.max.kbytes": "1048576",
}
ALIASES = {
    "queue.buffering.max.ms": "linger.ms",
    "request.required.acks": "acks",
    "compression.codec": "compression.type",
}
Progress = Callable[[Spec, int, int], None]  # the run, its round, records delivered so far


@dataclass
class Measured:
    """One run. latency_us: by quantile, None where not known; series: deliveries per 100 ms; rss_kb: peak.

    cpu_us_by_thread: of a record, by thread name, empty where not known; offered: records/s that were due, None
    without a rate.
    """

    side: str
    round: int
    delivered: int
    failed: int
    seconds: float
    records_per_s: float
    mb_per_s: float
    cpu_us_per_record: float
    latency_us: dict[str, int | None]
    rss_kb: int | None
    series: list[int] = field(default_factory=list)
    cpu_us_by_thread: dict[str, float] = field(default_factory=dict)
    offered: float | None = None


@dataclass
class Report:
    """All runs. absent: the peers that did not run, with the reason; broken: those that failed on the way.

    about: date, command, versions and machine; sweep: the runs at held rates.
    """

    socket: str
    settings: dict[str, str]
    run: dict[str, Any]
    measured: list[Measured] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    sweep: list[Measured] = field(default_factory=list)

    def present(self, compared: list[str]) -> list[str]:
        """Ours and those of the compared that can run."""
        return [OURS, *(name for name in compared if name not in self.absent and name not in self.broken)]

    def sides(self) -> list[str]:
        """Those that were measured, in the order they ran."""
        return list(dict.fromkeys(run.side for run in self.measured))

    def of(self, side: str) -> list[Measured]:
        """The runs of a side, by round."""
        return [run for run in self.measured if run.side == side]

    def middle(self, side: str) -> Measured:
        """The side's run with the median rate (the lower one of two)."""
        runs = sorted(self.of(side), key=lambda run: run.records_per_s)
        return runs[(len(runs) - 1) // 2]

    def ratios(self) -> dict[str, dict[str, list[float]]]:
        """Ours/peer round by round, as [min, median, max]: of records/s, CPU per record and the 99th percentile."""
        found = {}
        for side in self.sides():
            both = {run.round: run for run in self.of(OURS)}
            pairs = [(both[run.round], run) for run in self.of(side) if side != OURS and run.round in both]
            if pairs:
                found[side] = {
                    name: spread(value(own) / value(peer) for own, peer in pairs if value(own) and value(peer))
                    for name, value in COMPARED.items()
                }
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ratios_ours_to_peer": self.ratios()}


COMPARED: dict[str, Callable[[Measured], Any]] = {
    "records/s": lambda run: run.records_per_s,
    "CPU per record": lambda run: run.cpu_us_per_record,
    "p99": lambda run: run.latency_us["p99"],
}


def spread(values: Iterable[float]) -> list[float]:
    """Minimum, median, maximum."""
    ordered = sorted(values)
    return [ordered[0], median(ordered), ordered[-1]] if ordered else []


def settings_of(socket: KafkaSocket) -> dict[str, str]:
    """SETTINGS, with what the socket says."""
    given = {**socket.global_properties, **socket.topic_properties}
    return {**SETTINGS, **{ALIASES.get(name, name): value for name, value in given.items()}}


def why_absent(name: str, spec: Spec) -> str | None:
    """Why a peer cannot run, None when it can."""
    if name in programs.NAMES:
        return programs.why_absent(name, spec)
    return peers.why_absent(name, KafkaSocket(spec["socket"]).brokers == ("embedded",))


def versions(sides: list[str]) -> dict[str, str]:
    """Of the peers among the sides that are of no package we need, as far as they can be told."""
    others = [name for name in sides if name != OURS]
    found = {name: peers.version_of(name) if name in peers.PEERS else programs.version_of(name) for name in others}
    return {name: version for name, version in found.items() if version is not None}


def run_all(spec: Spec, compared: list[str], processes: int, rounds: int, progress: Progress) -> Report:
    """Measure ours and the compared peers in turn, `rounds` times. Raises RuntimeError when ours fails, ConfigError."""
    settings = {name: shown(name, value) for name, value in spec["settings"].items()}
    run = {name: value for name, value in spec.items() if name not in ("side", "socket", "settings")}
    report = Report(str(KafkaSocket(spec["socket"])), settings, {**run, "processes": processes, "repeat": rounds})
    for name in compared:
        if (reason := why_absent(name, spec)) is not None:
            report.absent[name] = reason
    for number in range(1, rounds + 1):
        for side in report.present(compared):
            measured = attempt(report, cast(Spec, {**spec, "side": side}), processes, number, progress)
            if measured is not None:
                report.measured.append(measured)
    return report


def attempt(report: Report, spec: Spec, processes: int, number: int, progress: Progress) -> Measured | None:
    """One run; None when a peer fails, which the report then says. Raises RuntimeError when ours fails."""
    try:
        return finish(spec, number, measure(spec, processes, number, progress))
    except RuntimeError as error:
        if spec["side"] == OURS:
            raise
        report.broken[spec["side"]] = str(error)
        return None


def finish(spec: Spec, number: int, fields: dict[str, Any]) -> Measured:
    """Counts and seconds as figures."""
    size, cpu, by_thread = (fields.pop(name) for name in ("mean_size", "cpu_seconds", "cpu_by_thread"))
    rate = fields["delivered"] / fields["seconds"]
    done = max(fields["delivered"] + fields["failed"], 1)
    return Measured(
        side=spec["side"],
        round=number,
        records_per_s=rate,
        mb_per_s=rate * size / 1e6,
        cpu_us_per_record=cpu / done * 1e6,
        cpu_us_by_thread={name: round(seconds / done * 1e6, 4) for name, seconds in by_thread.items()},
        offered=spec["throughput"],
        **fields,
    )


def measure(spec: Spec, processes: int, number: int, progress: Progress) -> dict[str, Any]:
    """One run in processes of its own. Raises RuntimeError."""
    if spec["side"] in programs.NAMES:
        progress(spec, number, 0)
        return programs.run(spec["side"], spec)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(share(spec, processes, n))) for n in range(processes)]
        for worker in workers:
            worker.expect("ready")
        delivered = [0] * processes

        def follow(n: int) -> dict[str, Any]:
            def advance(count: int) -> None:
                delivered[n] = count
                progress(spec, number, sum(delivered))

            return workers[n].finish(advance)

        with ThreadPoolExecutor(processes) as threads:
            try:
                return merge(list(threads.map(follow, range(processes))))
            except BaseException:
                # the pool waits for its threads, which wait for the workers
                for worker in workers:
                    worker.process.kill()
                raise


def share(spec: Spec, processes: int, n: int) -> Spec:
    """What process n does of the run: its part of the records and of the rate, from rows of its own."""
    records, rate = spec["records"], spec["throughput"]
    part = {
        "records": None if records is None else records // processes + (n < records % processes),
        "throughput": None if rate is None else rate / processes,
        "seed": spec["seed"] + n,
    }
    return cast(Spec, {**spec, **part})


def merge(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts, CPU and memory added up; the time of the slowest; one histogram of all."""
    merged = {name: sum(one[name] for one in results) for name in ("delivered", "failed", "cpu_seconds", "rss_kb")}
    names = dict.fromkeys(name for one in results for name in one["cpu_by_thread"])
    return {
        **merged,
        "seconds": max(one["seconds"] for one in results),
        "latency_us": quantiles(one["histogram"] for one in results),
        "mean_size": results[0]["mean_size"],
        "cpu_by_thread": {name: sum(one["cpu_by_thread"].get(name, 0.0) for one in results) for name in names},
        "series": [sum(counts) for counts in zip_longest(*(one["series"] for one in results), fillvalue=0)],
    }


class Worker:
    """A process that does a run; a context manager that ends it."""

    def __init__(self, spec: Spec) -> None:
        """Starts it and its warm-up."""
        self.side = spec["side"]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pykafkaevt.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.send(json.dumps(spec))

    def send(self, line: str) -> None:
        """A line to its standard input."""
        assert self.process.stdin is not None
        # whether it has ended, and why, is for receive()
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Its next message. Raises RuntimeError when it failed, ConfigError for a property that is wrong."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        message: dict[str, Any] = json.loads(line) if line else {"error": self.last_words()}
        if "property" in message:
            raise ConfigError(message["property"], message["error"])
        if "error" in message:
            raise RuntimeError(f"{self.side}: {message['error']}")
        return message

    def last_words(self) -> str:
        """The last line it wrote to standard error."""
        code = self.process.wait()
        self.errors.seek(0)
        return (self.errors.read().strip().splitlines() or [f"its process ended with {code}"])[-1]

    def expect(self, name: str) -> None:
        """Wait for a message of that name."""
        while name not in self.receive():
            pass

    def finish(self, advance: Callable[[int], None]) -> dict[str, Any]:
        """Let it start; what it measured."""
        self.send("go")
        while True:
            message = self.receive()
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            advance(message["delivered"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.process.kill()
        self.process.communicate()
        self.errors.close()
