"""One librdkafka producer instance: its configuration, its life, and the thread that takes its delivery reports.

Several producers may share a client, each with a topic of its own.
"""

import atexit
import logging
import os
import sys
import threading
import time
from queue import SimpleQueue
from threading import get_ident

from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from libc.string cimport memset

from pykafkaevt.kafka.delivery cimport DeliveryBatch, batch_of_messages, batch_of_refused, log_raised
from pykafkaevt.kafka.library cimport delivery_error, table
from pykafkaevt.kafka.librdkafka cimport (
    addrinfo, RD_KAFKA_CONF_OK, RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_EVENT_LOG, RD_KAFKA_EVENT_STATS,
    RD_KAFKA_PRODUCER, RD_KAFKA_PURGE_F_INFLIGHT, RD_KAFKA_PURGE_F_QUEUE, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    rd_kafka_conf_t, rd_kafka_event_t, rd_kafka_message_t, rd_kafka_t, rd_kafka_topic_conf_t, rd_kafka_topic_t,
    rdkafka_api,
)

from pykafkaevt.secrets import is_secret

from pykafkaevt.errors import Closed, ConfigError, Error

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)

cdef extern from "partitioner.h" nogil:
    void crc32_init()
    uint32_t crc32_of(const unsigned char* data, size_t n)

cdef extern from "resolver.h" nogil:
    int resolver_resolve(
        const char* node, const char* service, const addrinfo* hints, addrinfo** found, void* opaque) noexcept
    void resolver_before_fork()
    void resolver_after_fork(int in_child)

crc32_init()

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")
rdkafka_logger = logging.getLogger("pykafkaevt.rdkafka")

cdef enum:
    STOP_NOW = 1             # the client was closed: its records all have their report
    STOP_DRAINED = 2         # the last producer went without close(): stop when all records have their report
    REPORT_CHUNK = 512       # messages looked at together
    REPORT_BATCH = 500       # records that are worth taking the GIL for without looking for more
    LATENCY_SAMPLE = 8       # of larger events one record in so many has its latency measured: a clock call each
    SLICE_MS = 100           # how long a blocking call waits before it looks for Ctrl-C
    LOG_BURST = 10           # log lines of a client at once
    LOG_REFILL_US = 10000000  # time after which it may log one more

# syslog levels of librdkafka's log lines, as logging has them
cdef tuple LEVELS = (
    logging.CRITICAL, logging.CRITICAL, logging.CRITICAL, logging.ERROR,
    logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG,
)

# Every open client: a record accepted is not forgotten because its producer was.
cdef set open_clients = set()
cdef int generation = 0


def _forked():
    """Count a fork, in the child: the threads of its clients stayed in the parent, and so did their records."""
    global generation, _log_lines
    cdef Client client
    cdef Py_ssize_t i
    resolver_after_fork(True)
    generation += 1
    for client in open_clients:
        for i in range(client.topic_count):
            memset(&client.topics[i].counts, 0, sizeof(counters))
    open_clients.clear()
    _log_lines = _LogLines()


def _before_fork():
    resolver_before_fork()


def _after_fork():
    resolver_after_fork(False)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forked)


class _LogLines:
    """librdkafka's log lines on their way to logging, on a thread of their own: a slow handler holds up nothing."""

    def __init__(self):
        self.queue = SimpleQueue()
        self.thread = None

    def put(self, line):
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="pykafkaevt log", daemon=True)
            self.thread.start()
        self.queue.put(line)

    def run(self):
        while (line := self.queue.get()) is not None:
            rdkafka_logger.log(*line)

    def close(self):
        """Write what is there, for a second at most."""
        if self.thread is not None:
            self.queue.put(None)
            self.thread.join(1)


_log_lines = _LogLines()


def _at_exit():
    """Flush what is still open when the interpreter ends, bounded; say on stderr what was not delivered."""
    cdef Client client
    started = time.monotonic()
    for client in list(open_clients):
        left = client.close(max(0.0, client.exit_timeout - (time.monotonic() - started)))
        if left:
            print(
                f"pykafkaevt: {client.name}: {left} records were not delivered within "
                f"{client.exit_timeout:g} s at exit",
                file=sys.stderr,
            )
    _log_lines.close()


atexit.register(_at_exit)


cdef int registered = -1  # the generation in which flush_at_child_exit() was called


cdef int flush_at_child_exit() except -1:
    """multiprocessing ends its children by os._exit(), after finalizers of its own: atexit is not called there."""
    global registered
    process = sys.modules.get("multiprocessing.process")
    if registered != generation and process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, exitpriority=0)
    registered = generation
    return 0


# The report thread. Nothing here holds the GIL but where it says so.

cdef uint64_t topic_in_flight(Topic* topic) noexcept nogil:
    # the two report counters first: what is queued meanwhile counts as in flight
    cdef uint64_t done = counter_get(&topic.counts.delivered) + counter_get(&topic.counts.failed)
    cdef uint64_t queued = counter_get(&topic.counts.queued)
    return queued - done if queued > done else 0


cdef void serve(Reports* r) noexcept nogil:
    cdef rd_kafka_event_t* event
    cdef uint64_t stopping
    cdef int kind
    while True:
        # reports that were asked for go to Python when nothing more is there at once
        event = api.queue_poll(r.queue, 0 if r.count else -1)
        if event == NULL:
            if r.count:
                hand_over(r)
            if counter_get(&r.refused):
                hand_over_refused(r)
            stopping = counter_get(&r.stopping)
            if stopping == STOP_NOW or stopping == STOP_DRAINED and all_reported(r):
                return
            continue
        kind = api.event_type(event)
        if kind == RD_KAFKA_EVENT_DR:
            take_reports(r, event)
            if counter_get(&r.stopping):
                api.queue_yield(r.queue)
        elif kind == RD_KAFKA_EVENT_LOG:
            take_log(r, event)
        elif kind == RD_KAFKA_EVENT_ERROR:
            take_error(r, event)
        elif kind == RD_KAFKA_EVENT_STATS:
            take_statistics(r, event)
        else:
            api.event_destroy(event)


cdef void take_reports(Reports* r, rd_kafka_event_t* event) noexcept nogil:
    """Count the records of one event (all of one topic); keep the event while reports of it were asked for."""
    cdef const rd_kafka_message_t* batch[REPORT_CHUNK]
    cdef const rd_kafka_message_t* m
    cdef Topic* topic = NULL
    cdef Py_ssize_t n, i, weight = 1, index = 0
    cdef Py_ssize_t total = api.event_message_count(event)
    cdef uint64_t delivered = 0, failed = 0, size = 0
    cdef bint kept = False, room_for_all
    if total > 8 * LATENCY_SAMPLE:
        weight = LATENCY_SAMPLE
    while True:
        n = api.event_message_array(event, batch, REPORT_CHUNK)
        if n == 0:
            break
        if topic == NULL:
            topic = <Topic*> api.topic_opaque(batch[0].rkt)
            if r.count and topic != r.topic:
                hand_over(r)
        room_for_all = keep_room(r, n)
        for i in range(n):
            m = batch[i]
            if m.err == RD_KAFKA_RESP_ERR_NO_ERROR:
                delivered += 1
                size += m.len + m.key_len
            else:
                failed += 1
                counters_error(&topic.counts, m.err)
            # the first of an event has waited longest, so the maximum is exact
            if index % weight == 0:
                histogram_add(&topic.counts.latency, api.message_latency(m), min(weight, total - index))
            index += 1
            if m._private != NULL and room_for_all:
                r.messages[r.count] = m
                r.count += 1
                r.failed += m.err != RD_KAFKA_RESP_ERR_NO_ERROR
                kept = True
    if topic != NULL:
        counter_add(&topic.counts.delivered, delivered)
        counter_add(&topic.counts.failed, failed)
        counter_add(&topic.counts.bytes_delivered, size)
        counter_add(&topic.counts.batches, 1)
    if not kept:
        api.event_destroy(event)
        room_signal(&r.room)
        return
    r.topic = topic
    r.events[r.event_count] = event
    r.event_count += 1
    if r.count >= REPORT_BATCH:
        hand_over(r)


cdef bint keep_room(Reports* r, Py_ssize_t n) noexcept nogil:
    """Room for n more messages whose reports were asked for, and for their event; False when memory ends."""
    cdef void* larger
    if r.event_count == r.event_size:
        larger = realloc(r.events, (2 * r.event_size + 16) * sizeof(void*))
        if larger == NULL:
            return report_lost()
        r.events = <rd_kafka_event_t**> larger
        r.event_size = 2 * r.event_size + 16
    if r.size - r.count < n:
        larger = realloc(<void*> r.messages, (2 * r.size + n) * sizeof(void*))
        if larger == NULL:
            return report_lost()
        r.messages = <const rd_kafka_message_t**> larger
        r.size = 2 * r.size + n
    return True


cdef bint report_lost() noexcept with gil:
    logger.critical("no memory to hand over delivery reports; the records themselves are counted")
    return False


cdef void hand_over(Reports* r) noexcept nogil:
    """Hand the reports that wait to their callback; then give the records' memory back, without the GIL."""
    cdef Py_ssize_t i
    if r.topic.deliver != NULL:
        call_deliver(r)
    else:
        call_with_batch(r)
    for i in range(r.event_count):
        api.event_destroy(r.events[i])
    r.event_count = r.count = r.failed = 0
    room_signal(&r.room)


cdef void call_deliver(Reports* r) noexcept with gil:
    r.topic.deliver(r.messages, r.count)


cdef void call_with_batch(Reports* r) noexcept with gil:
    cdef DeliveryBatch batch = batch_of_messages(r.messages, r.count, r.failed, monotonic_us())
    call_on_delivery(r.topic, batch)
    # when nobody kept it there is no need to copy what it shows
    if Py_REFCNT(<PyObject*> batch) > 1:
        try:
            batch.detach()
        except MemoryError:
            logger.critical("no memory to keep %d delivery reports", batch.count)
    batch.messages = NULL


cdef void call_on_delivery(Topic* topic, DeliveryBatch batch) noexcept:
    handler = <object> topic.on_delivery
    try:
        handler(batch)
    except BaseException:
        log_raised("on_delivery", handler)


cdef void hand_over_refused(Reports* r) noexcept with gil:
    cdef Client client = <Client> r.client
    cdef list reports = client.refused_reports
    cdef size_t topic
    client.refused_reports = []
    counter_set(&r.refused, 0)
    for topic in {report[0] for report in reports}:
        call_on_delivery(
            <Topic*> topic, batch_of_refused([report[1:] for report in reports if report[0] == topic])
        )


cdef bint all_reported(Reports* r) noexcept with gil:
    return (<Client> r.client).in_flight() == 0


cdef bint may_log(Reports* r) noexcept nogil:
    """Whether a line is within the budget; counts it otherwise."""
    cdef int64_t now = monotonic_us()
    cdef int64_t refills = (now - r.log_refilled_us) // LOG_REFILL_US
    if refills > 0:
        r.log_budget = <int> min(<int64_t> LOG_BURST, r.log_budget + refills)
        r.log_refilled_us = now
    if r.log_budget == 0:
        r.log_suppressed += 1
        return False
    r.log_budget -= 1
    return True


cdef void log(Reports* r, int level, str line) noexcept:
    cdef Client client = <Client> r.client
    try:
        if r.log_suppressed:
            _log_lines.put((logging.WARNING, f"{client.name}: {r.log_suppressed} lines suppressed"))
            r.log_suppressed = 0
        _log_lines.put((level, f"{client.name}: {line}"))
    except BaseException:
        logger.exception("a log line was lost")


cdef void take_log(Reports* r, rd_kafka_event_t* event) noexcept nogil:
    cdef const char* facility
    cdef const char* line
    cdef int level
    if api.event_log(event, &facility, &line, &level) == 0 and may_log(r):
        with gil:
            log(r, LEVELS[max(0, min(level, 7))], f"{decoded(facility)}: {decoded(line)}")
    api.event_destroy(event)


cdef str decoded(const char* text):
    return text.decode("utf-8", "replace") if text != NULL else ""


cdef void take_error(Reports* r, rd_kafka_event_t* event) noexcept with gil:
    cdef Client client = <Client> r.client
    cdef char text[512]
    cdef Py_ssize_t i
    cdef bint fatal = api.event_error_is_fatal(event)
    error = delivery_error(api.event_error(event), "")
    if fatal:
        counter_set(&r.fatal, 1)
        error = delivery_error(api.fatal_error(client.rk, text, sizeof(text)), "")
        error.reason = f"fatal: {decoded(text)}"
    elif api.event_error_string(event) != NULL:
        error.reason = decoded(api.event_error_string(event))
    api.event_destroy(event)
    # a single broker's error has a log line of librdkafka's own
    if (fatal or error.code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) and may_log(r):
        log(r, logging.ERROR, str(error))
    for i in range(client.topic_count):
        handler = <object> client.topics[i].on_error
        if handler is not None:
            try:
                handler(error)
            except BaseException:
                log_raised("on_error", handler)


cdef void take_statistics(Reports* r, rd_kafka_event_t* event) noexcept with gil:
    cdef Client client = <Client> r.client
    if client.statistics != NULL:
        api.event_destroy(client.statistics)
    client.statistics = event


cdef int32_t consistent_random(
    const rd_kafka_topic_t* topic, const void* key, size_t length, int32_t partitions, void* opaque, void* tag
) noexcept nogil:
    """librdkafka's default partitioner: the key's CRC32, any partition for an empty key."""
    if length == 0:
        return api.msg_partitioner_random(topic, key, length, partitions, opaque, tag)
    return <int32_t> (crc32_of(<const unsigned char*> key, length) % <uint32_t> partitions)


cdef str text_without_secrets(str text, tuple properties):
    """librdkafka's reason may repeat the value it refuses."""
    for name, value in properties:
        if value and is_secret(name):
            text = text.replace(value, "***")
    return text


cdef void set_callbacks(Topic* topic, object on_delivery, object on_error) noexcept:
    """A callback often refers to its producer: a closed one lets go of it, for no collector looks into a Topic."""
    cdef PyObject* before[2]
    before[0] = topic.on_delivery
    before[1] = topic.on_error
    Py_INCREF(on_delivery)
    Py_INCREF(on_error)
    topic.on_delivery = <PyObject*> on_delivery
    topic.on_error = <PyObject*> on_error
    Py_XDECREF(before[0])
    Py_XDECREF(before[1])


cdef class Client:
    """A librdkafka producer. properties: ((name, value), …), the global ones without bootstrap.servers.

    Raises ConfigError, naming the property, when librdkafka refuses one. Connecting is lazy: no broker need be
    there.
    """

    def __init__(self, str bootstrap_servers, tuple properties, str name):
        self.bootstrap_servers = bootstrap_servers
        self.properties = properties
        self.name = name
        self.topic_specs = []
        self.refused_reports = []
        self.exit_timeout = 5.0
        self.renewing = threading.Lock()
        self.closed = self.closing = True
        self.open()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.topic_count):
            Py_XDECREF(self.topics[i].on_delivery)
            Py_XDECREF(self.topics[i].on_error)
            free(self.topics[i])
        free(self.topics)

    cdef int open(self) except -1:
        cdef char reason[512]
        cdef rd_kafka_conf_t* conf = api.conf_new()
        cdef rd_kafka_t* rk
        cdef Py_ssize_t i
        try:
            # the client.id shows in the broker's logs; librdkafka's own log lines come as events
            for name, value in (
                ("client.id", "pykafkaevt"), ("statistics.interval.ms", "5000"), *self.properties,
                ("bootstrap.servers", self.bootstrap_servers), ("log.queue", "true"),
            ):
                if api.conf_set(conf, name.encode(), value.encode(), reason, sizeof(reason)) != RD_KAFKA_CONF_OK:
                    raise ConfigError("g." + name, text_without_secrets(decoded(reason), self.properties))
            api.conf_set_resolve_cb(conf, resolver_resolve)
            api.conf_set_events(
                conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS
            )
            rk = api.new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason))
            if rk == NULL:
                raise self.refused(decoded(reason))
            conf = NULL
        finally:
            if conf != NULL:
                api.conf_destroy(conf)
        self.rk = rk
        memset(&self.reports, 0, sizeof(Reports))
        room_init(&self.reports.room)
        self.reports.client = <PyObject*> self
        self.reports.log_budget = LOG_BURST
        self.reports.log_refilled_us = monotonic_us()
        self.reports.queue = api.queue_get_main(rk)
        api.set_log_queue(rk, NULL)
        self.statistics = NULL
        self.active = 0
        self.closed = self.closing = False
        self.generation = generation
        for i in range(self.topic_count):
            self.open_topic(self.topics[i], self.topic_specs[i][0], self.topic_specs[i][1])
        # a daemon: the interpreter does not wait for it, _at_exit() ends it
        self.thread = threading.Thread(target=self._serve, name=f"pykafkaevt reports {self.name}", daemon=True)
        self.thread.start()
        open_clients.add(self)
        flush_at_child_exit()
        return 0

    cdef object refused(self, str reason):
        """ConfigError for properties that are wrong together; librdkafka's reason names one of them or none."""
        named = [name for name, _ in self.properties if name in reason]
        return ConfigError("g." + (named[0] if named else "*"), text_without_secrets(reason, self.properties))

    cdef int open_topic(self, Topic* topic, str name, tuple properties) except -1:
        cdef char reason[512]
        cdef rd_kafka_topic_conf_t* conf = api.default_topic_conf_dup(self.rk)
        for property, value in properties:
            if api.topic_conf_set(
                conf, property.encode(), value.encode(), reason, sizeof(reason)
            ) != RD_KAFKA_CONF_OK:
                api.topic_conf_destroy(conf)
                raise ConfigError("t." + property, text_without_secrets(decoded(reason), properties))
        api.topic_conf_set_opaque(conf, topic)
        if "partitioner" not in dict(properties) and "partitioner" not in dict(self.properties):
            api.topic_conf_set_partitioner_cb(conf, consistent_random)
        # takes over conf, also when it fails
        topic.handle = api.topic_new(self.rk, name.encode(), conf)
        if topic.handle == NULL:
            raise delivery_error(api.last_error(), f"topic {name}")
        return 0

    cdef Topic* add_topic(self, str name, tuple properties, object on_delivery, object on_error) except NULL:
        cdef Topic* topic = <Topic*> calloc(1, sizeof(Topic))
        cdef void* larger = realloc(self.topics, (self.topic_count + 1) * sizeof(Topic*))
        if larger != NULL:
            self.topics = <Topic**> larger
        if topic == NULL or larger == NULL:
            free(topic)
            raise MemoryError()
        try:
            self.open_topic(topic, name, properties)
        except BaseException:
            free(topic)
            raise
        set_callbacks(topic, on_delivery, on_error)
        self.topic_specs.append((name, properties))
        self.topics[self.topic_count] = topic
        self.topic_count += 1
        return topic

    def _serve(self):
        """The report thread; it closes a client whose producers have all gone."""
        self.thread_id = get_ident()
        with nogil:
            serve(&self.reports)
        if counter_get(&self.reports.stopping) == STOP_DRAINED and not self.closing:
            self.closing = True
            self.wait_for_callers()
            self.shut()

    cdef int ready(self) except -1:
        if self.generation != generation:
            self.renewing = threading.Lock()
            self.open()
        if self.closing:
            raise Closed(f"{self.name} is closed")
        if counter_get(&self.reports.fatal):
            self.renew()
        return 0

    cdef int renew(self) except -1:
        """After a fatal error: fail what the old instance holds and open a new one; the counters go on."""
        self.refuse_own_thread("queueing after a fatal error")
        with self.renewing:
            # another thread may have done it meanwhile
            if counter_get(&self.reports.fatal) and not self.closing:
                self.stop()
                self.free_instance()
                self.open()
                logger.warning("%s: connected anew after a fatal error", self.name)
        return 0

    cdef int refuse_own_thread(self, str what) except -1:
        if get_ident() == self.thread_id:
            raise Error(f"{what} inside on_delivery or on_error would wait for itself")
        return 0

    cdef uint64_t in_flight(self) noexcept:
        cdef Py_ssize_t i
        cdef uint64_t n = 0
        for i in range(self.topic_count):
            n += topic_in_flight(self.topics[i])
        return n

    cdef int report_refused(self, Topic* topic, int code, object key, object value, object opaque) except -1:
        self.refused_reports.append((<size_t> topic, code, key, value, opaque))
        counter_set(&self.reports.refused, 1)
        api.queue_yield(self.reports.queue)
        return 0

    def flush(self, timeout=None) -> int:
        """Wait until every record has its report, for `timeout` seconds at most; the records still without.

        linger.ms does not count while it waits. Source: librdkafka rd_kafka_flush().
        """
        cdef int ms
        cdef bint done = False
        self.ready()
        self.refuse_own_thread("flush()")
        deadline = None if timeout is None else time.monotonic() + timeout
        self.active += 1
        try:
            while not done:
                ms = SLICE_MS
                if deadline is not None:
                    ms = max(0, min(SLICE_MS, int((deadline - time.monotonic()) * 1000)))
                    done = ms < SLICE_MS
                with nogil:
                    done = api.flush(self.rk, ms) == RD_KAFKA_RESP_ERR_NO_ERROR or done
                PyErr_CheckSignals()
        finally:
            self.leave()
        return self.in_flight()

    cdef int leave(self) except -1:
        self.active -= 1
        if self.closing and self.active == 0:
            room_signal(&self.reports.room)
        return 0

    def purge(self) -> None:
        """Give up every record that is queued or under way: each gets a report that says so."""
        self.ready()
        self.active += 1
        try:
            with nogil:
                api.purge(self.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        finally:
            self.leave()

    def close(self, timeout=None) -> int:
        """Flush for `timeout` seconds at most, fail what is left, end the thread and the connections.

        Returns the records that were not delivered in time; each of them gets its report (_PURGE_QUEUE or
        _PURGE_INFLIGHT). Closing twice does nothing.
        """
        if self.closing or self.generation != generation:
            return 0
        self.refuse_own_thread("close()")
        try:
            return self.flush(timeout)
        finally:
            # Ctrl-C while flushing closes too
            with self.renewing:
                if not self.closing:
                    self.closing = True
                    self.stop()
                    self.shut()
            self.thread.join()

    cdef int wait_for_callers(self) except -1:
        """Those that wait for room give up, those inside librdkafka come out."""
        cdef uint64_t seen
        while True:
            # before the look at `entered`: who enters after it sees that the client is closing
            room_signal(&self.reports.room)
            if self.active == 0 and counter_get(&self.entered) == 0:
                return 0
            seen = room_sequence(&self.reports.room)
            with nogil:
                room_wait(&self.reports.room, seen, SLICE_MS)

    cdef int stop(self) except -1:
        """Fail what has no report yet, and end the report thread."""
        self.wait_for_callers()
        with nogil:
            api.purge(self.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
            api.flush(self.rk, -1)
        counter_set(&self.reports.stopping, STOP_NOW)
        api.queue_yield(self.reports.queue)
        self.thread.join()
        return 0

    cdef int free_instance(self) except -1:
        cdef Py_ssize_t i
        if self.statistics != NULL:
            api.event_destroy(self.statistics)
            self.statistics = NULL
        with nogil:
            for i in range(self.topic_count):
                api.topic_destroy(self.topics[i].handle)
                self.topics[i].handle = NULL
            free(self.reports.events)
            free(<void*> self.reports.messages)
            api.queue_destroy(self.reports.queue)
            api.destroy(self.rk)
            self.rk = NULL
        room_destroy(&self.reports.room)
        return 0

    cdef int shut(self) except -1:
        cdef Py_ssize_t i
        self.free_instance()
        for i in range(self.topic_count):
            set_callbacks(self.topics[i], None, None)
        self.closed = True
        open_clients.discard(self)
        return 0

    def abandon(self) -> None:
        """The last producer went without close(): the thread goes on until every record has its report."""
        if not self.closing and self.generation == generation:
            counter_set(&self.reports.stopping, STOP_DRAINED)
            api.queue_yield(self.reports.queue)

    def note(self, str text) -> None:
        """Log what a caller may not see, once in 10 s: with how many such notes were held back since."""
        cdef int64_t now = monotonic_us()
        if self.noted_us and now - self.noted_us < LOG_REFILL_US:
            self.notes_held_back += 1
            return
        logger.warning("%s (%d more since the last such line)", text, self.notes_held_back)
        self.noted_us = now
        self.notes_held_back = 0

    def statistics_text(self) -> bytes | None:
        """librdkafka's newest statistics as JSON text, None before the first (statistics.interval.ms)."""
        return api.event_stats(self.statistics) if self.statistics != NULL else None
