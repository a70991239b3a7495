"""The Call-ID and the few headers we read of a raw SIP message (RFC 3261), in place."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memset

from collections import namedtuple

# The event of a SIP message, wherever it is made, and its parameters in order: those of the message, then those of the
# packet that brought it. A request has a method, a response status and reason; what else is absent is left out.
SIP_EVENT = "E_SIP"
SIP_FIELDS = (
    "method", "status", "reason", "callid", "cseq", "cseq_method", "from_uri", "to_uri", "user_agent",
    "transport", "src_ip", "src_port", "dst_ip", "dst_port",
    "time",              # microseconds since 1970
    "capture_id", "correlation_id", "node",
    "raw",               # the whole message
)

# a message of Python's, borrowed until release()
cdef struct Source:
    const char* data
    size_t size
    Py_buffer view     # of a bytes-like message; all zero for a str, which keeps its UTF-8 itself


cdef int borrow(object message, Source* source) except -1:
    cdef Py_ssize_t size = 0
    memset(source, 0, sizeof(Source))
    if isinstance(message, str):
        try:
            source.data = PyUnicode_AsUTF8AndSize(message, &size)
            source.size = <size_t> size
            return 0
        except UnicodeEncodeError:
            # lone surrogates: as bytes that are no UTF-8, which the result replaces
            message = message.encode("utf-8", "surrogatepass")
    PyObject_GetBuffer(message, &source.view, PyBUF_SIMPLE)
    source.data = <const char*> source.view.buf
    source.size = <size_t> source.view.len
    return 0


cdef inline bint is_space(char c) noexcept nogil:
    """A character of LWS, its line ends included (RFC 3261, 25.1)."""
    return c == c" " or c == c"\t" or c == c"\r" or c == c"\n"


cdef inline Slice between(const char* start, const char* end) noexcept nogil:
    """What is left of [start, end) without white space at both ends; never absent."""
    cdef Slice part
    while start < end and is_space(start[0]):
        start += 1
    while end > start and is_space((end - 1)[0]):
        end -= 1
    part.data = start
    part.size = end - start
    return part


cdef inline bint is_name(Slice name, const char* lower, size_t size) noexcept nogil:
    """Whether a header's name is `lower` (ASCII, in lower case), in any case."""
    cdef size_t i
    cdef char c
    if name.size != size:
        return False
    for i in range(size):
        c = name.data[i]
        if c"A" <= c <= c"Z":
            c += 32
        if c != lower[i]:
            return False
    return True


cdef bint next_header(const char** at, const char* end, Slice* name, Slice* value) noexcept nogil:
    """The header at `at` with its continuation lines, and `at` moved behind it; 0 at the empty line.

    0 also at the end of the message. A line that is no header has an empty name.
    """
    cdef const char* line = at[0]
    cdef const char* stop = line
    cdef const char* colon = line
    if line >= end or line[0] == c"\n" or (line[0] == c"\r" and end - line > 1 and line[1] == c"\n"):
        return False
    while True:
        stop = <const char*> memchr(stop, c"\n", end - stop)
        if stop == NULL:
            stop = at[0] = end
            break
        at[0] = stop + 1
        if at[0] == end or (at[0][0] != c" " and at[0][0] != c"\t"):
            break
        stop += 1
    while colon < stop and colon[0] != c":" and not is_space(colon[0]):
        colon += 1
    name.data = line
    name.size = colon - line
    while colon < stop and (colon[0] == c" " or colon[0] == c"\t"):
        colon += 1
    if colon == stop or colon[0] != c":":
        name.size = 0
        value[0] = between(stop, stop)
    else:
        value[0] = between(colon + 1, stop)
    return True


cdef inline const char* first_line(const char* data, const char* end) noexcept nogil:
    """The start of the first line; line ends before it are ignored (RFC 3261, 7.5)."""
    while data < end and (data[0] == c"\r" or data[0] == c"\n"):
        data += 1
    return data


cdef Slice find_call_id(const char* data, size_t size) noexcept nogil:
    cdef const char* end = data + size
    cdef const char* at = first_line(data, end)
    cdef Slice name, value
    while next_header(&at, end, &name, &value):
        if is_name(name, b"call-id", 7) or is_name(name, b"i", 1):
            return value
    value.data = NULL
    value.size = 0
    return value


cdef bint is_version(const char* start, const char* end) noexcept nogil:
    """Whether [start, end) is SIP/2.0; its case is free (RFC 3261, 7.1)."""
    cdef Slice version
    version.data = start
    version.size = end - start
    return is_name(version, b"sip/2.0", 7)


cdef bint parse_start_line(const char* start, const char* end, SipMessage* sip) noexcept nogil:
    """The request line or status line, 0 when it is neither."""
    cdef Slice line = between(start, end)
    cdef const char* first
    cdef const char* last
    start = line.data
    end = start + line.size
    first = <const char*> memchr(start, c" ", line.size)
    if first == NULL:
        return False
    if is_version(start, first):
        while first < end and first[0] == c" ":
            first += 1
        if end - first < 3 or (end - first > 3 and first[3] != c" "):
            return False
        if not (c"1" <= first[0] <= c"6" and c"0" <= first[1] <= c"9" and c"0" <= first[2] <= c"9"):
            return False
        sip.status = (first[0] - c"0") * 100 + (first[1] - c"0") * 10 + (first[2] - c"0")
        sip.reason = between(first + 3, end)
        return True
    last = end
    while (last - 1)[0] != c" ":
        last -= 1
    if not is_version(last, end):
        return False
    sip.method = between(start, first)
    sip.uri = between(first, last)
    # with a colon there it is a header's line
    return memchr(start, c":", first - start) == NULL and sip.uri.size > 0 and sip.uri.data[0] != c":"


cdef Slice address_uri(Slice value) noexcept nogil:
    """The URI of a From or To: name-addr or addr-spec; empty when there is none (RFC 3261, 20.10)."""
    cdef const char* at = value.data
    cdef const char* end = at + value.size
    cdef const char* close
    while at < end and at[0] != c"<" and at[0] != c";":
        if at[0] == c'"':
            at += 1
            while at < end and at[0] != c'"':
                at += 2 if at[0] == c"\\" else 1
        at += 1
    if at < end and at[0] == c"<":
        close = <const char*> memchr(at, c">", end - at)
        return between(at + 1, close) if close != NULL else between(end, end)
    # addr-spec: up to the first parameter or white space; a quote would be a display name without a URI
    close = value.data
    while close < end and close[0] != c";" and not is_space(close[0]):
        if close[0] == c'"':
            return between(end, end)
        close += 1
    if memchr(value.data, c":", close - value.data) == NULL:
        return between(end, end)
    return between(value.data, close)


cdef void parse_cseq(Slice value, SipMessage* sip) noexcept nogil:
    cdef const char* at = value.data
    cdef const char* end = at + value.size
    cdef long long number = 0
    while at < end and c"0" <= at[0] <= c"9" and number >> 32 == 0:
        number = number * 10 + (at[0] - c"0")
        at += 1
    # a number is below 2**32 (RFC 3261, 20.16)
    if at > value.data and number >> 32 == 0 and (at == end or is_space(at[0])):
        sip.cseq = number
        sip.cseq_method = between(at, end)
    else:
        sip.cseq_method = between(end, end)


cdef bint parse_message(const char* data, size_t size, SipMessage* sip) noexcept nogil:
    cdef const char* end = data + size
    cdef const char* at = first_line(data, end)
    cdef const char* stop = <const char*> memchr(at, c"\n", end - at) if at < end else NULL
    cdef Slice name, value
    memset(sip, 0, sizeof(SipMessage))
    sip.cseq = -1
    if stop == NULL:
        stop = end
    if not parse_start_line(at, stop, sip):
        return False
    at = stop if stop == end else stop + 1
    while next_header(&at, end, &name, &value):
        if is_name(name, b"call-id", 7) or is_name(name, b"i", 1):
            if sip.call_id.data == NULL:
                sip.call_id = value
        elif is_name(name, b"cseq", 4):
            if sip.cseq_method.data == NULL:
                parse_cseq(value, sip)
        elif is_name(name, b"from", 4) or is_name(name, b"f", 1):
            if sip.from_uri.data == NULL:
                sip.from_uri = address_uri(value)
        elif is_name(name, b"to", 2) or is_name(name, b"t", 1):
            if sip.to_uri.data == NULL:
                sip.to_uri = address_uri(value)
        elif is_name(name, b"user-agent", 10):
            if sip.user_agent.data == NULL:
                sip.user_agent = value
    return True


cdef object text(Slice part):
    """The part as str, None when it is absent or empty; a fold is one space (RFC 3261, 7.3.1)."""
    if part.size == 0:
        return None
    if memchr(part.data, b"\n", part.size) == NULL:
        return PyUnicode_DecodeUTF8(part.data, <Py_ssize_t> part.size, "replace")
    lines = (line.strip(b" \t\r") for line in part.data[:part.size].split(b"\n"))
    return b" ".join([line for line in lines if line]).decode("utf-8", "replace")


def call_id(message):
    """The Call-ID of a raw SIP message, None when it has none or an empty one.

    message: bytes, bytearray, memoryview (contiguous) or str; a message without its start line will do.
    The first Call-ID header (or `i`) of the header part counts, whatever its case, white space and folding;
    what is not valid UTF-8 in it becomes U+FFFD. In a truncated message the value may be cut short.
    Raises TypeError for other types. Source: RFC 3261, sections 7.3 and 20.8.
    """
    cdef Source source
    borrow(message, &source)
    try:
        return text(find_call_id(source.data, source.size))
    finally:
        PyBuffer_Release(&source.view)


SipHeaders = namedtuple(
    "SipHeaders",
    "method uri status reason call_id cseq cseq_method from_uri to_uri user_agent",
    module=__name__,
)
SipHeaders.__doc__ = """The start line and the headers we read of a SIP message; None where it has none.

method, uri (the Request-URI): of a request; status (100 to 699), reason: of a response. cseq: 0 to 2**32-1.
from_uri, to_uri: without display name, angle brackets and header parameters.
"""


def headers(message):
    """The SipHeaders of a raw SIP message, None when its first line is not one of SIP/2.0.

    message: as for call_id(). Raises TypeError for other types. Source: RFC 3261, sections 7 and 20.
    """
    cdef Source source
    cdef SipMessage sip
    borrow(message, &source)
    try:
        if not parse_message(source.data, source.size, &sip):
            return None
        return SipHeaders(
            text(sip.method),
            text(sip.uri),
            sip.status or None,
            text(sip.reason),
            text(sip.call_id),
            sip.cseq if sip.cseq >= 0 else None,
            text(sip.cseq_method),
            text(sip.from_uri),
            text(sip.to_uri),
            text(sip.user_agent),
        )
    finally:
        PyBuffer_Release(&source.view)
