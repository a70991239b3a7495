# cython: nonecheck=True
"""Delivery reports: a batch of them as columns, and one of them."""

import logging
from array import array

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_New
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t

from pykafkaevt.kafka.library cimport delivery_error, table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_message_t, rdkafka_api,
)

cdef extern from "counters.h" nogil:
    int64_t monotonic_us()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)
    void PyList_SET_ITEM_STOLEN "PyList_SET_ITEM"(object, Py_ssize_t, PyObject*)

from pykafkaevt.log_rate import LogRate

cdef const rdkafka_api* api = table()
cdef int64_t OFFSET_INVALID = -1001
logger = logging.getLogger("pykafkaevt")

cdef enum:
    RAISED_SECONDS = 1       # between two tracebacks of the same callback
cdef size_t raised_last = 0     # its address: not kept alive for this
cdef object raised_rate = None  # its LogRate


cdef void log_raised(str what, object callback) noexcept:
    global raised_last, raised_rate
    if <size_t> <PyObject*> callback != raised_last:
        raised_last, raised_rate = <size_t> <PyObject*> callback, LogRate(1, RAISED_SECONDS)
    if not raised_rate.allows():
        return
    more = f" ({raised_rate.held_back} more tracebacks held back)" if raised_rate.held_back else ""
    logger.exception("%s %s raised%s", what, getattr(callback, "__qualname__", callback), more)


cdef class DeliveryReport:
    """What became of one record.

    error: None, or a DeliveryError; partition, offset: where the record stands (-1, -1001 when it failed);
    latency_us: microseconds from the call that queued it to its report; key, value: bytes or None;
    opaque: what was given with it.
    """

    cdef readonly object error
    cdef readonly int partition
    cdef readonly long long offset
    cdef readonly long long latency_us
    cdef readonly bytes key
    cdef readonly bytes value
    cdef readonly object opaque

    def __repr__(self):
        return (
            f"DeliveryReport(error={self.error!r}, partition={self.partition}, offset={self.offset}, "
            f"latency_us={self.latency_us}, key={self.key!r}, value={self.value!r}, opaque={self.opaque!r})"
        )

    def __reduce__(self):
        return delivery_report, (
            self.error, self.partition, self.offset, self.latency_us, self.key, self.value, self.opaque
        )


def delivery_report(error, int partition, long long offset, long long latency_us, bytes key, bytes value, opaque):
    """A DeliveryReport that was pickled."""
    cdef DeliveryReport report = DeliveryReport.__new__(DeliveryReport)
    report.error, report.partition, report.offset, report.latency_us = error, partition, offset, latency_us
    report.key, report.value, report.opaque = key, value, opaque
    return report


cdef bytes text_of(const void* data, size_t size):
    return PyBytes_FromStringAndSize(<const char*> data, size) if data != NULL else None


cdef class DeliveryBatch:
    """The delivery reports of one batch: columns as read-only memoryviews of ints, one item per record.

    Columns, keys and values are read from librdkafka's memory when they are first looked at; a batch kept
    beyond its on_delivery call copies them then.
    """

    def __init__(self):
        raise TypeError("a DeliveryBatch comes from a producer")

    cdef int fill(self) except -1:
        """Make the columns, all four in one pass."""
        if self.columns is not None:
            return 0
        if self.messages == NULL:
            raise MemoryError("there was no memory to keep these delivery reports")
        cdef Py_ssize_t i, n = self.count
        cdef bytes codes = PyBytes_FromStringAndSize(NULL, n * sizeof(int32_t))
        cdef bytes partitions = PyBytes_FromStringAndSize(NULL, n * sizeof(int32_t))
        cdef bytes offsets = PyBytes_FromStringAndSize(NULL, n * sizeof(int64_t))
        cdef bytes latencies = PyBytes_FromStringAndSize(NULL, n * sizeof(int64_t))
        cdef int32_t* code = <int32_t*> PyBytes_AS_STRING(codes)
        cdef int32_t* partition = <int32_t*> PyBytes_AS_STRING(partitions)
        cdef int64_t* offset = <int64_t*> PyBytes_AS_STRING(offsets)
        cdef int64_t* latency = <int64_t*> PyBytes_AS_STRING(latencies)
        cdef const rd_kafka_message_t* m
        # librdkafka measures a latency up to now: what has passed since the reports were taken is no part of it
        cdef int64_t since = monotonic_us() - self.taken_us
        for i in range(n):
            m = self.messages[i]
            code[i] = m.err
            partition[i] = m.partition
            offset[i] = m.offset
            latency[i] = max(api.message_latency(m) - since, <int64_t> 0)
        self.columns = (
            memoryview(codes).cast("i"), memoryview(partitions).cast("i"),
            memoryview(offsets).cast("q"), memoryview(latencies).cast("q"),
        )
        return 0

    def __len__(self):
        return self.count

    @property
    def ok(self) -> bool:
        """Whether every record was delivered."""
        return self.failed == 0

    @property
    def error_codes(self):
        """librdkafka error codes, 0 for a delivered record."""
        self.fill()
        return self.columns[0]

    @property
    def partitions(self):
        """Partitions, -1 where none was assigned."""
        self.fill()
        return self.columns[1]

    @property
    def offsets(self):
        """Offsets in the partition, -1001 where there is none (failed, or acks=0)."""
        self.fill()
        return self.columns[2]

    @property
    def latencies_us(self):
        """Microseconds from the call that queued the record to its report."""
        self.fill()
        return self.columns[3]

    def __iter__(self):
        cdef Py_ssize_t i
        cdef DeliveryReport report
        cdef dict errors = {0: None}
        cdef tuple opaques = tuple(self.opaques)
        if len(opaques) != self.count:
            raise IndexError(f"opaques has {len(opaques)} items for {self.count} records")
        self.fill()
        codes, partitions, offsets, latencies = self.columns
        for i in range(self.count):
            report = DeliveryReport.__new__(DeliveryReport)
            code = codes[i]
            if code not in errors:
                errors[code] = delivery_error(code, "", self.explanation)
            report.error = errors[code]
            report.partition = partitions[i]
            report.offset = offsets[i]
            report.latency_us = latencies[i]
            report.opaque = opaques[i]
            if self.messages != NULL:
                report.key = text_of(self.messages[i].key, self.messages[i].key_len)
                report.value = text_of(self.messages[i].payload, self.messages[i].len)
            else:
                report.key, report.value = self.records[i]
            yield report

    def __repr__(self):
        return f"<DeliveryBatch of {self.count} records, {self.failed} failed>"


cdef DeliveryBatch batch_of_messages(
    const rd_kafka_message_t** messages, Py_ssize_t count, int64_t taken_us
):
    cdef Py_ssize_t i
    cdef DeliveryBatch batch = DeliveryBatch.__new__(DeliveryBatch)
    batch.messages = messages
    batch.count = count
    batch.taken_us = taken_us
    batch.opaques = PyList_New(count)
    for i in range(count):
        batch.failed += messages[i].err != RD_KAFKA_RESP_ERR_NO_ERROR
        # the list takes over the reference that was given with the record
        PyList_SET_ITEM_STOLEN(batch.opaques, i, <PyObject*> messages[i]._private)
    return batch


cdef void detach_if_kept(DeliveryBatch batch) noexcept:
    """Give up librdkafka's memory; what the batch shows is copied first when somebody keeps it."""
    cdef Py_ssize_t i
    if Py_REFCNT(<PyObject*> batch) > 1:
        try:
            batch.fill()
            batch.records = [
                (text_of(batch.messages[i].key, batch.messages[i].key_len),
                 text_of(batch.messages[i].payload, batch.messages[i].len))
                for i in range(batch.count)
            ]
        except MemoryError:
            logger.critical("no memory to keep %d delivery reports", batch.count)
    batch.messages = NULL


cdef DeliveryBatch batch_of_rejected(list rejected):
    return batch_of_rows([
        (code, RD_KAFKA_PARTITION_UA, OFFSET_INVALID, 0, key, value, opaque) for code, key, value, opaque in rejected
    ])


def batch_of_rows(rows, explanation=None) -> DeliveryBatch:
    """A batch of (error code, partition, offset, latency in us, key, value, opaque) rows."""
    cdef DeliveryBatch batch = DeliveryBatch.__new__(DeliveryBatch)
    cdef list listed = list(rows)
    if any(len(row) != 7 for row in listed):
        raise ValueError("a row has 7 items")
    columns = list(zip(*listed)) or [()] * 7
    batch.count = len(listed)
    batch.explanation = explanation
    batch.failed = sum([code != 0 for code in columns[0]])
    batch.columns = tuple([
        memoryview(array(kind, column).tobytes()).cast(kind) for kind, column in zip("iiqq", columns)
    ])
    batch.records = list(zip(columns[4], columns[5]))
    batch.opaques = list(columns[6])
    return batch
