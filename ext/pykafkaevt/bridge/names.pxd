"""Events counted by name, in a bounded table that the names of the latest events are in."""

from libc.stdint cimport uint32_t

from pykafkaevt.kafka.topic cimport counter, pthread_mutex_t

cdef enum:
    NAMES = 192              # different names that are counted each for itself
    NAME_SIZE = 256          # bytes of a name, the longest there may be and its end
    BUCKETS = 256
    NOBODY = -1              # index of no name

cdef struct Name:
    char[NAME_SIZE] text
    size_t size
    uint32_t hash
    counter count
    int next                 # in its bucket
    int newer, older         # by their last event

cdef class Names:
    cdef pthread_mutex_t lock        # held where a name comes or goes, and by who reads them
    cdef Name[NAMES] names
    cdef int count
    cdef int[BUCKETS] buckets        # the first name of each
    cdef int newest, oldest
    cdef counter others              # events of the names that had to go

    # counts an event: for one thread at a time
    cdef void add(self, const char* text, size_t size) noexcept nogil
    cdef int find(self, const char* text, size_t size, uint32_t hash) noexcept nogil
    cdef int insert(self, const char* text, size_t size, uint32_t hash) noexcept nogil
    cdef void forget(self, int name) noexcept nogil
    cdef void unlink(self, int name) noexcept nogil
    cdef void link_newest(self, int name) noexcept nogil
    # events by name, "(other)" for all others; from any thread
    cdef dict counts(self)
