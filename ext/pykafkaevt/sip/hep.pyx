"""Packets of HEP version 3, as SIP servers and capture agents send them, into events."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from pykafkaevt.jsonrpc.scan cimport JSON_OK, JsonEvent, json_event_scan
from pykafkaevt.sip.message cimport SipMessage, parse_message

cdef extern from "hep.h" nogil:
    enum:
        HEP_HEADER
        HEP_TYPE_SIP
        HEP_TYPE_RTCP
        HEP_TYPE_LOG

    ctypedef struct HepBytes:
        const char* data
        size_t size

    ctypedef struct HepPacket:
        HepBytes payload
        HepBytes correlation
        long long type

    unsigned int hep_u16(const char* at)
    int hep_parse(const char* data, size_t size, HepPacket* packet)
    int hep_is_keepalive(HepBytes payload)
    long long hep_time_us(const HepPacket* packet)

cdef extern from "hep_members.h" nogil:
    char* hep_put(char* dst, const char* text)
    char* hep_name(char* dst, const char* name)
    char* hep_number_member(char* dst, const char* name, long long value)
    char* hep_text_member(char* dst, const char* name, const char* text, size_t n)
    char* hep_header_member(char* dst, const char* name, const char* text, size_t n)
    char* hep_packet_members(char* dst, const HepPacket* packet)

cdef enum:
    EXCERPT = 128    # bytes kept of what a stream's splitter refuses


cdef inline char* sip_members(char* dst, const SipMessage* sip) noexcept nogil:
    if sip.status:
        dst = hep_number_member(dst, b"status", sip.status)
        dst = hep_header_member(dst, b"reason", sip.reason.data, sip.reason.size)
    else:
        dst = hep_header_member(dst, b"method", sip.method.data, sip.method.size)
    dst = hep_header_member(dst, b"callid", sip.call_id.data, sip.call_id.size)
    dst = hep_number_member(dst, b"cseq", sip.cseq)
    dst = hep_header_member(dst, b"cseq_method", sip.cseq_method.data, sip.cseq_method.size)
    dst = hep_header_member(dst, b"from_uri", sip.from_uri.data, sip.from_uri.size)
    dst = hep_header_member(dst, b"to_uri", sip.to_uri.data, sip.to_uri.size)
    return hep_header_member(dst, b"user_agent", sip.user_agent.data, sip.user_agent.size)


cdef inline char* payload_member(char* dst, HepBytes payload) noexcept nogil:
    """The payload as it is when it is a JSON object, else as text."""
    cdef JsonEvent ignored
    if json_event_scan(payload.data, payload.size, True, NULL, 0, NULL, &ignored) != JSON_OK:
        return hep_text_member(dst, b"payload", payload.data, payload.size)
    dst = hep_name(dst, b"payload")
    memcpy(dst, payload.data, payload.size)
    dst[payload.size] = c","
    return dst + payload.size + 1


cdef int hep_event(const char* data, size_t size, bint raw, char* dst, HepEvent* event) noexcept nogil:
    cdef HepPacket packet
    cdef SipMessage sip
    cdef char* at
    cdef int reason = hep_parse(data, size, &packet)
    if reason != HEP_OK:
        return reason
    event.event.data, event.event.size = b"E_HEP", 5
    event.key.data, event.key.size = packet.correlation.data, packet.correlation.size
    if packet.type == HEP_TYPE_SIP:
        if hep_is_keepalive(packet.payload):
            return HEP_KEEPALIVE
        if not parse_message(packet.payload.data, packet.payload.size, &sip):
            return HEP_NOT_SIP
        event.event.data, event.event.size = b"E_SIP", 5
        if sip.call_id.size:
            event.key = sip.call_id
    elif packet.type == HEP_TYPE_RTCP:
        event.event.data, event.event.size = b"E_RTCP", 6
    elif packet.type == HEP_TYPE_LOG:
        event.event.data, event.event.size = b"E_LOG", 5
    if event.key.size == 0:
        event.key.data = NULL
    event.time_us = max(hep_time_us(&packet), 0)
    at = hep_put(dst, b'{"jsonrpc":"2.0","method":"')
    at = hep_put(at, event.event.data)
    at = hep_put(at, b'","params":{')
    if packet.type == HEP_TYPE_SIP:
        at = hep_packet_members(sip_members(at, &sip), &packet)
        if raw:
            at = hep_text_member(at, b"raw", packet.payload.data, packet.payload.size)
    else:
        if packet.type != HEP_TYPE_RTCP and packet.type != HEP_TYPE_LOG:
            at = hep_number_member(at, b"type", packet.type)
        at = payload_member(hep_packet_members(at, &packet), packet.payload)
    # there is a member always: its comma gives way
    at -= 1
    at = hep_put(at, b"}}")
    event.size = at - dst
    return HEP_OK


def hep_to_event(data, *, bint raw=False) -> bytes:
    """The JSON-RPC notification of a HEPv3 packet.

    data: the packet, bytes-like. Its event is E_SIP, E_RTCP (RTCP reports as JSON), E_LOG, or E_HEP with the protocol
    `type` for all others. params of E_SIP: method, or status and reason; callid, cseq, cseq_method, from_uri, to_uri,
    user_agent; then of all: transport ("udp", "tcp", "tls", "ws", "sctp"), src_ip, src_port, dst_ip, dst_port,
    time (microseconds since 1970), capture_id, correlation_id, node; what the packet lacks is left out. raw: the SIP
    message as `raw`. The others have `payload`: a JSON object as it is, else text. What is not UTF-8 becomes U+FFFD.
    Raises ValueError with the reason's name (hep_truncated, hep_v2, …) for anything else.
    Source: HEP3 Network Protocol Specification rev. 12.
    """
    cdef Py_buffer view
    cdef HepEvent event
    cdef char* dst = NULL
    cdef int reason
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        dst = <char*> malloc(HEP_EVENT_ROOM(<size_t> view.len))
        if dst == NULL:
            raise MemoryError(f"no memory for the event of a packet of {view.len} bytes")
        reason = hep_event(<const char*> view.buf, <size_t> view.len, raw, dst, &event)
        if reason != HEP_OK:
            raise ValueError(hep_reasons[reason].decode())
        return PyBytes_FromStringAndSize(dst, <Py_ssize_t> event.size)
    finally:
        free(dst)
        PyBuffer_Release(&view)


cdef class HepSplitter:
    """Cuts a stream into HEPv3 packets by their length field.

    limit: bytes of a packet at most. What feed() returns does not depend on where the stream was cut. Between calls
    it holds one unfinished packet or header at most.
    """
    cdef Py_ssize_t limit
    cdef Py_ssize_t dropping     # bytes left of a packet that is too large, already counted
    cdef bint in_garbage
    cdef bint reported           # of this garbage
    cdef bytearray garbage       # its first bytes
    cdef bytearray held          # what follows it, or the unfinished packet

    def __cinit__(self, Py_ssize_t limit):
        if limit < HEP_HEADER:
            raise ValueError(f"limit must be {HEP_HEADER} bytes or more")
        self.limit = limit
        self.garbage = bytearray()
        self.held = bytearray()

    def feed(self, bytes data not None) -> list:
        """The (packet, None) that `data` completes and the (excerpt, reason) of what it refuses, in order.

        reason: "garbage", bytes up to the next header of a packet, counted once; "too_large", a packet of more than
        `limit` bytes, which is dropped. An excerpt has 128 bytes at most.
        """
        cdef list found = []
        cdef Py_ssize_t at = 0, left, size, shown
        cdef const char* start
        self.held += data
        while True:
            left = len(self.held) - at
            size = min(self.dropping, left)
            if size:
                self.dropping -= size
                at += size
                continue
            if left < HEP_HEADER and b"HEP3".startswith(self.held[at:at + 4]):
                break
            start = <const char*> self.held + at
            size = hep_u16(start + 4) if self.held.startswith(b"HEP3", at) else 0
            if size < HEP_HEADER:
                size = self.garbage_end(at) - at
                self.keep_garbage(start[:min(size, <Py_ssize_t> EXCERPT)], found)
                at += size
                continue
            self.end_garbage(found)
            shown = size if size <= self.limit else min(size, <Py_ssize_t> EXCERPT)
            if left < shown:
                break
            found.append((start[:shown], "too_large" if size > self.limit else None))
            if size > self.limit:
                self.dropping = size
            else:
                at += size
        del self.held[:at]
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
            found.append((bytes(self.held[:EXCERPT]), "truncated"))
        self.held.clear()
        self.dropping = 0
        return found

    cdef Py_ssize_t garbage_end(self, Py_ssize_t at) except -1:
        """Where, behind `at`, the next packet may start: at all or a part of "HEP3"."""
        cdef Py_ssize_t end = self.held.find(b"HEP3", at + 1)
        if end >= 0:
            return end
        end = max(at + 1, <Py_ssize_t> len(self.held) - 3)
        while not b"HEP3".startswith(self.held[end:]):
            end += 1
        return end

    cdef int keep_garbage(self, bytes part, list found) except -1:
        self.in_garbage = True
        self.garbage += part[:EXCERPT - len(self.garbage)]
        if len(self.garbage) == EXCERPT and not self.reported:
            found.append((bytes(self.garbage), "garbage"))
            self.reported = True
        return 0

    cdef int end_garbage(self, list found) except -1:
        if self.in_garbage and not self.reported:
            found.append((bytes(self.garbage), "garbage"))
        self.garbage.clear()
        self.in_garbage = self.reported = False
        return 0
