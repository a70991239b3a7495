"""Where the bridge's messages go: routes by event name, subscribers, dead letters; used without the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free

from pykafkaevt.bridge.target cimport HEADERS_BASIC, HEADERS_CLOUDEVENTS, HEADERS_NONE, report
from pykafkaevt.jsonrpc.scan cimport JSON_KEYS_MAX, JsonName
from pykafkaevt.kafka.topic cimport counter_set

cdef dict HEADERS = {"none": HEADERS_NONE, "basic": HEADERS_BASIC, "cloudevents": HEADERS_CLOUDEVENTS}


cdef int route_of(const Table* table, const char* name, size_t size) noexcept nogil:
    cdef int t
    for t in range(table.routes):
        if matches(&table.targets[t], name, name + size):
            return t
    return -1


cdef bint matches(const Target* target, const char* name, const char* end) noexcept nogil:
    """Whether a name fits the pattern of text, * (any characters, or none) and ? (one byte)."""
    cdef const char* pattern = target.pattern
    cdef const char* pattern_end = pattern + target.pattern_size
    cdef const char* star = NULL
    cdef const char* resume = NULL
    while name < end:
        if pattern < pattern_end and pattern[0] == c"*":
            star = pattern
            pattern += 1
            resume = name
        elif pattern < pattern_end and (pattern[0] == c"?" or pattern[0] == name[0]):
            pattern += 1
            name += 1
        elif star != NULL:
            pattern = star + 1
            resume += 1
            name = resume
        else:
            return False
    while pattern < pattern_end and pattern[0] == c"*":
        pattern += 1
    return pattern == pattern_end


cdef class Routes:
    """Where events go: a snapshot that inputs share; a reload makes another.

    targets: (pattern, Producer, keyed) in order, the first whose pattern (with * and ?) fits an event's name has it;
    keyed: the record gets the event's key. subscribers: (event name, Producer, keyed), each has it too. key_fields:
    the parameter whose value is the key, the first of these that is there; of SIP it is the Call-ID. time_field: the
    parameter with the event's own time (s, ms, us or ns since 1970) for the record's timestamp; None: when it is
    queued. headers: "none", "basic" (event, source, content-type) or "cloudevents" (in binary mode: the CloudEvents
    Kafka protocol binding 1.0.2). dead_letter: the Producer that invalid messages go to.
    Raises ValueError, TypeError for what is no Producer, MemoryError.
    """

    def __cinit__(
        self, targets, *, key_fields=("callid", "call_id", "Call-ID"), time_field=None, headers="none",
        dead_letter=None, subscribers=()
    ):
        cdef Table* t = &self.table
        cdef list all_targets
        cdef Py_ssize_t i
        t.dead_letter = -1
        if len(key_fields) > JSON_KEYS_MAX:
            raise ValueError(f"more than {JSON_KEYS_MAX} key fields")
        if headers not in HEADERS:
            raise ValueError(f"headers must be one of {', '.join(HEADERS)}, not {headers!r}")
        self.targets = tuple(targets)
        self.kept = []
        all_targets = [*self.targets, *subscribers]
        t.routes = len(self.targets)
        t.subscribers = len(all_targets) - t.routes
        if dead_letter is not None:
            t.dead_letter = len(all_targets)
            all_targets.append(("", dead_letter, False))
        t.headers = HEADERS[headers]
        t.targets = <Target*> calloc(max(len(all_targets), 1), sizeof(Target))
        t.fields.keys = <JsonName*> calloc(max(len(key_fields), 1), sizeof(JsonName))
        if t.targets == NULL or t.fields.keys == NULL:
            raise MemoryError()
        for i in range(len(all_targets)):
            pattern, producer, keyed = all_targets[i]
            self.fill(&t.targets[i], pattern, producer, keyed)
        for i in range(len(key_fields)):
            t.fields.keys[i].name = self.text(key_fields[i], &t.fields.keys[i].size)
        t.fields.key_count = len(key_fields)
        if time_field is not None:
            t.fields.timed = True
            t.fields.time.name = self.text(time_field, &t.fields.time.size)

    def __dealloc__(self):
        free(self.table.targets)
        free(self.table.fields.keys)

    cdef const char* text(self, str text, size_t* size) except NULL:
        cdef bytes encoded
        if text is None:
            raise TypeError("a pattern or a field's name must be a str, not None")
        encoded = text.encode()
        self.kept.append(encoded)
        size[0] = PyBytes_GET_SIZE(encoded)
        return PyBytes_AS_STRING(encoded)

    cdef int fill(self, Target* target, str pattern, Producer producer, bint keyed) except -1:
        if producer is None:
            raise TypeError("a target must be a Producer, not None")
        self.kept.append(producer)
        producer.report_to(report)
        target.pattern = self.text(pattern, &target.pattern_size)
        target.topic = producer.topic
        target.keyed = keyed
        return 0

    def abandon(self) -> None:
        """Have those that wait for these routes' queues give up, and route what they hold anew."""
        counter_set(&self.table.abandoned, 1)
