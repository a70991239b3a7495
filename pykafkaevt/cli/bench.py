"""`pykafkaevt bench`: how fast records go into a broker, alone or beside other clients."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from pykafkaevt.cli.arguments import kafka_socket
from pykafkaevt.cli.display import progress
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt.bench.runner import Report
    from pykafkaevt.bench.side import Spec

APIS = ("emit", "emit_many", "publish", "publish_many", "raise_event")
RECORDS = 500_000
ROUNDS = 3  # of a comparison


def output_path(context: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """A file whose name says its format."""
    if path is not None and path.suffix not in (".json", ".csv", ".html"):
        raise click.BadParameter(f"{str(path)!r} ends in none of .json, .csv, .html", context, param)
    return path


def peer_names(context: click.Context, param: click.Parameter, text: str | None) -> list[str]:
    """The names of the peers, each once."""
    from pykafkaevt.bench.runner import NAMES  # noqa: PLC0415

    names = list(dict.fromkeys(text.split(","))) if text is not None else []
    for name in names:
        if name not in NAMES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(NAMES)}", context, param)
    return names


def require_extra(context: click.Context, param: click.Parameter, value: Any) -> Any:
    """Wrong usage when the packages of the extra are not installed."""
    missing = [name for name in ("hdrh", "plotly") if find_spec(name) is None]
    if missing:
        raise click.UsageError("bench needs its packages: pip install 'pykafkaevt[bench]'", context)
    return value


@click.command(
    epilog="\b\nExample:\n  pykafkaevt bench --compare confluent,c --num-records 1000000 --output bench.html"
)
@click.argument("socket", metavar="[SOCKET]", type=kafka_socket, default="kafka:embedded/bench", callback=require_extra)
@click.option("--num-records", type=click.IntRange(1), help=f"Records to send.  [default: {RECORDS:,}]")
@click.option("--duration", type=click.FloatRange(0, min_open=True), help="Send for so many seconds.")
@click.option(
    "--throughput",
    type=click.FloatRange(0, min_open=True),
    help="Records/s, held by a schedule; latencies count from the time a record was to be sent.",
)
@click.option("--event", is_flag=True, help="Synthetic SIP events of 277 bytes, the Call-ID as key (the default).")
@click.option("--record-size", metavar="BYTES", type=click.IntRange(1), help="Random printable records instead.")
@click.option("--payload-file", type=click.Path(exists=True, dir_okay=False), help="The lines of a file instead.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the events or records.")
@click.option("--api", type=click.Choice(APIS), help="What is called.  [default: emit_many or publish_many]")
@click.option("--batch", type=click.IntRange(1), default=512, show_default=True, help="Records a call of …_many.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads that share the work.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes that share it.")
@click.option("--warmup", type=click.IntRange(1), default=50_000, show_default=True, help="Records before the clock.")
@click.option(
    "--reports",
    type=click.Choice(["none", "batch", "route"]),
    help="Reports of all records, in batches or by a call for each.  [default: none; with --throughput all]",
)
@click.option("--repeat", type=click.IntRange(1), help=f"Rounds.  [default: 1; with --compare {ROUNDS}]")
@click.option(
    "--compare",
    metavar="PEER,…",
    callback=peer_names,
    help="confluent, confluent-batch, confluent-aio, aiokafka, kafka-python, c, java, franz-go",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=output_path,
    help="Write a .json, .csv or .html file.",
)
def bench(
    socket: KafkaSocket, *, processes: int, repeat: int | None, compare: list[str], output: Path | None, **options: Any
) -> None:
    """Measure how fast records go to SOCKET and are acknowledged, alone or beside other clients.

    SOCKET is kafka:embedded/bench unless given; the embedded broker runs in the process that is measured, so its
    CPU is in the figures. Every run has a process of its own; with --compare the sides take turns, with equal
    settings (linger 5 ms, acks all, no idempotence, no compression, unless SOCKET says otherwise). JSON is made
    inside the clock by emit, emit_many, raise_event and the Python peers, before it for publish, publish_many, c,
    java and franz-go. Latency is that of a sample unless --reports or --throughput ask for all. At a held
    rate a batch is what is due of it.
    Exits with 1 when a record failed or a side broke; an absent peer is named and is no failure.
    """
    from pykafkaevt.bench.runner import run_all  # noqa: PLC0415

    if compare and (options["threads"] > 1 or processes > 1):
        raise click.UsageError("--compare measures one thread of one process on every side")
    spec = specified(socket, processes, **options)
    rounds = repeat or (ROUNDS if compare else 1)
    console = Console(highlight=False)
    with progress(console) as bars:
        task = bars.add_task("", total=spec["records"])

        def advance(side: str, number: int, delivered: int) -> None:
            bars.update(task, description=f"{side} {number}/{rounds}", completed=delivered)

        try:
            report = run_all(spec, compare, processes, rounds, advance)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
    show(console, report)
    if output is not None:
        save(report, output)
        console.print(f"written to {output}", soft_wrap=True, markup=False)
    failed = sum(run.failed for run in report.measured)
    if failed or report.broken:
        raise click.ClickException(f"{failed} records failed" if failed else f"failed: {', '.join(report.broken)}")


def specified(
    socket: KafkaSocket,
    processes: int,
    *,
    event: bool,
    record_size: int | None,
    payload_file: str | None,
    api: str | None,
    reports: str | None,
    throughput: float | None,
    num_records: int | None,
    duration: float | None,
    **rest: Any,
) -> Spec:
    """What the options of `bench` ask for. Raises click.UsageError for those that do not go together."""
    from pykafkaevt.bench.runner import OURS, settings_of  # noqa: PLC0415

    payloads = [name for name, given in (("--event", event), ("--record-size", record_size)) if given]
    payloads += ["--payload-file"] if payload_file is not None else []
    if len(payloads) > 1:
        raise click.UsageError(f"give one of {' and '.join(payloads)}")
    plain = record_size is not None or payload_file is not None
    api = api or ("publish_many" if plain else "emit_many")
    if plain and not api.startswith("publish"):
        raise click.UsageError(f"{payloads[0]} needs --api publish or publish_many: {api} makes events")
    if reports is None:
        reports = "none" if throughput is None else "route" if api == "raise_event" else "batch"
    if throughput is not None and reports == "none":
        raise click.UsageError("--throughput counts the latency of every record: --reports batch or route")
    if api == "raise_event" and reports == "batch":
        raise click.UsageError("raise_event reports to a call for each event: --reports none or route")
    if num_records is None and duration is None:
        num_records = RECORDS
    if num_records is not None and num_records < rest["threads"] * processes:
        raise click.UsageError("--num-records is less than one for each thread")
    given = {"records": num_records, "duration": duration, "throughput": throughput, "reports": reports, "api": api}
    settings = {"side": OURS, "socket": socket.to_text(secrets=True), "settings": settings_of(socket)}
    return {**settings, **given, **rest, "record_size": record_size, "payload_file": payload_file}  # type: ignore[typeddict-item]


def save(report: Report, output: Path) -> None:
    """Write the file. Raises click.ClickException."""
    from pykafkaevt.bench.report import WRITERS  # noqa: PLC0415

    try:
        WRITERS[output.suffix](report, output)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from error


def show(console: Console, report: Report) -> None:
    """The table: the median run of each side, and what is to be said of all."""
    from pykafkaevt.bench.report import notes  # noqa: PLC0415
    from pykafkaevt.bench.schedule import QUANTILES  # noqa: PLC0415

    table = Table(box=None, header_style="bold")
    table.add_column("side", no_wrap=True)
    heads = ("records/s", "MB/s", "CPU us", *(f"{name} ms" for name in QUANTILES), "RSS MB", "failed")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for side in report.sides():
        run = report.middle(side)
        latencies = ["-" if us is None else f"{us / 1000:.1f}" for us in run.latency_us.values()]
        rss = "-" if run.rss_kb is None else f"{run.rss_kb / 1024:.0f}"
        failed = sum(one.failed for one in report.of(side))
        figures = (f"{run.records_per_s:,.0f}", f"{run.mb_per_s:.1f}", f"{run.cpu_us_per_record:.2f}")
        table.add_row(side, *figures, *latencies, rss, f"{failed:,}")
    for name in (*report.absent, *report.broken):
        table.add_row(name, "absent" if name in report.absent else "failed", *("-" for _ in heads[1:]))
    # no narrower than its figures, for what is cut off is lost in a pipe
    console.width = max(console.width, 110)
    console.print(table)
    for note in notes(report):
        console.print(note, soft_wrap=True, markup=False)
