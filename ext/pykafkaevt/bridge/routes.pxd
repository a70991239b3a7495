"""The table that a batch of messages is handled by."""

from pykafkaevt.bridge.message cimport Fields
from pykafkaevt.bridge.target cimport Headers, Target
from pykafkaevt.kafka.topic cimport counter
from pykafkaevt.kafka.producer cimport Producer

# Immutable but for `abandoned`.
cdef struct Table:
    Target* targets              # owned: routes, then subscribers, then the dead letters' target
    int routes
    int subscribers
    int dead_letter              # index, -1 without
    Fields fields                # its keys owned
    Headers headers
    counter abandoned            # set by any thread: who waits for a target gives up and looks for newer routes

cdef class Routes:
    cdef Table table
    cdef list kept               # producers and bytes that the table points into
    cdef readonly tuple targets

    cdef const char* text(self, str text, size_t* size) except NULL
    cdef int fill(self, Target* target, str pattern, Producer producer, bint keyed) except -1

# The first route that fits an event's name, -1 for none.
cdef int route_of(const Table* table, const char* name, size_t size) noexcept nogil
