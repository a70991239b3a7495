"""What a Kafka socket that comes by the control socket or HTTP may have, and how many of them there may be.

Whoever writes the configuration may use every property; whoever asks a running bridge may not make it do more than send
events to a broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from pykafkaevt.errors import ConfigError
from pykafkaevt.references import is_reference
from pykafkaevt.sockets import KafkaSocket

SUBSCRIPTIONS: Final = 64  # made at run time, at one time
CLIENTS: Final = 16  # that they make, those that still deliver after their end included; each has 4 threads and more
SOCKET_TEXT: Final = 4096  # characters

# The properties that are allowed, as g. and as t., after why they do no harm.
GROUPS: Final = (
    (
        "how records are batched",
        "linger.ms queue.buffering.max.ms batch.size batch.num.messages sticky.partitioning.linger.ms",
    ),
    ("how batches are compressed", "compression.type compression.codec compression.level"),
    (
        "what the subscriber's own records are promised, and where they go",
        "acks request.required.acks enable.idempotence max.in.flight max.in.flight.requests.per.connection partitioner "
        "queuing.strategy",
    ),
    (
        "how long and how often it is tried",
        "retries message.send.max.retries retry.backoff.ms retry.backoff.max.ms reconnect.backoff.ms "
        "reconnect.backoff.max.ms message.timeout.ms delivery.timeout.ms request.timeout.ms socket.timeout.ms "
        "socket.connection.setup.timeout.ms connections.max.idle.ms",
    ),
    (
        "how much is held, within LIMITS",
        "queue.buffering.max.messages queue.buffering.max.kbytes queue.buffering.backpressure.threshold "
        "message.max.bytes",
    ),
    ("how the connection is made", "client.id broker.address.family socket.keepalive.enable"),
    ("plaintext, or ssl with the system's certificates: sasl needs secrets, and may run kinit", "security.protocol"),
    ("how often figures are made, within LIMITS", "statistics.interval.ms"),
)
ALLOWED: Final[Mapping[str, str]] = {name: why for why, names in GROUPS for name in names.split()}
# Numbers that would use up memory or a processor outside of these.
LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "queue.buffering.max.kbytes": (1, 1 << 20),
    "queue.buffering.max.messages": (1, 1_000_000),
    "reconnect.backoff.ms": (10, 3_600_000),
    "statistics.interval.ms": (100, 86_400_000),
}
VALUES: Final[Mapping[str, tuple[str, ...]]] = {"security.protocol": ("plaintext", "ssl")}

# Why others are not, by the first pattern that fits; for what fits none, NOT_LISTED.
FORBIDDEN: Final = (
    ("plugin.library.paths", "loads code"),
    ("ssl.engine.*", "loads code"),
    ("ssl.provider*", "loads code"),
    ("ut_*", "calls code"),
    ("*_cb", "calls code"),
    ("sasl.kerberos.kinit.cmd", "runs a program"),
    ("sasl.kerberos.*", "is for a program that is run, or a file that is read"),
    ("sasl.oauthbearer.*", "reaches URLs, reads files or is a secret"),
    ("https.*", "is for reaching URLs"),
    ("sasl.*", "is for secrets, which belong into the configuration"),
    ("enable.sasl*", "is for secrets, which belong into the configuration"),
    ("*.location", "reads a file"),
    ("*.path", "reads or writes a file"),
    ("ssl*", "is for certificates and secrets, which belong into the configuration"),
    ("enable.ssl*", "is for certificates and secrets, which belong into the configuration"),
    ("debug", "fills the log"),
    ("log*", "changes the log"),
)
NOT_LISTED: Final = "is not among the properties that such a socket may have"


def check_remote(socket: KafkaSocket) -> None:
    """Raise ConfigError, naming the property and why, for a socket that may not come by control or HTTP."""
    for prefix, properties in (("g.", socket.global_properties), ("t.", socket.topic_properties)):
        for name, value in properties.items():
            reason = objection(name, value)
            if reason is not None:
                raise ConfigError(f"{prefix}{name}", reason)


def objection(name: str, value: str) -> str | None:
    """Why a property may not come by control or HTTP, None when it may; the value is not shown."""
    if is_reference(value):
        return "reads the bridge's environment or files: not allowed by control or HTTP"
    if name not in ALLOWED:
        why = next((reason for pattern, reason in FORBIDDEN if fnmatchcase(name, pattern)), NOT_LISTED)
        return f"{why}: not allowed by control or HTTP, only in the bridge's configuration"
    if name in VALUES and value.lower() not in VALUES[name]:
        return f"by control or HTTP it must be {' or '.join(VALUES[name])}"
    if name in LIMITS:
        least, most = LIMITS[name]
        # 9 digits: int() of a text without end takes time
        if not (value.isascii() and value.isdigit() and len(value) <= 9 and least <= int(value) <= most):
            return f"by control or HTTP it must be from {least} to {most}"
    return None
