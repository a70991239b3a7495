"""`pykafkaevt bridge`: the daemon's options, their check, its start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pykafkaevt.cli.display import printable
from pykafkaevt.errors import ConfigError
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt.bridge.config import BridgeConfig

EXAMPLE = """\b
Example:
  pykafkaevt bridge udp://127.0.0.1:5050 hep://0.0.0.0:9060 \\
    --to 'kafka:kafka1:9092/sip?key=callid' --route 'E_ACC_*=kafka:kafka1:9092/acc'
"""


@click.command(epilog=EXAMPLE)
@click.argument("urls", metavar="[INPUT]...", nargs=-1)
@click.option("--input", multiple=True, metavar="INPUT", help="As the argument INPUT; repeatable.")
@click.option("--to", metavar="SOCKET", help="Where events go that no route takes.  [default: an embedded broker]")
@click.option(
    "--route",
    multiple=True,
    metavar="PATTERN=SOCKET",
    help="Events whose name matches (* and ?) go there; repeatable, the first that matches takes the event.",
)
@click.option(
    "--key-field",
    multiple=True,
    metavar="NAME",
    help="The params field that becomes the record's key; repeatable, the first that is there.  "
    "[default: callid, call_id, Call-ID]",
)
@click.option("--time-field", metavar="NAME", help="The params field that becomes the record's timestamp.")
@click.option("--headers", type=click.Choice(["none", "basic", "cloudevents"]), help="Record headers.  [default: none]")
@click.option("--raw/--no-raw", default=None, help="HEP: the SIP message itself too.  [default: no-raw]")
@click.option("--method", metavar="NAME", help="stdin: and file: hold plain JSON objects, events of this name.")
@click.option("--speed", type=float, help="pcap: times the capture's own pace; 0 does not wait.  [default: 1]")
@click.option("--dead-letter", metavar="SOCKET", help="Where invalid messages go, the reason in a header.")
@click.option("--max-size", type=int, help="Bytes that a message may have.  [default: 65536]")
@click.option("--workers", type=int, help="Threads that receive, for each datagram input.  [default: 1]")
@click.option("--receive-buffer", type=int, help="Bytes of a datagram socket's buffer.  [default: 8388608]")
@click.option(
    "--control", metavar="PATH", envvar="PYKAFKAEVT_CONTROL", help="The unix socket that pykafkaevt ctl asks."
)
@click.option("--http", metavar="HOST:PORT", help="Live page, metrics and JSON-RPC; HOST is 127.0.0.1 or [::1].")
@click.option("--drain", type=float, help="Seconds that the end waits for acknowledgements.  [default: 10]")
@click.option("--stats-interval", type=float, help="Seconds between figures in the log, 0: none.  [default: 60]")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="[default: text]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@click.option("--config", "file", metavar="FILE", help="TOML with the same names, _ for -; options given here win.")
@click.option("--check", is_flag=True, help="Check everything, print what would run, and end.")
def bridge(urls: tuple[str, ...], file: str | None, check: bool, **options: Any) -> None:
    """Receive events of SIP systems and publish them to Kafka, until SIGTERM.

    \b
    INPUT is one of
      udp://HOST:PORT      JSON-RPC notifications, one a datagram (OpenSIPS event_datagram)
      unix:PATH            the same, by a unix datagram socket
      tcp://HOST:PORT      JSON-RPC notifications or requests (OpenSIPS event_stream)
      hep://HOST:PORT      HEPv3 by UDP (OpenSIPS, Kamailio, FreeSWITCH, Asterisk, heplify)
      hep+tcp://HOST:PORT  HEPv3 by TCP
      stdin:  file:PATH    JSON, one event a line; ends by itself
      pcap:PATH            the SIP messages of a capture; ends by itself

    SIGTERM ends it when all is acknowledged (--drain), SIGHUP reads the --config FILE again. Exits with 1 when
    records were not delivered.
    """
    from pykafkaevt.bridge.config import from_options  # noqa: PLC0415

    options["input"] = [*urls, *options["input"]]

    def read() -> BridgeConfig:
        return from_options(options, file)

    config = read()
    if check:
        check_sockets(config)
        click.echo("\n".join(f"{name:<14} {printable(value)}" for name, value in plan(config)))
        return
    from pykafkaevt.bridge.daemon import Bridge  # noqa: PLC0415
    from pykafkaevt.bridge.logs import configure  # noqa: PLC0415

    configure(config.log_format, config.log_level)
    if config.to is None:
        warn_of_the_embedded_broker(config.default)
    sys.exit(Bridge(config, read if file is not None else None).run())


def warn_of_the_embedded_broker(socket: KafkaSocket) -> None:
    """Say on stderr that nothing is kept."""
    click.secho(
        f"WARNING: no --to was given: events go to {socket}, a broker inside this process that FORGETS them.\n"
        "WARNING: for a real cluster: --to kafka:HOST:PORT/TOPIC",
        fg="red",
        bold=True,
        err=True,
    )


def sockets_of(config: BridgeConfig) -> Iterator[tuple[str, KafkaSocket]]:
    """Every socket and what it is for."""
    yield "to", config.default
    for route in config.routes:
        yield f"route {route.pattern}", route.socket
    if config.dead_letter is not None:
        yield "dead_letter", config.dead_letter


def check_sockets(config: BridgeConfig) -> None:
    """Let librdkafka check the properties of every socket, and look for the files. Raises ConfigError."""
    from pykafkaevt.cli.check import check_properties  # noqa: PLC0415

    for name, socket in sockets_of(config):
        try:
            check_properties(socket)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.property}", error.reason) from error
    for source in config.inputs:
        if source.scheme in ("file", "pcap") and source.path is not None:
            try:
                source.path.open("rb").close()
            except OSError as error:
                raise ConfigError(source.url, error.strerror or str(error)) from error
    for path in [config.control, *(source.path for source in config.inputs if source.scheme == "unix")]:
        if path is not None and not path.parent.is_dir():
            raise ConfigError(str(path), "its directory is not there")


def plan(config: BridgeConfig) -> Iterator[tuple[str, str]]:
    """What would run, a name and a value a line; secrets of sockets are masked."""
    for source in config.inputs:
        yield "input", source.url
    yield from ((name, socket.to_text()) for name, socket in sockets_of(config))
    if config.to is None:
        yield "", "WARNING: without --to the broker is inside the process and forgets the events"
    yield "key_field", ", ".join(config.key_fields)
    yield "time_field", config.time_field or "none, the time of arrival"
    yield "headers", config.headers
    if any(source.scheme.startswith("hep") for source in config.inputs):
        yield "raw", "yes" if config.raw else "no"
    if config.method is not None:
        yield "method", config.method
    if any(source.scheme == "pcap" for source in config.inputs):
        yield "speed", f"{config.speed:g} times the capture's" if config.speed else "as fast as it goes"
    yield "max_size", f"{config.max_size} bytes"
    if any(source.transport in ("udp", "unix") for source in config.inputs):
        yield "workers", str(config.workers)
        yield "receive_buffer", f"{config.receive_buffer} bytes{buffer_limit(config.receive_buffer)}"
    yield "control", str(config.control or "none")
    yield "http", "none" if config.http is None else "{}:{}".format(*config.http)
    yield "drain", f"{config.drain:g} s"
    yield "stats_interval", f"{config.stats_interval:g} s" if config.stats_interval else "none"
    yield "log", f"{config.log_format}, {config.log_level}"


def buffer_limit(size: int) -> str:
    """What the kernel has against a receive buffer of so many bytes, empty when nothing. Source: socket(7)."""
    with suppress(OSError, ValueError):
        limit = int(Path("/proc/sys/net/core/rmem_max").read_text("ascii"))
        if limit < size:
            return f" (net.core.rmem_max is {limit}: more needs CAP_NET_ADMIN or a greater limit)"
    return ""
