"""The result as a file: JSON, CSV, or one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from html import escape
from pathlib import Path

from pykafkaevt.bench.runner import OURS, Measured, Report
from pykafkaevt.bench.schedule import QUANTILES


def write_json(report: Report, path: Path) -> None:
    """Everything, the series too."""
    path.write_text(json.dumps(report.as_dict(), indent=2) + "\n")


def csv_row(run: Measured) -> dict[str, object]:
    """One run; latencies in columns of their own."""
    row: dict[str, object] = {name: value for name, value in vars(run).items() if name not in ("latency_us", "series")}
    return {**row, **{f"latency_{name}_us": run.latency_us[name] for name in QUANTILES}}


def write_csv(report: Report, path: Path) -> None:
    """A row a run, and one for each peer that did not run, with the reason in the column `absent`."""
    with path.open("w", newline="") as file:
        rows = [csv_row(run) for run in report.measured]
        writer = csv.DictWriter(file, [*rows[0], "absent", "settings"])
        writer.writeheader()
        settings = settings_text(report)
        writer.writerows({**row, "settings": settings} for row in rows)
        writer.writerows(
            {"side": name, "absent": reason} for name, reason in {**report.absent, **report.broken}.items()
        )


def settings_text(report: Report) -> str:
    """The settings of all sides on one line."""
    return " ".join(f"{name}={value}" for name, value in report.settings.items())


def write_html(report: Report, path: Path) -> None:
    """Throughput over time, latencies, and the comparison, with plotly's script inside the page."""
    import plotly.graph_objects as go  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415
    from plotly.subplots import make_subplots  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415

    titles = (
        "Throughput over time, of the median round (records/s, per 100 ms)",
        "Acknowledgement latency, of the median round (ms)",
        "Records/s: median, least and greatest round",
        "CPU per record (us): median, least and greatest round",
    )
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles)
    colors = dict(zip(report.sides(), ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"), strict=False))
    for side in report.sides():
        run = report.middle(side)
        style = {"name": side, "legendgroup": side, "marker_color": colors.get(side, "#7f7f7f")}
        times = [min((n + 1) / 10, run.seconds) for n in range(len(run.series))]
        # the last interval is shorter than 100 ms
        spans = [end - begin for begin, end in zip([0.0, *times], times, strict=False)]
        rates = [count / max(span, 0.001) for count, span in zip(run.series, spans, strict=True)]
        figure.add_trace(go.Scatter(x=times, y=rates, showlegend=False, **style), 1, 1)
        known = {name: us / 1000 for name, us in run.latency_us.items() if us is not None}
        figure.add_trace(go.Scatter(x=list(known), y=list(known.values()), showlegend=False, **style), 1, 2)
        bars: list[tuple[Callable[[Measured], float], int]] = [
            (lambda one: one.records_per_s, 1),
            (lambda one: one.cpu_us_per_record, 2),
        ]
        for value, column in bars:
            middle, runs = value(run), [value(one) for one in report.of(side)]
            reach = {"array": [max(runs) - middle], "arrayminus": [middle - min(runs)], "symmetric": False}
            bar = go.Bar(x=[side], y=[middle], error_y=reach, showlegend=column == 1, **style)
            figure.add_trace(bar, 2, column)
    figure.update_xaxes(title_text="seconds", row=1, col=1)
    figure.update_xaxes(categoryorder="array", categoryarray=list(QUANTILES), row=1, col=2)
    figure.update_yaxes(type="log", row=1, col=2)
    figure.update_layout(height=900, template="plotly_white")
    plot = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    path.write_text(
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>pykafkaevt bench</title></head>\n'
        '<body style="font-family: sans-serif">\n<h1>pykafkaevt bench</h1>\n'
        + "".join(f"<p>{escape(line)}</p>\n" for line in notes(report))
        + f"{plot}\n</body></html>\n"
    )


def notes(report: Report) -> list[str]:
    """What was measured, in words: the run, the settings, ratios, peers that did not run."""
    run = ", ".join(f"{name} {value}" for name, value in report.run.items() if value is not None)
    lines = [f"{report.socket}: {run}", f"settings of every side: {settings_text(report)}"]
    if report.socket.startswith("kafka:embedded/"):
        lines.append("The embedded broker runs inside each measured process: its CPU and memory are in the figures.")
    if "java" in report.sides():
        lines.append("java sends no keys; its CPU is that of the whole JVM, its start included.")
    for side, ratios in report.ratios().items():
        each = [
            f"{name} " + " / ".join(f"{value:.2f}" for value in values) for name, values in ratios.items() if values
        ]
        lines.append(f"{OURS} / {side}, min / median / max of the rounds: {', '.join(each)}")
    lines += [f"{name} is absent: {reason}" for name, reason in report.absent.items()]
    lines += [f"{name} failed: {reason}" for name, reason in report.broken.items()]
    return lines


WRITERS = {".json": write_json, ".csv": write_csv, ".html": write_html}
