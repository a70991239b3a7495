"""The bridge's receive loops: messages are checked, their name and key read in place, and queued from where they lie.

Without the GIL and without a Python object for a message; the GIL is taken for what is rare: a report that was asked
for, a client that must be opened anew.
"""

import os
import socket as sockets
from itertools import count as counting

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, strtod
from libc.string cimport memcmp, memcpy, memset, strlen

from pykafkaevt.kafka.client cimport (
    counter, counter_add, counter_add_shared, counter_get, counter_set, counters_error, room_sequence, room_wait,
)
from pykafkaevt.sip.hep cimport HEP_EVENT_MAX as HEP_EVENT_ROOM, HEP_REASONS, HepEvent, hep_event, hep_reasons
from pykafkaevt.jsonrpc.scan cimport (
    JSON_OK, JSON_REASONS, JsonEvent, JsonSlice, json_event_scan, json_reasons, json_unescape,
)
from pykafkaevt.kafka.library cimport table as api_table
from pykafkaevt.bridge.routes cimport (
    HEADERS_BASIC, HEADERS_CLOUDEVENTS, HEADERS_NONE, Routes, Table, Target, enter, leave, matches, pace, tell_refused,
)
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_RKT,
    RD_KAFKA_VTYPE_TIMESTAMP, RD_KAFKA_VTYPE_VALUE, rd_kafka_error_t, rd_kafka_message_t, rd_kafka_vu_t, rdkafka_api,
)

from pykafkaevt.jsonrpc.template import dumps
from pykafkaevt.errors import Closed

cdef extern from "datagrams.h" nogil:
    ctypedef struct msghdr "struct msghdr":
        int msg_flags
    ctypedef struct mmsghdr "struct mmsghdr":
        unsigned int msg_len
        msghdr msg_hdr
    ctypedef struct iovec "struct iovec":
        void* iov_base
    ctypedef struct Datagrams:
        mmsghdr* headers
        iovec* parts
    int MSG_TRUNC
    Datagrams* datagrams_new()
    void datagrams_free(Datagrams* d)
    int datagrams_receive(Datagrams* d, int fd, int wait)
    uint32_t datagrams_drops(Datagrams* d, int i, uint32_t before)
    uint32_t datagrams_drops_now(int fd, uint32_t before)
    void datagrams_source(Datagrams* d, int i, char* text)
    long long now_us()

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t*, void*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)
    int pthread_mutex_destroy(pthread_mutex_t*)

cdef const rdkafka_api* api = api_table()

cdef enum:
    DATAGRAMS = 256          # as in datagrams.h
    SOURCE_SIZE = 128
    WAIT_MS = 50             # how long a wait for room goes on before it looks whether it still should
    KEPT = 8 << 20           # bytes a buffer may keep from batch to batch
    NAMES = 256              # different event names that are counted each for itself, and a quarter kept free
    NAME_SIZE = 256          # bytes of a name, the longest there may be and its end
    EXCERPT = 200            # bytes kept of an invalid message
    SAMPLES = 16             # invalid messages kept for the log
    NEWEST = 20              # events kept for the page
    KIND_JSON = 0
    KIND_HEP = 1
    KIND_PLAIN = 2
    # reasons behind those of the scanners
    TOO_LARGE = 0
    ABANDONED = 1
    NO_MEMORY = 2
    REFUSED = 3
    OWN_REASONS = 4

cdef const char* own_reasons[OWN_REASONS]
own_reasons[:] = [b"too_large", b"abandoned", b"no_memory", b"refused"]
cdef dict KINDS = {"json": KIND_JSON, "hep": KIND_HEP, "plain": KIND_PLAIN}

# One message on its way.
cdef struct Item:
    const char* data             # as received
    size_t size
    const char* value            # as queued
    size_t value_size
    const char* key
    size_t key_size
    const char* name             # the event's
    size_t name_size
    long long time_us            # since 1970, 0 for now
    int target                   # index in the table, -1 when it is invalid or goes nowhere
    int place                    # in the datagrams
    bint cut                     # the datagram was longer than its buffer
    void* tag                    # a reference to the callable that wants the report, or NULL

cdef struct Counted:
    char[NAME_SIZE] name
    size_t size
    counter count

cdef struct Sample:
    char[32] reason
    char[SOURCE_SIZE] source
    char[EXCERPT] excerpt
    size_t size
    size_t total
    long long time_us

cdef struct Newest:
    char[NAME_SIZE] name
    char[NAME_SIZE] key
    char[SOURCE_SIZE] source
    size_t name_size
    size_t key_size
    long long time_us


cdef long long time_of(JsonSlice text) noexcept nogil:
    """A number of s, ms, us or ns since 1970, told by its size, as microseconds; 0 for what is none."""
    cdef char[64] digits
    cdef double value
    if text.kind == 0 or text.size == 0 or text.size >= sizeof(digits):
        return 0
    memcpy(digits, text.data, text.size)
    digits[text.size] = 0
    value = strtod(digits, NULL)
    # what is below lies in 1970, what is above beyond the year 5000
    if not 1e8 <= value < 1e20:
        return 0
    if value < 1e11:
        return <long long> (value * 1e6)
    if value < 1e14:
        return <long long> (value * 1e3)
    if value < 1e17:
        return <long long> value
    return <long long> (value / 1e3)


cdef object numbers = counting(1)


cdef class Ingest:
    """The messages of one input, one thread at a time.

    kind: "json" (JSON-RPC notifications or requests), "hep" (HEPv3 packets) or "plain" (JSON objects that become the
    parameters of the event `method`); url: what logs and counts call the input; raw: SIP events hold the message;
    max_size: bytes of a message at most.
    """

    cdef readonly str url
    cdef int kind
    cdef bint raw
    cdef size_t max_size
    cdef list texts                      # what the pointers below point into
    cdef const char* url_text
    cdef const char* head                # of a plain event, up to its parameters
    cdef size_t head_size
    cdef const char* method
    cdef size_t method_size
    cdef char[64] id                     # of the input, for the id of CloudEvents
    cdef list kept                       # routes: the newest, and those still in use
    cdef pthread_mutex_t lock            # guards next, current, the samples and the newest
    cdef Table* next
    cdef Table* current                  # in use by the batch at hand, or NULL
    cdef counter stopping, aborting
    cdef Datagrams* datagrams
    cdef Item* items
    cdef char* buffer
    cdef size_t buffer_size, used
    cdef char[SOURCE_SIZE] source        # of feed()'s message
    cdef Counted* names
    cdef Counted* last_name
    cdef int name_count
    cdef counter received, bytes, queued, unrouted, invalid_count, kernel_drops, other_names
    cdef counter* reasons                # JSON's, then HEP's, then own_reasons
    cdef dict other_reasons
    cdef Sample[SAMPLES] sample
    cdef int sample_count
    cdef Newest[NEWEST] newest
    cdef uint64_t newest_count
    cdef unsigned long long sequence

    def __cinit__(self, str kind, str url, Routes routes not None, *, bint raw=False, method=None, max_size=65536):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        if (kind == "plain") != (method is not None):
            raise ValueError('a method goes with the kind "plain"')
        self.url = url
        self.kind = KINDS[kind]
        self.raw = raw
        self.max_size = max_size
        self.texts = [url.encode()]
        self.url_text = PyBytes_AS_STRING(self.texts[0])
        if method is not None:
            self.texts += [method.encode(), dumps(method).removesuffix(b"}") + b',"params":']
            self.method, self.method_size = PyBytes_AS_STRING(self.texts[1]), len(self.texts[1])
            self.head, self.head_size = PyBytes_AS_STRING(self.texts[2]), len(self.texts[2])
            if self.method_size >= NAME_SIZE:
                raise ValueError(f"method must have at most {NAME_SIZE - 1} bytes")
        host = sockets.gethostname().encode()[:32]
        snprintf(
            self.id, sizeof(self.id), "%s-%d-%llu", <char*> host, <int> os.getpid(), <unsigned long long> next(numbers)
        )
        pthread_mutex_init(&self.lock, NULL)
        self.kept = [routes]
        self.next = &routes.table
        self.other_reasons = {}
        self.reasons = <counter*> calloc(JSON_REASONS + HEP_REASONS + OWN_REASONS, sizeof(counter))
        self.items = <Item*> calloc(DATAGRAMS, sizeof(Item))
        self.names = <Counted*> calloc(NAMES, sizeof(Counted))
        if self.items == NULL or self.names == NULL or self.reasons == NULL:
            raise MemoryError()

    def __dealloc__(self):
        datagrams_free(self.datagrams)
        free(self.items)
        free(self.names)
        free(self.reasons)
        free(self.buffer)
        pthread_mutex_destroy(&self.lock)

    # Routes

    def set_routes(self, Routes routes not None) -> None:
        """Use other routes from the next batch on; the old ones may be closed when uses() says no."""
        self.kept.append(routes)
        pthread_mutex_lock(&self.lock)
        self.next = &routes.table
        pthread_mutex_unlock(&self.lock)

    def uses(self, Routes routes not None) -> bool:
        """Whether a batch is still handled by these routes; when not, they are let go."""
        pthread_mutex_lock(&self.lock)
        busy = self.current == &routes.table or self.next == &routes.table
        pthread_mutex_unlock(&self.lock)
        if not busy:
            self.kept = [one for one in self.kept if one is not routes]
        return busy

    cdef Table* take_table(self) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        self.current = self.next
        pthread_mutex_unlock(&self.lock)
        return self.current

    cdef void give_table(self) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        self.current = NULL
        pthread_mutex_unlock(&self.lock)

    # Messages

    cdef int handle(self, Py_ssize_t n) noexcept nogil:
        """Check, route and queue items 0 to n."""
        cdef Table* table = self.take_table()
        cdef Table* before
        cdef Py_ssize_t i
        cdef size_t need = 0, size = 0
        cdef Item* item
        cdef Item* last = NULL
        for i in range(n):
            item = &self.items[i]
            size += item.size
            need += self.room_for(item.size)
        self.used = 0
        counter_add(&self.received, n)
        counter_add(&self.bytes, size)
        if not self.reserve(need):
            for i in range(n):
                self.reject_for(table, &self.items[i], NO_MEMORY)
        else:
            for i in range(n):
                item = &self.items[i]
                if self.check(table, item):
                    self.count_name(item)
                    last = item
            if last != NULL:
                self.remember(last)
            self.route(table, n)
            while not self.send(table, n):
                # the target was given up or closed: what is left goes by newer routes when there are some
                before = table
                table = self.take_table()
                if counter_get(&self.aborting) or table == before:
                    self.give_up(table, n)
                    break
                self.route(table, n)
        self.give_table()
        if self.buffer_size > KEPT:
            free(self.buffer)
            self.buffer = NULL
            self.buffer_size = 0
        return 0

    cdef size_t room_for(self, size_t size) noexcept nogil:
        """Bytes of the buffer that a message may need: its event, and texts without their escapes."""
        if self.kind == KIND_HEP:
            return HEP_EVENT_ROOM(size)
        if self.kind == KIND_PLAIN:
            return 2 * size + self.head_size + 1
        return size

    cdef bint reserve(self, size_t need) noexcept nogil:
        cdef char* larger
        if need > self.buffer_size:
            # what it holds is of no use any more
            larger = <char*> malloc(need)
            if larger == NULL:
                return False
            free(self.buffer)
            self.buffer = larger
            self.buffer_size = need
        return True

    cdef bint check(self, Table* table, Item* item) noexcept nogil:
        """Fill in what is queued of a message; False when it is invalid."""
        cdef JsonEvent event
        cdef HepEvent packet
        cdef int reason
        item.target = 0
        item.time_us = 0
        if item.size > self.max_size or item.cut:
            return self.reject_for(table, item, TOO_LARGE)
        if self.kind == KIND_HEP:
            reason = hep_event(item.data, item.size, self.raw, self.buffer + self.used, &packet)
            if reason:
                return self.reject(table, item, hep_reasons[reason], &self.reasons[JSON_REASONS + reason])
            item.value = self.buffer + self.used
            item.value_size = packet.size
            item.name, item.name_size = packet.event.data, packet.event.size
            item.key, item.key_size = packet.key.data, packet.key.size
            if table.timed:
                item.time_us = packet.time_us
            self.used += packet.size
            return True
        reason = json_event_scan(
            item.data, item.size, self.kind == KIND_PLAIN, table.keys, table.key_count,
            &table.time if table.timed else NULL, &event,
        )
        if reason != JSON_OK:
            return self.reject(table, item, json_reasons[reason], &self.reasons[reason])
        item.value, item.value_size = item.data, item.size
        if self.kind == KIND_PLAIN:
            item.name, item.name_size = self.method, self.method_size
            item.value = self.buffer + self.used
            item.value_size = self.wrap(item)
        else:
            self.plain_text(event.method, &item.name, &item.name_size)
        self.plain_text(event.key, &item.key, &item.key_size)
        if table.timed:
            item.time_us = time_of(event.time)
        return True

    cdef size_t wrap(self, Item* item) noexcept nogil:
        """The notification whose parameters a plain object is."""
        cdef char* start = self.buffer + self.used
        cdef size_t size = self.head_size + item.size + 1
        memcpy(start, self.head, self.head_size)
        memcpy(start + self.head_size, item.data, item.size)
        start[size - 1] = c"}"
        self.used += size
        return size

    cdef void plain_text(self, JsonSlice text, const char** data, size_t* size) noexcept nogil:
        """A JSON string or number as it is, or without its escapes in the buffer; NULL when there is none."""
        data[0], size[0] = text.data if text.kind else NULL, text.size if text.kind else 0
        if text.kind == c"e":
            data[0] = self.buffer + self.used
            size[0] = json_unescape(self.buffer + self.used, text)
            self.used += size[0]

    cdef void route(self, Table* table, Py_ssize_t n) noexcept nogil:
        """Find the target of each message that is neither invalid nor queued already."""
        cdef Py_ssize_t i
        cdef int t
        cdef Item* item
        for i in range(n):
            item = &self.items[i]
            if item.target < 0:
                continue
            for t in range(table.routes):
                if matches(table.targets[t].pattern, item.name, item.name_size):
                    item.target = t
                    break
            else:
                item.target = -1
                counter_add(&self.unrouted, 1)

    cdef bint send(self, Table* table, Py_ssize_t n) noexcept nogil:
        """Queue every message to its target, then to its event's subscribers; False when a target was given up."""
        cdef int t
        cdef Py_ssize_t i, count
        cdef Item* chosen[DATAGRAMS]
        cdef Item* item
        cdef Target* target
        for t in range(table.routes):
            count = 0
            for i in range(n):
                if self.items[i].target == t:
                    chosen[count] = &self.items[i]
                    count += 1
            if count and not self.submit(table, &table.targets[t], chosen, count, True):
                return False
        for t in range(table.routes, table.routes + table.subscribers):
            count = 0
            target = &table.targets[t]
            for i in range(n):
                item = &self.items[i]
                if (
                    item.value != NULL and item.name_size == target.pattern_size
                    and memcmp(item.name, target.pattern, item.name_size) == 0
                ):
                    chosen[count] = item
                    count += 1
            if count:
                self.submit(table, target, chosen, count, False)
        return True

    cdef bint submit(self, Table* table, Target* target, Item** items, Py_ssize_t n, bint routed) noexcept nogil:
        """Queue messages to one target; False when it was given up before the last.

        routed: the message is seen to, its report goes where it was asked for, and a full queue is waited for.
        Otherwise it is a subscriber, for whom a full queue drops.
        """
        cdef rd_kafka_message_t[DATAGRAMS] messages
        cdef rd_kafka_message_t* m
        cdef Item* item
        cdef Py_ssize_t i, done = 0, queued
        cdef unsigned long long seen
        for i in range(n):
            item = items[i]
            m = &messages[i]
            m.payload, m.len = <void*> item.value, item.value_size
            # an empty Call-ID is none: such records would all have one key
            m.key, m.key_len = NULL, 0
            if target.keyed and item.key_size:
                m.key, m.key_len = <void*> item.key, item.key_size
            m._private = item.tag if routed else NULL
        while done < n:
            if not enter(target):
                return False
            seen = room_sequence(target.room)
            if table.headers == HEADERS_NONE and not table.timed:
                api.produce_batch(
                    target.topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, messages + done, <int> (n - done)
                )
            else:
                for i in range(done, n):
                    messages[i].err = self.produce(table, target, items[i], &messages[i], NULL)
                    if messages[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
                        break
            queued = 0
            for i in range(done, n):
                if messages[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
                    break
                if messages[i].err == RD_KAFKA_RESP_ERR_NO_ERROR:
                    queued += 1
                else:
                    counter_add_shared(&target.topic.counts.rejected, 1)
                    counters_error(&target.topic.counts, messages[i].err)
                    tell_refused(messages[i]._private, messages[i].err)
                    if routed:
                        self.reject_for(table, items[i], REFUSED)
                if routed:
                    items[i].tag = NULL
                    items[i].target = -1
                done += 1
            counter_add_shared(&target.topic.counts.queued, queued)
            if routed:
                counter_add(&self.queued, queued)
            if done == n:
                pace(target)
            elif routed:
                room_wait(target.room, seen, WAIT_MS)
            else:
                # a subscriber whose cluster is away holds up nobody
                counter_add_shared(&target.topic.counts.dropped, n - done)
                done = n
            leave(target)
            if done < n and (counter_get(&self.aborting) or counter_get(&table.abandoned)):
                return False
        return True

    cdef int produce(
        self, Table* table, Target* target, Item* item, rd_kafka_message_t* message, const char* reason
    ) noexcept nogil:
        """One record with a timestamp or headers of its own; the error code."""
        cdef rd_kafka_vu_t[16] a
        cdef rd_kafka_error_t* error
        cdef char[SOURCE_SIZE] source
        cdef char[96] id
        cdef int code, n = 6
        memset(a, 0, sizeof(a))
        a[0].vtype, a[0].u.rkt = RD_KAFKA_VTYPE_RKT, target.topic.handle
        a[1].vtype, a[1].u.i = RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_MSG_F_COPY
        a[2].vtype, a[2].u.mem.ptr, a[2].u.mem.size = RD_KAFKA_VTYPE_VALUE, message.payload, message.len
        a[3].vtype, a[3].u.mem.ptr, a[3].u.mem.size = RD_KAFKA_VTYPE_KEY, message.key, message.key_len
        a[4].vtype, a[4].u.ptr = RD_KAFKA_VTYPE_OPAQUE, message._private
        a[5].vtype, a[5].u.i64 = RD_KAFKA_VTYPE_TIMESTAMP, item.time_us // 1000
        if reason != NULL:
            self.write_source(item, source)
            n = header(a, n, b"reason", reason, strlen(reason))
            n = header(a, n, b"source", source, strlen(source))
            n = header(a, n, b"input", self.url_text, strlen(self.url_text))
        elif table.headers == HEADERS_BASIC:
            self.write_source(item, source)
            n = header(a, n, b"event", item.name, item.name_size)
            n = header(a, n, b"source", source, strlen(source))
            n = header(a, n, b"content-type", b"application/json", 16)
        elif table.headers == HEADERS_CLOUDEVENTS:
            self.write_source(item, source)
            self.sequence += 1
            snprintf(id, sizeof(id), "%s-%llu", self.id, self.sequence)
            n = header(a, n, b"ce_specversion", b"1.0", 3)
            n = header(a, n, b"ce_id", id, strlen(id))
            n = header(a, n, b"ce_source", source, strlen(source))
            n = header(a, n, b"ce_type", item.name, item.name_size)
            n = header(a, n, b"content-type", b"application/json", 16)
        error = api.produceva(target.rk[0], a, n)
        if error == NULL:
            return RD_KAFKA_RESP_ERR_NO_ERROR
        code = api.error_code(error)
        api.error_destroy(error)
        return code

    cdef void write_source(self, Item* item, char* text) noexcept nogil:
        if item.place < 0:
            memcpy(text, self.source, SOURCE_SIZE)
        else:
            datagrams_source(self.datagrams, item.place, text)

    cdef void give_up(self, Table* table, Py_ssize_t n) noexcept nogil:
        """At the end of the time to drain: what no target took is counted."""
        cdef Py_ssize_t i
        for i in range(n):
            if self.items[i].target >= 0:
                self.reject_for(table, &self.items[i], ABANDONED)

    cdef bint reject_for(self, Table* table, Item* item, int reason) noexcept nogil:
        """reject() with one of own_reasons."""
        return self.reject(table, item, own_reasons[reason], &self.reasons[JSON_REASONS + HEP_REASONS + reason])

    cdef bint reject(self, Table* table, Item* item, const char* reason, counter* count) noexcept nogil:
        """Count an invalid message, keep a sample of it, and queue it to the dead letters; False."""
        cdef rd_kafka_message_t message
        cdef Target* target
        cdef int code
        counter_add(count, 1)
        counter_add(&self.invalid_count, 1)
        self.keep_sample(item, reason)
        if table.dead_letter >= 0:
            target = &table.targets[table.dead_letter]
            memset(&message, 0, sizeof(message))
            message.payload, message.len = <void*> item.data, item.size
            if enter(target):
                code = self.produce(table, target, item, &message, reason)
                # a flood of invalid messages holds up no valid one
                if code == RD_KAFKA_RESP_ERR_NO_ERROR:
                    counter_add_shared(&target.topic.counts.queued, 1)
                elif code == RD_KAFKA_RESP_ERR__QUEUE_FULL:
                    counter_add_shared(&target.topic.counts.dropped, 1)
                else:
                    counter_add_shared(&target.topic.counts.rejected, 1)
                leave(target)
        item.value = NULL
        item.target = -1
        return False

    cdef void keep_sample(self, Item* item, const char* reason) noexcept nogil:
        cdef Sample* sample
        pthread_mutex_lock(&self.lock)
        if self.sample_count < SAMPLES:
            sample = &self.sample[self.sample_count]
            self.sample_count += 1
            snprintf(sample.reason, sizeof(sample.reason), "%s", reason)
            self.write_source(item, sample.source)
            sample.size = min(item.size, <size_t> EXCERPT)
            sample.total = item.size
            memcpy(sample.excerpt, item.data, sample.size)
            sample.time_us = now_us()
        pthread_mutex_unlock(&self.lock)

    cdef void remember(self, Item* item) noexcept nogil:
        cdef Newest* newest
        pthread_mutex_lock(&self.lock)
        newest = &self.newest[self.newest_count % NEWEST]
        self.newest_count += 1
        newest.name_size = min(item.name_size, <size_t> NAME_SIZE)
        memcpy(newest.name, item.name, newest.name_size)
        newest.key_size = min(item.key_size, <size_t> NAME_SIZE)
        if newest.key_size:
            memcpy(newest.key, item.key, newest.key_size)
        self.write_source(item, newest.source)
        newest.time_us = now_us()
        pthread_mutex_unlock(&self.lock)

    cdef void count_name(self, Item* item) noexcept nogil:
        """Count the event by its name; names beyond what the table holds are counted together."""
        cdef Counted* found = self.last_name
        cdef uint32_t hash = 2166136261
        cdef size_t i
        if found == NULL or found.size != item.name_size or memcmp(found.name, item.name, item.name_size) != 0:
            # FNV-1a
            for i in range(item.name_size):
                hash = (hash ^ <unsigned char> item.name[i]) * 16777619
            i = hash % NAMES
            while True:
                found = &self.names[i]
                if found.size == item.name_size and memcmp(found.name, item.name, found.size) == 0:
                    break
                if found.size == 0:
                    if self.name_count >= 3 * NAMES // 4 or item.name_size >= NAME_SIZE:
                        counter_add(&self.other_names, 1)
                        return
                    self.name_count += 1
                    memcpy(found.name, item.name, item.name_size)
                    # last: counts() reads without a lock
                    found.size = item.name_size
                    break
                i = (i + 1) % NAMES
            self.last_name = found
        counter_add(&found.count, 1)

    def feed(self, data, str source="", *, on_report=None) -> bool:
        """Check, route and queue one message.

        True when it was taken, False when it is invalid or no route fits (counted). Blocks with the GIL released while
        the queue is full. on_report(error: DeliveryError | None): called once, from the report thread, or at once when
        librdkafka refuses the record. Raises Closed after abort().
        """
        cdef bytes held = data if isinstance(data, bytes) else bytes(data)
        cdef bytes encoded = source.encode("utf-8", "replace")[:SOURCE_SIZE - 1]
        cdef Item* item = &self.items[0]
        cdef uint64_t unrouted = counter_get(&self.unrouted), invalid = counter_get(&self.invalid_count)
        if counter_get(&self.aborting):
            raise Closed(f"{self.url} is closed")
        memcpy(self.source, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded) + 1)
        memset(item, 0, sizeof(Item))
        item.data, item.size = PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held)
        item.place = -1
        if on_report is not None:
            Py_INCREF(on_report)
            item.tag = <PyObject*> on_report
        with nogil:
            self.handle(1)
        if on_report is not None:
            # taken over when it was queued or refused
            taken = item.tag == NULL
            Py_XDECREF(<PyObject*> item.tag)
            return taken
        return counter_get(&self.unrouted) == unrouted and counter_get(&self.invalid_count) == invalid

    def invalid(self, str reason, data, str source="") -> None:
        """Count what the input itself found invalid, by reason; it is sampled and dead-lettered as other messages."""
        cdef bytes held = bytes(data)
        cdef bytes encoded = source.encode("utf-8", "replace")[:SOURCE_SIZE - 1]
        cdef bytes why = reason.encode()
        cdef const char* why_text = PyBytes_AS_STRING(why)
        cdef counter ignored = 0
        cdef Item item
        memcpy(self.source, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded) + 1)
        memset(&item, 0, sizeof(item))
        item.data, item.size, item.place = PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held), -1
        counter_add(&self.received, 1)
        counter_add(&self.bytes, item.size)
        self.other_reasons[reason] = self.other_reasons.get(reason, 0) + 1
        with nogil:
            self.reject(self.take_table(), &item, why_text, &ignored)
            self.give_table()

    def receive(self, int fd) -> None:
        """Receive datagrams of a socket until stop(), and then what the kernel holds. Raises OSError, MemoryError.

        The socket needs a receive timeout (SO_RCVTIMEO): that is how long stop() may take to be seen; and SO_RXQ_OVFL
        for the kernel's drops to be counted.
        """
        cdef int n = 0, i
        cdef uint32_t drops = 0
        cdef Datagrams* d
        if self.datagrams == NULL:
            self.datagrams = datagrams_new()
            if self.datagrams == NULL:
                raise MemoryError()
        d = self.datagrams
        with nogil:
            while True:
                n = datagrams_receive(d, fd, not counter_get(&self.stopping))
                if n == 0:
                    drops = datagrams_drops_now(fd, drops)
                    counter_set(&self.kernel_drops, drops)
                if n < 0 or n == 0 and counter_get(&self.stopping):
                    break
                for i in range(n):
                    self.items[i].data = <const char*> d.parts[i].iov_base
                    self.items[i].size = d.headers[i].msg_len
                    self.items[i].cut = d.headers[i].msg_hdr.msg_flags & MSG_TRUNC != 0
                    self.items[i].place = i
                    self.items[i].tag = NULL
                if n:
                    drops = datagrams_drops(d, n - 1, drops)
                    counter_set(&self.kernel_drops, drops)
                    self.handle(n)
                if counter_get(&self.aborting):
                    break
        if n < 0:
            raise OSError(-n, os.strerror(-n), self.url)

    def stop(self) -> None:
        """Have receive() end when the kernel holds no more."""
        counter_set(&self.stopping, 1)

    def abort(self) -> None:
        """Wait for no room any more: what no queue takes is counted as abandoned. From any thread."""
        counter_set(&self.aborting, 1)
        counter_set(&self.stopping, 1)

    # What happened

    def counts(self) -> dict:
        """The counters, each message in exactly one of queued, invalid, unrouted (or refused: see the producer)."""
        cdef int i
        reasons = dict(self.other_reasons)
        for i in range(JSON_REASONS):
            add(reasons, json_reasons[i], counter_get(&self.reasons[i]))
        for i in range(HEP_REASONS):
            add(reasons, hep_reasons[i], counter_get(&self.reasons[JSON_REASONS + i]))
        for i in range(OWN_REASONS):
            add(reasons, own_reasons[i], counter_get(&self.reasons[JSON_REASONS + HEP_REASONS + i]))
        events = {}
        for i in range(NAMES):
            if self.names[i].size:
                name = self.names[i].name[:self.names[i].size].decode("utf-8", "replace")
                events[name] = counter_get(&self.names[i].count)
        if counter_get(&self.other_names):
            events["(other)"] = counter_get(&self.other_names)
        return {
            "received": counter_get(&self.received),
            "bytes": counter_get(&self.bytes),
            "queued": counter_get(&self.queued),
            "invalid": counter_get(&self.invalid_count),
            "unrouted": counter_get(&self.unrouted),
            "kernel_drops": counter_get(&self.kernel_drops),
            "reasons": reasons,
            "events": events,
        }

    def samples(self) -> list:
        """Invalid messages since the last call, at most 16: reason, source, size (bytes), excerpt, time (Unix s)."""
        cdef int i
        cdef Sample sample
        found = []
        for i in range(SAMPLES):
            pthread_mutex_lock(&self.lock)
            if i >= self.sample_count:
                self.sample_count = 0
                pthread_mutex_unlock(&self.lock)
                return found
            sample = self.sample[i]
            pthread_mutex_unlock(&self.lock)
            excerpt = repr(sample.excerpt[:sample.size])
            found.append({
                "reason": sample.reason.decode(),
                "source": sample.source.decode("utf-8", "replace"),
                "size": sample.total,
                "excerpt": excerpt[2:len(excerpt) - 1],
                "time": sample.time_us / 1e6,
            })
        pthread_mutex_lock(&self.lock)
        self.sample_count = 0
        pthread_mutex_unlock(&self.lock)
        return found

    def last_events(self) -> list:
        """Events of the newest batches, at most 20, the newest first: event, key, source, time (Unix s)."""
        cdef uint64_t i, newest
        cdef Newest one
        found = []
        pthread_mutex_lock(&self.lock)
        newest = self.newest_count
        pthread_mutex_unlock(&self.lock)
        for i in range(min(newest, <uint64_t> NEWEST)):
            pthread_mutex_lock(&self.lock)
            one = self.newest[(newest - 1 - i) % NEWEST]
            pthread_mutex_unlock(&self.lock)
            found.append({
                "event": one.name[:one.name_size].decode("utf-8", "replace"),
                "key": one.key[:one.key_size].decode("utf-8", "replace"),
                "source": one.source.decode("utf-8", "replace"),
                "time": one.time_us / 1e6,
            })
        return found


cdef int header(rd_kafka_vu_t* a, int n, const char* name, const char* value, size_t size) noexcept nogil:
    a[n].vtype = RD_KAFKA_VTYPE_HEADER
    a[n].u.header.name = name
    a[n].u.header.val = value
    a[n].u.header.size = size
    return n + 1


cdef int add(dict counts, const char* name, uint64_t count) except -1:
    if count:
        text = name.decode()
        counts[text] = counts.get(text, 0) + count
    return 0
