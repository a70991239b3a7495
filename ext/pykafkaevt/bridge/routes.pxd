from cpython.object cimport PyObject

from pykafkaevt.kafka.client cimport Topic, counter, room
from pykafkaevt.jsonrpc.scan cimport JsonName
from pykafkaevt.kafka.producer cimport Producer
from pykafkaevt.kafka.librdkafka cimport rd_kafka_t

cdef enum:
    HEADERS_NONE = 0
    HEADERS_BASIC = 1
    HEADERS_CLOUDEVENTS = 2

# Where records go: a topic, and of its client what must be looked at without the GIL.
cdef struct Target:
    const char* pattern        # of event names, or a subscriber's event; borrowed from Routes.kept
    size_t pattern_size
    PyObject* client           # borrowed from Routes.kept
    Topic* topic
    rd_kafka_t** rk
    room* room
    counter* entered           # Client.entered
    bint* closing
    counter* fatal
    bint keyed
    unsigned long long unpaced_at

# What a batch is handled by; immutable but for `abandoned`.
cdef struct Table:
    Target* targets            # routes, then subscribers, then the dead letters' target
    int routes
    int subscribers
    int dead_letter            # index, -1 without
    JsonName* keys
    size_t key_count
    JsonName time
    bint timed                 # the event's own time becomes the record's
    int headers                # HEADERS_…
    counter abandoned          # set: who waits for a target's room gives up and looks for newer routes

cdef class Routes:
    cdef Table table
    cdef list kept             # producers and bytes that the table points into
    cdef readonly tuple targets

    cdef const char* text(self, str text) except NULL
    cdef int fill(self, Target* target, str pattern, Producer producer, bint keyed) except -1

# Whether a name fits a pattern of text, * (any characters, or none) and ? (one byte).
cdef bint matches(const char* pattern, const char* name, size_t size) noexcept nogil

# Keeps the target's client from being closed until leave(); False when it is closed.
cdef bint enter(Target* target) noexcept nogil
cdef void leave(Target* target) noexcept nogil

# Waits while more is in flight than the caches hold, as Producer.pace.
cdef void pace(Target* target) noexcept nogil

# Calls an on_report= whose record librdkafka refused; takes over the reference, NULL is none.
cdef void tell_refused(void* tag, int code) noexcept nogil
