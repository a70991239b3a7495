from cpython.object cimport PyObject

from pykafkaevt.jsonrpc.buffer cimport Buffer

cdef extern from "event_fields.h":
    ctypedef struct Prefix:
        size_t at
        size_t length

cdef class EventTemplate:
    cdef readonly str method
    cdef readonly tuple fields
    cdef readonly str invalid
    cdef Py_ssize_t count     # len(fields)
    cdef int policy           # INVALID_… of `invalid`
    cdef char* text           # owned: the head, then a prefix per field; padded, so that it may be read on behind
    cdef size_t head          # bytes of {"jsonrpc":"2.0","method":"…","params":
    cdef Prefix* prefixes     # owned, `count` of them

    # Appends the notification to the buffer. `values` are borrowed, `count` of them (else SerializeError). A value's
    # own code may run meanwhile: the caller keeps the values in a tuple, or where else no code can change them.
    cdef int write(self, Buffer* b, PyObject** values, Py_ssize_t n, int policy) except -1

# A row of values as a tuple; SerializeTypeError when it is neither tuple nor list.
cdef tuple row_of(object row)

# A serializer's error as another of its kind that names the row; any other error as it is.
cdef object located(object error, Py_ssize_t row)
