"""The result as a file: JSON, CSV or a page; and as Markdown."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pykafkaevt.bench.facts import machine_text, settings_text, versions_text
from pykafkaevt.bench.page import write_html
from pykafkaevt.bench.runner import Measured, Report
from pykafkaevt.bench.schedule import QUANTILES
from pykafkaevt.bench.sweep import is_held
from pykafkaevt.bench.tables import against_load, by_thread, summary


def write_json(report: Report, path: Path) -> None:
    """Everything, the series too."""
    path.write_text(json.dumps(report.as_dict(), indent=2) + "\n")


def csv_row(run: Measured) -> dict[str, object]:
    """One run; latencies in columns of their own, threads in one."""
    apart = ("latency_us", "series", "cpu_us_by_thread")
    row: dict[str, object] = {name: value for name, value in vars(run).items() if name not in apart}
    threads = " ".join(f"{name.replace(' ', '_')}={us}" for name, us in run.cpu_us_by_thread.items())
    latencies = {f"latency_{name}_us": run.latency_us[name] for name in QUANTILES}
    return {**row, **latencies, "held": is_held(run), "cpu_us_by_thread": threads}


def write_csv(report: Report, path: Path) -> None:
    """A row a run, those of the sweep last, and one for each peer that did not run, with the reason as `absent`."""
    with path.open("w", newline="") as file:
        rows = [csv_row(run) for run in (*report.measured, *report.sweep)]
        about = {
            "settings": settings_text(report),
            "date": report.about["date"],
            "command": report.about["command"],
            "machine": machine_text(report),
            "versions": versions_text(report),
        }
        writer = csv.DictWriter(file, [*rows[0], "absent", *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
        writer.writerows(
            {"side": name, "absent": reason} for name, reason in {**report.absent, **report.broken}.items()
        )


def markdown(report: Report) -> str:
    """For a document: where the figures are from, the summary, and CPU by thread and the sweep where there are any."""
    about = report.about
    lines = [f"    {about['command']}", "", f"{about['date']}, {machine_text(report)}; {versions_text(report)}.", ""]
    for table in (summary(report), by_thread(report), against_load(report)):
        if table.rows:
            lines += [f"{table.title}:", ""] if table.title else []
            lines += [f"| {' | '.join(cells)} |" for cells in (table.heads, ["---"] * len(table.heads), *table.rows)]
            lines.append("")
    return "\n".join(lines)


WRITERS = {".json": write_json, ".csv": write_csv, ".html": write_html}
