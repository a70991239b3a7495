"""When records are sent: at once, or at a rate held by a schedule; and the latencies counted from there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from math import ceil
from typing import Any

from pykafkaevt.bench.workload import Chunk

BATCH_SAMPLE = 16  # of one batch in so many the latencies are measured, when not all are needed
QUANTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


def schedule(
    chunks: Iterable[Chunk],
    total: int | None,
    seconds: float | None,
    rate: float | None,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[tuple[Chunk, list[float] | None]]:
    """Chunks in turn, again and again, until `total` records or `seconds`; each with its records' intended times.

    rate: records/s. Record n is due n/rate seconds (of `clock`) after the start, whatever happened meanwhile: a stall
    moves no due time, so what had to wait is counted as waiting. Then a chunk is what is due of it by now, one record
    at least, and all that falls within `seconds` is sent. Without a rate there are no intended times.
    """
    if rate is not None and seconds is not None:
        scheduled = ceil(seconds * rate)
        total, seconds = (scheduled if total is None else min(total, scheduled)), None
    start = clock()
    sent = 0
    for chunk in cycle(chunks):
        offset = 0
        while offset < len(chunk.keys):
            count = len(chunk.keys) - offset
            if total is not None:
                count = min(count, total - sent)
            now = clock()
            if count <= 0 or (seconds is not None and now - start >= seconds):
                return
            dues = None
            if rate is not None:
                if (early := start + sent / rate - now) > 0:
                    sleep(early)
                    now = clock()
                count = max(1, min(count, int((now - start) * rate) + 1 - sent))
                dues = [start + n / rate for n in range(sent, sent + count)]
            yield chunk.part(offset, count), dues
            offset += count
            sent += count


class Latencies:
    """How long records waited for their acknowledgement, in microseconds.

    Counted by value while the clock runs, for that costs least; a HDR histogram afterwards.
    """

    def __init__(self) -> None:
        """Empty."""
        self.counts: Counter[int] = Counter()
        self.update = self.counts.update
        self.batches = 0

    def clear(self) -> None:
        """Forget the warm-up."""
        self.counts.clear()
        self.batches = 0

    def sampled(self) -> bool:
        """Whether the latencies of the next batch are measured: the first, then one in BATCH_SAMPLE."""
        self.batches += 1
        return self.batches % BATCH_SAMPLE == 1

    def since(self, then: float) -> None:
        """Count one record that was sent, or was to be sent, at `then` (time.perf_counter())."""
        self.counts[int((time.perf_counter() - then) * 1e6)] += 1

    def encoded(self) -> str:
        """The histogram as text (HdrHistogram's V2 encoding)."""
        histogram = new_histogram()
        for value, count in self.counts.items():
            histogram.record_value(min(max(value, 1), histogram.highest_trackable_value), count)
        return str(histogram.encode().decode())


def new_histogram() -> Any:
    """An empty histogram: 1 us to 1 hour, 3 significant digits."""
    # of the extra bench; the demo sends by the sides too, and needs no histogram
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # noqa: PLC0415

    return HdrHistogram(1, 3_600_000_000, 3)


def quantiles(encoded: Iterable[str]) -> dict[str, int | None]:
    """The QUANTILES of several histograms together, in microseconds; None without any record."""
    histogram = new_histogram()
    for text in encoded:
        histogram.decode_and_add(text)
    if not histogram.get_total_count():
        return dict.fromkeys(QUANTILES)
    return {name: int(histogram.get_value_at_percentile(percent)) for name, percent in QUANTILES.items()}
