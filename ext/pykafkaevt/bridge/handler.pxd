"""What becomes of a batch of messages."""

from libc.stdint cimport uint32_t, uint64_t

from pykafkaevt.bridge.access cimport Access, Rules
from pykafkaevt.bridge.message cimport Format, Message, Space
from pykafkaevt.bridge.routes cimport Routes, Table
from pykafkaevt.bridge.tally cimport Tally
from pykafkaevt.bridge.target cimport Attributes, Origin, Target
from pykafkaevt.kafka.topic cimport counter, pthread_mutex_t
from pykafkaevt.kafka.queueing cimport Waiting

# What is looked at while a queue is full: whether to wait on, and what the kernel drops meanwhile.
cdef struct Watch:
    counter* aborting
    counter* abandoned           # of the routes at hand; NULL where nobody waits for them
    counter* waiting
    counter* kernel_drops
    int fd                       # the socket that is received from, -1 without
    uint32_t drops               # the kernel's own count for it, as far as it is added

# Adds the drops that the socket has counted since.
cdef void look_for_drops(Watch* watch) noexcept nogil
# The same for its count as a datagram has it.
cdef void add_drops(Watch* watch, uint32_t drops) noexcept nogil

# Handles the messages of one input, for one thread at a time.
cdef class Handler:
    cdef list texts                      # what the pointers of format and origin point into
    cdef Format format
    cdef Origin origin
    cdef Tally tally
    cdef Space space
    cdef uint64_t number                 # of the last valid message
    cdef Watch watch
    cdef Waiting waiting
    cdef counter aborting                # set by any thread: wait for no queue any more
    cdef Routes routes                   # the newest
    cdef Routes outdated                 # what the batch at hand is still handled by, else None
    cdef list accesses                   # the newest, and the one whose rules are in use
    cdef pthread_mutex_t lock            # guards what follows
    cdef const Rules* next_rules
    cdef const Rules* rules              # of the batch at hand, or of the last
    cdef Table* next                     # of routes
    cdef Table* current                  # in use by the batch at hand, or NULL
    cdef bint release                    # the batch at hand is to let go of `outdated`

    cdef const char* text(self, str text, size_t* size) except NULL
    cdef int set_routes(self, Routes routes) except -1
    cdef bint uses(self, Routes routes) noexcept
    cdef int set_access(self, Access access) except -1
    # the rules of the batch that begins; good until the next one does
    cdef const Rules* newest_rules(self) noexcept nogil
    cdef Table* newest_table(self) noexcept nogil
    cdef void release_table(self) noexcept nogil

    # messages as they were received, all else in them zero
    cdef void handle(self, Message* messages, Py_ssize_t n) noexcept nogil
    # the same for one that the input found invalid, its reason set; the caller counts that
    cdef void handle_invalid(self, Message* m) noexcept nogil
    cdef void handle_part(self, Message* messages, Py_ssize_t n, size_t need) noexcept nogil
    cdef bint check(self, Table* table, Message* m, bint enough) noexcept nogil
    cdef Table* queue_to_routes(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil
    cdef void route(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil
    cdef bint queue_to_targets(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil
    cdef void settle(self, Message** messages, Py_ssize_t n) noexcept nogil
    cdef void queue_to_subscribers(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil
    cdef void queue_dead_letters(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil
    cdef void queue_or_drop(
        self, Target* target, Message** messages, Py_ssize_t n, Attributes* attributes
    ) noexcept nogil
    cdef void fill(self, Attributes* attributes, const Table* table) noexcept nogil
