"""The bridge's configuration: inputs, targets and limits, from a TOML file, the command line, or both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, final

from msgspec import Meta, Struct, ValidationError, convert

from pykafkaevt.bridge.inputs import (
    Address,
    Input,
    Network,
    Reference,
    parse_address,
    parse_input,
    parse_network,
    parse_path,
    parse_reference,
)
from pykafkaevt.errors import ConfigError
from pykafkaevt.sockets import KafkaSocket, parse_socket

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EMBEDDED: Final = "kafka:embedded/bridge?key=callid"  # where events go without `to`

EVENT_NAME = 255  # bytes at most


@final
class Route:
    """Events whose name matches the pattern (`*`: any characters, `?`: one) go to the socket; immutable."""

    __slots__ = ("pattern", "socket")

    def __init__(self, pattern: str, socket: KafkaSocket) -> None:
        self.pattern = pattern
        self.socket = socket

    def __repr__(self) -> str:
        return f"Route({self.pattern!r}, {self.socket!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Route):
            return NotImplemented
        return (self.pattern, self.socket) == (other.pattern, other.socket)

    def __hash__(self) -> int:
        return hash((self.pattern, self.socket))


Name = Annotated[str, Meta(min_length=1, max_length=EVENT_NAME)]


class BridgeConfig(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"inputs": "input", "routes": "route", "key_fields": "key_field", "hep_keys": "hep_key"},
):
    """The whole configuration; immutable.

    The keys of a TOML file and the options of the command (`-` for `_`) are these fields by their encoded names; the
    command's help is made from their types, descriptions and defaults. Raises ConfigError for parts that do not go
    together.
    """

    inputs: Annotated[
        tuple[Input, ...],
        Meta(min_length=1, description="Where events come from, as the argument INPUT; repeatable."),
    ]
    to: Annotated[
        KafkaSocket | None,
        Meta(description="Where events go that match no route; without it an embedded broker, which forgets them."),
    ] = None
    routes: Annotated[
        tuple[Route, ...],
        Meta(
            description="Events whose name matches (* and ?) go there; repeatable, the first that matches is the one."
        ),
    ] = ()
    key_fields: Annotated[
        tuple[Name, ...],
        Meta(
            max_length=64,
            description="The params field that becomes the record's key; repeatable, the first that is there.",
        ),
    ] = ("callid", "call_id", "Call-ID")
    time_field: Annotated[Name | None, Meta(description="The params field that becomes the record's timestamp.")] = None
    headers: Annotated[Literal["none", "basic", "cloudevents"], Meta(description="Record headers.")] = "none"
    raw: Annotated[bool, Meta(description="HEP: the SIP message itself too.")] = False
    method: Annotated[
        Name | None, Meta(description="stdin: and file: hold plain JSON objects, events of this name.")
    ] = None
    speed: Annotated[float, Meta(ge=0, le=1e6, description="pcap: times the capture's own pace; 0 does not wait.")] = (
        1.0
    )
    dead_letter: Annotated[
        KafkaSocket | None, Meta(description="Where invalid messages go, the reason in a header.")
    ] = None
    allow: Annotated[
        tuple[Network, ...],
        Meta(description="Senders that udp, tcp and hep inputs listen to, as 10.0.0.0/8; repeatable; without it all."),
    ] = ()
    hep_keys: Annotated[
        tuple[Reference, ...],
        Meta(
            max_length=16,
            description="HEP: where the authentication key stands that packets must have; repeatable, any of them is "
            "right.",
        ),
    ] = ()
    max_size: Annotated[int, Meta(ge=64, le=16 << 20, description="Bytes that a message may have.")] = 65536
    workers: Annotated[int, Meta(ge=1, le=64, description="Threads that receive, for each datagram input.")] = 1
    receive_buffer: Annotated[int, Meta(ge=4096, le=1 << 30, description="Bytes of a datagram socket's buffer.")] = (
        8 << 20
    )
    control: Annotated[
        Path | None,
        Meta(description="The unix socket that pykafkaevt ctl asks.", extra={"envvar": "PYKAFKAEVT_CONTROL"}),
    ] = None
    http: Annotated[
        Address | None, Meta(description="Live page, metrics and JSON-RPC; HOST is 127.0.0.1 or [::1].")
    ] = None
    http_token: Annotated[
        Path | None, Meta(description="A file with the token that HTTP needs for what is more than reading.")
    ] = None
    drain: Annotated[float, Meta(ge=0, le=3600, description="Seconds that the end waits for acknowledgements.")] = 10.0
    stats_interval: Annotated[
        float, Meta(ge=0, le=86400, description="Seconds between figures in the log, 0: none.")
    ] = 60.0
    log_format: Annotated[Literal["text", "json"], Meta(description="One record a line on stderr.")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The lowest level that is logged.")
    ] = "info"

    @property
    def default(self) -> KafkaSocket:
        """Where events go that match no route: `to` or the embedded broker."""
        return self.to or parse_socket(EMBEDDED)

    def sockets(self) -> Iterator[tuple[str, KafkaSocket]]:
        """Every Kafka socket after what it is for: `route PATTERN`, `to`, `dead_letter`."""
        yield from ((f"route {route.pattern}", route.socket) for route in self.routes)
        yield "to", self.default
        if self.dead_letter is not None:
            yield "dead_letter", self.dead_letter

    def __post_init__(self) -> None:
        places: dict[tuple[object, ...], Input] = {}
        for source in self.inputs:
            # SO_REUSEPORT would let two inputs share a port, each getting some of the messages
            place = (source.transport or source.scheme, source.host, source.port, source.path)
            if place in places:
                raise ConfigError("input", f"{source.url} is at the place of {places[place].url}")
            places[place] = source
        if self.method is not None and not any(source.scheme in ("stdin", "file") for source in self.inputs):
            raise ConfigError("method", "is for the plain objects of stdin: and file:, and there is no such input")
        if self.allow and not any(source.transport in ("udp", "tcp") for source in self.inputs):
            raise ConfigError("allow", "is for udp, tcp and hep inputs, and there is none")
        if self.hep_keys and not any(source.hep for source in self.inputs):
            raise ConfigError("hep_key", "is for hep inputs, and there is none")
        if self.control is not None and any(source.path == self.control for source in self.inputs):
            raise ConfigError("control", f"{self.control} is an input")
        if self.http_token is not None and self.http is None:
            raise ConfigError("http_token", "is for http, which is not given")


def from_toml(path: str | Path) -> BridgeConfig:
    """The configuration of a TOML file. Raises ConfigError naming the file, the key and the place in it."""
    return from_options({}, path)


def from_options(options: Mapping[str, Any], file: str | Path | None = None) -> BridgeConfig:
    """The configuration of a command line, over that of a TOML file when there is one.

    options: by their TOML names (`input`, `to`, `route`, …), sockets and URLs as text, lists for the repeatable ones;
    None and empty lists are options that were not given. One that was given replaces the file's, lists as a whole.
    Raises ConfigError naming the option, or the file, the key and the place in it.
    """
    given = {name: value for name, value in options.items() if value is not None and value not in ((), [])}
    values = {**(read_toml(file) if file is not None else {}), **given}
    if "input" not in values:
        raise ConfigError("input" if file is None else f"{file}: input", "missing: where do the events come from?")
    try:
        return convert(values, BridgeConfig, dec_hook=parse_value)
    except ValidationError as error:
        raise explained(str(error), given, file) from error


def read_toml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a TOML file. Raises ConfigError with the line and column of a mistake."""
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"byte {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), str(error)) from error


def explained(message: str, given: Mapping[str, Any], file: str | Path | None) -> ConfigError:
    """The ConfigError of a msgspec message, `reason - at `$.key[item]``; what was given as an option has its name."""
    reason, at, path = message.rpartition(" - at `$")
    if not at:
        reason = message.replace("Object contains unknown field", "unknown key")
        return ConfigError(str(file) if file is not None else "bridge", reason)
    key, bracket, item = path.rstrip("`").lstrip(".").partition("[")
    if key in given:
        return ConfigError(f"--{key.replace('_', '-')}", reason)
    place = f"{key}, item {int(item.rstrip(']')) + 1}" if bracket else key
    return ConfigError(f"{file}: {place}", reason)


def parse_value(kind: type, value: Any) -> Any:
    """A value of one of our own types from its text; msgspec adds the place to what it raises."""
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    parsers: dict[type, Callable[[str], Any]] = {
        KafkaSocket: parse_socket,
        Input: parse_input,
        Route: parse_route,
        Path: parse_path,
        Address: parse_loopback,
        Network: parse_network,
        Reference: parse_reference,
    }
    return parsers[kind](value)


def parse_route(text: str) -> Route:
    """The route of `PATTERN=SOCKET`. Raises ValueError, SocketError."""
    pattern, equals, socket = text.partition("=")
    # the text may be a socket with secrets, so it is not shown
    if not equals or not pattern or pattern.startswith("kafka:"):
        raise ValueError("is no PATTERN=SOCKET")
    if not pattern.isprintable():
        raise ValueError("the pattern has a control character")
    if len(pattern.encode()) > EVENT_NAME:
        raise ValueError(f"a pattern has at most {EVENT_NAME} bytes")
    return Route(pattern, parse_socket(socket))


def parse_loopback(text: str) -> Address:
    """An address only this machine can reach. Raises ValueError for any other: the page has no password."""
    host, port = parse_address(text)
    if host == "localhost":
        host = "127.0.0.1"
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"{host} is no loopback address (127.0.0.1, [::1]), and HTTP has no password here")
    return Address((host, port))
