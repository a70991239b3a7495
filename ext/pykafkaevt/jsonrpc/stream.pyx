"""JSON objects cut out of a stream."""

from pykafkaevt.jsonrpc.scan cimport json_plain_end

cdef enum:
    EXCERPT = 128      # bytes kept of what is no object

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
        """The (object, None) that `data` completes and the (excerpt, reason) of what is no object, in order.

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
