"""What a call is given, as librdkafka's messages: values and keys where they lie, events serialized into a buffer."""

from itertools import islice

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE

from pykafkaevt.jsonrpc.buffer cimport Buffer
from pykafkaevt.jsonrpc.template cimport EventTemplate, located, row_of
from pykafkaevt.jsonrpc.values cimport utf8_of, write_notification
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t

from pykafkaevt.errors import SerializeError, SerializeTypeError

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object)
    bint PyBytes_CheckExact(object)
    bint PyTuple_CheckExact(object)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    void* PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    PyObject** PySequence_Fast_ITEMS(object)
    PyObject* Py_None


cdef object text_of(object text, int policy, const void** data, size_t* length):
    if PyBytes_CheckExact(text):
        data[0] = PyBytes_AS_STRING(text)
        length[0] = PyBytes_GET_SIZE(text)
        return text
    if PyUnicode_CheckExact(text) and PyUnicode_IS_COMPACT_ASCII(text):
        data[0] = PyUnicode_DATA(text)
        length[0] = PyUnicode_GET_LENGTH(text)
        return text
    if text is None:
        data[0] = NULL
        length[0] = 0
        return None
    return text_of(bytes_of(text, policy), policy, data, length)


cdef bytes bytes_of(object text, int policy):
    if isinstance(text, str):
        return utf8_of(text, policy)
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise SerializeTypeError(f"a key or value must be bytes, str or None, not {type(text).__name__}")


cdef bytes key_of_field(object value, int policy):
    """The key that a field which is no str makes: bytes as they are, else its JSON text."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value).encode()
    return bytes_of(value, policy)


cdef size_t text_flags(object message, object key) noexcept:
    return (MESSAGE_IS_STR if isinstance(message, str) else 0) | (KEY_IS_STR if isinstance(key, str) else 0)


cdef int same_length(object rows, object others, str what) except -1:
    if others is None or not hasattr(rows, "__len__") or not hasattr(others, "__len__"):
        return 0
    if isinstance(others, (str, bytes)) or len(rows) != len(others):
        raise ValueError(f"{what} must have one item for each of the {len(rows)} records")
    return 0


cdef tuple chunk_of(object iterator, Py_ssize_t n, str what):
    cdef tuple chunk
    if iterator is None:
        return None
    chunk = tuple(islice(iterator, n))
    if len(chunk) != n:
        raise ValueError(f"{what} ended before the records did")
    return chunk


@cython.final
cdef class Records:
    """See batch.pxd. ValueError for lists of different lengths, before anything is made."""

    def __cinit__(
        self, rows, *, int policy, EventTemplate template=None, str method=None, key_field=None, keys=None,
        timestamps_ms=None, bint tagged=False, opaques=None
    ):
        self.template = template
        self.method = method
        self.policy = policy
        self.tagged = tagged
        self.key_index = -1
        if key_field is not None:
            if keys is not None:
                raise TypeError("key_field and keys exclude each other")
            if key_field not in template.fields:
                raise SerializeError(f"{template.method} has no field {key_field!r} for the key")
            self.key_index = template.fields.index(key_field)
        same_length(rows, keys, "keys")
        same_length(rows, opaques, "opaques")
        same_length(rows, timestamps_ms, "timestamps_ms")
        if isinstance(timestamps_ms, (list, tuple)):
            # before anything is queued; of an iterator each when its turn comes
            timestamps_ms = tuple(timestamps_ms)
            for timestamp in timestamps_ms:
                checked_timestamp(timestamp)
        self.rows_left = iter(rows)
        self.keys_left = None if keys is None else iter(keys)
        self.opaques_left = None if opaques is None or not tagged else iter(opaques)
        self.timestamps_left = None if timestamps_ms is None else iter(timestamps_ms)
        self.rows = ()
        self.held = []
        self.serialized = template is not None or method is not None

    cdef bint next_chunk(self) except -1:
        """Take the next rows, and what goes with them; False at the end."""
        cdef list items = []
        cdef Py_ssize_t n
        self.at = 0
        self.rows = ()
        try:
            items.extend(islice(self.rows_left, BATCH))
        except BaseException as error:
            # the rows that came before it are not lost
            self.failure = error
        n = len(items)
        self.keys = chunk_of(self.keys_left, n, "keys")
        self.opaques = chunk_of(self.opaques_left, n, "opaques")
        self.timestamps = chunk_of(self.timestamps_left, n, "timestamps_ms")
        self.rows = tuple(items)
        return n != 0

    cdef object write(self, Buffer* b, object row):
        """Serialize a row; as a tuple where it is one of values, for a value's own code may change a list."""
        if self.template is None or self.method is not None and isinstance(row, dict):
            write_notification(b, self.method, row, None, self.policy)
            return row
        if not PyTuple_CheckExact(row):
            row = row_of(row)
        self.template.write(b, PySequence_Fast_ITEMS(row), PyTuple_GET_SIZE(row), self.policy)
        return row

    cdef Py_ssize_t fill(self, Batch* batch) noexcept:
        cdef Buffer* b = batch.buffer
        cdef Py_ssize_t i, n = 0
        b.used = 0
        try:
            self.held.clear()
            if self.failure is None and self.at == PyTuple_GET_SIZE(self.rows):
                self.next_chunk()
            while self.at < PyTuple_GET_SIZE(self.rows) and b.used < BATCH_BYTES:
                self.fill_one(batch, n)
                self.at += 1
                n += 1
        except BaseException as error:
            self.failure = located(error, self.given + n)
            # the messages before it point into them
            self.held.append(self.rows)
            self.rows = ()
            self.at = 0
        if self.serialized:
            for i in range(n):
                batch.messages[i].payload = b.data + <size_t> batch.messages[i].payload
        self.given += n
        return n

    cdef inline int fill_one(self, Batch* batch, Py_ssize_t n) except -1:
        """Make message n of the row at hand."""
        cdef rd_kafka_message_t* m = &batch.messages[n]
        cdef const void* data
        cdef size_t at
        row = <object> PyTuple_GET_ITEM(self.rows, self.at)
        if self.serialized:
            at = batch.buffer.used
            if self.template is not None and PyTuple_CheckExact(row):
                self.template.write(batch.buffer, PySequence_Fast_ITEMS(row), PyTuple_GET_SIZE(row), self.policy)
            else:
                row = self.write(batch.buffer, row)
            # the buffer may still move: its place stands in for the address
            m.payload = <void*> at
            m.len = batch.buffer.used - at
        else:
            self.hold(row, text_of(row, self.policy, &data, &m.len))
            m.payload = <void*> data
        self.add_key(m, row)
        if self.timestamps is not None:
            batch.timestamps_ms[n] = checked_timestamp(<object> PyTuple_GET_ITEM(self.timestamps, self.at))
        m._private = NULL
        if self.tagged:
            tag = None if self.opaques is None else <object> PyTuple_GET_ITEM(self.opaques, self.at)
            Py_INCREF(tag)
            m._private = <void*> <PyObject*> tag
        elif self.route is not None:
            Py_INCREF(self.route)
            key = None if self.keys is None else <object> PyTuple_GET_ITEM(self.keys, self.at)
            m._private = <void*> (<size_t> <PyObject*> self.route | text_flags(row, key))
        return 0

    cdef inline int add_key(self, rd_kafka_message_t* m, object row) except -1:
        cdef const void* data = NULL
        m.key_len = 0
        if self.keys is not None:
            key = <object> PyTuple_GET_ITEM(self.keys, self.at)
            self.hold(key, text_of(key, self.policy, &data, &m.key_len))
        elif self.key_index >= 0:
            key = row[self.key_index]
            if not PyUnicode_CheckExact(key):
                key = key_of_field(key, self.policy)
                self.held.append(key)
            elif row is not <object> PyTuple_GET_ITEM(self.rows, self.at):
                self.held.append(key)
            self.hold(key, text_of(key, self.policy, &data, &m.key_len))
        m.key = <void*> data
        return 0

    cdef int hold(self, object given, object used) except -1:
        """Keep bytes that were made; what was given is kept by its chunk."""
        if used is not given:
            self.held.append(used)
        return 0

    cdef int check(self, Py_ssize_t queued) except -1:
        if self.failure is None:
            return 0
        raise placed(self.failure, queued, self.given)


cdef object placed(object error, Py_ssize_t queued, Py_ssize_t position):
    """The exception of a batch call: records it queued, and the first row it did not handle."""
    try:
        error.queued = queued
        error.position = position
    except AttributeError:
        pass  # an exception of the caller's iterable that takes no attributes
    return error


cdef long long checked_timestamp(object timestamp_ms) except -1:
    cdef long long ms = timestamp_ms
    if ms < 0:
        raise ValueError(f"a timestamp is 0 or more ms since 1970, not {ms}")
    return ms
