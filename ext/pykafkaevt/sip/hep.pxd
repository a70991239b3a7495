from pykafkaevt.sip.message cimport Slice

cdef extern from "hep.h" nogil:
    size_t HEP_EVENT_MAX(size_t size)

    enum:
        HEP_OK
        HEP_SHORT        # fewer bytes than a header
        HEP_V1
        HEP_V2
        HEP_NOT_HEP
        HEP_TRUNCATED    # fewer bytes than the header says
        HEP_TRAILING     # more bytes than the header says
        HEP_BAD_CHUNK    # a chunk beyond the packet's end, or not of its type's size
        HEP_NO_TYPE
        HEP_NO_PAYLOAD
        HEP_COMPRESSED   # only a compressed payload
        HEP_KEEPALIVE    # a SIP payload of line ends only
        HEP_NOT_SIP      # a SIP payload without a start line of SIP/2.0
        HEP_NO_KEY       # no authentication key
        HEP_WRONG_KEY    # one that is none of those that are known
        HEP_REASONS

    const char* const* hep_reasons

cdef extern from "hep_key.h" nogil:
    ctypedef struct HepKey:
        const char* data
        size_t size

    const char* hep_find_key(const char* data, size_t size)
    void hep_blank_keys(const char* data, size_t size, char* copy)

# The authentication keys of which a packet must have one; none: it need not have any.
cdef struct HepKeys:
    const HepKey* keys
    size_t count

cdef struct HepEvent:
    bint authenticated   # the packet has one of the keys; whatever else is wrong with it
    Slice event          # the event's name, static
    Slice key            # the Call-ID of SIP, else the correlation id, as in the packet; absent when empty
    long long time_us    # since 1970, 0 when the packet has none
    size_t size          # bytes written

# Writes the notification of a HEPv3 packet to `dst`, which needs HEP_EVENT_MAX(size) bytes; HEP_OK or a reason.
cdef int hep_event(
    const char* data, size_t size, HepKeys keys, bint raw, char* dst, HepEvent* event
) noexcept nogil
