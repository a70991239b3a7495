from libc.stdint cimport int64_t

from pykafkaevt.kafka.reports cimport Reports
from pykafkaevt.kafka.topic cimport Handle, Topic, counter

cdef class Keeper:
    cdef Handle handle
    cdef Reports reports
    cdef readonly str name            # what logs and messages call it
    cdef readonly str bootstrap_servers
    cdef tuple properties             # ((name, value), …): the global ones
    cdef list topic_specs             # keeps the TopicSpecs that topics point to
    cdef list rejected                # [(topic's address, code, key, value, opaque), …] for the report thread
    cdef bint serving                 # there is a report thread
    cdef counter gone                 # instance and thread are gone, the counters are final
    cdef int64_t opened_us            # when the instance was
    cdef int64_t pause_us             # before the next is, when this one fails soon
    cdef object open_error            # why opening anew failed, while handle.broken
    cdef readonly object log_rate     # a LogRate: of lines about the client
    cdef readonly object diagnosis    # a Diagnosis: what librdkafka says of connections
    cdef bytes statistics             # librdkafka's newest, JSON text

    cdef int open_instance(self) except -1
    cdef int start_thread(self) except -1
    cdef int reopen(self) except -1
    cdef int wait_while_fatal(self, int64_t us) noexcept nogil
    cdef int finish(self) except -1
    # A rejected record, for on_delivery.
    cdef int report_rejected(self, Topic* topic, int code, object key, object value, object opaque) except -1

# The producer that a topic's callbacks belong to goes: they are kept for the reports to come.
cdef void own_callbacks(Topic* topic) noexcept
