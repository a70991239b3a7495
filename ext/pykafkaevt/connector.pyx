# cython: nonecheck=True
"""Brokers by ID, for scripts: kafka_publish and the report of each message.

A message takes along its Route, and in the pointer's lowest bits whether its key and text were str: nothing is made for
it until its report comes.
"""

import logging

cimport cython
from cpython.object cimport PyObject

from pykafkaevt.kafka.delivery cimport log_raised, text_of as copy_of
from pykafkaevt.kafka.library cimport delivery_error, table
from pykafkaevt.kafka.producer cimport Producer
from pykafkaevt.kafka.batch cimport (
    KEY_IS_STR, MESSAGE_IS_STR, TAG_FLAGS, Records, text_flags, text_of,
)
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t, rdkafka_api
from pykafkaevt.kafka.reports cimport explanation
from pykafkaevt.kafka.topic cimport Topic

from pykafkaevt.errors import Closed, Error, EventError, SerializeError, SerializeTypeError

cdef extern from "Python.h":
    PyObject* call_with "PyObject_CallOneArg"(PyObject* callable, PyObject* argument)
    void Py_XDECREF(PyObject*)
    Py_ssize_t Py_REFCNT(PyObject*)
    void Py_DECREF(PyObject*)

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")


cdef class Route:
    """Where a message's report goes, and the ID of its broker."""

    cdef object callable
    cdef str broker_id


# It holds no more than texts and is short-lived: the collector need not know it.
@cython.no_gc
@cython.freelist(8)
cdef class KafkaReport:
    """What became of one message of kafka_publish().

    kafka_id: the broker's ID; kafka_status: 0 when delivered, -1 otherwise; kafka_key, kafka_msg: what was published
    (a str as str, else bytes, or None). Beyond OpenSIPS: error (None or a DeliveryError), partition and offset (-1 and
    -1001 without). Source: the module's document, section kafka_publish.
    """

    cdef readonly str kafka_id
    cdef readonly int partition
    cdef readonly long long offset
    cdef int code
    cdef int flags                       # KEY_IS_STR, MESSAGE_IS_STR
    cdef const rd_kafka_message_t* source  # borrowed for the length of the route's call, then NULL
    cdef object key                      # made when first asked for, or when the report is kept
    cdef object message
    cdef object explanation              # an Explanation, None when it was delivered

    @property
    def kafka_status(self):
        """0 when delivered, -1 otherwise."""
        return -1 if self.code else 0

    @property
    def kafka_key(self):
        """The key, as it was published."""
        if self.key is None and self.source != NULL:
            self.key = published(self.source.key, self.source.key_len, self.flags & KEY_IS_STR)
        return self.key

    @property
    def kafka_msg(self):
        """The message, as it was published."""
        if self.message is None and self.source != NULL:
            self.message = published(self.source.payload, self.source.len, self.flags & MESSAGE_IS_STR)
        return self.message

    @property
    def error(self):
        """None, or the DeliveryError."""
        return delivery_error(self.code, "", self.explanation) if self.code else None

    def __repr__(self):
        return (
            f"KafkaReport(kafka_id={self.kafka_id!r}, kafka_status={self.kafka_status}, "
            f"kafka_key={self.kafka_key!r}, kafka_msg={self.kafka_msg!r}, error={self.error!r}, "
            f"partition={self.partition}, offset={self.offset})"
        )


cdef object published(const void* data, size_t size, bint as_str):
    if data != NULL and as_str:
        return (<const char*> data)[:size].decode("utf-8")
    return copy_of(data, size)


cdef int raised() except -1:
    """The exception that is set already, as Cython's own."""
    return -1


cdef void log_failure(object callable) noexcept:
    try:
        raised()
    except BaseException:
        log_raised("report route", callable)


cdef void call_routes(const rd_kafka_message_t** messages, Py_ssize_t count) noexcept:
    """Each message's report to its own route. The report_function of the connector's producers."""
    cdef Py_ssize_t i
    cdef KafkaReport report
    cdef Route route
    cdef PyObject* answer
    cdef size_t tag
    cdef object why = None  # the messages are of one topic
    for i in range(count):
        tag = <size_t> messages[i]._private
        route = <Route> <void*> (tag & ~(<size_t> TAG_FLAGS))
        Py_DECREF(<PyObject*> route)
        report = KafkaReport.__new__(KafkaReport)
        report.kafka_id = route.broker_id
        report.code = messages[i].err
        report.partition = messages[i].partition
        report.offset = messages[i].offset
        report.flags = tag & TAG_FLAGS
        report.source = messages[i]
        if report.code:
            why = why or explanation(<Topic*> api.topic_opaque(messages[i].rkt))
            report.explanation = why
        answer = call_with(<PyObject*> route.callable, <PyObject*> report)
        if answer == NULL:
            log_failure(route.callable)
        Py_XDECREF(answer)
        if Py_REFCNT(<PyObject*> report) > 1:
            # kept beyond the call: what it shows is copied before librdkafka frees the message
            try:
                report.kafka_key, report.kafka_msg
            except MemoryError:
                logger.critical("no memory to keep a report")
        report.source = NULL


cdef class Broker:
    """A broker of the connector: its ID and producer, and the route used last."""

    cdef readonly str id
    cdef readonly Producer producer
    cdef Route last

    def __init__(self, id, Producer producer not None):
        self.id = id
        self.producer = producer
        producer.report_to(call_routes)

    cdef Route route_to(self, object callable):
        """A script has few routes: the one of the call before is mostly the same."""
        cdef Route route = self.last
        if route is None or route.callable is not callable:
            route = Route.__new__(Route)
            route.callable = callable
            route.broker_id = self.id
            self.last = route
        return route


cdef class Connector:
    """The compiled part of pykafkaevt.Connector."""

    cdef readonly dict brokers    # Broker by ID
    cdef readonly dict routes     # callable by name
    cdef readonly bint closed

    def __cinit__(self):
        self.brokers = {}
        self.routes = {}

    def _close(self):
        self.closed = True

    cdef object route_of(self, object report_route):
        if isinstance(report_route, str):
            if report_route not in self.routes:
                raise EventError(
                    f"no report route {report_route!r}: register it with @connector.route({report_route!r})"
                )
            return self.routes[report_route]
        if report_route is not None and not callable(report_route):
            raise TypeError(f"report_route must be callable or a route's name, not {report_route!r}")
        return report_route

    cdef Broker broker_of(self, object broker_id):
        if self.closed:
            raise Closed("the connector is closed")
        cdef Broker broker = self.brokers.get(broker_id)
        if broker is None:
            logger.warning("kafka_publish: no broker has the ID %r", broker_id)
        return broker

    def kafka_publish(self, broker_id, message, key=None, report_route=None) -> int:
        """Queue a message: 1 when queued, -1 otherwise (no such ID, the queue full, the message too large).

        message, key: bytes, str (as UTF-8) or None. report_route: a callable, or the name of one registered with
        @connector.route(name); it gets a KafkaReport when the delivery status is known. Never blocks.
        Raises SerializeTypeError for a message or key of another type, EventError for an unknown route name.
        Source: the module's document, section kafka_publish.
        """
        cdef Broker broker = self.broker_of(broker_id)
        cdef Producer producer
        cdef const void* data
        cdef const void* key_data
        cdef size_t length, key_length
        cdef size_t tag = 0
        cdef Route route
        report_route = self.route_of(report_route)
        if broker is None:
            return -1
        producer = broker.producer
        if report_route is not None:
            route = broker.route_to(report_route)
            tag = <size_t> <PyObject*> route | text_flags(message, key)
        _message = text_of(message, producer.policy, &data, &length)
        _key = text_of(key, producer.policy, &key_data, &key_length)
        try:
            if producer.queue_one(<void*> data, length, key_data, key_length, <PyObject*> tag):
                return 1
        except Error as error:
            producer.client.note(f"kafka_publish to {broker_id!r}: {error}")
        return -1

    def kafka_publish_many(self, broker_id, messages, keys=None, report_route=None) -> int:
        """Queue messages in order, each with a report of its own when a route is given: how many were queued.

        0 for an unknown broker ID. When the queue is full the rest is not queued; a message that is too large is left
        out. Raises SerializeTypeError with `.queued` for a message of another type, otherwise as kafka_publish().
        """
        cdef Broker broker = self.broker_of(broker_id)
        report_route = self.route_of(report_route)
        if broker is None:
            return 0
        cdef Producer producer = broker.producer
        cdef Records records = Records(messages, policy=producer.policy, keys=keys)
        if report_route is not None:
            records.route = broker.route_to(report_route)
        try:
            return producer.queue_all(records, None)
        except (SerializeError, SerializeTypeError):
            raise
        except Error as error:
            producer.client.note(f"kafka_publish_many to {broker_id!r}: {error}")
            return error.queued
