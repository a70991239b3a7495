"""What routes an event, of a JSON message as it arrives."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc


def scan_event(data, *, key_fields=(), time_field=None, bint plain=False) -> dict:
    """What routes the event that the bytes-like `data` holds: method, id, key and time, None for an absent one.

    method and key: str, unescaped, lone surrogates as U+FFFD; a number as key is its text. id and time: bytes, the
    JSON text of the value. key_fields: member names of `params`, the first that is a string or a number is the key.
    plain: `data` may be any JSON object; key and time are its own members, method and id are None.
    Raises ValueError with the name of the reason: empty, syntax, not_utf8, not_object, trailing, too_deep, no_method,
    bad_method; and for more than 64 key fields.
    """
    cdef list names = [encoded(field) for field in key_fields]
    cdef bytes time_name = b"" if time_field is None else encoded(time_field)
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


cdef bytes encoded(str name):
    return name.encode()


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
