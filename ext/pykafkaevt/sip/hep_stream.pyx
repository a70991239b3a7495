"""Packets of HEP version 3 cut out of a stream."""

cdef extern from "hep.h" nogil:
    enum:
        HEP_HEADER

    unsigned int hep_u16(const char* at)

cdef extern from "hep_key.h" nogil:
    void hep_blank_keys(const char* data, size_t size, char* copy)

cdef enum:
    EXCERPT = 128    # bytes kept of what is no packet
    KEY_REACH = 512  # bytes before an excerpt in which the authentication key it begins in may begin


cdef Py_ssize_t garbage_end(bytearray held, Py_ssize_t at) except -1:
    """Where, behind `at`, the next packet may start: at all or a part of "HEP3"."""
    cdef Py_ssize_t end = held.find(b"HEP3", at + 1)
    if end >= 0:
        return end
    end = max(at + 1, <Py_ssize_t> len(held) - 3)
    while not b"HEP3".startswith(held[end:]):
        end += 1
    return end


cdef bytes end_of(bytes before):
    """Of what came before an excerpt, as much as matters for its keys."""
    return before[max(0, len(before) - KEY_REACH):]


cdef bytes without_keys(bytes before, bytes excerpt):
    """An excerpt with the authentication keys blanked; before: what came before it in the stream.

    With a wrong size a packet may end within a key, whose rest is the excerpt then.
    """
    cdef bytes whole = end_of(before) + excerpt
    cdef bytearray copy = bytearray(whole)
    hep_blank_keys(whole, len(whole), copy)
    return bytes(copy[len(whole) - len(excerpt):])


cdef class HepSplitter:
    """Cuts a stream into HEPv3 packets by their length field.

    limit: bytes of a packet at most. What feed() returns does not depend on where the stream was cut. Between calls
    it holds one unfinished packet or header at most, and the end of the last packet. Excerpts have the authentication
    keys of packets blanked.
    """
    cdef Py_ssize_t limit
    cdef Py_ssize_t dropping     # bytes left of a packet that is too large, already counted
    cdef bint in_garbage
    cdef bint reported           # of this garbage
    cdef bytearray garbage       # its first bytes
    cdef bytearray held          # what follows it, or the unfinished packet
    cdef bytes before            # the end of the last packet

    def __cinit__(self, Py_ssize_t limit):
        if limit < HEP_HEADER:
            raise ValueError(f"limit must be {HEP_HEADER} bytes or more")
        self.limit = limit
        self.garbage = bytearray()
        self.held = bytearray()
        self.before = b""

    def feed(self, bytes data not None) -> list:
        """The (packet, None) that `data` completes and the (excerpt, reason) of what is no packet, in order.

        reason: "garbage", bytes up to the next header of a packet, counted once; "too_large", a packet of more than
        `limit` bytes, which is dropped. An excerpt has 128 bytes at most.
        """
        cdef list found = []
        cdef Py_ssize_t at = 0, left, size, shown
        cdef const char* start
        # in nobody else's hands meanwhile: code of a finalizer that feeds this splitter too cannot move the bytes
        cdef bytearray held = self.held
        self.held = bytearray()
        held += data
        while True:
            left = len(held) - at
            size = min(self.dropping, left)
            if size:
                self.before = end_of(self.before) + held[max(at, at + size - KEY_REACH):at + size]
                self.dropping -= size
                at += size
                continue
            if left < HEP_HEADER and b"HEP3".startswith(held[at:at + 4]):
                break
            start = <const char*> held + at
            size = hep_u16(start + 4) if held.startswith(b"HEP3", at) else 0
            if size < HEP_HEADER:
                size = garbage_end(held, at) - at
                self.keep_garbage(start[:min(size, <Py_ssize_t> EXCERPT)], found)
                at += size
                continue
            self.end_garbage(found)
            shown = size if size <= self.limit else min(size, <Py_ssize_t> EXCERPT)
            if left < shown:
                break
            packet = start[:shown]
            if size > self.limit:
                found.append((without_keys(self.before, packet), "too_large"))
                self.dropping = size
            else:
                found.append((packet, None))
                self.before = packet
                at += size
        self.before = end_of(self.before)
        del held[:at]
        self.held = held
        return found

    def finish(self) -> list:
        """What is left at the end of the stream: the (excerpt, "garbage") or (excerpt, "truncated"), or nothing.

        The splitter is as new afterwards.
        """
        cdef list found = []
        if self.in_garbage and len(self.held) < 4:
            self.keep_garbage(bytes(self.held), found)
            self.held.clear()
        self.end_garbage(found)
        if self.held:
            found.append((without_keys(self.before, bytes(self.held[:EXCERPT])), "truncated"))
        self.held.clear()
        self.before = b""
        self.dropping = 0
        return found

    cdef int keep_garbage(self, bytes part, list found) except -1:
        self.in_garbage = True
        self.garbage += part[:EXCERPT - len(self.garbage)]
        if len(self.garbage) == EXCERPT and not self.reported:
            found.append((without_keys(self.before, bytes(self.garbage)), "garbage"))
            self.reported = True
        return 0

    cdef int end_garbage(self, list found) except -1:
        if self.in_garbage and not self.reported:
            found.append((without_keys(self.before, bytes(self.garbage)), "garbage"))
        self.garbage.clear()
        self.in_garbage = self.reported = False
        return 0
