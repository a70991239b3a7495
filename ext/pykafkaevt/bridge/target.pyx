"""Messages into the queue of a topic, with their headers; and the reports that come back."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strchr, strcmp, strlen, strrchr, strspn

from pykafkaevt.bridge.datagrams cimport DATAGRAMS
from pykafkaevt.bridge.message cimport write_source
from pykafkaevt.kafka.delivery cimport log_raised
from pykafkaevt.kafka.library cimport delivery_error
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_TIMESTAMP, rd_kafka_vu_t,
)
from pykafkaevt.kafka.queueing cimport (
    ENDED_FAILED, ENDED_INTERRUPTED, FULL_BLOCK, FULL_DROP, Extras, queue,
)
from pykafkaevt.kafka.topic cimport counter_add_shared

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int us)

cdef enum:
    RETRY_MS = 1000          # after which a client that could not be opened is tried again
    STEP_MS = 50             # how long that wait goes on before it asks whether it still should


# Queueing

cdef void queue_routed(
    const Target* target, Message** messages, Py_ssize_t n, Attributes* attributes, Waiting* waiting, Outcome* outcome
) noexcept nogil:
    cdef rd_kafka_message_t[DATAGRAMS] records
    cdef Py_ssize_t i, done = 0
    cdef Message* m
    fill(records, target, messages, n, attributes)
    for i in range(n):
        records[i]._private = messages[i].report
    waiting.on_full = FULL_BLOCK
    while True:
        queue_records(target, records + done, messages + done, n - done, attributes, waiting, outcome)
        for i in range(done, done + outcome.handled):
            m = messages[i]
            m.code = records[i].err
            if m.code == RD_KAFKA_RESP_ERR_NO_ERROR:
                m.report = NULL
        done += outcome.handled
        if outcome.ending != ENDED_FAILED:
            break
        if interrupted_within(waiting, RETRY_MS):
            outcome.ending = ENDED_INTERRUPTED
            break
    outcome.handled = done


cdef void queue_unwaited(
    const Target* target, Message** messages, Py_ssize_t n, Attributes* attributes, Waiting* waiting
) noexcept nogil:
    cdef rd_kafka_message_t[DATAGRAMS] records
    cdef Outcome outcome
    fill(records, target, messages, n, attributes)
    waiting.on_full = FULL_DROP
    queue_records(target, records, messages, n, attributes, waiting, &outcome)
    # the client is closed, cannot be opened anew, or the wait for that was interrupted
    if outcome.handled < n:
        counter_add_shared(&target.topic.counts.dropped, n - outcome.handled)


cdef void fill(
    rd_kafka_message_t* records, const Target* target, Message** messages, Py_ssize_t n, const Attributes* attributes
) noexcept nogil:
    cdef Py_ssize_t i
    cdef const Message* m
    cdef rd_kafka_message_t* record
    cdef bint as_received = attributes.headers == HEADERS_DEAD_LETTER
    for i in range(n):
        m = messages[i]
        record = &records[i]
        record.payload, record.len = <void*> m.value, m.value_size
        if as_received:
            record.payload, record.len = <void*> m.data, m.size
        # an empty Call-ID is none: such records would all have one key
        record.key, record.key_len = NULL, 0
        if target.keyed and m.key_size:
            record.key, record.key_len = <void*> m.key, m.key_size
        record._private = NULL


cdef void queue_records(
    const Target* target, rd_kafka_message_t* records, Message** messages, Py_ssize_t n, Attributes* attributes,
    Waiting* waiting, Outcome* outcome
) noexcept nogil:
    cdef Extras extras
    extras.write, extras.context = write_attributes, attributes
    attributes.messages = messages
    # without extras librdkafka takes all records in one call
    queue(
        target.topic, records, n, &extras if attributes.timed or attributes.headers != HEADERS_NONE else NULL,
        waiting, outcome,
    )


cdef bint interrupted_within(Waiting* waiting, int ms) noexcept nogil:
    cdef int _step
    for _step in range(ms // STEP_MS):
        if waiting.interrupted(waiting.context):
            return True
        usleep(STEP_MS * 1000)
    return waiting.interrupted(waiting.context)


# Headers and timestamps

cdef size_t write_attributes(void* context, Py_ssize_t index, rd_kafka_vu_t* a) noexcept nogil:
    """The extras_function: what a record gets beyond value and key."""
    cdef Attributes* w = <Attributes*> context
    cdef const Message* m = w.messages[index]
    cdef size_t n = 0
    if m.time_us:
        a[n].vtype, a[n].u.i64 = RD_KAFKA_VTYPE_TIMESTAMP, m.time_us // 1000
        n += 1
    if w.headers == HEADERS_DEAD_LETTER:
        write_source(m, w.source)
        n = header(a, n, b"reason", m.reason, strlen(m.reason))
        n = header(a, n, b"source", w.source, strlen(w.source))
        n = header(a, n, b"input", w.origin.url, strlen(w.origin.url))
    elif w.headers == HEADERS_BASIC:
        write_source(m, w.source)
        n = header(a, n, b"event", m.name, m.name_size)
        n = header(a, n, b"source", w.source, strlen(w.source))
        n = header(a, n, b"content-type", b"application/json", 16)
    elif w.headers == HEADERS_CLOUDEVENTS:
        write_uri(w.origin, m, w.source)
        snprintf(w.id, ID_SIZE, "%s-%llu", w.origin.id, <unsigned long long> m.number)
        n = header(a, n, b"ce_specversion", b"1.0", 3)
        n = header(a, n, b"ce_id", w.id, strlen(w.id))
        n = header(a, n, b"ce_source", w.source, strlen(w.source))
        n = header(a, n, b"ce_type", m.name, m.name_size)
        n = header(a, n, b"content-type", b"application/json", 16)
    return n


cdef size_t header(rd_kafka_vu_t* a, size_t n, const char* name, const char* value, size_t size) noexcept nogil:
    a[n].vtype = RD_KAFKA_VTYPE_HEADER
    a[n].u.header.name = name
    a[n].u.header.val = value
    a[n].u.header.size = <Py_ssize_t> size
    return n + 1


cdef void write_uri(const Origin* origin, const Message* m, char* uri) noexcept nogil:
    """The sender's URI: scheme://host:port, unix:path; the input's for a sender without an address."""
    cdef char[SOURCE_SIZE] source
    write_source(m, source)
    if is_address(source):
        snprintf(uri, URI_SIZE, "%s//%s", origin.scheme, source)
    elif m.header != NULL and strcmp(source, b"unix") != 0:
        memcpy(uri, b"unix:", 5)
        write_encoded(uri + 5, source)
    else:
        snprintf(uri, URI_SIZE, "%s", origin.uri)


cdef bint is_address(const char* text) noexcept nogil:
    """Whether a text is IPv4:port or [IPv6]:port."""
    cdef const char* colon = strrchr(text, c":")
    cdef size_t size
    if colon == NULL or colon[1] == 0 or strspn(colon + 1, b"0123456789") != strlen(colon + 1):
        return False
    size = colon - text
    if text[0] == c"[":
        return size > 2 and text[size - 1] == c"]" and strspn(text + 1, b"0123456789abcdefABCDEF:.") == size - 2
    return size > 0 and strspn(text, b"0123456789.") == size


cdef void write_encoded(char* uri, const char* path) noexcept nogil:
    """Percent-encode all that is no unreserved character of RFC 3986, nor a slash."""
    cdef const char* plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
    cdef const char* digits = b"0123456789ABCDEF"
    cdef unsigned char byte
    while path[0]:
        byte = path[0]
        if strchr(plain, byte) != NULL:
            uri[0] = byte
            uri += 1
        else:
            uri[0], uri[1], uri[2] = c"%", digits[byte >> 4], digits[byte & 15]
            uri += 3
        path += 1
    uri[0] = 0


# Reports

cdef void report(const rd_kafka_message_t** messages, Py_ssize_t count) noexcept:
    cdef Py_ssize_t i
    for i in range(count):
        call_on_report(messages[i]._private, messages[i].err)


cdef void call_on_report(void* on_report, int code) noexcept:
    call = <object> <PyObject*> on_report
    Py_DECREF(call)
    try:
        call(delivery_error(code, "") if code else None)
    except BaseException:
        log_raised("on_report", call)
