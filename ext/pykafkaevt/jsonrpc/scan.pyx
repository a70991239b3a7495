"""JSON messages as they arrive: what routes an event, and objects cut out of a stream."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc

cdef enum:
    EXCERPT = 128      # bytes shown of what is refused


def scan_event(data, *, key_fields=(), time_field=None, bint plain=False) -> dict:
    """What routes the event that the bytes-like `data` holds: method, id, key and time, None for an absent one.

    method and key: str, unescaped, lone surrogates as U+FFFD; a number as key is its text. id and time: bytes, the
    JSON text of the value. key_fields: member names of `params`, the first that is a string or a number is the key.
    plain: `data` may be any JSON object; key and time are its own members, method and id are None.
    Raises ValueError with the name of the reason: empty, syntax, not_utf8, not_object, trailing, too_deep, no_method,
    bad_method; and for more than 64 key fields.
    """
    cdef list names = [field.encode() for field in key_fields]
    cdef bytes time_name = b"" if time_field is None else time_field.encode()
    cdef JsonName* keys
    cdef JsonName time
    cdef JsonEvent event
    cdef Py_buffer view
    cdef Py_ssize_t i
    cdef int reason
    if len(names) > JSON_KEYS_MAX:
        raise ValueError(f"more than {JSON_KEYS_MAX} key fields")
    keys = <JsonName*> malloc((len(names) + 1) * sizeof(JsonName))
    if keys == NULL:
        raise MemoryError
    try:
        for i in range(len(names)):
            keys[i].name = <const char*> (<bytes> names[i])
            keys[i].size = len(<bytes> names[i])
        time.name = time_name
        time.size = len(time_name)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            reason = json_event_scan(
                <const char*> view.buf, view.len, plain, keys, len(names), NULL if time_field is None else &time, &event
            )
            if reason != JSON_OK:
                raise ValueError(json_reasons[reason].decode())
            return {
                "method": value_of(event.method),
                "id": text_of(event.id),
                "key": value_of(event.key),
                "time": text_of(event.time),
            }
        finally:
            PyBuffer_Release(&view)
    finally:
        free(keys)


cdef str value_of(JsonSlice text):
    """A string's value, or a number as it is written."""
    cdef bytes value
    cdef char* target
    if text.kind == 0:
        return None
    if text.kind != c"e":
        return text.data[:text.size].decode()
    value = PyBytes_FromStringAndSize(NULL, text.size)
    target = value
    return target[:json_unescape(target, text)].decode()


cdef bytes text_of(JsonSlice text):
    """The JSON text of a value: a string with its quotes."""
    if text.kind == 0:
        return None
    if text.kind == c"s" or text.kind == c"e":
        return (text.data - 1)[:text.size + 2]
    return text.data[:text.size]


cdef enum State:
    OUTSIDE
    GARBAGE
    OBJECT
    STRING
    ESCAPE


cdef inline bint is_space(char c) noexcept nogil:
    return c == c" " or c == c"\n" or c == c"\r" or c == c"\t"


cdef class Splitter:
    """Cuts a stream into JSON objects that follow each other, with or without white space or newlines between them.

    limit: bytes of an object at most. An object is what its braces enclose; whether it is JSON is for scan_event() to
    say, but a newline in a string, which no JSON has, ends an object that was not closed: the lines behind it are
    read again. What feed() returns does not depend on where the stream was cut. Holds `limit` bytes at most.
    """
    cdef size_t limit
    cdef size_t depth          # braces that are open, in an object
    cdef State state
    cdef bint dropping         # an object that is too large, already counted
    cdef bytearray held        # the start of the unfinished object or garbage
    cdef Py_ssize_t shown      # bytes of an excerpt at most

    def __cinit__(self, Py_ssize_t limit):
        if limit < 2:
            raise ValueError("limit must be 2 bytes or more")
        self.limit = limit
        self.shown = min(limit, <Py_ssize_t> EXCERPT)
        self.state = OUTSIDE
        self.held = bytearray()

    def feed(self, bytes data not None) -> list:
        """The (object, None) that `data` completes and the (excerpt, reason) of what it refuses, in order.

        reason: "garbage", bytes outside objects up to the next newline or "{", or an object that a newline in one of
        its strings broke; "too_large", an object of more than `limit` bytes, which is dropped up to its end. An
        excerpt has 128 bytes at most, and no more than `limit`.
        """
        cdef const char* at = data
        cdef const char* end = at + len(data)
        cdef const char* start = at      # of the object or garbage, as far as it is in `data`
        cdef list found = []
        while at < end:
            if self.state == OUTSIDE:
                while at < end and is_space(at[0]):
                    at += 1
                start = at
                if at < end:
                    self.state = OBJECT if at[0] == c"{" else GARBAGE
            elif self.state == GARBAGE:
                while at < end and at[0] != c"\n" and at[0] != c"{":
                    at += 1
                if at < end:
                    found.append((self.excerpt(start, at), "garbage"))
                    self.state = OUTSIDE
            else:
                at = self.object_end(at, end)
                if self.dropping:
                    self.dropping = self.state != OUTSIDE
                elif len(self.held) + <size_t> (at - start) > self.limit:
                    self.dropping = self.state != OUTSIDE
                    found.append((self.excerpt(start, at), "too_large"))
                elif self.state != OUTSIDE:
                    break
                elif self.depth > 0:
                    found.append((self.excerpt(start, at), "garbage"))
                elif self.held:
                    self.held += start[:at - start]
                    found.append((bytes(self.held), None))
                    self.held.clear()
                else:
                    found.append((start[:at - start], None))
                if self.state == OUTSIDE:
                    self.depth = 0
        if self.state == GARBAGE:
            end = start + min(end - start, self.shown - len(self.held))
            self.held += start[:end - start]
        elif self.state != OUTSIDE and not self.dropping:
            self.held += start[:end - start]
        return found

    def finish(self) -> list:
        """What is left at the end of the stream: an (excerpt, "truncated") or (excerpt, "garbage"), or nothing.

        The splitter is as new afterwards.
        """
        cdef list found = []
        if self.state != OUTSIDE and not self.dropping:
            reason = "garbage" if self.state == GARBAGE else "truncated"
            found.append((bytes(self.held[:self.shown]), reason))
        self.held.clear()
        self.state = OUTSIDE
        self.dropping = False
        self.depth = 0
        return found

    cdef bytes excerpt(self, const char* start, const char* at):
        """The first bytes of what is held and follows up to `at`; nothing is held any more."""
        cdef bytes text = bytes(self.held[:self.shown])
        text += start[:min(at - start, self.shown - len(text))]
        self.held.clear()
        return text

    cdef const char* object_end(self, const char* at, const char* end) noexcept:
        """The end of the object, OUTSIDE then; or `end`. A newline in a string ends it too, with depth > 0."""
        while at < end:
            if self.state == STRING:
                at = json_plain_end(at, end)
                if at == end:
                    break
                if at[0] == c"\n":
                    self.state = OUTSIDE
                    return at
                if at[0] == c"\\":
                    self.state = ESCAPE
                elif at[0] == c'"':
                    self.state = OBJECT
            elif self.state == ESCAPE:
                # a newline behind a backslash is one in a string as well
                self.state = STRING
                if at[0] == c"\n":
                    continue
            elif at[0] == c'"':
                self.state = STRING
            elif at[0] == c"{":
                self.depth += 1
            elif at[0] == c"}":
                self.depth -= 1
                if self.depth == 0:
                    self.state = OUTSIDE
                    return at + 1
            at += 1
        return at
