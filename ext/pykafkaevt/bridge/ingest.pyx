"""The bridge's receive loop: messages are checked, their name and key read in place, and queued from where they lie.

Without the GIL and without a Python object for a message.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pykafkaevt.bridge.access cimport Access, Rules, admits_sender
from pykafkaevt.bridge.datagrams cimport (
    DATAGRAMS, MSG_TRUNC, SOURCE_SIZE, Datagrams, datagrams_drops, datagrams_free, datagrams_new, datagrams_receive,
)
from pykafkaevt.bridge.handler cimport Handler, add_drops, look_for_drops
from pykafkaevt.bridge.message cimport UNROUTED, Message
from pykafkaevt.bridge.routes cimport Routes
from pykafkaevt.bridge.target cimport call_on_report
from pykafkaevt.kafka.topic cimport counter, counter_add, counter_get, counter_set

from pykafkaevt.errors import Closed, Error

cdef const char* unrouted = b"unrouted"


cdef class Ingest:
    """The messages of one input, one thread at a time.

    kind: "json" (JSON-RPC notifications or requests), "hep" (HEPv3 packets) or "plain" (JSON objects that become the
    parameters of the event `method`); url: what logs and counts call the input; raw: SIP events hold the message;
    max_size: bytes of a message at most; access: who may send, None for all. Raises ValueError.
    """

    cdef readonly str url
    cdef Handler handler
    cdef Message* messages               # owned: DATAGRAMS of them
    cdef Datagrams* datagrams            # owned; NULL before receive()
    cdef counter stopping                # set by any thread
    cdef bint busy                       # a thread is in feed(), invalid() or receive(); with the GIL

    def __cinit__(
        self, str kind, str url, Routes routes not None, *, bint raw=False, method=None, max_size=65536,
        Access access=None,
    ):
        self.url = url
        self.handler = Handler(kind, url, routes, access or Access(), raw, method, max_size)
        self.messages = <Message*> calloc(DATAGRAMS, sizeof(Message))
        if self.messages == NULL:
            raise MemoryError()

    def __dealloc__(self):
        datagrams_free(self.datagrams)
        free(self.messages)

    def set_routes(self, Routes routes not None) -> None:
        """Use other routes from the next batch on; the old ones are let go when no batch is handled by them."""
        self.handler.set_routes(routes)

    def uses(self, Routes routes not None) -> bool:
        """Whether a batch is, or the next will be, handled by these routes."""
        return self.handler.uses(routes)

    def set_access(self, Access access not None) -> None:
        """Other rules of who may send, from the next batch on."""
        self.handler.set_access(access)

    # Input

    cdef int enter(self) except -1:
        if self.busy:
            raise Error(f"{self.url}: another thread is feeding or receiving")
        self.busy = True
        return 0

    cdef Message* fed(self, bytes data, bytes source, on_report) noexcept:
        """The first message, of what was fed; it borrows from both."""
        cdef Message* m = &self.messages[0]
        memset(m, 0, sizeof(Message))
        m.data, m.size = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        m.source = PyBytes_AS_STRING(source)
        if on_report is not None:
            Py_INCREF(on_report)
            m.report = <PyObject*> on_report
        return m

    def feed(self, data, str source="", *, on_report=None) -> str | None:
        """Check, route and queue one message; None when it is queued, else why it is not.

        That is the scanner's reason, "too_large", "unrouted" (no route fits), "abandoned" (its target is full or
        closed, and abort() or Routes.abandon() ended the wait), "no_memory", or "rejected" (librdkafka does not take
        the record). Blocks with the GIL released while the queue is full.
        on_report(error: DeliveryError | None): called once for a message that gets None here, from the report thread;
        for a rejected record at once, and feed() returns None then too.
        Raises Closed after abort(), Error while another thread is in here.
        """
        cdef bytes held = data if isinstance(data, bytes) else bytes(data)
        cdef bytes origin = source.encode("utf-8", "replace")[:SOURCE_SIZE - 1]
        cdef Message* m
        cdef void* report
        cdef const char* reason
        cdef int code
        if counter_get(&self.handler.aborting):
            raise Closed(f"{self.url} is closed")
        self.enter()
        m = self.fed(held, origin, on_report)
        with nogil:
            self.handler.newest_rules()
            self.handler.handle(m, 1)
        reason = unrouted if m.target == UNROUTED else m.reason
        report, code = m.report, m.code
        self.busy = False
        # it may feed
        if report != NULL and code:
            call_on_report(report, code)
            return None
        Py_XDECREF(<PyObject*> report)
        return None if reason == NULL else reason.decode()

    def invalid(self, str reason, data, str source="") -> None:
        """Count what the input itself found invalid, by reason; it is sampled and dead-lettered as other messages.

        Raises Error while another thread is in here.
        """
        cdef bytes held = data if isinstance(data, bytes) else bytes(data)
        cdef bytes origin = source.encode("utf-8", "replace")[:SOURCE_SIZE - 1]
        cdef bytes why = reason.encode("utf-8", "replace")
        cdef Message* m
        self.enter()
        m = self.fed(held, origin, None)
        m.reason = PyBytes_AS_STRING(why)
        with nogil:
            self.handler.newest_rules()
            self.handler.handle_invalid(m)
        self.busy = False
        self.handler.tally.other_reasons[reason] = self.handler.tally.other_reasons.get(reason, 0) + 1

    def refuse(self, str source) -> None:
        """Count a peer of a connection that may not send, by its text."""
        cdef bytes origin = source.encode("utf-8", "replace")
        self.handler.tally.refuse_peer(origin)

    def receive(self, int fd) -> None:
        """Receive datagrams of a socket until stop(), and then what the kernel holds.

        The socket needs a receive timeout (SO_RCVTIMEO): that is how long stop() may take to be seen; and SO_RXQ_OVFL
        for the kernel's drops to be counted. Raises OSError, MemoryError, Error while another thread is in here.
        """
        cdef int n
        self.enter()
        try:
            if self.datagrams == NULL:
                self.datagrams = datagrams_new()
                if self.datagrams == NULL:
                    raise MemoryError()
            with nogil:
                n = self.receive_until_stopped(fd)
        finally:
            self.busy = False
        if n < 0:
            raise OSError(-n, os.strerror(-n), self.url)

    cdef int receive_until_stopped(self, int fd) noexcept nogil:
        """0, or -errno."""
        cdef int n, admitted
        self.handler.watch.fd, self.handler.watch.drops = fd, 0
        while True:
            counter_add(&self.handler.tally.turns, 1)
            n = datagrams_receive(self.datagrams, fd, not counter_get(&self.stopping))
            if n < 0 or n == 0 and counter_get(&self.stopping):
                break
            if n == 0:
                look_for_drops(&self.handler.watch)
            else:
                admitted = self.fill_messages(n, self.handler.newest_rules())
                add_drops(&self.handler.watch, datagrams_drops(self.datagrams, n - 1, self.handler.watch.drops))
                if admitted:
                    self.handler.handle(self.messages, admitted)
            if counter_get(&self.handler.aborting):
                break
        look_for_drops(&self.handler.watch)
        self.handler.watch.fd = -1
        return min(n, 0)

    cdef int fill_messages(self, int n, const Rules* rules) noexcept nogil:
        """Make messages of those of the n datagrams whose senders may send; how many these are."""
        cdef Datagrams* d = self.datagrams
        cdef Message* m
        cdef int i, admitted = 0
        for i in range(n):
            if rules.by_address and not admits_sender(rules, &d.headers[i].msg_hdr):
                self.handler.tally.refuse(&d.headers[i].msg_hdr)
                continue
            m = &self.messages[admitted]
            admitted += 1
            memset(m, 0, sizeof(Message))
            m.data, m.size = <const char*> d.parts[i].iov_base, d.headers[i].msg_len
            m.header = &d.headers[i].msg_hdr
            m.cut = m.header.msg_flags & MSG_TRUNC != 0
        return admitted

    def stop(self) -> None:
        """Have receive() take what the kernel holds and return; from any thread."""
        counter_set(&self.stopping, 1)

    def abort(self) -> None:
        """Wait for full queues no longer: what is at hand and not queued is counted as abandoned; from any thread."""
        counter_set(&self.handler.aborting, 1)
        counter_set(&self.stopping, 1)

    # What happened

    def counts(self) -> dict:
        """The counters. received = queued + unrouted + invalid, when no message is at hand.

        received, bytes: of messages; queued: into a route's queue; unrouted: no route fits (subscribers may have had
        it); invalid: the sum of `reasons`, in which each message that was neither queued nor unrouted is once: the
        scanners' reasons and the input's own, too_large, no_memory, abandoned, rejected; events: valid messages by
        name, those of the 192 names seen last each for itself, all others as "(other)"; kernel_drops: datagrams that
        the kernel dropped, refused: datagrams and peers whose address may not send; both not among those received.
        """
        return self.handler.tally.counts()

    def progress(self) -> tuple[int, bool]:
        """A number that grows with every turn of receive(), and whether the thread waits for a full queue now."""
        return counter_get(&self.handler.tally.turns), counter_get(&self.handler.tally.waiting) != 0

    def samples(self) -> list:
        """Invalid messages since the last call, at most 16: reason, source, size (bytes), excerpt, time (Unix s)."""
        return self.handler.tally.samples()

    def newest_refused(self) -> str | None:
        """The source of something refused since the last call, None when nothing was."""
        return self.handler.tally.newest_refused()

    def last_events(self) -> list:
        """Events of the newest batches, at most 20, the newest first: event, key, source, time (Unix s)."""
        return self.handler.tally.last_events()
