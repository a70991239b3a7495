"""Where the bridge's messages go: routes by event name, subscribers, dead letters; used without the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen

from pykafkaevt.kafka.client cimport (
    Client, counter_add_shared, counter_get, counter_set, room_sequence, room_wait, topic_in_flight,
)
from pykafkaevt.kafka.delivery cimport log_raised
from pykafkaevt.jsonrpc.scan cimport JSON_KEYS_MAX, JsonName
from pykafkaevt.kafka.library cimport delivery_error
from pykafkaevt.kafka.producer cimport Producer
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t

from pykafkaevt.errors import Closed

cdef enum:
    PACE = 20000             # records in flight above which reading waits for reports, as clients.PACE
    PACE_MS = 10
cdef dict HEADERS = {"none": HEADERS_NONE, "basic": HEADERS_BASIC, "cloudevents": HEADERS_CLOUDEVENTS}


cdef bint matches(const char* pattern, const char* name, size_t size) noexcept nogil:
    cdef const char* end = name + size
    cdef const char* star = NULL
    cdef const char* resume = NULL
    while name < end:
        if pattern[0] == c"*":
            star = pattern
            pattern += 1
            resume = name
        elif pattern[0] != 0 and (pattern[0] == c"?" or pattern[0] == name[0]):
            pattern += 1
            name += 1
        elif star != NULL:
            pattern = star + 1
            resume += 1
            name = resume
        else:
            return False
    while pattern[0] == c"*":
        pattern += 1
    return pattern[0] == 0


cdef class Routes:
    """Where events go: a snapshot that inputs share; a reload makes another.

    targets: (pattern, Producer, keyed) in order, the first whose pattern (with * and ?) fits an event's name has it;
    keyed: the record gets the event's key. subscribers: (event name, Producer, keyed), each has it too. key_fields:
    the parameter whose value is the key, the first of these that is there; of SIP it is the Call-ID. time_field: the
    parameter with the event's own time (s, ms, us or ns since 1970) for the record's timestamp; None: when it is
    queued. headers: "none", "basic" (event, source, content-type) or "cloudevents" (in binary mode: the CloudEvents
    Kafka protocol binding 1.0.2). dead_letter: the Producer that invalid messages go to.
    """

    def __cinit__(
        self, targets, *, key_fields=("callid", "call_id", "Call-ID"), time_field=None, headers="none",
        dead_letter=None, subscribers=()
    ):
        cdef Table* t = &self.table
        cdef list all_targets = [*targets, *subscribers]
        cdef Py_ssize_t i
        if len(key_fields) > JSON_KEYS_MAX:
            raise ValueError(f"more than {JSON_KEYS_MAX} key fields")
        if headers not in HEADERS:
            raise ValueError(f"headers must be one of {', '.join(HEADERS)}, not {headers!r}")
        self.targets = tuple(targets)
        self.kept = []
        t.routes = len(self.targets)
        t.subscribers = len(all_targets) - t.routes
        t.dead_letter = -1
        if dead_letter is not None:
            t.dead_letter = len(all_targets)
            all_targets.append(("", dead_letter, False))
        t.headers = HEADERS[headers]
        t.targets = <Target*> calloc(max(len(all_targets), 1), sizeof(Target))
        t.keys = <JsonName*> calloc(max(len(key_fields), 1), sizeof(JsonName))
        if t.targets == NULL or t.keys == NULL:
            raise MemoryError()
        for i in range(len(all_targets)):
            pattern, producer, keyed = all_targets[i]
            self.fill(&t.targets[i], pattern, producer, keyed)
        for i in range(len(key_fields)):
            t.keys[i].name = self.text(key_fields[i])
            t.keys[i].size = strlen(t.keys[i].name)
        t.key_count = len(key_fields)
        if time_field is not None:
            t.timed = True
            t.time.name = self.text(time_field)
            t.time.size = strlen(t.time.name)

    cdef const char* text(self, str text) except NULL:
        cdef bytes encoded = text.encode()
        self.kept.append(encoded)
        return PyBytes_AS_STRING(encoded)

    cdef int fill(self, Target* target, str pattern, Producer producer, bint keyed) except -1:
        cdef Client client = producer.client
        self.kept.append(producer)
        producer.take_reports(call_back)
        target.pattern = self.text(pattern)
        target.pattern_size = strlen(target.pattern)
        target.client = <PyObject*> client
        target.topic = producer.topic
        target.rk = &client.rk
        target.room = &client.reports.room
        target.entered = &client.entered
        target.closing = &client.closing
        target.fatal = &client.reports.fatal
        target.keyed = keyed
        target.unpaced_at = <unsigned long long> -1
        return 0

    def __dealloc__(self):
        free(self.table.targets)
        free(self.table.keys)

    def abandon(self) -> None:
        """Have those that wait for room in these routes' queues give up, and route what they hold anew."""
        counter_set(&self.table.abandoned, 1)


cdef void call_back(const rd_kafka_message_t** messages, Py_ssize_t count) noexcept:
    """The reports that on_report= asked for. The report_function of the targets' producers."""
    cdef Py_ssize_t i
    for i in range(count):
        tell(messages[i]._private, messages[i].err)


cdef void tell(void* tag, int code) noexcept:
    on_report = <object> <PyObject*> tag
    Py_DECREF(on_report)
    try:
        on_report(delivery_error(code, "") if code else None)
    except BaseException:
        log_raised("on_report", on_report)


cdef void tell_refused(void* tag, int code) noexcept nogil:
    if tag != NULL:
        with gil:
            tell(tag, code)


# Targets, without the GIL

cdef bint enter(Target* target) noexcept nogil:
    cdef bint opened
    while True:
        counter_add_shared(target.entered, 1)
        if not target.closing[0] and not counter_get(target.fatal):
            return True
        leave(target)
        if target.closing[0]:
            return False
        # after a fatal error the next use opens the client anew
        with gil:
            opened = reopened(target)
        if not opened:
            return False


cdef void pace(Target* target) noexcept nogil:
    cdef unsigned long long seen
    if topic_in_flight(target.topic) <= PACE:
        return
    seen = room_sequence(target.room)
    if seen != target.unpaced_at:
        room_wait(target.room, seen, PACE_MS)
        if room_sequence(target.room) == seen:
            target.unpaced_at = seen


cdef void leave(Target* target) noexcept nogil:
    counter_add_shared(target.entered, <uint64_t> -1)


cdef bint reopened(Target* target) noexcept:
    """Have the client of a target open anew; False when it is closed."""
    cdef Client client = <Client> target.client
    try:
        client.ready()
    except Closed:
        return False
    except BaseException:
        log_raised("opening anew", client)
        return False
    return True
