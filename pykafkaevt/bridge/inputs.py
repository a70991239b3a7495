"""The bridge's inputs: where events come from, and who may send them, each a URL with options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final
from urllib.parse import unquote

from pykafkaevt.references import ENVIRONMENT, FILE

# scheme: what it listens on; "" reads a file and ends by itself
TRANSPORTS: Final = {
    "udp": "udp",
    "unix": "unix",
    "tcp": "tcp",
    "tcp+tls": "tcp",
    "hep": "udp",
    "hep+tcp": "tcp",
    "hep+tls": "tcp",
    "stdin": "",
    "file": "",
    "pcap": "",
}
UNIX_PATH: Final = 107  # bytes of sun_path without its end, unix(7)
REPEATABLE: Final = ("allow", "hep_key")


class Address(tuple[str, int]):
    """A host and a port, in text `HOST:PORT` or `[IPv6]:PORT`."""

    __slots__ = ()


class Network(str):
    """An IPv4 or IPv6 network in CIDR notation, or one address."""

    __slots__ = ()


class Reference(str):
    """Where a secret stands: `@env:NAME` or `@file:PATH`."""

    __slots__ = ()


@final
class Input:
    """Where events come from; immutable, equal when the URLs are.

    url: as written, without its options; scheme: a name of TRANSPORTS; host, port: of those that listen, an IPv6 host
    without its brackets; path: of unix, file and pcap; options: by name (see OPTIONS), a tuple for one that may be
    repeated.
    """

    __slots__ = ("host", "options", "path", "port", "scheme", "url")

    def __init__(
        self,
        url: str,
        scheme: str,
        host: str = "",
        port: int = 0,
        path: Path | None = None,
        *,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.url = url
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.options = options

    @property
    def transport(self) -> str:
        """`udp`, `tcp`, `unix`, or empty for an input that ends by itself."""
        return TRANSPORTS[self.scheme]

    @property
    def hep(self) -> bool:
        """Whether it receives HEP packets."""
        return self.scheme.startswith("hep")

    @property
    def tls(self) -> bool:
        """Whether its connections are encrypted."""
        return self.scheme.endswith("+tls")

    def __repr__(self) -> str:
        return f"Input({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return self.url == other.url if isinstance(other, Input) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)


def parse_input(text: str) -> Input:
    """The input of a URL. Raises ValueError."""
    scheme, colon, rest = text.partition(":")
    listens = TRANSPORTS.get(scheme) in ("udp", "tcp")
    # what follows the ? may be a secret by mistake, so it is not shown
    url, mark, query = text.partition("?") if listens or scheme not in TRANSPORTS else (text, "", "")
    if not colon or scheme not in TRANSPORTS:
        # it may be a Kafka socket with secrets, so no more than its beginning is shown
        shown = f"'{scheme}:…'" if colon and scheme.replace("+", "").isalnum() else "it"
        raise ValueError(f"{shown} begins with none of {', '.join(f'{name}:' for name in TRANSPORTS)}")
    if not text.isprintable():
        raise ValueError(f"{url!r} has a control character")
    if scheme == "stdin":
        if rest:
            raise ValueError(f"{url!r}: nothing follows stdin:")
        return Input(url, scheme)
    if not listens:
        path = parse_path(rest)
        if scheme == "unix" and len(str(path).encode()) > UNIX_PATH:
            raise ValueError(f"{url!r}: a unix socket's path has at most {UNIX_PATH} bytes")
        return Input(url, scheme, path=path)
    place = url.removeprefix(f"{scheme}://")
    if place == url:
        raise ValueError(f"{url!r} is no {scheme}://HOST:PORT")
    host, port = parse_address(place)
    source = Input(url, scheme, host, port)
    options = parse_options(source, query) if mark else {}
    if source.tls and "cert" not in options:
        raise ValueError(f"{url!r} needs its certificate: {url}?cert=PATH&key=PATH")
    return Input(url, scheme, host, port, options=options)


def parse_options(source: Input, query: str) -> dict[str, Any]:
    """The options of an input, `NAME=VALUE&…` behind its URL; %XX stands for a byte. Raises ValueError."""
    known = options_of(source)
    found: dict[str, Any] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if name not in known:
            raise ValueError(f"{source.url!r} has no option {name!r}, only {', '.join(known)}")
        if not equals or not value:
            raise ValueError(f"{source.url!r}: {name} has no value")
        if name in found and name not in REPEATABLE:
            raise ValueError(f"{source.url!r}: {name} is there twice")
        try:
            parsed = OPTIONS[name](unquote(value))
        except ValueError as error:
            raise ValueError(f"{source.url!r}: {name}: {error}") from error
        found[name] = (*found.get(name, ()), parsed) if name in REPEATABLE else parsed
    return found


def options_of(source: Input) -> list[str]:
    """The names of the options that an input may have."""
    of_tls = ("cert", "key", "key_password", "client_ca")
    return [name for name in OPTIONS if (source.tls or name not in of_tls) and (source.hep or name != "hep_key")]


def parse_path(text: str) -> Path:
    """A path that is not empty and can be shown. Raises ValueError."""
    if not text:
        raise ValueError("missing path")
    if not text.isprintable():
        raise ValueError(f"{text!r} has a control character")
    return Path(text)


def parse_address(text: str) -> Address:
    """The address of `HOST:PORT` or `[IPv6]:PORT`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is no HOST:PORT with a port of 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ip_address(host).version != 6:
            raise ValueError(f"{host!r} is no IPv6 address")
    elif ":" in host or "/" in host or "@" in host:
        raise ValueError(f"{host!r} is no host; an IPv6 address has [ ] around it")
    if not host:
        raise ValueError(f"{text!r} has no host; 0.0.0.0 is all of IPv4, [::] all addresses")
    return Address((host, int(port)))


def parse_network(text: str) -> Network:
    """The network of `ADDRESS` or `ADDRESS/PREFIX`. Raises ValueError."""
    network = ip_network(text)
    if network.version == 6 and network.prefixlen >= 96 and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text!r} is IPv4 in IPv6: write it as IPv4")
    return Network(text)


def parse_reference(text: str) -> Reference:
    """The place of a secret. Raises ValueError, without the text: it may be the secret."""
    if text in (ENVIRONMENT, FILE) or not text.startswith((ENVIRONMENT, FILE)):
        raise ValueError("is neither @env:NAME nor @file:PATH: the secret itself would be seen by others here")
    return Reference(text)


OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "cert": parse_path,
    "key": parse_path,
    "key_password": parse_reference,
    "client_ca": parse_path,
    "allow": parse_network,
    "hep_key": parse_reference,
}
