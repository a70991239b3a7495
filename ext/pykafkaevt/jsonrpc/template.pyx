"""JSON-RPC 2.0 notifications: events compiled once and filled with values, and those of a single call."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from pykafkaevt.jsonrpc.buffer cimport Buffer, acquire_buffer, buffer_reserve, release_buffer
from pykafkaevt.jsonrpc.fast_method cimport PyMethodDef, fast_method, fast_method_add
from pykafkaevt.jsonrpc.values cimport (
    checked_method, invalid_policy, write_bytes, write_head, write_notification, write_str, write_value,
)

from pykafkaevt.errors import SerializeError, SerializeTypeError
from pykafkaevt.jsonrpc import values as _values

cdef extern from "event_fields.h":
    size_t FIELD_COPIED
    void copy_padded(char* dst, const char* text, size_t length)
    char* fields_write(
        char* dst, const char* limit, const char* text, const Prefix* prefixes, PyObject** values, Py_ssize_t count,
        PyObject* skip, Py_ssize_t* at
    )

cdef extern from "Python.h":
    PyObject** PySequence_Fast_ITEMS(object)
    bint PyTuple_CheckExact(object)

cdef enum:
    PARAMS = 10              # bytes of ,"params":

cdef PyObject* skip = <PyObject*> _values.SKIP    # its module keeps it alive


cdef tuple row_of(object row):
    if isinstance(row, (tuple, list)):
        return tuple(row)
    raise SerializeTypeError(f"a row must be a tuple or a list of values, not {type(row).__name__}")


cdef object located(object error, Py_ssize_t row):
    """The same error, naming the row."""
    if not isinstance(error, (SerializeError, SerializeTypeError)):
        return error
    named = type(error)(f"row {row}: {error}")
    named.__cause__ = error.__cause__
    return named


cdef class EventTemplate:
    """An event compiled once: its name and its fields' names, escaped, ready to be filled with values.

    method: the event's name; fields: the parameters' names in order (a name may occur twice, as in OpenSIPS);
    invalid: what becomes of text that is not valid UTF-8: "replace", "strict" (SerializeError) or "latin-1".
    Without fields the notification has no `params` member. Source: JSON-RPC 2.0 section 4.1.
    """

    def __cinit__(self, method, fields, *, invalid="replace"):
        cdef Buffer* b
        cdef Py_ssize_t i
        self.method = checked_method(method)
        if isinstance(fields, str):
            raise TypeError("fields must be a sequence of names, not one str")
        self.fields = tuple(fields)
        for name in self.fields:
            if not isinstance(name, str):
                raise TypeError(f"a field's name must be str, not {type(name).__name__}")
        self.invalid = invalid
        self.policy = invalid_policy(invalid)
        self.count = len(self.fields)
        self.prefixes = <Prefix*> malloc(max(self.count, 1) * sizeof(Prefix))
        if self.prefixes == NULL:
            raise MemoryError()
        b = acquire_buffer()
        try:
            write_head(b, self.method, self.policy)
            write_bytes(b, b',"params":', PARAMS)
            self.head = b.used
            for i in range(self.count):
                self.prefixes[i].at = b.used
                write_bytes(b, b",", 1)
                name = self.fields[i]
                write_str(b, <PyObject*> name, self.policy, name)
                write_bytes(b, b':"', 2)
                self.prefixes[i].length = b.used - self.prefixes[i].at
            self.text = <char*> calloc(1, b.used + FIELD_COPIED)
            if self.text == NULL:
                raise MemoryError()
            memcpy(self.text, b.data, b.used)
        finally:
            release_buffer(b)

    def __dealloc__(self):
        free(self.prefixes)
        free(self.text)

    cdef int write(self, Buffer* b, PyObject** values, Py_ssize_t n, int policy) except -1:
        cdef Py_ssize_t i = 0
        cdef size_t members
        cdef char* end
        cdef Prefix* prefix
        if n != self.count:
            raise SerializeError(f"{self.method}: {self.count} fields need as many values, not {n}")
        copy_padded(buffer_reserve(b, self.head + FIELD_COPIED), self.text, self.head)
        b.used += self.head
        members = b.used
        while True:
            end = fields_write(b.data + b.used, b.data + b.size, self.text, self.prefixes, values, n, skip, &i)
            b.used = end - b.data
            if i == n:
                break
            # a rarer type, or the buffer is too short for it
            prefix = &self.prefixes[i]
            copy_padded(buffer_reserve(b, prefix.length + FIELD_COPIED), self.text + prefix.at, prefix.length - 1)
            b.used += prefix.length - 1
            write_value(b, values[i], policy, <object> self.fields[i])
            i += 1
        if b.used == members:
            b.used -= PARAMS
            return write_bytes(b, b"}", 1)
        b.data[members] = c'{'
        memcpy(buffer_reserve(b, 2), b"}}", 2)
        b.used += 2
        return 0

    def dumps_many(self, rows) -> bytes:
        """Many notifications, each with a newline behind it (newline-delimited JSON: no text has one inside).

        rows: an iterable of tuples (or lists), one value per field. Raises as dumps(), naming the row.
        """
        cdef Buffer* b = acquire_buffer()
        cdef Py_ssize_t n = 0
        try:
            for row in rows:
                if not PyTuple_CheckExact(row):
                    row = row_of(row)
                self.write(b, PySequence_Fast_ITEMS(row), PyTuple_GET_SIZE(row), self.policy)
                buffer_reserve(b, 1)[0] = c'\n'
                b.used += 1
                n += 1
            return PyBytes_FromStringAndSize(b.data, b.used)
        except (SerializeError, SerializeTypeError) as error:
            raise located(error, n) from error.__cause__
        finally:
            release_buffer(b)

    def __repr__(self):
        return f"EventTemplate({self.method!r}, {list(self.fields)!r})"

    def __reduce__(self):
        return _template, (self.method, self.fields, self.invalid)


def _template(method, fields, invalid):
    """Makes an unpickled EventTemplate."""
    return EventTemplate(method, fields, invalid=invalid)


def dumps(method, params=None, *, params_pairs=None, invalid="replace") -> bytes:
    """One JSON-RPC 2.0 notification as UTF-8 bytes without white space.

    params: None (no params member), a mapping (an object, its order kept) or a list or tuple (an array);
    params_pairs: (name, value) pairs instead, for names that repeat. invalid: as EventTemplate.
    SerializeError and SerializeTypeError as EventTemplate.dumps().
    """
    cdef int policy = invalid_policy(invalid)
    cdef Buffer* b = acquire_buffer()
    try:
        write_notification(b, checked_method(method), params, params_pairs, policy)
        return PyBytes_FromStringAndSize(b.data, b.used)
    finally:
        release_buffer(b)


cdef PyMethodDef dumps_definition, dumps_into_definition


cdef object dumps_one(EventTemplate self, PyObject** args, Py_ssize_t count, PyObject* names):
    """EventTemplate.dumps."""
    cdef Buffer* b
    if names != NULL:
        raise TypeError("dumps() takes no keyword arguments")
    b = acquire_buffer()
    try:
        self.write(b, args, count, self.policy)
        return PyBytes_FromStringAndSize(b.data, b.used)
    finally:
        release_buffer(b)


fast_method_add(
    EventTemplate, &dumps_definition, "dumps", <fast_method> dumps_one,
    b"""dumps($self, /, *values)
--

The notification with these values, one per field, as bytes.

SerializeError for a wrong number of values or one that has no JSON text, SerializeTypeError for a type JSON has none
for.
""",
)


cdef object dumps_into(EventTemplate self, PyObject** args, Py_ssize_t count, PyObject* names):
    """EventTemplate.dumps_into: args are the buffer and the values, then the value of the keyword in `names`."""
    cdef Buffer* b
    cdef Py_buffer target
    cdef Py_ssize_t size, offset = 0
    if count == 0:
        raise TypeError("dumps_into() needs a buffer before the values")
    if names != NULL:
        if tuple(<object> names) != ("offset",):
            raise TypeError("dumps_into() takes no keyword argument but offset")
        offset = <object> args[count]
    b = acquire_buffer()
    try:
        self.write(b, args + 1, count - 1, self.policy)
        size = b.used
        # asked for after the values' own code has run, which may have resized it
        PyObject_GetBuffer(<object> args[0], &target, PyBUF_WRITABLE)
        try:
            if offset < 0 or offset > target.len:
                raise ValueError(f"offset {offset} is outside the buffer of {target.len} bytes")
            if target.len - offset < size:
                raise BufferError(
                    f"the event has {size} bytes, the buffer from offset {offset} on {target.len - offset}"
                )
            memcpy(<char*> target.buf + offset, b.data, size)
        finally:
            PyBuffer_Release(&target)
        return size
    finally:
        release_buffer(b)


fast_method_add(
    EventTemplate, &dumps_into_definition, "dumps_into", <fast_method> dumps_into,
    b"""dumps_into($self, buffer, /, *values, offset=0)
--

Write the notification into a writable buffer from `offset` (bytes) on; the number of bytes written.

BufferError when it does not fit or the buffer is read-only or not contiguous, ValueError for an offset outside it;
nothing is written then. Otherwise as dumps().
""",
)
