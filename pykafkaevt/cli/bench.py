"""`pykafkaevt bench`: how fast records go into a broker, alone or beside other clients."""

from __future__ import annotations

import shlex
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from pykafkaevt.cli.arguments import is_embedded, kafka_socket
from pykafkaevt.cli.display import progress
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt.bench.budget import Budget
    from pykafkaevt.bench.runner import Report
    from pykafkaevt.bench.side import Spec

APIS = ("emit", "emit_many", "publish", "publish_many", "raise_event")
RECORDS = 500_000
ROUNDS = 3  # of a comparison
ANSWER = 3.0  # seconds the brokers have to answer before anything is measured
STEP_SECONDS = 2.0  # of each rate of a sweep
VERSIONS = ("pykafkaevt", "python", "librdkafka", "confluent-kafka", "orjson")


def output_path(context: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """A file whose name says its format."""
    if path is not None and path.suffix not in (".json", ".csv", ".html"):
        raise click.BadParameter(f"{str(path)!r} ends in none of .json, .csv, .html", context, param)
    return path


def try_output(path: Path) -> None:
    """Whether the file can be written, before minutes are spent on it. Raises click.ClickException."""
    existed = path.exists()
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def limits(path: Path | None, compared: list[str]) -> Budget:
    """The budget of a file, none without one. Raises click.UsageError naming what is wrong in it."""
    from pykafkaevt.bench.budget import read_budget  # noqa: PLC0415

    try:
        return {} if path is None else read_budget(path, compared)
    except ValueError as error:
        raise click.UsageError(f"{path}: {error}") from error


def command_line(context: click.Context) -> str:
    """The command as it was given, secrets of the socket masked."""
    words = ["pykafkaevt", "bench"]
    for param in context.command.params:
        value = context.params.get(param.name or "")
        if context.get_parameter_source(param.name or "") != ParameterSource.COMMANDLINE:
            continue
        if isinstance(value, float):
            value = f"{value:.15g}"
        text = ",".join(value) if isinstance(value, list) else str(value)
        if isinstance(value, KafkaSocket):
            words.append(value.to_text())
        else:
            words += [param.opts[0]] if value is True else [param.opts[0], text]
    return shlex.join(words)


def about(context: click.Context) -> dict[str, Any]:
    """Where the figures are from."""
    from pykafkaevt.bench.machine import machine  # noqa: PLC0415
    from pykafkaevt.cli.info import gather  # noqa: PLC0415

    parts, _ = gather()
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command_line(context),
        "versions": {name: parts[name] for name in VERSIONS},
        "machine": machine(),
    }


def require_broker(socket: KafkaSocket) -> None:
    """Raises click.ClickException when no broker answers in ANSWER seconds."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    from pykafkaevt.cli.cluster import ClusterClient  # noqa: PLC0415

    if not is_embedded(socket):
        ClusterClient(AdminClient, socket).metadata(ANSWER)


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
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    help=f"Send for so many seconds; with --sweep hold each rate for so many ({STEP_SECONDS:g} unless given).",
)
@click.option(
    "--throughput",
    type=click.FloatRange(0, min_open=True),
    help="Records/s, held by a schedule; latencies count from the time a record was to be sent.",
)
@click.option(
    "--sweep",
    is_flag=True,
    help="Then hold 10 rates up to saturation on every side, for latency against load.",
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
    "--budget",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Exit with 1 when a median ratio to a peer is worse than the file says.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=output_path,
    help="Write a .json, .csv or .html file.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a document.")
@click.pass_context
def bench(
    context: click.Context,
    /,
    socket: KafkaSocket,
    *,
    processes: int,
    repeat: int | None,
    compare: list[str],
    budget: Path | None,
    output: Path | None,
    as_markdown: bool,
    sweep: bool,
    **options: Any,
) -> None:
    """Measure how fast records go to SOCKET and are acknowledged, alone or beside other clients.

    SOCKET is kafka:embedded/bench unless given; the embedded broker runs in the process that is measured, so its
    CPU is in the figures. Every run has a process of its own; with --compare the sides take turns, with equal
    settings (linger 5 ms, acks all, no idempotence, no compression, unless SOCKET says otherwise). JSON is made
    inside the clock by emit, emit_many, raise_event and the Python peers, before it for publish, publish_many, c,
    java and franz-go. Latency is that of a sample unless --reports or --throughput ask for all. At a held
    rate a batch is what is due of it.

    A budget is JSON: {"confluent": {"records/s": 3.5, "CPU per record": 0.4, "p99": 1}} asks for 3.5 times its
    records/s at least, 0.4 times its CPU and once its 99th percentile of latency at most.

    Exits with 1 when a record failed, a side or the budget broke; an absent peer is named and is no failure.
    """
    from pykafkaevt.bench.runner import versions  # noqa: PLC0415

    if compare and (options["threads"] > 1 or processes > 1):
        raise click.UsageError("--compare measures one thread of one process on every side")
    step = sweep_step(options) if sweep else None
    spec = specified(socket, processes, **options)
    asked = limits(budget, compare)
    if output is not None:
        try_output(output)
    require_broker(socket)
    origin = about(context)  # with the load before
    report = measured(spec, compare, processes, repeat or (ROUNDS if compare else 1), step)
    report.about = {**origin, "versions": {**origin["versions"], **versions(report.sides())}}
    notes = Console(highlight=False, stderr=as_markdown)
    show(report, notes, as_markdown=as_markdown)
    if output is not None:
        save(report, output)
        notes.print(f"written to {output}", soft_wrap=True, markup=False)
    conclude(notes, report, asked)


def sweep_step(options: dict[str, Any]) -> float:
    """Seconds of each rate; the duration is then not that of the other runs. Raises click.UsageError."""
    if options["throughput"] is not None:
        raise click.UsageError("--sweep chooses its rates: no --throughput")
    seconds, options["duration"] = options["duration"], None
    return seconds or STEP_SECONDS


def measured(spec: Spec, compare: list[str], processes: int, rounds: int, step: float | None) -> Report:
    """All runs. step: seconds of each rate of a sweep, None for none. Raises click.ClickException."""
    from pykafkaevt.bench.runner import run_all  # noqa: PLC0415
    from pykafkaevt.bench.sweep import run_sweep  # noqa: PLC0415

    with progress(Console(highlight=False)) as bars:
        task = bars.add_task("")

        def advance(run: Spec, number: int, delivered: int) -> None:
            rate = "" if step is None or run["throughput"] is None else f" at {run['throughput']:,.0f}/s"
            what = f"{run['side']} {number}/{rounds}{rate}"
            bars.update(task, description=what, total=run["records"], completed=delivered)

        try:
            report = run_all(spec, compare, processes, rounds, advance)
            if step is not None:
                run_sweep(report, spec, compare, advance, seconds=step)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
    return report


def conclude(notes: Console, report: Report, asked: Budget) -> None:
    """Say what came of the budget. Raises click.ClickException unless all went well."""
    from pykafkaevt.bench.budget import judge  # noqa: PLC0415

    judged = judge(report, asked)
    for one in judged:
        notes.print(one.text, soft_wrap=True, markup=False)
    failed = sum(run.failed for run in (*report.measured, *report.sweep))
    wrong = [f"{failed} records failed"] if failed else []
    wrong += [f"failed: {', '.join(report.broken)}"] if report.broken else []
    broken = sum(not one.kept for one in judged)
    wrong += [f"the budget is broken in {broken} of {len(judged)} lines"] if broken else []
    if wrong:
        raise click.ClickException("; ".join(wrong))


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
    from pykafkaevt.bench.side import all_reports  # noqa: PLC0415

    payloads = [name for name, given in (("--event", event), ("--record-size", record_size)) if given]
    payloads += ["--payload-file"] if payload_file is not None else []
    if len(payloads) > 1:
        raise click.UsageError(f"give one of {' and '.join(payloads)}")
    plain = record_size is not None or payload_file is not None
    api = api or ("publish_many" if plain else "emit_many")
    if plain and not api.startswith("publish"):
        raise click.UsageError(f"{payloads[0]} needs --api publish or publish_many: {api} makes events")
    if reports is None:
        reports = "none" if throughput is None else all_reports(api)
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


def show(report: Report, notes: Console, *, as_markdown: bool) -> None:
    """The tables, and on notes what is to be said of them."""
    from pykafkaevt.bench.facts import facts, remarks  # noqa: PLC0415
    from pykafkaevt.bench.report import markdown  # noqa: PLC0415

    if as_markdown:
        click.echo(markdown(report))
    else:
        show_tables(report)
    about_it = {} if as_markdown else facts(report)
    for line in [*(f"{what}: {text}" for what, text in about_it.items()), *remarks(report)]:
        notes.print(line, soft_wrap=True, markup=False)


def show_tables(report: Report) -> None:
    """As a terminal shows them."""
    from pykafkaevt.bench.tables import tables  # noqa: PLC0415

    console = Console(highlight=False)
    # no narrower than its figures, for what is cut off is lost in a pipe
    console.width = max(console.width, 110)
    for table in tables(report):
        console.print(f"{table.title}:", soft_wrap=True, markup=False)
        shown = Table(box=None, header_style="bold")
        for number, head in enumerate(table.heads):
            shown.add_column(head, justify="right" if number else "left", no_wrap=True)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        console.print()
