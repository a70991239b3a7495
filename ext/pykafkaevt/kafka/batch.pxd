from cpython.object cimport PyObject

from pykafkaevt.jsonrpc.buffer cimport Buffer
from pykafkaevt.jsonrpc.template cimport EventTemplate
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t

cdef enum:
    BATCH = 512             # records serialized and queued together
    BATCH_BYTES = 1 << 18   # … or as many bytes of payload

# The records of a call at hand, on its stack.
cdef struct Batch:
    Buffer* buffer           # acquired by the call
    rd_kafka_message_t[BATCH] messages
    long long[BATCH] timestamps_ms

# where a key's or value's bytes lie; the object returned keeps them there
cdef object text_of(object text, int policy, const void** data, size_t* length)
cdef bytes bytes_of(object text, int policy)

# What a report's route must know to give key and message back as they were published; in a tag's lowest bits.
cdef enum:
    KEY_IS_STR = 1
    MESSAGE_IS_STR = 2
    TAG_FLAGS = 7

cdef size_t text_flags(object message, object key) noexcept

# The records of one batch call, made into messages a batch at a time.
cdef class Records:
    cdef EventTemplate template      # None: the rows are values, or parameters of `method`
    cdef str method                  # of an event whose rows may be parameters too; None: tuples, or values
    cdef Py_ssize_t key_index        # of the field that is the key, -1 without
    cdef int policy                  # INVALID_…
    cdef bint tagged                 # reports are asked for
    cdef object route                # its address is each message's tag, with the bits of text_flags(); None: no tag
    cdef object rows_left            # iterators of what was given
    cdef object keys_left
    cdef object opaques_left
    cdef object timestamps_left
    cdef tuple rows                  # what of them is at hand …
    cdef tuple keys
    cdef tuple opaques
    cdef tuple timestamps
    cdef Py_ssize_t at               # … and the next row of it
    cdef Py_ssize_t given            # rows made into messages so far
    cdef list held                   # bytes made from keys and values, until the batch is queued
    cdef object failure              # what stopped it
    cdef bint serialized             # into the batch's buffer

    cdef bint next_chunk(self) except -1
    cdef int hold(self, object given, object used) except -1
    cdef object write(self, Buffer* b, object row)
    cdef int fill_one(self, Batch* batch, Py_ssize_t n) except -1
    cdef int add_key(self, rd_kafka_message_t* m, object row) except -1
    # messages 0 to the returned number are the next records; 0 at the end. Queue them before the next call
    cdef Py_ssize_t fill(self, Batch* batch) noexcept
    # raises what stopped it, with `.queued` and `.position`
    cdef int check(self, Py_ssize_t queued) except -1

# The exception of a batch call: records it queued, and the index of the first row it did not handle.
cdef object placed(object error, Py_ssize_t queued, Py_ssize_t position)

# Unix time in ms; ValueError below 0, TypeError for no int.
cdef long long checked_timestamp(object timestamp_ms) except -1
