"""Brokers by ID, for scripts: kafka_publish and the report of each message."""

import logging

cimport cython
from cpython.object cimport PyObject

from pykafkaevt._delivery cimport DeliveryBatch
from pykafkaevt._librdkafka cimport delivery_error
from pykafkaevt._producer cimport Producer
from pykafkaevt._records cimport Scratch, text_of

from pykafkaevt.errors import Closed, DeliveryError, EventError, QueueFull

cdef extern from "Python.h":
    object call_with "PyObject_CallOneArg"(object callable, object argument)

logger = logging.getLogger("pykafkaevt")


# It holds no more than texts, bytes and a callable, and is short-lived: the collector need not walk a queue full of them.
@cython.no_gc
@cython.freelist(256)
cdef class KafkaReport:
    """What became of one message of kafka_publish().

    kafka_id: the broker's ID; kafka_status: 0 when delivered, -1 otherwise; kafka_key, kafka_msg: as they were
    published. Beyond OpenSIPS: error (None or a DeliveryError), partition and offset (-1 and -1001 without).
    Source: the module's document, section kafka_publish.
    """

    cdef readonly str kafka_id
    cdef readonly int kafka_status
    cdef readonly object kafka_key
    cdef readonly object kafka_msg
    cdef readonly int partition
    cdef readonly long long offset
    cdef int code
    cdef object route

    @property
    def error(self):
        """None, or the DeliveryError."""
        return delivery_error(self.code, "") if self.code else None

    def __repr__(self):
        return (
            f"KafkaReport(kafka_id={self.kafka_id!r}, kafka_status={self.kafka_status}, "
            f"kafka_key={self.kafka_key!r}, kafka_msg={self.kafka_msg!r}, error={self.error!r}, "
            f"partition={self.partition}, offset={self.offset})"
        )


cdef KafkaReport report_of(object route, str broker_id, object key, object message):
    """The report a message takes along as its opaque; the rest is filled in when its status is known."""
    cdef KafkaReport report
    if route is None:
        return None
    report = KafkaReport.__new__(KafkaReport)
    report.route = route
    report.kafka_id = broker_id
    report.kafka_key = key
    report.kafka_msg = message
    return report


def call_routes(DeliveryBatch batch) -> None:
    """on_delivery of the connector's producers: each message's own route, with its report."""
    cdef Py_ssize_t i
    cdef KafkaReport report
    cdef object route
    for i in range(batch.count):
        report = <KafkaReport> batch.opaques[i]
        batch.result(i, &report.code, &report.partition, &report.offset)
        report.kafka_status = -1 if report.code else 0
        route = report.route
        report.route = None
        try:
            call_with(route, report)
        except Exception:
            logger.exception("report route %s raised", getattr(route, "__name__", route))


cdef class Connector:
    """The compiled part of pykafkaevt.Connector."""

    cdef readonly dict brokers    # Producer by broker ID
    cdef readonly dict routes     # callable by name
    cdef readonly bint closed

    def __cinit__(self):
        self.brokers = {}
        self.routes = {}

    def _close(self):
        self.closed = True

    cdef object route_of(self, object report_route):
        if report_route is None or not isinstance(report_route, str):
            if report_route is not None and not callable(report_route):
                raise TypeError(f"report_route must be callable or a route's name, not {report_route!r}")
            return report_route
        if report_route not in self.routes:
            raise EventError(f"no report route {report_route!r}: register it with @connector.route({report_route!r})")
        return self.routes[report_route]

    cdef Producer producer_of(self, object broker_id):
        if self.closed:
            raise Closed("the connector is closed")
        cdef Producer producer = self.brokers.get(broker_id)
        if producer is None:
            logger.warning("kafka_publish: no broker has the ID %r", broker_id)
        return producer

    def kafka_publish(self, broker_id, message, key=None, report_route=None) -> int:
        """Queue a message: 1 when queued, -1 otherwise (no such ID, the queue full, the message too large).

        message, key: bytes, str (as UTF-8) or None. report_route: a callable, or the name of one registered with
        @connector.route(name); it gets a KafkaReport when the delivery status is known. Never blocks.
        Raises SerializeTypeError for a message or key of another type, EventError for an unknown route name.
        Source: the module's document, section kafka_publish.
        """
        cdef Producer producer = self.producer_of(broker_id)
        cdef const void* data
        cdef const void* key_data
        cdef size_t length, key_length
        cdef Scratch* scratch
        cdef object route = self.route_of(report_route)
        if producer is None:
            return -1
        cdef KafkaReport tag = report_of(route, broker_id, key, message)
        scratch = producer.begin()
        try:
            _value = text_of(message, producer.policy, &data, &length)
            _key = text_of(key, producer.policy, &key_data, &key_length)
            if producer.queue_one(
                <void*> data, length, key_data, key_length, NULL if tag is None else <PyObject*> tag
            ):
                return 1
        except (QueueFull, DeliveryError) as error:
            producer.client.note(f"kafka_publish to {broker_id!r}: {error}")
        finally:
            producer.end(scratch)
        return -1

    def kafka_publish_many(self, broker_id, messages, keys=None, report_route=None) -> int:
        """Queue messages in order, each with a report of its own when a route is given: how many were queued.

        0 for an unknown broker ID. When the queue is full the rest is not queued. Otherwise as kafka_publish().
        """
        cdef Producer producer = self.producer_of(broker_id)
        cdef object route = self.route_of(report_route)
        if producer is None:
            return 0
        tags = None
        if route is not None:
            messages = list(messages)
            keys = [None] * len(messages) if keys is None else list(keys)
            tags = [report_of(route, broker_id, key, message) for key, message in zip(keys, messages)]
        try:
            return producer.publish_many(messages, keys, report=tags is not None, opaques=tags)
        except QueueFull as error:
            producer.client.note(f"kafka_publish_many to {broker_id!r}: {error}")
            return error.queued
