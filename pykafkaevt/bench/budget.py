"""Limits for the ratios of a comparison, from a file: what a CI fails on.

{"confluent": {"records/s": 3.5, "CPU per record": 0.4, "p99": 1.0}}: ours must have 3.5 times the peer's records/s or
more, 0.4 times its CPU per record or less, and no greater 99th percentile; medians of the rounds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from pykafkaevt.bench.runner import COMPARED, NAMES, Report

Budget = dict[str, dict[str, float]]  # by peer and ratio
AT_LEAST = ("records/s",)  # of the other ratios less is better


class Judged(NamedTuple):
    """A line of the budget and what came of it."""

    text: str
    kept: bool


def read_budget(path: Path, compared: list[str]) -> Budget:
    """The budget of a file. Raises OSError, and ValueError naming what is wrong in it."""
    try:
        budget = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from error
    if not isinstance(budget, dict) or not budget:
        raise ValueError('not an object like {"confluent": {"records/s": 3.5}}')
    for peer, limits in budget.items():
        if peer not in NAMES:
            raise ValueError(f"{peer!r} is none of {', '.join(NAMES)}")
        if peer not in compared:
            raise ValueError(f"{peer} is not in --compare")
        if not isinstance(limits, dict) or not limits:
            raise ValueError(f"{peer}: not an object of {', '.join(COMPARED)}")
        for name, limit in limits.items():
            if name not in COMPARED:
                raise ValueError(f"{peer}: {name!r} is none of {', '.join(COMPARED)}")
            if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not limit > 0:
                raise ValueError(f"{peer}: {name}: {limit!r} is no positive number")
    return budget


def judge(report: Report, budget: Budget) -> list[Judged]:
    """Each limit beside the median ratio; a ratio that could not be measured is not kept."""
    judged = []
    ratios = report.ratios()
    for peer, limits in budget.items():
        for name, limit in limits.items():
            measured = ratios.get(peer, {}).get(name)
            wanted = f"{'at least' if name in AT_LEAST else 'at most'} {limit:g}"
            if not measured:
                judged.append(Judged(f"{name} against {peer}: not measured, {wanted} is asked", False))
                continue
            kept = measured[1] >= limit if name in AT_LEAST else measured[1] <= limit
            word = "kept" if kept else "broken"
            judged.append(Judged(f"{name} against {peer}: {measured[1]:.2f} x, {wanted} is asked: {word}", kept))
    return judged
