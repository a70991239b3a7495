"""Packets of HEP version 3, as SIP servers and capture agents send them, into events."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from pykafkaevt.jsonrpc.scan cimport JSON_OK, JsonEvent, json_event_scan
from pykafkaevt.sip.message cimport SipMessage, parse_message

cdef extern from "hep.h" nogil:
    enum:
        HEP_TYPE_SIP
        HEP_TYPE_RTCP
        HEP_TYPE_LOG

    ctypedef struct HepBytes:
        const char* data
        size_t size

    ctypedef struct HepPacket:
        HepBytes payload
        HepBytes correlation
        HepBytes key
        long long type

    int hep_parse(const char* data, size_t size, HepPacket* packet)
    bint hep_is_whole(int reason)
    int hep_is_keepalive(HepBytes payload)
    long long hep_time_us(const HepPacket* packet)

cdef extern from "hep_key.h" nogil:
    bint hep_key_known(const HepKey* keys, size_t count, const char* given, size_t size)

cdef extern from "hep_members.h" nogil:
    char* hep_put(char* dst, const char* text)
    char* hep_name(char* dst, const char* name)
    char* hep_number_member(char* dst, const char* name, long long value)
    char* hep_text_member(char* dst, const char* name, const char* text, size_t n)
    char* hep_header_member(char* dst, const char* name, const char* text, size_t n)
    char* hep_packet_members(char* dst, const HepPacket* packet)


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


cdef int hep_event(
    const char* data, size_t size, HepKeys keys, bint raw, char* dst, HepEvent* event
) noexcept nogil:
    cdef HepPacket packet
    cdef SipMessage sip
    cdef char* at
    cdef int reason = hep_parse(data, size, &packet)
    event.authenticated = False
    if keys.count and hep_is_whole(reason):
        if packet.key.data == NULL:
            return HEP_NO_KEY
        if not hep_key_known(keys.keys, keys.count, packet.key.data, packet.key.size):
            return HEP_WRONG_KEY
        event.authenticated = True
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
    # there is a member always: its comma goes
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
    cdef HepKeys keys
    cdef char* dst = NULL
    cdef int reason
    keys.count = 0
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        dst = <char*> malloc(HEP_EVENT_MAX(<size_t> view.len))
        if dst == NULL:
            raise MemoryError(f"no memory for the event of a packet of {view.len} bytes")
        reason = hep_event(<const char*> view.buf, <size_t> view.len, keys, raw, dst, &event)
        if reason != HEP_OK:
            raise ValueError(hep_reasons[reason].decode())
        return PyBytes_FromStringAndSize(dst, <Py_ssize_t> event.size)
    finally:
        free(dst)
        PyBuffer_Release(&view)
