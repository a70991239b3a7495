"""Telephony events into Apache Kafka at high rate: OpenSIPS's event_kafka as a Python library."""

from pykafkaevt._delivery import DeliveryBatch, DeliveryReport
from pykafkaevt._jsonrpc import SKIP, EventTemplate, RawJSON, dumps
from pykafkaevt._sip import call_id
from pykafkaevt.embedded import EmbeddedBroker
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
from pykafkaevt.producer import Producer, ProducerStats
from pykafkaevt.sockets import KafkaSocket, parse_broker_id, parse_socket

__version__ = "0.1.0"

__all__ = [
    "SKIP",
    "Closed",
    "ConfigError",
    "DeliveryBatch",
    "DeliveryError",
    "DeliveryReport",
    "EmbeddedBroker",
    "Error",
    "EventError",
    "EventTemplate",
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
