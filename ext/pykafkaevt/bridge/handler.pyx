"""What becomes of a batch of messages: checked, routed, queued and counted; without the GIL."""

import uuid
from urllib.parse import quote

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int32_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from pykafkaevt.bridge.datagrams cimport DATAGRAMS, datagrams_drops_now
from pykafkaevt.bridge.message cimport (
    ABANDONED, KIND_HEP, KIND_JSON, KIND_PLAIN, NO_MEMORY, REJECTED, SETTLED, UNROUTED, blank_keys, parse,
    space_needed, space_release, space_reserve,
)
from pykafkaevt.bridge.names cimport NAME_SIZE
from pykafkaevt.bridge.routes cimport route_of
from pykafkaevt.bridge.target cimport HEADERS_DEAD_LETTER, queue_routed, queue_unwaited
from pykafkaevt.kafka.topic cimport (
    counter_add, counter_get, counter_set, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock,
)
from pykafkaevt.kafka.queueing cimport Outcome

from pykafkaevt.jsonrpc.template import dumps

cdef enum:
    SPACE = 4 << 20          # bytes that the events written of one part of a batch need at most

cdef dict KINDS = {"json": KIND_JSON, "hep": KIND_HEP, "plain": KIND_PLAIN}


cdef bint interrupted(void* context) noexcept nogil:
    """The interrupted_function: whether to wait no longer."""
    cdef Watch* watch = <Watch*> context
    counter_set(watch.waiting, 1)
    look_for_drops(watch)
    return counter_get(watch.aborting) or watch.abandoned != NULL and counter_get(watch.abandoned)


cdef void look_for_drops(Watch* watch) noexcept nogil:
    if watch.fd >= 0:
        add_drops(watch, datagrams_drops_now(watch.fd, watch.drops))


cdef void add_drops(Watch* watch, uint32_t drops) noexcept nogil:
    """drops: modulo 2**32, and of a datagram older than what the socket said last."""
    if <int32_t> (drops - watch.drops) > 0:
        counter_add(watch.kernel_drops, <uint32_t> (drops - watch.drops))
        watch.drops = drops


def uri_of(url: str) -> tuple[str, str]:
    """An input's URL as a URI-reference of RFC 3986, and what of it stands before a sender's address."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        return quote(url) or "/", ""
    if not rest.startswith("//"):
        return f"{scheme}:{quote(rest)}", f"{scheme}:"
    authority, slash, path = rest[2:].partition("/")
    return f"{scheme}://{quote(authority, safe=':[]')}{slash}{quote(path)}", f"{scheme}:"


@cython.final
cdef class Handler:
    """Handles the messages of one input; see Ingest for the arguments."""

    def __cinit__(
        self, str kind, str url, Routes routes not None, Access access not None, bint raw, str method, size_t max_size
    ):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        if (kind == "plain") != (method is not None):
            raise ValueError('a method goes with the kind "plain"')
        pthread_mutex_init(&self.lock, NULL)
        self.texts = []
        self.format.kind = KINDS[kind]
        self.format.raw = raw
        self.format.max_size = max_size
        if method is not None:
            self.format.method = self.text(method, &self.format.method_size)
            self.format.head = self.text(
                dumps(method).decode().removesuffix("}") + ',"params":', &self.format.head_size
            )
            if self.format.method_size >= NAME_SIZE:
                raise ValueError(f"method must have at most {NAME_SIZE - 1} bytes")
        uri, scheme = uri_of(url)
        self.origin.url, self.origin.uri = self.text(url, NULL), self.text(uri, NULL)
        self.origin.scheme, self.origin.id = self.text(scheme, NULL), self.text(uuid.uuid4().hex, NULL)
        self.routes = routes
        self.next = &routes.table
        self.accesses = []
        self.set_access(access)
        self.tally = Tally()
        self.watch.aborting, self.watch.waiting = &self.aborting, &self.tally.waiting
        self.watch.kernel_drops, self.watch.fd = &self.tally.kernel_drops, -1
        self.waiting.deadline_us = INT64_MAX
        self.waiting.interrupted, self.waiting.context = interrupted, &self.watch

    def __dealloc__(self):
        free(self.space.data)
        pthread_mutex_destroy(&self.lock)

    cdef const char* text(self, str text, size_t* size) except NULL:
        cdef bytes encoded = text.encode("utf-8", "replace")
        self.texts.append(encoded)
        if size != NULL:
            size[0] = PyBytes_GET_SIZE(encoded)
        return PyBytes_AS_STRING(encoded)

    # Routes

    cdef int set_routes(self, Routes routes) except -1:
        """Use other routes from the next batch on; the old ones are let go when no batch is handled by them."""
        cdef Routes before = self.routes, outdated = self.outdated
        pthread_mutex_lock(&self.lock)
        self.next = &routes.table
        if self.current == &before.table:
            outdated = before
        elif outdated is not None and self.current != &outdated.table:
            outdated = None
        self.release = outdated is not None
        pthread_mutex_unlock(&self.lock)
        self.routes, self.outdated = routes, outdated
        return 0

    cdef bint uses(self, Routes routes) noexcept:
        """Whether a batch is, or the next will be, handled by these routes."""
        cdef bint busy
        pthread_mutex_lock(&self.lock)
        busy = self.current == &routes.table or self.next == &routes.table
        pthread_mutex_unlock(&self.lock)
        return busy

    cdef Table* newest_table(self) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        self.current = self.next
        pthread_mutex_unlock(&self.lock)
        return self.current

    cdef void release_table(self) noexcept nogil:
        cdef bint release
        pthread_mutex_lock(&self.lock)
        self.current = NULL
        release = self.release
        self.release = False
        pthread_mutex_unlock(&self.lock)
        if release:
            with gil:
                self.outdated = None

    # Access

    cdef int set_access(self, Access access) except -1:
        """Let in who may send by other rules from the next batch on."""
        cdef const Rules* in_use
        cdef Access one
        pthread_mutex_lock(&self.lock)
        self.next_rules = &access.rules
        in_use = self.rules
        pthread_mutex_unlock(&self.lock)
        self.accesses = [one for one in self.accesses if &one.rules == in_use] + [access]
        return 0

    cdef const Rules* newest_rules(self) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        self.rules = self.next_rules
        pthread_mutex_unlock(&self.lock)
        if self.format.kind == KIND_HEP:
            self.format.keys = self.rules.hep_keys
        return self.rules

    # Messages

    cdef void handle(self, Message* messages, Py_ssize_t n) noexcept nogil:
        """Check, route and queue messages 0 to n, in parts whose events fit into SPACE bytes."""
        cdef Py_ssize_t start = 0, end
        cdef size_t need, more, size = 0
        for end in range(n):
            size += messages[end].size
        counter_add(&self.tally.received, n)
        counter_add(&self.tally.bytes, size)
        while start < n:
            need = space_needed(&self.format, messages[start].size)
            end = start + 1
            while end < n:
                more = space_needed(&self.format, messages[end].size)
                if need + more > SPACE:
                    break
                need += more
                end += 1
            self.handle_part(messages + start, end - start, need)
            start = end
        space_release(&self.space)

    cdef void handle_invalid(self, Message* m) noexcept nogil:
        counter_add(&self.tally.received, 1)
        counter_add(&self.tally.bytes, m.size)
        self.tally.keep_sample(m)
        m.unauthenticated = self.format.keys.count > 0
        self.queue_dead_letters(self.newest_table(), m, 1)
        self.release_table()

    cdef void handle_part(self, Message* messages, Py_ssize_t n, size_t need) noexcept nogil:
        cdef Table* table = self.newest_table()
        cdef bint enough = space_reserve(&self.space, need)
        cdef Message* last = NULL
        cdef Py_ssize_t i
        for i in range(n):
            if self.check(table, &messages[i], enough):
                last = &messages[i]
        if last != NULL:
            self.tally.remember(last)
            table = self.queue_to_routes(table, messages, n)
            self.queue_to_subscribers(table, messages, n)
        self.queue_dead_letters(table, messages, n)
        self.release_table()

    cdef bint check(self, Table* table, Message* m, bint enough) noexcept nogil:
        """Whether a message is valid; counts it by its event's name or by the reason."""
        m.unauthenticated = self.format.keys.count > 0
        cdef int reason = parse(&self.format, &table.fields, &self.space, m) if enough else NO_MEMORY
        if reason:
            m.target = SETTLED
            self.tally.invalid(m, reason)
            return False
        self.number += 1
        m.number = self.number
        self.tally.count_event(m)
        return True

    cdef Table* queue_to_routes(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil:
        """Queue each valid message to its route's target; the table that the last were routed by.

        What a target that was given up or closed does not take goes by newer routes when there are some.
        """
        cdef Table* before
        cdef Py_ssize_t i
        while True:
            self.route(table, messages, n)
            if self.queue_to_targets(table, messages, n):
                return table
            before = table
            table = self.newest_table()
            if counter_get(&self.aborting) or table == before:
                break
        for i in range(n):
            if messages[i].target >= 0:
                messages[i].target = SETTLED
                self.tally.invalid(&messages[i], ABANDONED)
        return table

    cdef void route(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil:
        """Find the target of each message that needs one."""
        cdef Py_ssize_t i
        cdef int t
        for i in range(n):
            if messages[i].target >= 0:
                t = route_of(table, messages[i].name, messages[i].name_size)
                messages[i].target = t if t >= 0 else UNROUTED
                if t < 0:
                    counter_add(&self.tally.unrouted, 1)

    cdef bint queue_to_targets(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil:
        """Queue messages to the targets they are routed to; False when one took not all of its."""
        cdef Message* chosen[DATAGRAMS]
        cdef Attributes attributes
        cdef Outcome outcome
        cdef Py_ssize_t i, count
        cdef int t
        self.fill(&attributes, table)
        self.watch.abandoned = &table.abandoned
        for t in range(table.routes):
            count = 0
            for i in range(n):
                if messages[i].target == t:
                    chosen[count] = &messages[i]
                    count += 1
            if count:
                queue_routed(&table.targets[t], chosen, count, &attributes, &self.waiting, &outcome)
                counter_set(&self.tally.waiting, 0)
                self.settle(chosen, outcome.handled)
                if outcome.handled < count:
                    return False
        return True

    cdef void settle(self, Message** messages, Py_ssize_t n) noexcept nogil:
        """Count messages that their target's queue has taken or rejected."""
        cdef Py_ssize_t i, queued = 0
        for i in range(n):
            messages[i].target = SETTLED
            if messages[i].code == 0:
                queued += 1
            else:
                self.tally.invalid(messages[i], REJECTED)
        counter_add(&self.tally.queued, queued)

    cdef void queue_to_subscribers(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil:
        cdef Message* chosen[DATAGRAMS]
        cdef Attributes attributes
        cdef Target* target
        cdef Message* m
        cdef Py_ssize_t i, count
        cdef int t
        self.fill(&attributes, table)
        for t in range(table.routes, table.routes + table.subscribers):
            count = 0
            target = &table.targets[t]
            for i in range(n):
                m = &messages[i]
                if (
                    m.reason == NULL and m.name_size == target.pattern_size
                    and memcmp(m.name, target.pattern, m.name_size) == 0
                ):
                    chosen[count] = m
                    count += 1
            if count:
                self.queue_or_drop(target, chosen, count, &attributes)

    cdef void queue_dead_letters(self, Table* table, Message* messages, Py_ssize_t n) noexcept nogil:
        cdef Message* chosen[DATAGRAMS]
        cdef Attributes attributes
        cdef Py_ssize_t i, count = 0
        cdef char* copies
        if table.dead_letter < 0:
            return
        for i in range(n):
            # who has no key puts nothing into Kafka
            if messages[i].reason != NULL and not messages[i].unauthenticated:
                chosen[count] = &messages[i]
                count += 1
        # without memory for the copies they are lost, as with a full queue
        if count and blank_keys(chosen, count, &copies):
            self.fill(&attributes, table)
            attributes.headers = HEADERS_DEAD_LETTER
            self.queue_or_drop(&table.targets[table.dead_letter], chosen, count, &attributes)
            free(copies)

    cdef void queue_or_drop(
        self, Target* target, Message** messages, Py_ssize_t n, Attributes* attributes
    ) noexcept nogil:
        self.watch.abandoned = NULL
        queue_unwaited(target, messages, n, attributes, &self.waiting)
        counter_set(&self.tally.waiting, 0)

    cdef void fill(self, Attributes* attributes, const Table* table) noexcept nogil:
        attributes.headers = table.headers
        attributes.timed = table.fields.timed
        attributes.origin = &self.origin
