# cython: nonecheck=True
"""The produce side: records and events into librdkafka's queue, one at a time or in batches.

A record's value and key are read where they lie (or serialized into a buffer that is used again) and copied once,
by librdkafka. Its report, when asked for, travels as the opaque object itself: no table, no allocation.
"""

import logging

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memset

from pykafkaevt.jsonrpc.buffer cimport Buffer, acquire_buffer, release_buffer
from pykafkaevt.jsonrpc.fast_method cimport PyMethodDef, fast_method, fast_method_add
from pykafkaevt.jsonrpc.template cimport EventTemplate
from pykafkaevt.jsonrpc.values cimport invalid_policy
from pykafkaevt.kafka.additions cimport Additions, add
from pykafkaevt.kafka.batch cimport Batch, Records, checked_timestamp, placed, text_of
from pykafkaevt.kafka.client cimport Client, check_signals
from pykafkaevt.kafka.keeper cimport own_callbacks
from pykafkaevt.kafka.library cimport delivery_error, table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR_NO_ERROR,
    rd_kafka_message_t, rdkafka_api,
)
from pykafkaevt.kafka.queueing cimport (
    ENDED_FULL, FULL_BLOCK, FULL_BLOCK_ONCE, FULL_DROP, FULL_RAISE, Outcome, Waiting, pace, queue,
)
from pykafkaevt.kafka.reports cimport explanation
from pykafkaevt.kafka.topic cimport (
    ERROR_SLOTS, ERROR_ZERO, GATE_IN, GATE_OPEN, Handle, Topic, all_queued, counter_add, counter_get, gate_enter,
    gate_leave, histogram_quantile, in_flight, monotonic_us, pacing_init, queue_room_bytes, queue_room_records,
    queue_room_take_single, report_function,
)

from pykafkaevt.diagnosis import is_refusal
from pykafkaevt.errors import Error, QueueFull

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(PyObject*, Py_ssize_t)
    Py_ssize_t PyTuple_GET_SIZE(PyObject*)
    PyObject* Py_None

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")

cdef enum:
    SINGLE = -1              # base of a call that raises when librdkafka rejects its record

cdef dict ON_FULL = {
    "block": FULL_BLOCK, "raise": FULL_RAISE, "drop": FULL_DROP, "block_once": FULL_BLOCK_ONCE,
}

# The topic of a producer that was never opened: a closed gate, zeros else.
cdef Handle nobody
cdef Topic nowhere
nowhere.client = &nobody


cdef inline PyObject* untagged(void* tag) noexcept:
    """The object behind a tag: a report_function may mark its tags in the lowest three bits."""
    return <PyObject*> (<size_t> tag & ~(<size_t> 7))


cdef inline void message_of(
    rd_kafka_message_t* m, const void* value, size_t length, const void* key, size_t key_length, PyObject* tag
) noexcept:
    m.payload = <void*> value
    m.len = length
    m.key = <void*> key
    m.key_len = key_length
    m._private = tag
    Py_XINCREF(untagged(tag))


# Callbacks must be there when __del__ hands them to the client, also when the collector breaks a cycle.
@cython.no_gc_clear
cdef class Producer:
    """The compiled part of pykafkaevt.Producer."""

    def __cinit__(self):
        self.topic = &nowhere

    def __del__(self):
        self.leave_to_client()

    def __dealloc__(self):
        # __del__ of a subclass may not call ours
        self.leave_to_client()

    cdef void leave_to_client(self) noexcept:
        """Records that were accepted are still delivered and reported, by the report thread."""
        if self.topic != &nowhere and not self.topic.owns_callbacks:
            own_callbacks(self.topic)
            if self.owns_client:
                self.client.adopt()

    cdef Topic* opened(self) except NULL:
        if self.topic == &nowhere:
            raise Error("the producer was never opened")
        return self.topic

    cdef int report_to(self, report_function deliver) except -1:
        self.opened().deliver = deliver
        return 0

    def _open(self, Client client not None, str topic, tuple topic_properties, options, str name, *, bint owns_client):
        """Make the topic on a client; options: a ProducerOptions; owns_client: adopt it when this producer goes."""
        self.full = ON_FULL[options.on_full]
        self.full_timeout_us = -1 if options.full_timeout is None else <int64_t> min(options.full_timeout * 1e6, 1e18)
        self.policy = invalid_policy(options.invalid)
        self.on_delivery = options.on_delivery
        self.on_error = options.on_error
        self.name = name
        self.client = client
        self.topic = client.add_topic(topic, topic_properties)
        self.topic.on_delivery = <PyObject*> self.on_delivery
        self.topic.on_error = <PyObject*> self.on_error
        may_block = self.full == FULL_BLOCK or self.full == FULL_BLOCK_ONCE
        limit = 0 if options.pace == "auto" else options.pace
        pacing_init(&self.topic.pace, <uint64_t> -1 if limit is None or not may_block else limit)
        self.owns_client = owns_client

    cdef PyObject* tag_for(self, bint report, PyObject* opaque) except? NULL:
        """What a record's report carries, NULL for no report."""
        if not report:
            return NULL
        if self.on_delivery is None:
            raise TypeError("report=True needs an on_delivery that gets the report")
        return opaque

    # One record

    cdef bint queue_one(self, void* value, size_t length, const void* key, size_t key_length, PyObject* tag) except -1:
        cdef rd_kafka_message_t message
        cdef bint queued, waited
        cdef Handle* handle = self.topic.client
        if (
            queue_room_records(&handle.room) and queue_room_bytes(&handle.room) >= length
            and gate_enter(&handle.gate, GATE_IN(GATE_OPEN))
        ):
            Py_XINCREF(untagged(tag))
            # short and never blocking: not worth releasing the GIL
            queued = api.produce(
                self.topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value, length, key, key_length, tag
            ) == 0
            if queued:
                # before the gate is left: who closes it counts what is in flight
                counter_add(&self.topic.counts.queued_singly, 1)
                queue_room_take_single(&handle.room, length)
            gate_leave(&handle.gate)
            if queued:
                if in_flight(self.topic) > counter_get(&self.topic.pace.limit):
                    with nogil:
                        waited = pace(self.topic)
                    if waited:
                        PyErr_CheckSignals()
                return True
            Py_XDECREF(untagged(tag))
        message_of(&message, value, length, key, key_length, tag)
        return self.queue_with(NULL, &message)

    cdef bint queue_with(self, Additions* additions, rd_kafka_message_t* message) except -1:
        """Queue one record by the core, which waits as on_full says."""
        cdef Progress progress
        memset(&progress, 0, sizeof(progress))
        self.queue_batch(message, 1, additions, SINGLE, &progress)
        if progress.rejected:
            raise delivery_error(progress.first_error, "the record was not queued", explanation(self.topic))
        return progress.queued == 1

    def publish(
        self, value, key=None, *, headers=None, timestamp_ms=None, partition=None, bint report=False, opaque=None
    ) -> bool:
        """Queue one record.

        value, key: bytes, str (as UTF-8) or None (no key; a value None is a tombstone). headers: (name, bytes)
        pairs, or a mapping. timestamp_ms: Unix time in ms, None or 0 for now. partition: None lets the topic's
        partitioner choose. report: on_delivery gets its report, with `opaque`.

        True when queued, False when dropped (on_full="drop"). Raises QueueFull, DeliveryError (rejected: too large),
        SerializeTypeError, TypeError and ValueError for other arguments, Closed.
        Source: librdkafka rd_kafka_produce(), rd_kafka_produceva().
        """
        cdef const void* data
        cdef const void* key_data
        cdef size_t length, key_length
        cdef long long timestamp
        cdef Additions additions
        cdef rd_kafka_message_t message
        cdef PyObject* tag = self.tag_for(report, <PyObject*> opaque)
        value = text_of(value, self.policy, &data, &length)
        key = text_of(key, self.policy, &key_data, &key_length)
        if headers is None and timestamp_ms is None and partition is None:
            return self.queue_one(<void*> data, length, key_data, key_length, tag)
        timestamp = 0 if timestamp_ms is None else checked_timestamp(timestamp_ms)
        _kept = add(&additions, headers, partition, &timestamp, self.policy)
        message_of(&message, data, length, key_data, key_length, tag)
        return self.queue_with(&additions, &message)

    # Batches

    cdef int queue_batch(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Additions* additions, Py_ssize_t base, Progress* progress
    ) except -1:
        cdef Waiting waiting
        cdef Outcome outcome
        cdef Py_ssize_t i
        waiting.on_full = self.full
        waiting.deadline_us = INT64_MAX if self.full_timeout_us < 0 else monotonic_us() + self.full_timeout_us
        waiting.interrupted = check_signals
        waiting.context = NULL
        with nogil:
            queue(self.topic, messages, n, NULL if additions == NULL else &additions.extras, &waiting, &outcome)
        progress.queued += outcome.queued
        if outcome.queued == n and outcome.ending == 0:
            return 0
        try:
            if outcome.ending == ENDED_FULL:
                raise QueueFull(
                    f"{self.name}: the producer's queue is full "
                    f"({in_flight(self.topic)} records wait for their report)"
                )
            self.opened()
            self.client.raise_ended(outcome.ending)
        except BaseException as error:
            placed(error, progress.queued, max(base, 0) + outcome.handled)
            raise
        finally:
            for i in range(outcome.handled, n):
                Py_XDECREF(untagged(messages[i]._private))
            self.see_to_rejected(messages, outcome.handled, base, progress)
        return 0

    cdef int see_to_rejected(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Py_ssize_t base, Progress* progress
    ) except -1:
        """Give the tags of what was not queued back; what librdkafka rejected is reported when that was asked for."""
        cdef rd_kafka_message_t* m
        cdef Py_ssize_t i
        for i in range(n):
            m = &messages[i]
            if m.err == RD_KAFKA_RESP_ERR_NO_ERROR:
                continue
            if m.err != RD_KAFKA_RESP_ERR__QUEUE_FULL:
                if progress.rejected == 0:
                    progress.first_rejected = base + i
                    progress.first_error = m.err
                progress.rejected += 1
                if m._private != NULL and self.topic.deliver == NULL and base != SINGLE:
                    self.client.report_rejected(
                        self.topic, m.err,
                        (<char*> m.key)[:m.key_len] if m.key != NULL else None,
                        (<char*> m.payload)[:m.len] if m.payload != NULL else None,
                        <object> m._private,
                    )
            Py_XDECREF(untagged(m._private))
        return 0

    cdef Py_ssize_t queue_all(self, Records records, object headers) except -1:
        """Queue all records, a batch at a time; how many were queued."""
        cdef Py_ssize_t n
        cdef Additions additions
        cdef Additions* added = NULL
        cdef Progress progress
        cdef Batch batch
        batch.buffer = acquire_buffer()
        memset(&progress, 0, sizeof(progress))
        try:
            if headers is not None or records.timestamps_left is not None:
                added = &additions
                timed = records.timestamps_left is not None
                _kept = add(added, headers, None, batch.timestamps_ms if timed else NULL, self.policy)
            while True:
                n = records.fill(&batch)
                if n == 0:
                    break
                self.queue_batch(batch.messages, n, added, records.given - n, &progress)
        finally:
            release_buffer(batch.buffer)
            if progress.rejected and not records.tagged:
                self.name_rejected(&progress)
        records.check(progress.queued)
        return progress.queued

    cdef int name_rejected(self, Progress* progress) except -1:
        """A batch call goes on without the records librdkafka rejects: here they are named."""
        what = f"record {progress.first_rejected} of the call (the first of {progress.rejected})"
        error = delivery_error(progress.first_error, what, explanation(self.topic))
        logger.warning("%s: not queued: %s", self.name, error)
        if self.on_error is not None:
            self.on_error(error)
        return 0

    def publish_many(
        self, values, keys=None, *, headers=None, timestamps_ms=None, bint report=False, opaques=None
    ) -> int:
        """Queue records in order; how many were queued.

        values: an iterable of bytes, str or None; keys, opaques, timestamps_ms (Unix ms): one for each value;
        headers: (name, bytes) pairs, or a mapping, for every record. A record librdkafka rejects (too large) is left
        out: it is counted as rejected, reported when `report` was asked, else told to on_error and the log.

        Raises QueueFull, Closed, SerializeError and SerializeTypeError with `.queued` and `.position`, the index of
        the first row not handled: values before it are queued (or rejected), those from it on are not. ValueError for
        lists of different lengths, before anything is queued.
        Source: librdkafka rd_kafka_produce_batch(), with headers or timestamps rd_kafka_produceva().
        """
        self.tag_for(report, NULL)
        return self.queue_all(
            Records(
                values, policy=self.policy, keys=keys, timestamps_ms=timestamps_ms, tagged=report, opaques=opaques
            ),
            headers,
        )

    def emit_many(
        self, EventTemplate template not None, rows, *, key_field=None, keys=None, headers=None, timestamps_ms=None,
        bint report=False, opaques=None
    ) -> int:
        """Serialize events and queue them in order; how many were queued.

        rows: an iterable of tuples (or lists), one value per field of the template. key_field: the field whose
        value is the record's key (a str as UTF-8, bytes as they are, an int as its digits). Else as
        publish_many().
        """
        self.tag_for(report, NULL)
        return self.queue_all(
            Records(
                rows, policy=self.policy, template=template, key_field=key_field, keys=keys,
                timestamps_ms=timestamps_ms, tagged=report, opaques=opaques,
            ),
            headers,
        )

    def __len__(self):
        """Records that have no report yet."""
        return in_flight(self.opened())

    @property
    def refusal(self) -> str | None:
        """Why the cluster takes no record of the topic, and what to do; None when it does, or nothing is known."""
        cdef int code = <int> counter_get(&self.opened().refused)
        if not is_refusal(code):
            return None
        return delivery_error(code, "", explanation(self.topic)).reason

    @property
    def last_error(self) -> str | None:
        """Why records are not delivered, as far as it is known, and what to do; None once records were delivered."""
        return self.refusal or (self.client.trouble and self.client.trouble.text)

    def _counts(self) -> dict:
        """The counters of stats() by name."""
        cdef Topic* topic = self.opened()
        cdef int code
        done = {
            "delivered": counter_get(&topic.counts.delivered),
            "failed": counter_get(&topic.counts.failed),
        }
        queued = all_queued(topic)
        quantiles = {
            f"latency_{name}_us": histogram_quantile(&topic.counts.latency, quantile)
            for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
        }
        return {
            "queued": queued, **done,
            "dropped": counter_get(&topic.counts.dropped),
            "rejected": counter_get(&topic.counts.rejected),
            "in_flight": max(0, queued - done["delivered"] - done["failed"]),
            "bytes_delivered": counter_get(&topic.counts.bytes_delivered),
            "batches": counter_get(&topic.counts.batches),
            **quantiles,
            "errors": {
                code - ERROR_ZERO: counter_get(&topic.counts.errors[code])
                for code in range(ERROR_SLOTS) if counter_get(&topic.counts.errors[code])
            },
        }


cdef PyMethodDef emit_definition


cdef object emit(Producer self, PyObject** args, Py_ssize_t count, PyObject* names):
    """Producer.emit: args are the template and the values, then the values of the keywords in `names`."""
    cdef const void* key_data
    cdef size_t key_length
    cdef Buffer* buffer
    cdef PyObject* key = Py_None
    cdef PyObject* opaque = Py_None
    cdef PyObject* tag
    cdef bint report = False
    cdef Py_ssize_t i
    cdef object name
    if count == 0 or not isinstance(<object> args[0], EventTemplate):
        raise TypeError("emit() needs an EventTemplate before the values")
    if names != NULL:
        for i in range(PyTuple_GET_SIZE(names)):
            name = <object> PyTuple_GET_ITEM(names, i)
            if name == "key":
                key = args[count + i]
            elif name == "report":
                report = <object> args[count + i]
            elif name == "opaque":
                opaque = args[count + i]
            else:
                raise TypeError(f"emit() got an unexpected keyword argument {name!r}")
    tag = self.tag_for(report, opaque)
    buffer = acquire_buffer()
    try:
        (<EventTemplate> <object> args[0]).write(buffer, args + 1, count - 1, self.policy)
        _key = text_of(<object> key, self.policy, &key_data, &key_length)
        return self.queue_one(buffer.data, buffer.used, key_data, key_length, tag)
    finally:
        release_buffer(buffer)


fast_method_add(
    Producer, &emit_definition, "emit", <fast_method> emit,
    b"""emit($self, template, /, *values, key=None, report=False, opaque=None)
--

Serialize one event and queue it.

template: an EventTemplate; values: one for each of its fields; key: bytes, str or None. Else as publish(); raises
SerializeError and SerializeTypeError for the values too.
""",
)
