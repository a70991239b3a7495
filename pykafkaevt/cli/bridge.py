"""`pykafkaevt bridge`: the daemon's options, their check, its start."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

import click

from pykafkaevt.cli.display import printable
from pykafkaevt.errors import ConfigError
from pykafkaevt.properties import exposed_credentials
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt.bridge.config import BridgeConfig

EXAMPLE = """\b
Example:
  pykafkaevt bridge udp://127.0.0.1:5050 hep://0.0.0.0:9060 \\
    --to 'kafka:kafka1:9092/sip?key=callid' --route 'E_ACC_*=kafka:kafka1:9092/acc'
"""


# what the values of a field's type are called in the help
METAVARS: Final = {
    "Input": "INPUT",
    "KafkaSocket": "SOCKET",
    "Route": "PATTERN=SOCKET",
    "Path": "PATH",
    "Address": "HOST:PORT",
    "Network": "CIDR",
    "Reference": "@file:PATH",
    "str": "NAME",
}


class BridgeCommand(click.Command):
    """The command with an option for each field of BridgeConfig, made when they are first needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters; raises ModuleNotFoundError without the bridge's parts."""
        if not any(one.name == "to" for one in self.params):
            # behind INPUT, before --config and --check
            self.params[1:1] = config_options()
        return super().get_params(ctx)


def config_options() -> list[click.Option]:
    """The options of BridgeConfig's fields: name, type, help and default are those of the field."""
    from msgspec import NODEFAULT, Meta  # noqa: PLC0415
    from msgspec.structs import fields  # noqa: PLC0415

    from pykafkaevt.bridge.config import BridgeConfig  # noqa: PLC0415

    options = []
    for field in fields(BridgeConfig):
        kind, *about = get_args(field.type)
        (meta,) = (one for one in about if isinstance(one, Meta) and one.description)
        help_text = meta.description or ""
        if field.default is not NODEFAULT and field.default not in (None, ()):
            help_text += f"  [default: {shown_default(field.encode_name, field.default)}]"
        options.append(option(field.encode_name, kind, help=help_text, **(meta.extra or {})))
    return options


def option(name: str, kind: Any, **more: Any) -> click.Option:
    """The option of a field by its type; one that is not given is None, or empty when it is repeatable."""
    declared = f"--{name.replace('_', '-')}"
    if kind is bool:
        return click.Option([f"{declared}/--no-{name}"], default=None, **more)
    if kind in (int, float):
        return click.Option([declared], type=kind, **more)
    if get_origin(kind) is Literal:
        return click.Option([declared], type=click.Choice(get_args(kind)), **more)
    multiple = get_origin(kind) is tuple
    if multiple or NoneType in get_args(kind):
        kind = get_args(kind)[0]
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return click.Option([declared], multiple=multiple, metavar=METAVARS[kind.__name__], **more)


def shown_default(name: str, default: Any) -> str:
    """A field's default as it is written on the command line."""
    if isinstance(default, bool):
        return name if default else f"no-{name}"
    if isinstance(default, tuple):
        return ", ".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


@click.command(cls=BridgeCommand, epilog=EXAMPLE)
@click.argument("urls", metavar="[INPUT]...", nargs=-1)
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
      tcp+tls://HOST:PORT?cert=PATH&key=PATH  encrypted; also client_ca=PATH, key_password=@file:PATH
      hep+tls://HOST:PORT?cert=PATH&key=PATH  the same
      stdin:  file:PATH    JSON, one event a line; ends by itself
      pcap:PATH            the SIP messages of a capture; ends by itself
    HOST:PORT may have ?allow=CIDR behind it, of HEP ?hep_key=@file:PATH, instead of the options for all.

    SIGTERM ends it when all is acknowledged (--drain), SIGHUP reads the --config FILE again, keys and certificates
    too. Exits with 1 when records were not delivered.
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
    from pykafkaevt.bridge.accepting import raise_descriptor_limit  # noqa: PLC0415
    from pykafkaevt.bridge.daemon import Bridge  # noqa: PLC0415
    from pykafkaevt.bridge.logs import configure  # noqa: PLC0415

    configure(config.log_format, config.log_level)
    raise_descriptor_limit()
    if config.to is None:
        warn_of_the_embedded_broker(config.default)
    daemon = Bridge(config, read)
    code = daemon.run()
    if daemon.living:
        # the interpreter's own end would wait for them
        logging.shutdown()
        os._exit(code)
    sys.exit(code)


def warn_of_the_embedded_broker(socket: KafkaSocket) -> None:
    """Say on stderr that nothing is kept."""
    click.secho(
        f"WARNING: no --to was given: events go to {socket}, a broker inside this process that FORGETS them.\n"
        "WARNING: for a real cluster: --to kafka:HOST:PORT/TOPIC",
        fg="red",
        bold=True,
        err=True,
    )


def check_sockets(config: BridgeConfig) -> None:
    """Make the client of every socket, without connecting it, and look for the files. Raises ConfigError."""
    from pykafkaevt.bridge.admission import check_admissions  # noqa: PLC0415
    from pykafkaevt.bridge.http_token import read_token  # noqa: PLC0415
    from pykafkaevt.bridge.targets import naming, with_defaults  # noqa: PLC0415
    from pykafkaevt.cli.check import check_properties  # noqa: PLC0415

    if config.http_token is not None:
        read_token(config.http_token)
    check_admissions(config)
    for name, socket in config.sockets():
        with naming(name):
            check_properties(with_defaults(socket))
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
        for name, value in source.options.items():
            yield "", f"{name} {', '.join(value) if isinstance(value, tuple) else value}"
    for name, socket in config.sockets():
        yield name, socket.to_text()
        if (reason := exposed_credentials(socket)) is not None:
            yield "", f"WARNING: {reason}"
    if config.to is None:
        yield "", "WARNING: without --to the broker is inside the process and forgets the events"
    yield "key_field", ", ".join(config.key_fields)
    yield "time_field", config.time_field or "none, the time of arrival"
    yield "headers", config.headers
    if any(source.hep for source in config.inputs):
        yield "raw", "yes" if config.raw else "no"
    if config.method is not None:
        yield "method", config.method
    if any(source.scheme == "pcap" for source in config.inputs):
        yield "speed", f"{config.speed:g} times the capture's" if config.speed else "as fast as it goes"
    if any(source.transport in ("udp", "tcp") for source in config.inputs):
        yield "allow", ", ".join(config.allow) or "all"
    if any(source.hep for source in config.inputs):
        yield "hep_key", ", ".join(config.hep_keys) or "none"
    yield "max_size", f"{config.max_size} bytes"
    if any(source.transport in ("udp", "unix") for source in config.inputs):
        yield "workers", str(config.workers)
        yield "receive_buffer", f"{config.receive_buffer} bytes{buffer_limit(config.receive_buffer)}"
    yield "control", str(config.control or "none")
    yield "http", "none" if config.http is None else "{}:{}".format(*config.http)
    if config.http is not None:
        yield "http_token", "none, HTTP only reads" if config.http_token is None else str(config.http_token)
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
