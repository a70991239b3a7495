"""From a message's bytes to what is queued of it: value, key, event name and time, or the reason it is invalid."""

from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, strtod
from libc.string cimport memcpy

from pykafkaevt.bridge.datagrams cimport SOURCE_SIZE, datagrams_source
from pykafkaevt.jsonrpc.scan cimport JsonEvent, JsonSlice, json_event_scan, json_reasons, json_unescape
from pykafkaevt.sip.hep cimport (
    HEP_EVENT_MAX, HepEvent, hep_blank_keys, hep_event, hep_find_key, hep_reasons,
)

cdef enum:
    SPACE_KEPT = 4 << 20     # bytes a space may keep from batch to batch

cdef const char* own_reasons[4]
own_reasons[:] = [b"too_large", b"no_memory", b"abandoned", b"rejected"]


cdef const char* reason_text(int reason) noexcept nogil:
    if reason < HEP_REASON:
        return json_reasons[reason]
    if reason < TOO_LARGE:
        return hep_reasons[reason - HEP_REASON]
    return own_reasons[reason - TOO_LARGE]


cdef void write_source(const Message* m, char* text) noexcept nogil:
    if m.header != NULL:
        datagrams_source(m.header, text)
    else:
        snprintf(text, SOURCE_SIZE, "%s", m.source)


cdef bint blank_keys(Message** messages, Py_ssize_t n, char** copies) noexcept nogil:
    cdef size_t need = 0
    cdef char* copy
    cdef Message* m
    cdef Py_ssize_t i
    for i in range(n):
        m = messages[i]
        if hep_find_key(m.data, m.size) != NULL:
            need += m.size
    copies[0] = NULL
    if need == 0:
        return True
    copy = copies[0] = <char*> malloc(need)
    if copy == NULL:
        return False
    for i in range(n):
        m = messages[i]
        if hep_find_key(m.data, m.size) != NULL:
            memcpy(copy, m.data, m.size)
            hep_blank_keys(m.data, m.size, copy)
            m.data = copy
            copy += m.size
    return True


# Space

cdef bint space_reserve(Space* space, size_t need) noexcept nogil:
    cdef char* larger
    space.used = 0
    if need > space.size:
        # what it holds is of no use any more
        larger = <char*> malloc(need)
        if larger == NULL:
            return False
        free(space.data)
        space.data = larger
        space.size = need
    return True


cdef void space_release(Space* space) noexcept nogil:
    if space.size > SPACE_KEPT:
        free(space.data)
        space.data = NULL
        space.size = 0


cdef size_t space_needed(const Format* format, size_t size) noexcept nogil:
    if format.kind == KIND_HEP:
        return HEP_EVENT_MAX(size)
    # texts without their escapes, and of a plain object the notification too
    return 2 * size + format.head_size + 1 if format.kind == KIND_PLAIN else size


# Parsing

cdef int parse(const Format* format, const Fields* fields, Space* space, Message* m) noexcept nogil:
    if m.size > format.max_size or m.cut:
        return TOO_LARGE
    return parse_hep(format, fields, space, m) if format.kind == KIND_HEP else parse_json(format, fields, space, m)


cdef int parse_hep(const Format* format, const Fields* fields, Space* space, Message* m) noexcept nogil:
    cdef HepEvent packet
    cdef int reason = hep_event(m.data, m.size, format.keys, format.raw, space.data + space.used, &packet)
    m.unauthenticated = m.unauthenticated and not packet.authenticated
    if reason:
        return HEP_REASON + reason
    m.value, m.value_size = space.data + space.used, packet.size
    m.name, m.name_size = packet.event.data, packet.event.size
    m.key, m.key_size = packet.key.data, packet.key.size
    if fields.timed:
        m.time_us = packet.time_us
    space.used += packet.size
    return 0


cdef int parse_json(const Format* format, const Fields* fields, Space* space, Message* m) noexcept nogil:
    cdef JsonEvent event
    cdef int reason = json_event_scan(
        m.data, m.size, format.kind == KIND_PLAIN, fields.keys, fields.key_count,
        &fields.time if fields.timed else NULL, &event,
    )
    if reason:
        return reason
    if format.kind == KIND_PLAIN:
        m.name, m.name_size = format.method, format.method_size
        wrap(format, space, m)
    else:
        m.value, m.value_size = m.data, m.size
        plain_text(event.method, space, &m.name, &m.name_size)
    plain_text(event.key, space, &m.key, &m.key_size)
    if fields.timed:
        m.time_us = time_of(event.time)
    return 0


cdef void wrap(const Format* format, Space* space, Message* m) noexcept nogil:
    """Make the value the notification whose parameters a plain object is."""
    cdef char* start = space.data + space.used
    cdef size_t size = format.head_size + m.size + 1
    memcpy(start, format.head, format.head_size)
    memcpy(start + format.head_size, m.data, m.size)
    start[size - 1] = c"}"
    m.value, m.value_size = start, size
    space.used += size


cdef void plain_text(JsonSlice text, Space* space, const char** data, size_t* size) noexcept nogil:
    """A JSON string or number as it is, or without its escapes in the space; NULL when there is none."""
    data[0], size[0] = text.data if text.kind else NULL, text.size if text.kind else 0
    if text.kind == c"e":
        data[0] = space.data + space.used
        size[0] = json_unescape(space.data + space.used, text)
        space.used += size[0]


cdef long long time_of(JsonSlice text) noexcept nogil:
    """A number of s, ms, us or ns since 1970, told by its size, as microseconds; 0 for what is none."""
    cdef char[64] digits
    cdef double value
    if text.kind == 0 or text.size == 0 or text.size >= sizeof(digits):
        return 0
    memcpy(digits, text.data, text.size)
    digits[text.size] = 0
    value = strtod(digits, NULL)
    # what is below lies in 1970, what is above beyond the year 5000
    if not 1e8 <= value < 1e20:
        return 0
    if value < 1e11:
        return <long long> (value * 1e6)
    if value < 1e14:
        return <long long> (value * 1e3)
    if value < 1e17:
        return <long long> value
    return <long long> (value / 1e3)
