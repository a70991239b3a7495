from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pykafkaevt.kafka.librdkafka cimport (
    rd_kafka_event_t, rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_t, rd_kafka_topic_t,
)

cdef extern from "counters.h" nogil:
    ctypedef uint64_t counter
    ctypedef struct histogram:
        counter largest
    ctypedef struct counters:
        counter queued
        counter dropped
        counter rejected
        counter delivered
        counter failed
        counter bytes_delivered
        counter batches
        histogram latency
        counter* errors
    enum:
        ERROR_SLOTS
        ERROR_ZERO
    uint64_t counter_get(counter* c)
    void counter_add(counter* c, uint64_t n)
    void counter_add_shared(counter* c, uint64_t n)
    void counter_set(counter* c, uint64_t n)
    void counters_error(counters* c, int code)
    void histogram_add(histogram* h, int64_t us, uint64_t weight)
    uint64_t histogram_quantile(histogram* h, double quantile)
    int64_t monotonic_us()

cdef extern from "event_count.h" nogil:
    ctypedef struct room:
        pass
    void room_init(room* r)
    uint64_t room_sequence(room* r)
    void room_signal(room* r)
    void room_wait(room* r, uint64_t seen, int ms)
    void room_destroy(room* r)

# Takes the reports of a topic in the place of on_delivery: called with the GIL, the messages live for the call. Each
# _private is a reference it takes over, possibly with its lowest three bits set.
ctypedef void (*report_function)(const rd_kafka_message_t** messages, Py_ssize_t count) noexcept

# One topic of a client, as one Producer uses it. librdkafka gives its address back with every message.
cdef struct Topic:
    rd_kafka_topic_t* handle   # owned by the client while it is open
    counters counts
    PyObject* on_delivery      # owned; None when no reports are wanted
    PyObject* on_error         # owned; None or a callable
    report_function deliver    # NULL: on_delivery gets a DeliveryBatch

# What the report thread works with, without the GIL.
cdef struct Reports:
    rd_kafka_queue_t* queue    # owned by the client
    PyObject* client           # borrowed: the thread's target keeps it alive
    counter stopping           # set by any thread: STOP_NOW, or STOP_DRAINED
    counter refused            # refused records wait in Client.refused_reports
    room room                  # signalled after records were released, and when the client is closing
    # reports that were asked for and not yet handed over, all of one topic; this thread only
    Topic* topic
    rd_kafka_event_t** events            # owned: they keep the messages alive
    Py_ssize_t event_count
    Py_ssize_t event_size                # allocated
    const rd_kafka_message_t** messages  # owned array of borrowed messages
    Py_ssize_t count
    Py_ssize_t size                      # allocated
    Py_ssize_t failed
    counter fatal              # librdkafka's instance can do no more: the next use opens a new one
    # log lines: a budget that refills slowly, so that a broker that is away does not fill the log
    int64_t log_refilled_us
    int log_budget
    int log_suppressed

cdef class Client:
    cdef rd_kafka_t* rk               # owned; NULL before open() and after close()
    cdef Reports reports
    cdef Topic** topics               # owned array of owned topics
    cdef Py_ssize_t topic_count
    cdef readonly str name            # what logs and messages call it
    cdef readonly str bootstrap_servers
    cdef tuple properties             # ((name, value), …): the global ones
    cdef list topic_specs             # [(topic, ((name, value), …)), …], parallel to topics
    cdef list refused_reports         # [(topic's address, code, key, value, opaque), …] for the report thread
    cdef readonly bint closed
    cdef bint closing
    cdef int generation               # of the process: a fork makes the client open anew
    cdef Py_ssize_t active            # calls of producers that use rk or a topic's handle
    cdef counter entered              # the same for those without the GIL, who look at closing and fatal after it
    cdef object thread
    cdef object renewing              # a lock: one caller opens the new instance
    cdef object thread_id             # of the report thread
    cdef rd_kafka_event_t* statistics  # owned: the last statistics event
    cdef public double exit_timeout    # seconds to flush for when the interpreter ends

    cdef int open(self) except -1
    cdef Topic* add_topic(self, str name, tuple properties, object on_delivery, object on_error) except NULL
    cdef object refused(self, str reason)
    cdef int open_topic(self, Topic* topic, str name, tuple properties) except -1
    # before rk or a topic's handle is used: Closed; a new instance after a fork or a fatal error
    cdef int ready(self) except -1
    cdef int renew(self) except -1
    cdef int64_t noted_us             # when note() last logged
    cdef int notes_held_back
    cdef uint64_t in_flight(self) noexcept
    cdef int refuse_own_thread(self, str what) except -1
    # the end of what `active += 1` began
    cdef int leave(self) except -1
    cdef int wait_for_callers(self) except -1
    cdef int stop(self) except -1
    cdef int free_instance(self) except -1
    cdef int shut(self) except -1
    cdef int report_refused(self, Topic* topic, int code, object key, object value, object opaque) except -1

cdef uint64_t topic_in_flight(Topic* topic) noexcept nogil
