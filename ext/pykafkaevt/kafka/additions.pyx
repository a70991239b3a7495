"""Headers, timestamps and partition of records, checked and made into arguments of librdkafka's produceva."""

from collections.abc import Mapping

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr, memset

from pykafkaevt.kafka.batch cimport bytes_of, text_of
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_PARTITION_UA, RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_PARTITION, RD_KAFKA_VTYPE_TIMESTAMP, rd_kafka_vu_t,
)


cdef size_t write_additions(void* context, Py_ssize_t index, rd_kafka_vu_t* a) noexcept nogil:
    """The extras_function of a call's additions."""
    cdef Additions* additions = <Additions*> context
    cdef size_t i, n = 0
    if additions.partition != RD_KAFKA_PARTITION_UA:
        a[n].vtype, a[n].u.i32 = RD_KAFKA_VTYPE_PARTITION, additions.partition
        n += 1
    if additions.timestamps_ms != NULL:
        a[n].vtype, a[n].u.i64 = RD_KAFKA_VTYPE_TIMESTAMP, additions.timestamps_ms[index]
        n += 1
    for i in range(additions.header_count):
        a[n] = additions.headers[i]
        n += 1
    return n


cdef list add(Additions* additions, object headers, object partition, const long long* timestamps_ms, int policy):
    cdef list kept = []
    cdef rd_kafka_vu_t* a
    cdef const void* data
    cdef size_t length
    cdef bytes name_bytes
    memset(additions, 0, sizeof(Additions))
    additions.extras.write = write_additions
    additions.extras.context = additions
    additions.timestamps_ms = timestamps_ms
    additions.partition = RD_KAFKA_PARTITION_UA if partition is None else partition
    if partition is not None and additions.partition < 0:
        raise ValueError(f"a partition is 0 or more, not {partition}")
    for pair in headers.items() if isinstance(headers, Mapping) else headers or ():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"a header is a pair of name and value, not {pair!r}")
        if additions.header_count == HEADERS:
            raise ValueError(f"more than {HEADERS} headers")
        name, value = pair
        name_bytes = bytes_of(name, policy)
        if memchr(PyBytes_AS_STRING(name_bytes), 0, PyBytes_GET_SIZE(name_bytes)) != NULL:
            raise ValueError(f"the header name {name!r} has a NUL")
        value = text_of(value, policy, &data, &length)
        kept.append((name_bytes, value))
        a = &additions.headers[additions.header_count]
        a.vtype = RD_KAFKA_VTYPE_HEADER
        a.u.header.name = PyBytes_AS_STRING(name_bytes)
        a.u.header.val = data
        a.u.header.size = length
        additions.header_count += 1
    return kept
