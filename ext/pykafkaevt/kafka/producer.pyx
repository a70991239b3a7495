"""The produce side: records and events into librdkafka's queue, one at a time or in batches.

A record's value and key are read where they lie (or serialized into a buffer that is used again) and copied once,
by librdkafka. Its report, when asked for, travels as the opaque object itself: no table, no allocation.
"""

import logging
import time
from threading import get_ident

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.string cimport memset

from pykafkaevt.kafka.client cimport (
    ERROR_SLOTS, ERROR_ZERO, Client, Topic, counter_add, counter_get, counters_error, histogram_quantile,
    report_function, room, room_sequence, room_wait, topic_in_flight,
)
from pykafkaevt.jsonrpc.template cimport EventTemplate
from pykafkaevt.jsonrpc.values cimport invalid_policy
from pykafkaevt.kafka.library cimport delivery_error, table
from pykafkaevt.kafka.batch cimport Records, Scratch, bytes_of, scratch_give, scratch_take, text_of
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_OPAQUE,
    RD_KAFKA_VTYPE_PARTITION, RD_KAFKA_VTYPE_RKT, RD_KAFKA_VTYPE_TIMESTAMP, RD_KAFKA_VTYPE_VALUE,
    rd_kafka_error_t, rd_kafka_message_t, rd_kafka_t, rd_kafka_topic_t, rd_kafka_vu_t,
    rdkafka_api,
)

from pykafkaevt.errors import Closed, QueueFull

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(PyObject*, Py_ssize_t)
    Py_ssize_t PyTuple_GET_SIZE(PyObject*)
    PyObject* Py_None

cdef extern from "fast_method.h":
    ctypedef struct PyMethodDef:
        pass
    ctypedef PyObject* (*fast_method)(PyObject*, PyObject**, Py_ssize_t, PyObject*)
    int fast_method_add(
        object type, PyMethodDef* definition, const char* name, fast_method method, const char* doc
    ) except -1

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")

cdef enum:
    PACE_MS = 10             # how long a caller lets the reports catch up
    SLICE_MS = 100           # how long a blocking call waits before it looks for Ctrl-C
    # places of the fixed arguments in Extras.arguments
    AT_RKT = 0
    AT_FLAGS = 1
    AT_VALUE = 2
    AT_KEY = 3
    AT_OPAQUE = 4
    AT_PARTITION = 5
    AT_TIMESTAMP = 6
    AT_HEADERS = 7

cdef dict ON_FULL = {
    "block": FULL_BLOCK, "raise": FULL_RAISE, "drop": FULL_DROP, "block_once": FULL_BLOCK_ONCE,
}


cdef int submit(
    rd_kafka_t* rk, rd_kafka_topic_t* topic, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras,
    const long long* timestamps_ms
) noexcept nogil:
    """Queue the messages in order; each one's `err` says what became of it. After a full queue none is tried."""
    cdef Py_ssize_t i
    cdef rd_kafka_error_t* error
    cdef rd_kafka_vu_t* a
    if extras == NULL:
        api.produce_batch(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, messages, <int> n)
        return 0
    a = extras.arguments
    for i in range(n):
        a[AT_VALUE].u.mem.ptr = messages[i].payload
        a[AT_VALUE].u.mem.size = messages[i].len
        a[AT_KEY].u.mem.ptr = messages[i].key
        a[AT_KEY].u.mem.size = messages[i].key_len
        a[AT_OPAQUE].u.ptr = messages[i]._private
        if extras.timestamps:
            a[AT_TIMESTAMP].u.i64 = timestamps_ms[i]
        error = api.produceva(rk, a, extras.count)
        messages[i].err = RD_KAFKA_RESP_ERR_NO_ERROR
        if error != NULL:
            messages[i].err = api.error_code(error)
            api.error_destroy(error)
            if messages[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
                return 0
    return 0


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


cdef class Producer:
    """The compiled part of pykafkaevt.Producer."""

    cdef int take_reports(self, report_function deliver) except -1:
        """Have the reports of the topic go to a C function."""
        self.topic.deliver = deliver
        return 0

    def _open(
        self, Client client not None, str topic, tuple topic_properties, on_delivery, on_error, str on_full,
        full_timeout, str invalid, str name, pace
    ):
        """Make the topic on a client; the other arguments are those of pykafkaevt.Producer."""
        if on_full not in ON_FULL:
            raise ValueError(f"on_full must be one of {', '.join(ON_FULL)}, not {on_full!r}")
        for callback in (on_delivery, on_error):
            if callback is not None and not callable(callback):
                raise TypeError(f"on_delivery and on_error must be callable, not {type(callback).__name__}")
        self.full = ON_FULL[on_full]
        self.full_timeout = -1.0 if full_timeout is None else full_timeout
        may_block = self.full == FULL_BLOCK or self.full == FULL_BLOCK_ONCE
        self.pace_from = <unsigned long long> -1 if pace is None or not may_block else pace
        self.stalled_at = self.unpaced_at = <unsigned long long> -1
        self.policy = invalid_policy(invalid)
        self.reporting = on_delivery is not None
        self.name = name
        self.topic = client.add_topic(topic, topic_properties, on_delivery, on_error)
        self.client = client

    cdef Scratch* begin(self) except NULL:
        """The start of every call that may use librdkafka: Closed, or what the call works with."""
        cdef Scratch* taken
        self.client.ready()
        taken = scratch_take()
        self.client.active += 1
        return taken

    cdef int end(self, Scratch* scratch) except -1:
        scratch_give(scratch)
        return self.client.leave()

    # One record

    cdef bint queue_one(self, void* value, size_t length, const void* key, size_t key_length, PyObject* tag) except -1:
        """Queue one record; tag: borrowed, what its report carries, NULL for no report."""
        cdef rd_kafka_message_t message
        cdef Outcome outcome
        Py_XINCREF(untagged(tag))
        # short and never blocking: not worth releasing the GIL
        if api.produce(
            self.topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value, length, key, key_length, tag
        ) == 0:
            counter_add(&self.topic.counts.queued, 1)
            if topic_in_flight(self.topic) > self.pace_from:
                self.pace()
            return True
        message.err = api.last_error()
        message_of(&message, value, length, key, key_length, tag)
        Py_XDECREF(untagged(tag))
        memset(&outcome, 0, sizeof(outcome))
        self.settle(&message, 1, NULL, NULL, &outcome, True)
        self.raise_refused(&outcome)
        return outcome.queued == 1

    cdef int raise_refused(self, Outcome* outcome) except -1:
        if outcome.refused:
            raise delivery_error(outcome.first_error, "the record was not queued")
        return 0

    def publish(
        self, value, key=None, *, headers=None, timestamp_ms=None, partition=None, bint report=False, opaque=None
    ) -> bool:
        """Queue one record.

        value, key: bytes, str (as UTF-8) or None (no key; a value None is a tombstone). headers: (name, bytes)
        pairs. timestamp_ms: Unix time in ms, None or 0 for now. partition: None lets the topic's partitioner choose.
        report: on_delivery gets its report, with `opaque`.

        True when queued, False when dropped (on_full="drop"). Raises QueueFull, DeliveryError (refused: too
        large), SerializeTypeError, Closed. Source: librdkafka rd_kafka_produce(), rd_kafka_produceva().
        """
        cdef const void* data
        cdef const void* key_data
        cdef size_t length, key_length
        cdef Extras extras
        cdef Outcome outcome
        cdef PyObject* tag = <PyObject*> opaque if report and self.reporting else NULL
        cdef Scratch* scratch = self.begin()
        try:
            value = text_of(value, self.policy, &data, &length)
            key = text_of(key, self.policy, &key_data, &key_length)
            if headers is None and timestamp_ms is None and partition is None:
                return self.queue_one(<void*> data, length, key_data, key_length, tag)
            _kept = self.prepare(&extras, headers, timestamp_ms is not None, partition)
            if timestamp_ms is not None:
                scratch.timestamps_ms[0] = timestamp_ms
            message_of(&scratch.messages[0], data, length, key_data, key_length, tag)
            memset(&outcome, 0, sizeof(outcome))
            self.queue_batch(scratch, 1, &extras, &outcome)
            self.raise_refused(&outcome)
            return outcome.queued == 1
        finally:
            self.end(scratch)

    # Batches

    cdef list prepare(self, Extras* extras, object headers, bint timestamps, object partition):
        """Fill in the arguments of produceva; the list returned keeps the headers' bytes."""
        cdef list kept = []
        cdef rd_kafka_vu_t* a = extras.arguments
        cdef const void* data
        cdef size_t length
        cdef size_t n = AT_HEADERS
        memset(a, 0, sizeof(extras.arguments))
        a[AT_RKT].vtype = RD_KAFKA_VTYPE_RKT
        a[AT_RKT].u.rkt = self.topic.handle
        a[AT_FLAGS].vtype = RD_KAFKA_VTYPE_MSGFLAGS
        a[AT_FLAGS].u.i = RD_KAFKA_MSG_F_COPY
        a[AT_VALUE].vtype = RD_KAFKA_VTYPE_VALUE
        a[AT_KEY].vtype = RD_KAFKA_VTYPE_KEY
        a[AT_OPAQUE].vtype = RD_KAFKA_VTYPE_OPAQUE
        a[AT_PARTITION].vtype = RD_KAFKA_VTYPE_PARTITION
        a[AT_PARTITION].u.i32 = RD_KAFKA_PARTITION_UA if partition is None else partition
        a[AT_TIMESTAMP].vtype = RD_KAFKA_VTYPE_TIMESTAMP
        extras.timestamps = timestamps
        for name, value in headers or ():
            if n == AT_HEADERS + HEADERS:
                raise ValueError(f"more than {HEADERS} headers")
            kept.append(bytes_of(name, self.policy) + b"\0")
            a[n].vtype = RD_KAFKA_VTYPE_HEADER
            a[n].u.header.name = PyBytes_AS_STRING(kept[len(kept) - 1])
            kept.append(text_of(value, self.policy, &data, &length))
            a[n].u.header.val = data
            a[n].u.header.size = length
            n += 1
        extras.count = n
        return kept

    cdef int queue_batch(self, Scratch* scratch, Py_ssize_t n, Extras* extras, Outcome* outcome) except -1:
        """Queue messages 0 to n; what is not queued gives its tag back."""
        cdef rd_kafka_t* rk = self.client.rk
        if n == 0:
            return 0
        with nogil:
            submit(rk, self.topic.handle, scratch.messages, n, extras, scratch.timestamps_ms)
        self.settle(scratch.messages, n, extras, scratch.timestamps_ms, outcome, False)
        if topic_in_flight(self.topic) > self.pace_from:
            self.pace()
        return 0

    cdef int pace(self) except -1:
        """Let the reports catch up: a caller that may block does so before the queue outgrows the caches.

        When nothing is released meanwhile (brokers far away, or gone) it waits no more until something is.
        """
        cdef room* where = &self.client.reports.room
        cdef unsigned long long seen = room_sequence(where)
        if seen == self.unpaced_at or self.client.thread_id == get_ident():
            return 0
        with nogil:
            room_wait(where, seen, PACE_MS)
        if room_sequence(where) == seen:
            self.unpaced_at = seen
        PyErr_CheckSignals()
        return 0

    cdef int settle(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, const long long* timestamps_ms,
        Outcome* outcome, bint single
    ) except -1:
        """See to each message by its `err`; while the queue is full wait and try again, drop or raise."""
        cdef Py_ssize_t i, done = 0
        cdef unsigned long long seen
        cdef rd_kafka_t* rk
        cdef object deadline = None
        try:
            while True:
                i = self.count(messages, done, n, outcome, single)
                done = i
                if done == n:
                    return 0
                seen = room_sequence(&self.client.reports.room)
                if self.full == FULL_DROP or self.full == FULL_BLOCK_ONCE and seen == self.stalled_at:
                    counter_add(&self.topic.counts.dropped, n - done)
                    return 0
                if self.full == FULL_RAISE or self.client.thread_id == get_ident():
                    # the report thread is what makes room: waiting in on_delivery would be for itself
                    raise self.full_error(outcome)
                if deadline is None:
                    deadline = time.monotonic() + self.full_timeout if self.full_timeout >= 0 else -1.0
                while True:
                    seen = room_sequence(&self.client.reports.room)
                    rk = self.client.rk
                    with nogil:
                        submit(rk, self.topic.handle, messages + done, n - done, extras, timestamps_ms + done)
                    if messages[done].err != RD_KAFKA_RESP_ERR__QUEUE_FULL:
                        break
                    if not self.wait_for_room(seen, deadline):
                        if self.full != FULL_BLOCK_ONCE:
                            raise self.full_error(outcome)
                        self.stalled_at = seen
                        break
        finally:
            for i in range(done, n):
                Py_XDECREF(untagged(messages[i]._private))

    cdef object full_error(self, Outcome* outcome):
        error = QueueFull(
            f"{self.name}: the producer's queue is full ({topic_in_flight(self.topic)} records wait for their report)"
        )
        error.queued = outcome.queued
        return error

    cdef Py_ssize_t count(
        self, rd_kafka_message_t* messages, Py_ssize_t done, Py_ssize_t n, Outcome* outcome, bint single
    ) except -1:
        """Count what was queued and what was refused from `done` on; where the queue was full, or n."""
        cdef Py_ssize_t i, queued = 0
        cdef rd_kafka_message_t* m
        for i in range(done, n):
            m = &messages[i]
            if m.err == RD_KAFKA_RESP_ERR_NO_ERROR:
                queued += 1
            elif m.err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
                break
            else:
                if outcome.refused == 0:
                    outcome.first_refused = outcome.base + i
                    outcome.first_error = m.err
                outcome.refused += 1
                counter_add(&self.topic.counts.rejected, 1)
                counters_error(&self.topic.counts, m.err)
                if m._private != NULL:
                    if not single and self.topic.deliver == NULL:
                        self.client.report_refused(
                            self.topic, m.err,
                            (<char*> m.key)[:m.key_len] if m.key != NULL else None,
                            (<char*> m.payload)[:m.len] if m.payload != NULL else None,
                            <object> m._private,
                        )
                    Py_XDECREF(untagged(m._private))
        else:
            i = n
        counter_add(&self.topic.counts.queued, queued)
        outcome.queued += queued
        return i

    cdef bint wait_for_room(self, unsigned long long seen, object deadline) except -1:
        """Sleep until records were released; False when `deadline` (time.monotonic) has passed."""
        cdef room* where = &self.client.reports.room
        cdef int ms = SLICE_MS
        if deadline >= 0:
            ms = max(0, min(SLICE_MS, int((deadline - time.monotonic()) * 1000)))
            if ms == 0:
                return False
        with nogil:
            room_wait(where, seen, ms)
        PyErr_CheckSignals()
        if self.client.closing:
            raise Closed(f"{self.name} is closed")
        # after a fatal error no room will come
        return counter_get(&self.client.reports.fatal) == 0

    cdef Py_ssize_t queue_all(self, Records records, object headers) except -1:
        """Queue all records, a batch at a time; how many were queued."""
        cdef Py_ssize_t n
        cdef Extras extras
        cdef Extras* how = NULL
        cdef Outcome outcome
        cdef Scratch* scratch = self.begin()
        memset(&outcome, 0, sizeof(outcome))
        try:
            if headers is not None or records.timestamps_left is not None:
                how = &extras
                _kept = self.prepare(how, headers, records.timestamps_left is not None, None)
            while True:
                n = records.fill(scratch)
                if n == 0:
                    break
                outcome.base = records.given - n
                self.queue_batch(scratch, n, how, &outcome)
        finally:
            self.end(scratch)
            if outcome.refused and not records.tagged:
                self.tell_refused(&outcome)
        records.check(outcome.queued)
        return outcome.queued

    cdef int tell_refused(self, Outcome* outcome) except -1:
        """A batch call goes on without the records librdkafka refuses: here they are named."""
        error = delivery_error(
            outcome.first_error, f"record {outcome.first_refused} of the call (the first of {outcome.refused})"
        )
        logger.warning("%s: not queued: %s", self.name, error)
        if <object> self.topic.on_error is not None:
            (<object> self.topic.on_error)(error)
        return 0

    def publish_many(
        self, values, keys=None, *, headers=None, timestamps_ms=None, bint report=False, opaques=None
    ) -> int:
        """Queue records in order; how many were queued.

        values: an iterable of bytes, str or None; keys, opaques, timestamps_ms (Unix ms): one for each value;
        headers: one list of (name, bytes) for every record. A record librdkafka refuses (too large) is left out:
        it is counted as rejected, reported when `report` was asked, else told to on_error and the log.

        Raises QueueFull, SerializeError and SerializeTypeError with `.queued`: values before the bad one are
        queued, those from it on are not. ValueError for lists of different lengths, before anything is queued.
        Source: librdkafka rd_kafka_produce_batch(), with headers or timestamps rd_kafka_produceva().
        """
        return self.queue_all(
            Records(None, None, values, None, keys, timestamps_ms, report and self.reporting, opaques, self.policy),
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
        return self.queue_all(
            Records(
                template, None, rows, key_field, keys, timestamps_ms, report and self.reporting, opaques,
                self.policy,
            ),
            headers,
        )

    def _room(self) -> int:
        """A number that changes whenever records were released from the queue."""
        return room_sequence(&self.client.reports.room)

    def _wait_for_room(self, unsigned long long seen, double seconds) -> None:
        """Block until _room() is no longer `seen`, for at most `seconds`. Raises Closed."""
        cdef room* where = &self.client.reports.room
        self.client.ready()
        self.client.active += 1
        try:
            with nogil:
                room_wait(where, seen, <int> (seconds * 1000))
        finally:
            self.client.leave()

    def __len__(self):
        """Records that have no report yet."""
        return topic_in_flight(self.topic)

    def _counts(self) -> dict:
        """The counters of stats() by name."""
        cdef Topic* topic = self.topic
        cdef int code
        done = {
            "delivered": counter_get(&topic.counts.delivered),
            "failed": counter_get(&topic.counts.failed),
        }
        queued = counter_get(&topic.counts.queued)
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
    cdef Scratch* scratch
    cdef PyObject* key = Py_None
    cdef PyObject* opaque = Py_None
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
    scratch = self.begin()
    try:
        (<EventTemplate> <object> args[0]).write(&scratch.buffer, args + 1, count - 1, self.policy)
        _key = text_of(<object> key, self.policy, &key_data, &key_length)
        return self.queue_one(
            scratch.buffer.data, scratch.buffer.used, key_data, key_length,
            opaque if report and self.reporting else NULL,
        )
    finally:
        self.end(scratch)


fast_method_add(
    Producer, &emit_definition, "emit", <fast_method> emit,
    b"""emit($self, template, /, *values, key=None, report=False, opaque=None)
--

Serialize one event and queue it.

template: an EventTemplate; values: one for each of its fields; key: bytes, str or None. Else as publish(); raises
SerializeError and SerializeTypeError for the values too.
""",
)
