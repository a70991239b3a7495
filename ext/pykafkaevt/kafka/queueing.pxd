"""The queueing core: messages into librdkafka's queue, without the GIL, with what becomes of each."""

from libc.stdint cimport int64_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t, rd_kafka_vu_t
from pykafkaevt.kafka.topic cimport Topic

# What a full queue does to a call.
cdef enum OnFull:
    FULL_BLOCK         # it waits until the deadline
    FULL_RAISE         # it ends
    FULL_DROP          # the rest is dropped and counted
    FULL_BLOCK_ONCE    # it waits until the deadline, then drops, and goes on dropping until records are released

# Why queue() came back.
cdef enum Ending:
    ENDED_DONE         # every message has its outcome
    ENDED_FULL         # the queue was full: FULL_RAISE, the deadline passed, or this thread is the one that makes room
    ENDED_CLOSED       # the client is closing or closed
    ENDED_INTERRUPTED  # `interrupted` said so
    ENDED_FAILED       # there is no instance after a fatal error: it cannot be opened, or this is the thread that would

cdef enum:
    EXTRAS = 66        # arguments a record may have beyond value, key and opaque: timestamp, partition, 64 headers

# Writes timestamp, partition and headers of message `index` (of the call) into `arguments`; returns how many.
ctypedef size_t (*extras_function)(void* context, Py_ssize_t index, rd_kafka_vu_t* arguments) noexcept nogil

cdef struct Extras:
    extras_function write
    void* context

# Asked between two waits, without the GIL: not zero ends the waiting.
ctypedef bint (*interrupted_function)(void* context) noexcept nogil

cdef struct Waiting:
    OnFull on_full
    int64_t deadline_us                # CLOCK_MONOTONIC; INT64_MAX: no limit
    interrupted_function interrupted   # NULL: never
    void* context

cdef struct Outcome:
    Py_ssize_t handled    # messages 0 to handled have their `err`: 0 queued, __QUEUE_FULL dropped, else rejected
    Py_ssize_t queued
    Py_ssize_t rejected
    Py_ssize_t dropped
    Ending ending

# Queues messages in their order, and counts them in topic.counts. Waits for room as `waiting` says, for an instance
# that is opened anew after a fatal error, and at the end for the reports to catch up (Topic.pace).
cdef void queue(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, Waiting* waiting, Outcome* outcome
) noexcept nogil

# Waits until librdkafka's instance may be used, `timeout_us` at most: ENDED_DONE inside the gate, to be left again.
cdef Ending enter(Topic* topic, Waiting* waiting) noexcept nogil

# Let the reports catch up when more is in flight than the topic's pace; whether it waited.
cdef bint pace(Topic* topic) noexcept nogil
