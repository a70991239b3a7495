"""Who may send to the inputs, as the configuration says it: by address, HEP key and certificate."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pykafkaevt.bridge import tls
from pykafkaevt.bridge.access import Access
from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.inputs import Input
from pykafkaevt.errors import ConfigError
from pykafkaevt.references import resolved

logger = logging.getLogger("pykafkaevt.bridge")

LONGEST_KEY: Final = 1024  # bytes


class Admission(NamedTuple):
    """access: by address and HEP key; context: of TLS, None for an input without."""

    access: Access
    context: ssl.SSLContext | None


ANYONE: Final = Admission(Access(), None)


def admission_of(config: BridgeConfig, source: Input) -> Admission:
    """Who may send to an input; keys and certificates are read now. Raises ConfigError.

    What the input says itself is instead of what the configuration says for all.
    """
    if source.transport not in ("udp", "tcp"):
        return ANYONE
    networks: Iterable[str] = source.options.get("allow", config.allow)
    places: Iterable[str] = source.options.get("hep_key", config.hep_keys) if source.hep else ()
    access = Access(networks, [hep_key(f"{source.url}: hep_key", place) for place in places])
    return Admission(access, tls.server_context(source) if source.tls else None)


def hep_key(name: str, place: str) -> str:
    """The key that stands at a place. Raises ConfigError, without it."""
    key = resolved(name, place)
    if not 1 <= len(key.encode()) <= LONGEST_KEY:
        raise ConfigError(name, f"{place} must hold 1 to {LONGEST_KEY} bytes")
    return key


def admissions_of(config: BridgeConfig) -> Mapping[Input, Admission]:
    """Those of all inputs. Raises ConfigError; a certificate that peers will not accept is said in the log."""
    admissions = {source: admission_of(config, source) for source in config.inputs}
    for source, one in admissions.items():
        reason = None if one.context is None else tls.trouble(source, one.context)
        if reason is not None:
            logger.error("%s: %s", source.url, reason)
    return admissions


def check_admissions(config: BridgeConfig) -> None:
    """Raise ConfigError for what cannot be used, a certificate that peers will not accept included."""
    for source in config.inputs:
        _, context = admission_of(config, source)
        reason = None if context is None else tls.trouble(source, context)
        if reason is not None:
            raise ConfigError(source.url, reason)
