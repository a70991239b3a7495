"""The result as tables of text: for a terminal, a page and Markdown alike."""

from __future__ import annotations

from typing import NamedTuple

from pykafkaevt.bench.runner import COMPARED, OURS, Report
from pykafkaevt.bench.schedule import QUANTILES
from pykafkaevt.bench.sweep import curves

UNKNOWN = "-"
SATURATED = "*"  # behind latencies at a rate that was more than the side can do

WHAT = {
    "confluent": "confluent-kafka `produce` + orjson, `on_delivery`",
    "confluent-batch": "confluent-kafka `produce_batch` + orjson, `on_delivery`",
    "confluent-aio": "confluent-kafka `AIOProducer` + orjson",
    "aiokafka": "aiokafka + orjson",
    "kafka-python": "kafka-python + orjson",
    "java": "Java, Kafka's `ProducerPerformance`",
    "franz-go": "Go, franz-go",
}


class Table(NamedTuple):
    """heads: of the columns, the first that of the sides or rates; rows: their cells, as many as heads."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def what(side: str, report: Report) -> str:
    """What a side calls, in Markdown."""
    api = str(report.run.get("api"))
    if side == OURS:
        if api == "raise_event":
            return "`EventInterface.raise_event`"
        if report.run.get("reports") == "route" and api.startswith("publish"):
            return f"`Connector.kafka_{api}`"
        return f"`Producer.{api}`"
    if side == "c":
        return f"C, `rd_kafka_produce{'_batch' if api.endswith('_many') else ''}`"
    return WHAT[side]


def milliseconds(us: int | None) -> str:
    """A latency; UNKNOWN without one."""
    return UNKNOWN if us is None else f"{us / 1000:.1f}"


def figures(report: Report) -> Table:
    """The median run of each side."""
    heads = ["side", "records/s", "MB/s", "CPU us", *(f"{name} ms" for name in QUANTILES), "RSS MB", "failed"]
    rows = []
    for side in report.sides():
        run = report.middle(side)
        rates = [f"{run.records_per_s:,.0f}", f"{run.mb_per_s:.1f}", f"{run.cpu_us_per_record:.2f}"]
        rss = UNKNOWN if run.rss_kb is None else f"{run.rss_kb / 1024:.0f}"
        failed = f"{sum(one.failed for one in report.of(side)):,}"
        rows.append([side, *rates, *map(milliseconds, run.latency_us.values()), rss, failed])
    for name in (*report.absent, *report.broken):
        rows.append([name, "absent" if name in report.absent else "failed", *(UNKNOWN for _ in heads[2:])])
    return Table("The median round of each side", heads, rows)


def ratios(report: Report) -> Table:
    """Ours against each peer."""
    rows = []
    for side, found in report.ratios().items():
        cells = [
            f"{median:.2f} x ({least:.2f} to {greatest:.2f})" if values else UNKNOWN
            for values in found.values()
            for least, median, greatest in [values or (0.0, 0.0, 0.0)]
        ]
        rows.append([side, *cells])
    title = "Ours against it, round by round: the median ratio (from the least to the greatest)"
    return Table(title, ["side", *COMPARED], rows)


def by_thread(report: Report) -> Table:
    """CPU by thread; the columns in the order of what ours uses."""
    split = {side: run.cpu_us_by_thread for side in report.sides() if (run := report.middle(side)).cpu_us_by_thread}
    # what rounds to nothing everywhere is left out
    names = dict.fromkeys(name for own in split.values() for name, us in own.items() if us >= 0.005)
    rows = [[side, *(f"{own[name]:.2f}" if name in own else UNKNOWN for name in names)] for side, own in split.items()]
    return Table("CPU of a record by thread, us, of the median round", ["side", *names], rows)


def against_load(report: Report) -> Table:
    """Latencies by rate, a column for each side."""
    steps = {side: {step.rate: step for step in own} for side, own in curves(report).items()}
    rows = []
    for rate in sorted({rate for own in steps.values() for rate in own}):
        found = [own.get(rate) for own in steps.values()]
        cells = [f"{one.p50:.1f} / {one.p99:.1f}{'' if one.held else SATURATED}" if one else UNKNOWN for one in found]
        rows.append([f"{rate:,.0f}", *cells])
    title = f"p50 / p99 in ms by the rate offered, medians of the rounds ({SATURATED}: the rate was not held)"
    return Table(title, ["records/s", *steps], rows)


def tables(report: Report) -> list[Table]:
    """All that have rows."""
    return [table for table in (figures(report), ratios(report), by_thread(report), against_load(report)) if table.rows]


def summary(report: Report) -> Table:
    """The short one for a document: what each side calls, its median run, and ours against it."""
    found = report.ratios()
    rows = []
    for side in report.sides():
        run = report.middle(side)
        latencies = [f"{milliseconds(run.latency_us[name])} ms" for name in ("p50", "p99")]
        rate = f"{run.records_per_s / 1000:,.0f} k"
        rows.append([what(side, report), rate, f"{run.cpu_us_per_record:.2f} us", *latencies, against(found.get(side))])
    return Table("", ["", "records/s", "CPU per record", "p50", "p99", "ours against it"], rows)


def against(found: dict[str, list[float]] | None) -> str:
    """The ratios of a side on one line; nothing of ours."""
    if not found:
        return ""
    least, median, greatest = found["records/s"]
    cells = [f"{median:.2f} x ({least:.2f} to {greatest:.2f})"]
    cells += [f"{name} {found[name][1]:.2f} x" for name in ("CPU per record", "p99") if found[name]]
    return ", ".join(cells).replace("CPU per record", "CPU")
