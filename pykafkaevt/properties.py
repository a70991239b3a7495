"""The librdkafka properties of a socket: what is added to them, and which ones cannot be used."""

from __future__ import annotations

from collections.abc import Iterator

from pykafkaevt.errors import ConfigError
from pykafkaevt.references import all_resolved, resolved
from pykafkaevt.sockets import KafkaSocket

# Properties that idempotence excludes or limits (librdkafka's INTRODUCTION.md, "Idempotent Producer").
DECIDED_BY_USER = {
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "queue.buffering.backpressure.threshold",
    "queuing.strategy",
    "retries",
}
ACKS = ("acks", "request.required.acks")
ALL_ACKS = ("all", "-1")
TRUE = ("true", "t", "1")  # in any case: librdkafka's rd_kafka_anyconf_set_prop()

# Global properties that are wrong with any value.
EXCLUDED = {
    "transactional.id": "there are no transactions here: librdkafka would accept no record outside of one",
    "log.queue": "librdkafka's log lines go to Python's logging, by a queue",
    "enabled_events": "a producer needs the events it has set",
    "ut_handle_ProduceResponse": "librdkafka would call the text as a function",
}
# Global properties that are wrong when true.
EXCLUDED_WHEN_TRUE = {
    "delivery.report.only.error": "every record needs its report: without, a delivered record would stay in flight",
    "enable.gapless.guarantee": "a producer connects anew after a fatal error and goes on: it cannot stop at a gap",
    "enable_sasl_queue": "nothing serves that queue: no token would ever be fetched",
}


def properties_of(socket: KafkaSocket) -> tuple[tuple[str, str], ...]:
    """The client's properties: the socket's, with idempotence unless one of them excludes or decides it.

    Without it a request that is retried may overtake the one before it: events of one call would change their order,
    or be there twice. Values are as written (`@env:NAME`): they are read for each librdkafka instance.
    """
    properties = {**socket.global_properties}
    if not _acks_below_all(socket) and not DECIDED_BY_USER & {name for _, name, _ in _all_properties(socket)}:
        properties["enable.idempotence"] = "true"
    return tuple(properties.items())


def check_properties(socket: KafkaSocket) -> None:
    """Raise ConfigError for a property that breaks the account of records or cannot work, with the reason.

    All other properties are left to librdkafka, which checks them when the client is made. Values are read for it from
    the environment and files, and those that are not to be had are a ConfigError as well.
    """
    given = dict(all_resolved("g.", socket.global_properties.items())[0])
    all_resolved("t.", socket.topic_properties.items())
    for name, value in given.items():
        reason = EXCLUDED.get(name) or (_is_true(value) and EXCLUDED_WHEN_TRUE.get(name))
        if reason:
            raise ConfigError(f"g.{name}", reason)
    _check_oauthbearer(given)
    if _is_true(given.get("enable.idempotence", "false")):
        _check_idempotence(socket)


def exposed_credentials(socket: KafkaSocket) -> str | None:
    """That others may read a socket's credentials on the way to its brokers, and what to do; None when they cannot.

    They can where nothing is encrypted, unless all brokers are on this machine. No value is shown. Raises ConfigError
    for one that is not to be had.
    """
    name = "security.protocol"
    protocol = resolved(f"g.{name}", socket.global_properties.get(name, "plaintext")).lower()
    has_credentials = protocol == "sasl_plaintext" or any(one.startswith("sasl.") for one in socket.global_properties)
    if "ssl" in protocol or not has_credentials or all(map(_is_local, socket.cluster[0])):
        return None
    return f"{socket.bootstrap_servers}: there are credentials and no encryption: set g.{name}=sasl_ssl"


def _is_local(broker: str) -> bool:
    """Whether a broker, `host:port`, is on this machine or inside this process."""
    from ipaddress import ip_address  # noqa: PLC0415

    host = broker.rpartition(":")[0].strip("[]")
    try:
        return host in ("embedded", "localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_oauthbearer(given: dict[str, str]) -> None:
    for name in ("sasl.mechanism", "sasl.mechanisms"):
        oauthbearer = given.get(name, "").upper() == "OAUTHBEARER"
        if oauthbearer and given.get("sasl.oauthbearer.method", "").lower() != "oidc":
            raise ConfigError(
                f"g.{name}", "OAUTHBEARER needs g.sasl.oauthbearer.method=oidc: there is no other source of tokens"
            )


def _check_idempotence(socket: KafkaSocket) -> None:
    # librdkafka does not say why when it is the topic's property
    for name in _acks_below_all(socket):
        raise ConfigError(name, "g.enable.idempotence=true needs acks=all")
    for prefix, name, value in _all_properties(socket):
        if name == "queuing.strategy" and resolved(prefix + name, value).lower() == "lifo":
            raise ConfigError(f"{prefix}{name}", "g.enable.idempotence=true needs queuing.strategy=fifo")


def _acks_below_all(socket: KafkaSocket) -> list[str]:
    """The properties, with their prefix, that ask for fewer acknowledgements than all."""
    return [
        f"{prefix}{name}"
        for prefix, name, value in _all_properties(socket)
        if name in ACKS and resolved(prefix + name, value).lower() not in ALL_ACKS
    ]


def _all_properties(socket: KafkaSocket) -> Iterator[tuple[str, str, str]]:
    """The prefix, name and value of each property; a topic property may be a global one too, for all topics."""
    for prefix, properties in (("g.", socket.global_properties), ("t.", socket.topic_properties)):
        for name, value in properties.items():
            yield prefix, name, value


def _is_true(value: str) -> bool:
    return value.lower() in TRUE
