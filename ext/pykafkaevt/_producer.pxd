from cpython.object cimport PyObject

from pykafkaevt._buffer cimport Buffer
from pykafkaevt._client cimport Client, Topic
from pykafkaevt._jsonrpc cimport EventTemplate
from pykafkaevt.librdkafka cimport rd_kafka_message_t, rd_kafka_resp_err_t, rd_kafka_vu_t

cdef enum:
    BATCH = 512             # records serialized and queued together
    BATCH_BYTES = 1 << 18   # … or as many bytes of payload
    HEADERS = 64            # headers of one record at most

# What a call works with: taken for its length from a list shared by all producers, so that it stays in the cache.
cdef struct Scratch:
    Buffer buffer
    rd_kafka_message_t messages[BATCH]
    Scratch* next

# How a batch is to be queued beyond what librdkafka's produce_batch can do; NULL otherwise.
cdef struct Extras:
    rd_kafka_vu_t arguments[HEADERS + 7]   # those of produceva: fixed ones first, then headers
    size_t count
    bint timestamps
    long long timestamps_ms[BATCH]

# What became of a batch call so far.
cdef struct Outcome:
    Py_ssize_t base                 # index in the call of the messages at hand
    Py_ssize_t queued
    Py_ssize_t refused              # by librdkafka, each for itself
    Py_ssize_t first_refused        # index in the call
    rd_kafka_resp_err_t first_error

cdef Scratch* scratch_take() except NULL
cdef void scratch_give(Scratch* taken) noexcept

# where a key's or value's bytes lie; the object returned keeps them there
cdef object text_of(object text, int policy, const void** data, size_t* length)

# a row as a tuple: SerializeTypeError for what is neither a tuple nor a list
cdef tuple row_of(object row)

cdef enum OnFull:
    FULL_BLOCK
    FULL_RAISE
    FULL_DROP
    FULL_BLOCK_ONCE

cdef class Producer:
    cdef readonly Client client
    cdef Topic* topic            # owned by the client
    cdef OnFull full
    cdef unsigned long long stalled_at  # room's sequence when FULL_BLOCK_ONCE gave up waiting
    cdef double full_timeout     # seconds to block for; negative: no limit
    cdef int policy              # INVALID_… for emit
    cdef bint reporting          # on_delivery was given
    cdef readonly str name

    cdef Scratch* begin(self) except NULL
    cdef int end(self, Scratch* scratch) except -1
    cdef bint queue_one(
        self, void* value, size_t length, const void* key, size_t key_length, PyObject* tag
    ) except -1
    cdef int raise_refused(self, Outcome* outcome) except -1
    cdef int set_message(
        self, Scratch* scratch, Py_ssize_t i, const void* value, size_t length,
        const void* key, size_t key_length, PyObject* tag
    ) except -1
    cdef list prepare(self, Extras* extras, object headers, bint timestamps, object partition)
    cdef int queue_batch(self, Scratch* scratch, Py_ssize_t n, Extras* extras, Outcome* outcome) except -1
    cdef int queue_filled(
        self, Scratch* scratch, Py_ssize_t m, bint serialized, Extras* extras, Outcome* outcome
    ) except -1
    cdef int settle(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, Outcome* outcome, bint single
    ) except -1
    cdef object full_error(self, Outcome* outcome)
    cdef Py_ssize_t count(
        self, rd_kafka_message_t* messages, Py_ssize_t done, Py_ssize_t n, Outcome* outcome, bint single
    ) except -1
    cdef bint wait_for_room(self, unsigned long long seen, object deadline) except -1
    cdef Py_ssize_t queue_all(
        self, EventTemplate template, object rows, object key_field, object keys, object headers,
        object timestamps_ms, bint report, object opaques
    ) except -1
    cdef int tell_refused(self, Outcome* outcome) except -1
