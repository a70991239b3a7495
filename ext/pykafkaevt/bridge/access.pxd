"""Who may send to an input."""

from pykafkaevt.bridge.datagrams cimport msghdr
from pykafkaevt.sip.hep cimport HepKey, HepKeys

cdef extern from "ip_ranges.h" nogil:
    ctypedef struct IpRanges:
        const char* bounds
        size_t count

# Borrowed from its Access.
cdef struct Rules:
    bint by_address      # only who is in one of the ranges
    IpRanges ipv4
    IpRanges ipv6
    HepKeys hep_keys

cdef bint admits_sender(const Rules* rules, const msghdr* datagram) noexcept nogil

cdef class Access:
    cdef list texts      # what the pointers of the rules point into
    cdef HepKey* keys    # owned
    cdef Rules rules

    cdef IpRanges ranges(self, size_t size, list networks)
