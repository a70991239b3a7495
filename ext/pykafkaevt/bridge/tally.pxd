"""What an input counts, and what it keeps for the page and the log."""

from pykafkaevt.bridge.datagrams cimport SOURCE_SIZE, msghdr
from pykafkaevt.bridge.message cimport Message
from pykafkaevt.bridge.names cimport NAME_SIZE, Names
from pykafkaevt.kafka.topic cimport counter, pthread_mutex_t

cdef enum:
    EXCERPT = 200            # bytes kept of an invalid message
    SAMPLES = 16             # invalid messages kept for the log
    NEWEST = 20              # events kept for the page

cdef struct Sample:
    char[32] reason
    char[SOURCE_SIZE] source
    char[EXCERPT] excerpt    # without the secrets that senders put into messages
    size_t size              # of the excerpt
    size_t total             # of the message
    long long time_us

cdef struct Newest:
    char[NAME_SIZE] name
    char[NAME_SIZE] key
    char[SOURCE_SIZE] source
    size_t name_size
    size_t key_size
    long long time_us

# One thread at a time writes, any thread reads.
cdef class Tally:
    cdef counter received, bytes, queued, unrouted, kernel_drops
    cdef counter refused             # of senders that may not send; not among those received
    cdef counter refused_kept        # set while refused_source is one of them
    cdef counter turns               # of the receive loop
    cdef counter waiting             # set while the thread waits for a full queue
    cdef counter* reasons            # owned: those of message.pxd
    cdef dict other_reasons          # those of the input itself; with the GIL
    cdef Names names
    cdef pthread_mutex_t lock        # guards what follows
    cdef Sample[SAMPLES] kept_samples
    cdef int sample_count
    cdef char[SOURCE_SIZE] refused_source
    cdef Newest[NEWEST] newest
    cdef unsigned long long newest_count

    # counts a message that is not queued, and keeps a sample of it; sets m.reason
    cdef void invalid(self, Message* m, int reason) noexcept nogil
    cdef void keep_sample(self, const Message* m) noexcept nogil
    # counts a datagram whose sender may not send
    cdef void refuse(self, const msghdr* datagram) noexcept nogil
    # the same for a peer by its text
    cdef void refuse_peer(self, const char* source) noexcept nogil
    cdef void keep_refused(self, const char* source) noexcept nogil
    cdef void count_event(self, const Message* m) noexcept nogil
    # keeps an event for the page
    cdef void remember(self, const Message* m) noexcept nogil
    cdef dict counts(self)
    cdef list samples(self)
    # the source of what was refused since the last call, of many one; None without
    cdef str newest_refused(self)
    cdef list last_events(self)
