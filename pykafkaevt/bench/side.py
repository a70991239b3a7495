"""What a measured run does, as plain data; and what one who sends records has to offer."""

from __future__ import annotations

import time
from typing import Protocol, TypedDict

from pykafkaevt.bench.workload import Chunk

SINGLE_CHUNK = 64  # records between two looks at the clock when each has a call of its own
SAMPLE = 64  # of one record in so many the latency is measured, when reports for all are not asked


class Spec(TypedDict):
    """A run of one process, as JSON. All sides have the same settings.

    side: "ours" or a peer's name; socket: the whole text, secrets too; settings: librdkafka's names; throughput:
    records/s; duration: seconds; reports: none, batch or route.
    """

    side: str
    socket: str
    settings: dict[str, str]
    api: str
    batch: int
    threads: int
    records: int | None
    duration: float | None
    throughput: float | None
    reports: str
    warmup: int
    seed: int
    record_size: int | None
    payload_file: str | None


class Side(Protocol):
    """One who sends records; made with a Spec, the brokers' addresses, a topic and the Latencies to fill."""

    def send(self, chunk: Chunk, dues: list[float] | None) -> None:
        """Send the records; dues are their intended times, None without a schedule. Waits when its queue is full."""

    def wait(self, seconds: float) -> None:
        """Let that much time pass."""

    def flush(self, timeout: float | None) -> int:
        """Wait for the reports of all records, `timeout` seconds at most; how many have none."""

    def counts(self) -> tuple[int, int]:
        """How many records were delivered, how many failed, so far."""

    def close(self) -> None:
        """End."""


def is_ready(spec: Spec) -> bool:
    """Whether the sides are given ready values, rather than rows to make JSON of."""
    return spec["api"].startswith("publish")


def all_reports(api: str) -> str:
    """The reports that tell the latency of every record, by the API."""
    return "route" if api == "raise_event" else "batch"


def late_us(due: float) -> int:
    """Microseconds since the intended time."""
    return max(0, int((time.perf_counter() - due) * 1e6))
