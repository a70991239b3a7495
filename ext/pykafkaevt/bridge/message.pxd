"""One message on its way through the bridge; nothing here knows Kafka."""

from libc.stdint cimport uint64_t

from pykafkaevt.bridge.datagrams cimport msghdr
from pykafkaevt.jsonrpc.scan cimport JSON_REASONS, JsonName
from pykafkaevt.sip.hep cimport HEP_REASONS, HepKeys

# Why a message is not queued: JSON's reasons, then HEP's (a reason that is OK is 0 among its own), then these.
cdef enum:
    HEP_REASON = JSON_REASONS
    TOO_LARGE = JSON_REASONS + HEP_REASONS
    NO_MEMORY
    ABANDONED            # its target is full, closed or not to be opened, and nobody waits any longer
    REJECTED             # librdkafka does not take the record
    REASONS

# Message.target of one that needs none any more
cdef enum:
    SETTLED = -1         # queued, or not to be queued
    UNROUTED = -2        # no route fits

cdef struct Message:
    # as it was received
    const char* data             # borrowed
    size_t size
    const msghdr* header         # of a datagram, borrowed: its sender; NULL of one that was fed …
    const char* source           # … which has this text, of SOURCE_SIZE bytes at most
    bint cut                     # the datagram was longer than its buffer
    bint unauthenticated         # its input asks for keys, and none of them was found in it
    void* report                 # owned until the record is queued: the callable that wants the report, or NULL
    # as it is queued; borrowed from `data`, the Format or the Space
    const char* value
    size_t value_size
    const char* key              # NULL when there is none
    size_t key_size
    const char* name             # the event's
    size_t name_size
    long long time_us            # since 1970, 0 for now
    uint64_t number              # among the valid messages of its input
    # what became of it
    int target                   # index in the table of routes, SETTLED or UNROUTED
    const char* reason           # static, or borrowed by who set it; NULL while the message is valid
    int code                     # librdkafka's, of REJECTED

cdef enum Kind:
    KIND_JSON            # JSON-RPC notifications or requests
    KIND_HEP             # HEPv3 packets
    KIND_PLAIN           # JSON objects that become the parameters of `method`

# How the messages of an input are read.
cdef struct Format:
    Kind kind
    bint raw                     # SIP events hold the message
    HepKeys keys                 # of KIND_HEP; other ones between batches
    size_t max_size              # bytes of a message
    const char* method           # of KIND_PLAIN; borrowed
    size_t method_size
    const char* head             # of KIND_PLAIN: its notification up to the parameters; borrowed
    size_t head_size

# The fields of an event that are looked for.
cdef struct Fields:
    JsonName* keys               # the first that is there is the record's key
    size_t key_count
    JsonName time                # the event's own time
    bint timed                   # … becomes the record's

# Where what is not queued as it came is written.
cdef struct Space:
    char* data                   # owned, NULL before the first reserve
    size_t size
    size_t used

# Empties the space and makes it `need` bytes large; False when memory ends.
cdef bint space_reserve(Space* space, size_t need) noexcept nogil
# Gives memory back that is more than usual.
cdef void space_release(Space* space) noexcept nogil

# Bytes of a Space that a message of so many bytes needs at most.
cdef size_t space_needed(const Format* format, size_t size) noexcept nogil

# Fills in what is queued of a message, its event's name and time; 0, or the reason why it is invalid.
cdef int parse(const Format* format, const Fields* fields, Space* space, Message* m) noexcept nogil

# Points `data` of each message that holds HEP authentication keys to a copy without them. The caller frees `copies`
# and uses `data` no more then; False when memory ends.
cdef bint blank_keys(Message** messages, Py_ssize_t n, char** copies) noexcept nogil

cdef const char* reason_text(int reason) noexcept nogil

# Where a message came from, as text of SOURCE_SIZE bytes at most.
cdef void write_source(const Message* m, char* text) noexcept nogil
