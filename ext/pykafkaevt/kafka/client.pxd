from libc.stdint cimport int64_t, uint64_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_conf_t, rd_kafka_t, rd_kafka_topic_t
from pykafkaevt.kafka.queueing cimport Ending
from pykafkaevt.kafka.reports cimport Reports
from pykafkaevt.kafka.topic cimport Handle, Topic, counter

cdef class Client:
    cdef Handle handle
    cdef Reports reports
    cdef readonly str name            # what logs and messages call it
    cdef readonly str bootstrap_servers
    cdef tuple properties             # ((name, value), …): the global ones
    cdef dict topic_specs             # by the topic's address: (name, [(property, value), …]), all bytes
    cdef list rejected                # [(topic's address, code, key, value, opaque), …] for the report thread
    cdef bint serving                 # there is a report thread
    cdef counter gone                 # instance and thread are gone, the counters are final
    cdef object open_error            # why opening anew failed, while handle.broken
    cdef int64_t close_by_us          # CLOCK_MONOTONIC until which closing flushes, the earliest that was asked for
    cdef uint64_t failed_before       # records that had failed when closing began
    cdef bytes statistics             # librdkafka's newest, JSON text
    cdef public double exit_timeout   # seconds to flush for when the interpreter ends
    cdef int64_t noted_us             # when note() last logged
    cdef int notes_held_back

    # A topic with its handle, entered as a call is: Closed, Error.
    cdef Topic* add_topic(self, str name, tuple properties) except NULL
    cdef int report_rejected(self, Topic* topic, int code, object key, object value, object opaque) except -1
    # Raises what ended a call, but for ENDED_FULL.
    cdef int raise_ended(self, Ending ending) except -1

    cdef rd_kafka_conf_t* configured(self) except NULL
    cdef int open_instance(self) except -1
    cdef Py_ssize_t open_topic(self, rd_kafka_t* rk, Topic* topic, char* reason, size_t size) except? -2
    cdef int raise_topic_error(self, Topic* topic, Py_ssize_t wrong, const char* reason) except -1
    cdef int close_topics(self) noexcept nogil
    cdef int start_thread(self) except -1
    cdef int reopen(self) except -1
    cdef int finish(self) except -1
    cdef int flush_slice(self, unsigned states, int64_t until_us) except -1
    cdef int give_up(self) except -1
    cdef uint64_t undelivered(self) noexcept
    cdef int not_in_callback(self, str what) except -1

# The `interrupted` of calls from Python: a signal handler has raised; its exception is set.
cdef bint check_signals(void* context) noexcept nogil

# The producer that a topic's callbacks belong to goes: they are kept for the reports to come.
cdef void own_callbacks(Topic* topic) noexcept
