from cpython.object cimport PyObject

from pykafkaevt.jsonrpc.buffer cimport Buffer

# INVALID_… of unicode_escape.h behind invalid=; ValueError for another word.
cdef int invalid_policy(object name) except -1

# The event's name as a plain str; TypeError for another type, SerializeError when it is empty.
cdef str checked_method(object method)

# The text as UTF-8, where it is not ASCII.
cdef bytes utf8_of(object text, int policy)

# These append to the buffer. `name`: the member that a value belongs to, for the error's text.
cdef int write_bytes(Buffer* b, const char* text, size_t n) except -1
cdef int write_str(Buffer* b, PyObject* value, int policy, object name) except -1
cdef int write_value(Buffer* b, PyObject* value, int policy, object name) except -1

# A notification up to its method.
cdef int write_head(Buffer* b, str method, int policy) except -1

# The notification of an event that has no template; params as those of dumps().
cdef int write_notification(Buffer* b, str method, object params, object params_pairs, int policy) except -1
