"""Latency against load: every side at rates up to saturation."""

from __future__ import annotations

from math import ceil, floor, log10
from statistics import median
from typing import NamedTuple, cast

from pykafkaevt.bench.runner import Measured, Progress, Report, attempt
from pykafkaevt.bench.side import Spec, all_reports

RATES = 10
SPAN = 100.0  # the greatest rate over the least
HELD = 0.95  # of a rate: with less it was more than the side can do
TRIES = 2  # rates in a row that a side does not hold, then no more: one may have been another's fault


class Step(NamedTuple):
    """A rate and its latencies (ms): medians of the rounds. held: whether the side kept up with it."""

    rate: float
    p50: float
    p99: float
    held: bool


def offered_rates(saturation: float) -> list[float]:
    """RATES rates (records/s) in equal ratios, the last the saturation; two significant digits."""
    rates = []
    for number in range(RATES):
        rate = saturation * SPAN ** (number / (RATES - 1) - 1)
        digit = 10.0 ** (floor(log10(rate)) - 1)
        rates.append(round(rate / digit) * digit)
    return rates


def run_sweep(report: Report, spec: Spec, compared: list[str], progress: Progress, *, seconds: float) -> None:
    """Hold each rate for so many seconds, the sides in turn, until TRIES rates in a row were too much for a side.

    The greatest rate is that of the fastest side in `report.measured`; rounds and processes are as many as there.
    Raises RuntimeError when ours fails.
    """
    rounds, processes = report.run["repeat"], report.run["processes"]
    reports = all_reports(spec["api"]) if spec["reports"] == "none" else spec["reports"]
    top = max(report.middle(side).records_per_s for side in report.sides())
    for number in range(1, rounds + 1):
        missed: dict[str, int] = {}
        for rate in offered_rates(top):
            for side in report.present(compared):
                if missed.get(side) == TRIES:
                    continue
                held = {"throughput": rate, "records": ceil(rate * seconds), "duration": None, "reports": reports}
                run = attempt(report, cast(Spec, {**spec, "side": side, **held}), processes, number, progress)
                if run is not None:
                    report.sweep.append(run)
                    missed[side] = 0 if is_held(run) else missed.get(side, 0) + 1


def is_held(run: Measured) -> bool:
    """Whether the records went as fast as they were due."""
    return run.offered is None or run.records_per_s >= HELD * run.offered


def curves(report: Report) -> dict[str, list[Step]]:
    """By side the steps of the sweep, the least rate first."""
    found: dict[str, list[Step]] = {}
    for side in report.sides():
        # where no record was delivered there is none
        own = [run for run in report.sweep if run.side == side and run.latency_us["p50"] is not None]
        for rate in sorted({run.offered for run in own if run.offered is not None}):
            runs = [run for run in own if run.offered == rate]
            p50, p99 = (
                median(us / 1000 for run in runs if (us := run.latency_us[name]) is not None) for name in ("p50", "p99")
            )
            held = median(run.records_per_s for run in runs) >= HELD * rate
            found.setdefault(side, []).append(Step(rate, p50, p99, held))
    return found
