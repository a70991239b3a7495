"""The result as one HTML page that needs nothing else: tables beside plots, on a desk or a phone."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykafkaevt.bench import tables
from pykafkaevt.bench.facts import facts, remarks
from pykafkaevt.bench.runner import Measured, Report
from pykafkaevt.bench.schedule import QUANTILES
from pykafkaevt.bench.sweep import curves
from pykafkaevt.bench.tables import Table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped,unused-ignore]

# Okabe and Ito's, which the colour-blind tell apart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933", "#882255")
INTERVAL = 0.1  # seconds of the series
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1240px; padding: 0 1rem 3rem; color: #1a1a1a }
h1 { font-size: 1.6rem; margin: 1rem 0 .2rem }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem }
.lead { font-size: 1.1rem; margin: 0 }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem }
.beside > * { min-width: 0; max-width: 100% }
.plot { flex: 1 1 420px }
.scrolls { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: 100% }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff }
th { font-weight: 600 }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; font-size: .9rem }
dt { font-weight: 600 }
dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 600px) { dl { grid-template-columns: minmax(0, 1fr) } dd { margin-bottom: .4rem } }
"""


def write_html(report: Report, path: Path) -> None:
    """Write the page."""
    cells = {
        "": [table_html(tables.figures(report))],
        "Records a second": [
            table_html(tables.ratios(report)),
            plot_html(bars(report), "The lines reach from the least to the greatest round."),
        ],
        "CPU of a record": [table_html(tables.by_thread(report)), plot_html(cpu_bars(report))],
        "Latency against load": [
            table_html(tables.against_load(report)),
            plot_html(load_lines(report), "Solid lines are p50, dotted ones p99; at a cross the rate was not held."),
        ],
    }
    if not report.sweep:
        del cells["Latency against load"]
    untold = [side for side in report.sides() if not report.middle(side).series]
    caption = f"Without {', '.join(untold)}: programs that tell their result at the end." if untold else ""
    cells["Latency by quantile, and deliveries over time"] = [
        plot_html(quantile_lines(report)),
        plot_html(series_lines(report), caption),
    ]
    body = [f"<h1>pykafkaevt bench</h1>\n<p class=lead>{escape(lead(report))}</p>\n"]
    for title, parts in cells.items():
        heading = f"<h2>{escape(title)}</h2>\n" if title else ""
        body.append(f"{heading}<div class=beside>\n{''.join(parts)}</div>\n")
    body += [f"<p>{escape(remark)}</p>\n" for remark in remarks(report)]
    told = "".join(f"<dt>{escape(what)}</dt><dd>{escape(text)}</dd>\n" for what, text in facts(report).items())
    body.append(f"<h2>Where the figures are from</h2>\n<dl>\n{told}</dl>\n")
    path.write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>pykafkaevt bench</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n<script>{plotly_script()}</script></head>\n<body>\n{''.join(body)}</body></html>\n"
    )


def lead(report: Report) -> str:
    """The result in a sentence."""
    ours = report.middle("ours")
    text = f"{ours.records_per_s:,.0f} records/s at {ours.cpu_us_per_record:.2f} us of CPU each"
    against = [f"{found['records/s'][1]:.2f} x {side}" for side, found in report.ratios().items()]
    return f"{text}: {', '.join(against)}." if against else f"{text}."


def table_html(table: Table) -> str:
    """A table that scrolls by itself where it is wider than the page; nothing without rows."""
    if not table.rows:
        return ""
    heads = "".join(f"<th>{escape(head)}</th>" for head in table.heads)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows)
    return (
        f"<div><p>{escape(table.title)}:</p>\n"
        f"<div class=scrolls><table>\n<tr>{heads}</tr>\n{rows}</table></div></div>\n"
    )


def plot_html(figure: Figure, caption: str = "") -> str:
    """A plot as wide as there is room."""
    config = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    plot = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return f"<div class=plot>{f'<p>{escape(caption)}</p>' if caption else ''}{plot}</div>\n"


def plotly_script() -> str:
    """plotly's own, to stand in the page."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415

    script: str = get_plotlyjs()
    return script


def figure(height: int, **layout: Any) -> Figure:
    """An empty figure whose axes do not zoom, for a finger that scrolls would."""
    from plotly.graph_objects import Figure  # noqa: PLC0415

    empty = Figure()
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
    margin = {"l": 10, "r": 20, "t": 10, "b": 10}
    empty.update_layout(height=height, template="plotly_white", legend=legend, margin=margin, **layout)
    empty.update_layout(font={"size": 13, "color": "#1a1a1a"}, dragmode=False)
    empty.update_xaxes(automargin=True, fixedrange=True)
    empty.update_yaxes(automargin=True, fixedrange=True)
    return empty


def colours(report: Report) -> dict[str, str]:
    """By side."""
    return {side: COLOURS[n % len(COLOURS)] for n, side in enumerate(report.sides())}


def reach(report: Report, side: str, value: Callable[[Measured], float]) -> dict[str, Any]:
    """Error bars from the least to the greatest round."""
    middle, runs = value(report.middle(side)), [value(run) for run in report.of(side)]
    return {"array": [max(runs) - middle], "arrayminus": [middle - min(runs)], "symmetric": False}


def bars(report: Report) -> Figure:
    """Records/s of each side."""
    plot = figure(120 + 45 * len(report.sides()), showlegend=False)
    for side, colour in colours(report).items():
        error = reach(report, side, lambda run: run.records_per_s)
        plot.add_bar(
            x=[report.middle(side).records_per_s], y=[side], orientation="h", error_x=error, marker_color=colour
        )
    plot.update_xaxes(title_text="records/s", tickformat="~s", rangemode="tozero")
    plot.update_yaxes(autorange="reversed", ticksuffix="  ")
    return plot


def cpu_bars(report: Report) -> Figure:
    """CPU of a record, a part for each thread."""
    plot = figure(180 + 45 * len(report.sides()), barmode="stack")
    runs = {side: report.middle(side) for side in report.sides()}
    shown = tables.by_thread(report).heads[1:]
    parts = {name: {side: run.cpu_us_by_thread.get(name, 0.0) for side, run in runs.items()} for name in shown}
    whole = {side: run.cpu_us_per_record for side, run in runs.items() if not run.cpu_us_by_thread}
    if whole:
        parts["not split"] = whole
    for n, (name, own) in enumerate(parts.items()):
        colour = "#bbbbbb" if name == "not split" else COLOURS[n % len(COLOURS)]
        plot.add_bar(x=list(own.values()), y=list(own), name=name, orientation="h", marker_color=colour)
    plot.update_xaxes(title_text="microseconds", rangemode="tozero")
    plot.update_yaxes(autorange="reversed", ticksuffix="  ", categoryorder="array", categoryarray=list(runs))
    return plot


def quantile_lines(report: Report) -> Figure:
    """Latencies of the median runs."""
    plot = figure(380)
    values: list[float] = []
    for side, colour in colours(report).items():
        known = {name: us / 1000 for name, us in report.middle(side).latency_us.items() if us is not None}
        values += known.values()
        plot.add_scatter(x=list(known), y=list(known.values()), name=side, line_color=colour, mode="lines+markers")
    plot.update_xaxes(categoryorder="array", categoryarray=list(QUANTILES))
    plot.update_yaxes(title_text="acknowledged after, ms", **log_axis(values))
    return plot


def load_lines(report: Report) -> Figure:
    """Latencies of the sweep; crosses where a rate was not held."""
    plot = figure(420)
    drawn, rates, latencies = colours(report), [], []
    for side, steps in curves(report).items():
        x = [step.rate for step in steps]
        symbols = ["circle" if step.held else "x" for step in steps]
        rates += x
        for name, dash in (("p50", "solid"), ("p99", "dot")):
            y = [getattr(step, name) for step in steps]
            latencies += y
            line = {"color": drawn[side], "dash": dash}
            marker = {"symbol": symbols, "size": 8}
            style = {"line": line, "marker": marker, "legendgroup": side, "showlegend": dash == "solid"}
            plot.add_scatter(x=x, y=y, name=side, mode="lines+markers", **style)
    plot.update_xaxes(title_text="records/s offered", **log_axis(rates))
    plot.update_yaxes(title_text="ms", **log_axis(latencies))
    return plot


def series_lines(report: Report) -> Figure:
    """Deliveries over time of the median runs."""
    plot = figure(380)
    for side, colour in colours(report).items():
        run = report.middle(side)
        # the last interval is shorter: too short by itself for a rate
        counts = [*run.series[:-2], sum(run.series[-2:])]
        times = [*((n + 1) * INTERVAL for n in range(len(counts) - 1)), run.seconds]
        rates = [count / (end - begin) for count, begin, end in zip(counts, [0.0, *times], times, strict=False)]
        if run.series:
            plot.add_scatter(x=times, y=rates, name=side, line_color=colour, mode="lines+markers")
    plot.update_xaxes(title_text="seconds", rangemode="tozero")
    plot.update_yaxes(title_text="records/s", tickformat="~s", rangemode="tozero")
    return plot


def log_axis(values: list[float]) -> dict[str, Any]:
    """A logarithmic axis marked at 1, 2 and 5 of each decade that the values are in."""
    positive = [value for value in values if value > 0] or [1.0]
    decades = range(floor(log10(min(positive))), floor(log10(max(positive))) + 1)
    marks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    texts = [
        f"{mark / 1e6:g}M" if mark >= 1e6 else f"{mark / 1e3:g}k" if mark >= 1e3 else f"{mark:g}" for mark in marks
    ]
    return {"type": "log", "tickvals": marks, "ticktext": texts}
