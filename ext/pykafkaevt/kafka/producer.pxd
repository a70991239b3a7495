from cpython.object cimport PyObject

from pykafkaevt.kafka.client cimport Client, Topic, report_function
from pykafkaevt.kafka.batch cimport Records, Scratch
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t, rd_kafka_resp_err_t, rd_kafka_vu_t

cdef enum:
    HEADERS = 64            # headers of one record at most

# How a batch is to be queued beyond what librdkafka's produce_batch can do; NULL otherwise.
cdef struct Extras:
    rd_kafka_vu_t arguments[HEADERS + 7]   # those of produceva: fixed ones first, then headers
    size_t count
    bint timestamps

# What became of a batch call so far.
cdef struct Outcome:
    Py_ssize_t base                 # index in the call of the messages at hand
    Py_ssize_t queued
    Py_ssize_t refused              # by librdkafka, each for itself
    Py_ssize_t first_refused        # index in the call
    rd_kafka_resp_err_t first_error

cdef enum OnFull:
    FULL_BLOCK
    FULL_RAISE
    FULL_DROP
    FULL_BLOCK_ONCE

cdef class Producer:
    cdef readonly Client client
    cdef Topic* topic            # owned by the client
    cdef OnFull full
    cdef unsigned long long pace_from   # records in flight above which a caller lets the reports catch up
    cdef unsigned long long unpaced_at  # room's sequence when pace() waited in vain
    cdef unsigned long long stalled_at  # room's sequence when FULL_BLOCK_ONCE gave up waiting
    cdef double full_timeout     # seconds to block for; negative: no limit
    cdef int policy              # INVALID_… for emit
    cdef bint reporting          # on_delivery was given
    cdef readonly str name

    cdef int take_reports(self, report_function deliver) except -1
    cdef Scratch* begin(self) except NULL
    cdef int end(self, Scratch* scratch) except -1
    cdef bint queue_one(
        self, void* value, size_t length, const void* key, size_t key_length, PyObject* tag
    ) except -1
    cdef int raise_refused(self, Outcome* outcome) except -1
    cdef list prepare(self, Extras* extras, object headers, bint timestamps, object partition)
    cdef int queue_batch(self, Scratch* scratch, Py_ssize_t n, Extras* extras, Outcome* outcome) except -1
    cdef int settle(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, const long long* timestamps_ms,
        Outcome* outcome, bint single
    ) except -1
    cdef int pace(self) except -1
    cdef object full_error(self, Outcome* outcome)
    cdef Py_ssize_t count(
        self, rd_kafka_message_t* messages, Py_ssize_t done, Py_ssize_t n, Outcome* outcome, bint single
    ) except -1
    cdef bint wait_for_room(self, unsigned long long seen, object deadline) except -1
    cdef Py_ssize_t queue_all(self, Records records, object headers) except -1
    cdef int tell_refused(self, Outcome* outcome) except -1
