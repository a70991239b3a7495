"""JSON text of values, written into preallocated buffers.

The bytes are OpenSIPS's: no white space, the short escapes of RFC 8259, other control characters as \\u00xx,
everything else as UTF-8, and no `params` member without parameters.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.math cimport fabs, isfinite
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from pykafkaevt.jsonrpc.buffer cimport Buffer, acquire_buffer, buffer_reserve, release_buffer

from collections.abc import Mapping

import orjson

from pykafkaevt.errors import SerializeError, SerializeTypeError

cdef extern from "unicode_escape.h" nogil:
    const char* JSON_SIMD
    enum:
        INVALID_REPLACE
        INVALID_STRICT
        INVALID_LATIN1
    size_t JSON_ESCAPED_MAX(size_t n)
    char* json_escape(char* dst, const char* src, size_t n)
    const char* unicode_utf8(PyObject* text, Py_ssize_t* n)
    char* unicode_write(char* dst, PyObject* text, int escape, int invalid, Py_ssize_t* bad)
    char* bytes_write(char* dst, const char* src, size_t n, int invalid, Py_ssize_t* bad)

cdef extern from "json_number.h" nogil:
    size_t JSON_UINT_BYTES
    size_t JSON_INT_BYTES
    char* json_uint(char* dst, uint64_t value)
    char* json_int(char* dst, long long value)

cdef extern from "python_scalars.h":
    long long int_value(PyObject*, int*) except? -1
    size_t JSON_WORD_BYTES
    char* json_word(char* dst, PyObject* value)

cdef extern from "Python.h":
    bint is_str "PyUnicode_CheckExact"(PyObject*)
    bint is_int "PyLong_CheckExact"(PyObject*)
    bint is_float "PyFloat_CheckExact"(PyObject*)
    double float_value "PyFloat_AS_DOUBLE"(PyObject*)
    char* PyOS_double_to_string(double, char, int, int, int*) except NULL
    int Py_DTSF_ADD_DOT_0
    void PyMem_Free(void*)

cdef enum:
    NESTING_LIMIT = 254      # as orjson's
cdef double[7] POWERS = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6]


cdef class _Skip:
    """The value that leaves its member out."""

    def __repr__(self):
        return "SKIP"

    def __reduce__(self):
        return "SKIP"


SKIP = _Skip()


cdef class RawJSON:
    """JSON text that goes into an event as it is.

    data: bytes (or str) of one JSON value; SerializeError when it is not valid JSON, SerializeTypeError for
    another type.
    """

    cdef readonly bytes data

    def __cinit__(self, data):
        if not isinstance(data, (bytes, bytearray, memoryview, str)):
            raise SerializeTypeError(f"RawJSON needs bytes or str, not {type(data).__name__}")
        self.data = utf8_of(data, INVALID_STRICT) if isinstance(data, str) else bytes(data)
        try:
            orjson.loads(self.data)
        except orjson.JSONDecodeError as error:
            raise SerializeError(f"RawJSON is not JSON: {error}") from None

    def __repr__(self):
        return f"RawJSON({self.data!r})"

    def __reduce__(self):
        return RawJSON, (self.data,)


cdef int invalid_policy(object name) except -1:
    """The policy behind invalid=; ValueError for another word."""
    if name == "replace":
        return INVALID_REPLACE
    if name == "strict":
        return INVALID_STRICT
    if name == "latin-1":
        return INVALID_LATIN1
    raise ValueError(f"invalid must be 'replace', 'strict' or 'latin-1', not {name!r}")


# Values. `name` is the member a value belongs to, for the error text.

cdef object value_error(object name, str reason):
    return SerializeError(f"{name!r}: {reason}")


cdef int write_bytes(Buffer* b, const char* text, size_t n) except -1:
    memcpy(buffer_reserve(b, n), text, n)
    b.used += n
    return 0


cdef int write_str(Buffer* b, PyObject* value, int policy, object name) except -1:
    cdef Py_ssize_t n, bad = 0
    cdef const char* utf8 = unicode_utf8(value, &n)
    if utf8 == NULL:
        n = PyUnicode_GET_LENGTH(<object> value)
    cdef char* p = buffer_reserve(b, JSON_ESCAPED_MAX(n) + 2)
    p[0] = c'"'
    if utf8 != NULL:
        p = json_escape(p + 1, utf8, n)
    else:
        p = unicode_write(p + 1, value, True, policy, &bad)
        if p == NULL:
            raise value_error(name, f"character {bad} is a lone surrogate, which has no UTF-8")
    p[0] = c'"'
    b.used = p + 1 - b.data
    return 0


cdef int write_utf8(Buffer* b, const char* data, size_t n, int policy, object name) except -1:
    cdef Py_ssize_t bad = 0
    cdef char* p = buffer_reserve(b, JSON_ESCAPED_MAX(n) + 2)
    p[0] = c'"'
    p = bytes_write(p + 1, data, n, policy, &bad)
    if p == NULL:
        raise value_error(name, f"byte {bad} is not valid UTF-8")
    p[0] = c'"'
    b.used = p + 1 - b.data
    return 0


cdef int write_int(Buffer* b, PyObject* value, object name) except -1:
    cdef int overflow = 0
    cdef long long number = int_value(value, &overflow)
    cdef char* p
    if overflow:
        return write_long(b, <object> value, name)
    p = json_int(buffer_reserve(b, JSON_INT_BYTES), number)
    b.used = p - b.data
    return 0


cdef int write_long(Buffer* b, object value, object name) except -1:
    cdef bytes digits
    try:
        digits = int.__repr__(value).encode()
    except ValueError as error:
        raise value_error(name, f"{error}") from None
    return write_bytes(b, PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))


cdef int write_float(Buffer* b, double value) except -1:
    """The shortest text that reads back as the same double, as Python's repr; null for nan and infinities."""
    cdef double size = fabs(value)
    cdef uint64_t scaled, whole, part
    cdef int decimals, i
    cdef char* p
    cdef char* text
    if not isfinite(value):
        return write_bytes(b, b"null", 4)
    # Few decimals, as durations and scores have: n / 10**k is correctly rounded, so when it gives the value back
    # (n below 10**15 makes the n unique) its digits are the shortest.
    if 1e-3 <= size < 1e15:
        for decimals in range(1, 7):
            if size * POWERS[decimals] >= 1e15:
                break
            scaled = <uint64_t> (size * POWERS[decimals] + 0.5)
            if <double> scaled / POWERS[decimals] == size:
                p = buffer_reserve(b, JSON_UINT_BYTES + 16)
                if value < 0:
                    p[0] = c'-'
                    p += 1
                whole = scaled / <uint64_t> POWERS[decimals]
                part = scaled % <uint64_t> POWERS[decimals]
                p = json_uint(p, whole)
                p[0] = c'.'
                for i in range(decimals, 0, -1):
                    p[i] = <char> (c'0' + part % 10)
                    part //= 10
                b.used = p + 1 + decimals - b.data
                return 0
    text = PyOS_double_to_string(value, c'r', 0, Py_DTSF_ADD_DOT_0, NULL)
    try:
        for i in range(40):
            if text[i] == 0:
                break
        return write_bytes(b, text, i)
    finally:
        PyMem_Free(text)


cdef int write_value(Buffer* b, PyObject* value, int policy, object name) except -1:
    cdef char* word_end
    if is_str(value):
        return write_str(b, value, policy, name)
    if is_int(value):
        return write_int(b, value, name)
    if is_float(value):
        return write_float(b, float_value(value))
    word_end = json_word(buffer_reserve(b, JSON_WORD_BYTES), value)
    if word_end != NULL:
        b.used = word_end - b.data
        return 0
    return write_other(b, <object> value, policy, name, 0)


cdef int write_other(Buffer* b, object value, int policy, object name, int depth) except -1:
    """The rarer types. depth: 0 lets orjson write a nested value; above, orjson could not write it."""
    cdef bytes text
    if isinstance(value, bytes):
        return write_utf8(b, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), policy, name)
    if isinstance(value, RawJSON):
        text = (<RawJSON> value).data
        return write_bytes(b, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    if isinstance(value, str):
        return write_str(b, <PyObject*> value, policy, name)
    if isinstance(value, int):
        return write_int(b, <PyObject*> value, name)
    if isinstance(value, float):
        return write_float(b, value)
    if isinstance(value, (bytearray, memoryview)):
        text = bytes(value)
        return write_utf8(b, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), policy, name)
    if value is SKIP:
        raise SerializeTypeError(f"{name!r}: SKIP leaves a member of the event out, not a nested value")
    cdef bint nested = isinstance(value, (dict, list, tuple))
    if depth == 0 or not nested:
        try:
            text = orjson.dumps(value)
        except orjson.JSONEncodeError as error:
            if not nested:
                raise SerializeTypeError(
                    f"{name!r}: a value of type {type(value).__name__} has no JSON text"
                ) from error
        else:
            return write_bytes(b, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return write_nested(b, value, policy, name, depth + 1)


cdef int write_nested(Buffer* b, object value, int policy, object name, int depth) except -1:
    """What orjson cannot write of a nested value: bytes, RawJSON, invalid UTF-8, integers beyond 64 bits."""
    cdef bint first = True
    if depth > NESTING_LIMIT:
        raise value_error(name, f"nested deeper than {NESTING_LIMIT} levels")
    if isinstance(value, dict):
        write_bytes(b, b"{", 1)
        for member, inner in value.items():
            if not isinstance(member, str):
                raise SerializeTypeError(
                    f"{name!r}: a member's name must be str, not {type(member).__name__}"
                )
            if not first:
                write_bytes(b, b",", 1)
            first = False
            write_str(b, <PyObject*> member, policy, name)
            write_bytes(b, b":", 1)
            write_inner(b, inner, policy, name, depth)
        return write_bytes(b, b"}", 1)
    write_bytes(b, b"[", 1)
    for inner in value:
        if not first:
            write_bytes(b, b",", 1)
        first = False
        write_inner(b, inner, policy, name, depth)
    return write_bytes(b, b"]", 1)


cdef int write_inner(Buffer* b, object value, int policy, object name, int depth) except -1:
    if isinstance(value, (dict, list, tuple)):
        return write_other(b, value, policy, name, depth)
    return write_value(b, <PyObject*> value, policy, name)


cdef bytes utf8_of(object text, int policy):
    cdef Py_ssize_t n, bad = 0
    cdef const char* utf8 = unicode_utf8(<PyObject*> text, &n)
    cdef Buffer* b
    cdef char* end
    if utf8 != NULL:
        return PyBytes_FromStringAndSize(utf8, n)
    b = acquire_buffer()
    try:
        end = unicode_write(
            buffer_reserve(b, JSON_ESCAPED_MAX(PyUnicode_GET_LENGTH(text))), <PyObject*> text, False, policy, &bad
        )
        if end == NULL:
            raise SerializeError(f"character {bad} is a lone surrogate, which has no UTF-8")
        return PyBytes_FromStringAndSize(b.data, end - b.data)
    finally:
        release_buffer(b)


cdef int write_head(Buffer* b, str method, int policy) except -1:
    write_bytes(b, b'{"jsonrpc":"2.0","method":', 26)
    return write_str(b, <PyObject*> method, policy, "method")


cdef str checked_method(object method):
    if not isinstance(method, str):
        raise TypeError(f"the method (event name) must be str, not {type(method).__name__}")
    if not method:
        raise SerializeError("the method (event name) is empty")
    # the text itself, also of a subclass (an Enum) that shows itself as something else
    return str.__str__(method)


cdef int write_notification(Buffer* b, str method, object params, object params_pairs, int policy) except -1:
    cdef bint first = True
    cdef Py_ssize_t i
    write_head(b, method, policy)
    if params is None and params_pairs is None:
        return write_bytes(b, b"}", 1)
    if params is not None and params_pairs is not None:
        raise TypeError("params and params_pairs exclude each other")
    if isinstance(params, (list, tuple)):
        write_bytes(b, b',"params":[', 11)
        for i, value in enumerate(params):
            if value is SKIP:
                continue
            if not first:
                write_bytes(b, b",", 1)
            first = False
            write_value(b, <PyObject*> value, policy, i)
        return write_bytes(b, b"]}", 2)
    if params_pairs is None and not isinstance(params, Mapping):
        raise SerializeTypeError(f"params must be a mapping, a list or a tuple, not {type(params).__name__}")
    write_bytes(b, b',"params":{', 11)
    for name, value in (params.items() if params_pairs is None else params_pairs):
        if not isinstance(name, str):
            raise SerializeTypeError(f"a parameter's name must be str, not {type(name).__name__}")
        if value is SKIP:
            continue
        if not first:
            write_bytes(b, b",", 1)
        first = False
        write_str(b, <PyObject*> name, policy, name)
        write_bytes(b, b":", 1)
        write_value(b, <PyObject*> value, policy, name)
    return write_bytes(b, b"}}", 2)


def simd() -> str:
    """The vector instructions the escape kernel was built with: sse2, neon or scalar."""
    return JSON_SIMD.decode()
