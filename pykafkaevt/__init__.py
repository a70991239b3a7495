"""Telephony events into Apache Kafka at high rate: OpenSIPS's event_kafka as a Python library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pykafkaevt.errors import (
    Closed,
    ConfigError,
    DeliveryError,
    Error,
    EventError,
    QueueFull,
    SerializeError,
    SerializeTypeError,
    SocketError,
)
from pykafkaevt.jsonrpc.template import EventTemplate, dumps
from pykafkaevt.jsonrpc.values import SKIP, RawJSON
from pykafkaevt.sip.message import call_id
from pykafkaevt.sockets import KafkaSocket, parse_broker_id, parse_socket

if TYPE_CHECKING:
    from pykafkaevt.async_producer import AsyncProducer
    from pykafkaevt.connector import KafkaReport
    from pykafkaevt.connectors import Connector
    from pykafkaevt.embedded import EmbeddedBroker
    from pykafkaevt.event import Event
    from pykafkaevt.events import EventInterface, EventStats
    from pykafkaevt.kafka.delivery import DeliveryBatch, DeliveryReport
    from pykafkaevt.producer import Producer, ProducerStats

__version__ = "0.1.0"

__all__ = [
    "SKIP",
    "AsyncProducer",
    "Closed",
    "ConfigError",
    "Connector",
    "DeliveryBatch",
    "DeliveryError",
    "DeliveryReport",
    "EmbeddedBroker",
    "Error",
    "Event",
    "EventError",
    "EventInterface",
    "EventStats",
    "EventTemplate",
    "KafkaReport",
    "KafkaSocket",
    "Producer",
    "ProducerStats",
    "QueueFull",
    "RawJSON",
    "SerializeError",
    "SerializeTypeError",
    "SocketError",
    "call_id",
    "dumps",
    "parse_broker_id",
    "parse_socket",
]

# What needs librdkafka is imported when it is first used: the rest works where none can be loaded.
_ENGINE = {
    "AsyncProducer": "async_producer",
    "Connector": "connectors",
    "DeliveryBatch": "kafka.delivery",
    "DeliveryReport": "kafka.delivery",
    "EmbeddedBroker": "embedded",
    "Event": "event",
    "EventInterface": "events",
    "EventStats": "events",
    "KafkaReport": "connector",
    "Producer": "producer",
    "ProducerStats": "producer",
}


def __getattr__(name: str) -> object:
    if name not in _ENGINE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_ENGINE[name]}"), name)
    return value
