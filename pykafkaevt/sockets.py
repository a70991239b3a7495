"""Kafka sockets: where an event goes, in the text form of OpenSIPS's event_kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import EllipsisType, MappingProxyType
from typing import Final, TypeAlias, final

from pykafkaevt import socket_text
from pykafkaevt.errors import SocketError
from pykafkaevt.references import shown
from pykafkaevt.secrets import is_secret

__all__ = ["Cluster", "KafkaSocket", "is_secret", "parse_broker_id", "parse_socket"]

# brokers, topic, global properties, topic properties, key: as the parser gives them
Fields: TypeAlias = tuple[tuple[str, ...], str, dict[str, str], dict[str, str], str | None]

# names and values of properties to change; None removes one
Properties: TypeAlias = Mapping[str, str | None]
NO_PROPERTIES: Final[Properties] = MappingProxyType({})

DEFAULT_PORT = 9092  # librdkafka's, for a broker without one


@final
class Cluster(tuple[frozenset[str], frozenset[tuple[str, str]]]):
    """What two sockets must have in common to share a Kafka client.

    (frozenset of the brokers, in one spelling, frozenset of the global properties' items). Shown with its
    brokers only, for the properties may hold secrets.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Cluster({','.join(sorted(self[0]))})"


@final
class KafkaSocket:
    """A parsed `kafka:brokers/topic?properties`; immutable.

    Two are equal, and have one hash, when they mean the same: the same set of brokers (host names in any
    case, 9092 where a port is missing), topic and key, and the same properties in any order, as written: a
    value `@env:NAME` or `@file:PATH` is read when a client is made. The values of secret properties are in
    `to_text(secrets=True)`, the properties and a pickle only.
    """

    __slots__ = ("_fields", "_meaning")
    _fields: Fields
    _meaning: tuple[Cluster, str, frozenset[tuple[str, str]], str | None] | None

    def __init__(self, text: str) -> None:
        """text: the socket, with or without its `kafka:`. Raises SocketError."""
        self._fields = socket_text.parse(_exact(text))
        self._meaning = None

    @property
    def brokers(self) -> tuple[str, ...]:
        """The bootstrap servers as written, `host`, `host:port`, `[IPv6]` or `[IPv6]:port` each."""
        return self._fields[0]

    @property
    def bootstrap_servers(self) -> str:
        """The brokers as librdkafka's bootstrap.servers has them, joined by commas."""
        return ",".join(self._fields[0])

    @property
    def topic(self) -> str:
        """The topic that records go to."""
        return self._fields[1]

    @property
    def global_properties(self) -> Mapping[str, str]:
        """The `g.` properties, without the prefix, in the order written. May hold secrets."""
        return MappingProxyType(self._fields[2])

    @property
    def topic_properties(self) -> Mapping[str, str]:
        """The `t.` properties, without the prefix, in the order written."""
        return MappingProxyType(self._fields[3])

    @property
    def key(self) -> str | None:
        """`"callid"` when the record's key is to be the Call-ID, otherwise None."""
        return self._fields[4]

    @property
    def cluster(self) -> Cluster:
        """Equal for two sockets that can share one Kafka client, whatever their topics; hashable."""
        return self._compared()[0]

    def to_text(self, secrets: bool = False) -> str:
        """The whole socket as text: global properties, topic properties, key.

        secrets: False gives `***` for the values of secret properties, but for those that are read from elsewhere
        (`@env:NAME`, `@file:PATH`); True gives all, and a text that parses to an equal socket.
        """
        _, _, global_properties, topic_properties, key = self._fields
        properties = [
            f"{prefix}{name}={_encode(value if secrets else shown(name, value))}"
            for prefix, values in (("g.", global_properties), ("t.", topic_properties))
            for name, value in values.items()
        ]
        if key is not None:
            properties.append(f"key={key}")
        return f"{self}?{'&'.join(properties)}" if properties else str(self)

    def with_properties(
        self,
        global_properties: Properties = NO_PROPERTIES,
        topic_properties: Properties = NO_PROPERTIES,
        *,
        brokers: str | Iterable[str] | None = None,
        topic: str | None = None,
        key: str | EllipsisType | None = ...,
    ) -> KafkaSocket:
        """A socket with these properties added or replaced, and with other brokers, topic or key where given.

        Names are without g. or t.; the value None removes the property. brokers: each as in a socket's text, or one
        text with commas. key: "callid", or None for no key. Raises SocketError for what a socket's text may not have:
        it shows the property, or brokers and topic, and its position is an offset in what it shows. Raises TypeError
        for a name or value that is no str.
        """
        if brokers is None:
            brokers = self.brokers
        servers = [brokers] if isinstance(brokers, str) else brokers
        place = ",".join(_exact(server, "a broker") for server in servers)
        text = f"kafka:{place}/{self.topic if topic is None else _exact(topic, 'a topic')}"
        if "?" in text:
            raise SocketError("unexpected '?' in brokers or topic", text.index("?"))
        if key is not None and key is not ...:
            socket_text.check_property("key", _encode(_exact(key, "a key")))
        fields = socket_text.parse(text)
        _, _, old_global, old_topic, old_key = self._fields
        return _made((
            fields[0],
            fields[1],
            _merged("g.", old_global, global_properties),
            _merged("t.", old_topic, topic_properties),
            old_key if key is ... else key,
        ))  # fmt: skip

    def __str__(self) -> str:
        return f"kafka:{self.bootstrap_servers}/{self.topic}"

    def __repr__(self) -> str:
        return f"KafkaSocket({self.to_text()!r})"

    def __eq__(self, other: object) -> bool:
        return self._compared() == other._compared() if isinstance(other, KafkaSocket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._compared())

    def __reduce__(self) -> tuple[type[KafkaSocket], tuple[str]]:
        return KafkaSocket, (self.to_text(secrets=True),)

    def _compared(self) -> tuple[Cluster, str, frozenset[tuple[str, str]], str | None]:
        if self._meaning is None:
            brokers, topic, global_properties, topic_properties, key = self._fields
            cluster = Cluster((frozenset(map(_normal, brokers)), frozenset(global_properties.items())))
            self._meaning = (cluster, topic, frozenset(topic_properties.items()), key)
        return self._meaning


def parse_socket(text: str) -> KafkaSocket:
    """The socket of `kafka:brokers/topic?properties`; the `kafka:` may be absent.

    Raises SocketError with the reason and the place, TypeError when text is no str.
    """
    return KafkaSocket(text)


def parse_broker_id(text: str) -> tuple[str, KafkaSocket]:
    """The ID and the socket of `[ID]socket`, the form of OpenSIPS's broker_id parameter.

    Raises SocketError, its position being an offset in the whole text, TypeError when text is no str.
    """
    broker_id, fields = socket_text.parse_broker_id(_exact(text))
    return broker_id, _made(fields)


def _made(fields: Fields) -> KafkaSocket:
    """The socket of fields that are known to be good."""
    socket = KafkaSocket.__new__(KafkaSocket)
    socket._fields = fields
    socket._meaning = None
    return socket


def _merged(prefix: str, properties: dict[str, str], changes: Properties) -> dict[str, str]:
    """The properties with the changes made; prefix: theirs in a socket's text."""
    merged = dict(properties)
    for given, value in changes.items():
        name = _exact(given, "a property's name")
        if value is None:
            merged.pop(name, None)
            continue
        merged[name] = _exact(value, "a property's value")
        socket_text.check_property(prefix + name, _encode(merged[name]))
    return merged


def _exact(text: str, what: str = "a socket") -> str:
    """The text as a plain str, for the parser reads no subclass of it."""
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, not {type(text).__name__}")
    return str.__str__(text)


def _encode(value: str) -> str:
    return value.replace("%", "%25").replace("&", "%26").replace("=", "%3D")


def _normal(broker: str) -> str:
    """The `host:port` that all spellings of a broker share."""
    if broker.startswith("["):
        from socket import AF_INET6, inet_ntop, inet_pton  # noqa: PLC0415

        host, _, port = broker[1:].rpartition("]")
        address, percent, zone = host.partition("%")
        host = f"[{inet_ntop(AF_INET6, inet_pton(AF_INET6, address))}{percent}{zone}]"
        port = port[1:]
    else:
        host, _, port = broker.lower().partition(":")
    return f"{host}:{int(port or DEFAULT_PORT)}"
