"""One librdkafka producer instance after another: their configuration and life, and the thread that keeps them.

Several producers may share a client, each with a topic of its own. gate.h has the rules of who may use the instance.
"""

import logging
import threading

from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pykafkaevt.kafka.library cimport delivery_error, table, text_of_error
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_CONF_OK, RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_EVENT_LOG, RD_KAFKA_EVENT_STATS,
    RD_KAFKA_PRODUCER, RD_KAFKA_PURGE_F_INFLIGHT, RD_KAFKA_PURGE_F_NON_BLOCKING, RD_KAFKA_PURGE_F_QUEUE,
    RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_conf_t, rd_kafka_queue_t, rd_kafka_t, rd_kafka_topic_conf_t, rd_kafka_topic_t,
    rdkafka_api,
)
from pykafkaevt.kafka.process cimport resolver
from pykafkaevt.kafka.queueing cimport (
    ENDED_CLOSED, ENDED_DONE, ENDED_FULL, ENDED_INTERRUPTED, Ending, Waiting, enter,
)
from pykafkaevt.kafka.reports cimport (
    Reports, hand_over, pthread_mutex_destroy, pthread_mutex_init, serve, take_over,
)
from pykafkaevt.kafka.topic cimport (
    GATE_CLOSED, GATE_DRAINING, GATE_FATAL, GATE_IN, GATE_OPEN, GATE_OPENING, Handle, Topic, all_in_flight, counter_get,
    counter_set, counters, event_count_sequence, event_count_signal, event_count_wait, gate_destroy, gate_empty,
    gate_enter, gate_init, gate_leave, gate_move, gate_shut, gate_state, gate_users, monotonic_us, this_thread,
)

from pykafkaevt.kafka import process
from pykafkaevt.errors import Closed, ConfigError, Error
from pykafkaevt.socket_text import is_secret

cdef extern from "Python.h":
    int signals_raised "PyErr_CheckSignals" () noexcept

cdef extern from "partitioner.h" nogil:
    void crc32_init()
    uint32_t crc32_of(const unsigned char* data, size_t n)

crc32_init()

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")

cdef enum:
    SLICE_US = 100000        # a wait looks this often for Ctrl-C, and nobody is inside the gate for longer
    ENDING_US = 900000       # what close() may take beyond its timeout
    RETRY_US = 1000000       # between two tries to open anew
    NOTE_US = 10000000       # between two notes in the log
    GIVE_UP = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING


cdef bint check_signals(void* context) noexcept nogil:
    with gil:
        return signals_raised() != 0


cdef int32_t consistent_random(
    const rd_kafka_topic_t* topic, const void* key, size_t length, int32_t partitions, void* opaque, void* tag
) noexcept nogil:
    """librdkafka's default partitioner: the key's CRC32, any partition for an empty key."""
    if length == 0:
        return api.msg_partitioner_random(topic, key, length, partitions, opaque, tag)
    return <int32_t> (crc32_of(<const unsigned char*> key, length) % <uint32_t> partitions)


cdef str without_secrets(str text, object properties):
    """librdkafka's reason may repeat the value it does not take."""
    for name, value in properties:
        if value and is_secret(name):
            text = text.replace(value, "***")
    return text


cdef list encoded(tuple properties):
    return [(name.encode(), value.encode()) for name, value in properties]


cdef void own_callbacks(Topic* topic) noexcept:
    if not topic.owns_callbacks:
        topic.owns_callbacks = True
        Py_INCREF(<object> topic.on_delivery)
        Py_INCREF(<object> topic.on_error)


cdef void drop_callbacks(Topic* topic) noexcept:
    cdef PyObject* on_delivery = topic.on_delivery
    cdef PyObject* on_error = topic.on_error
    topic.on_delivery = topic.on_error = <PyObject*> None
    if topic.owns_callbacks:
        topic.owns_callbacks = False
        Py_XDECREF(on_delivery)
        Py_XDECREF(on_error)


cdef void call_keeper(Handle* handle) noexcept nogil:
    """In a forked child nobody keeps the client before its first use."""
    if counter_get(&handle.keeper) == 0:
        with gil:
            start_keeper(<Client> handle.owner)


cdef void start_keeper(Client client) noexcept:
    try:
        client.start_thread()
    except BaseException as error:
        client.open_error = error.with_traceback(None)
        counter_set(&client.handle.broken, 1)


cdef class Client:
    """A librdkafka producer. properties: ((name, value), …), the global ones without bootstrap.servers.

    Raises ConfigError, naming the property, when librdkafka does not take one. Connecting is lazy: no broker need be
    there.
    """

    def __cinit__(self):
        gate_init(&self.handle.gate, GATE_CLOSED)
        pthread_mutex_init(&self.reports.lock, NULL)
        self.handle.owner = <PyObject*> self
        self.handle.call_keeper = call_keeper
        self.reports.handle = &self.handle
        self.reports.client = <PyObject*> self
        self.topic_specs = {}
        self.rejected = []
        self.close_by_us = INT64_MAX
        counter_set(&self.gone, 1)

    def __init__(self, str bootstrap_servers, tuple properties, str name):
        if self.bootstrap_servers is not None:
            raise Error("a client is made once")
        self.bootstrap_servers = bootstrap_servers
        self.properties = properties
        self.name = name
        self.exit_timeout = 5.0
        self.open_instance()
        counter_set(&self.gone, 0)
        gate_move(&self.handle.gate, GATE_IN(GATE_CLOSED), GATE_OPENING)
        try:
            self.start_thread()
        except BaseException:
            gate_move(&self.handle.gate, GATE_IN(GATE_OPENING), GATE_CLOSED)
            self.finish()
            raise
        gate_move(&self.handle.gate, GATE_IN(GATE_OPENING), GATE_OPEN)

    def __dealloc__(self):
        cdef Topic* topic
        while self.handle.topics != NULL:
            topic = self.handle.topics
            self.handle.topics = topic.next
            drop_callbacks(topic)
            free(topic)
        free(self.reports.kept.events)
        free(<void*> self.reports.kept.messages)
        free(self.reports.handed.events)
        free(<void*> self.reports.handed.messages)
        pthread_mutex_destroy(&self.reports.lock)
        gate_destroy(&self.handle.gate)

    # Instances

    cdef rd_kafka_conf_t* configured(self) except NULL:
        cdef char reason[512]
        cdef rd_kafka_conf_t* conf = api.conf_new()
        # the client.id shows in the broker's logs; librdkafka's own log lines come as events
        for name, value in (
            ("client.id", "pykafkaevt"), ("statistics.interval.ms", "5000"), *self.properties,
            ("bootstrap.servers", self.bootstrap_servers), ("log.queue", "true"),
        ):
            if api.conf_set(conf, name.encode(), value.encode(), reason, sizeof(reason)) != RD_KAFKA_CONF_OK:
                api.conf_destroy(conf)
                raise ConfigError("g." + name, without_secrets(text_of_error(reason), self.properties))
        api.conf_set_resolve_cb(conf, resolver())
        api.conf_set_events(
            conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS
        )
        return conf

    cdef int open_instance(self) except -1:
        """Make the instance and the topics' handles, while the gate lets nobody in."""
        cdef char reason[512]
        cdef Topic* topic = self.handle.topics
        cdef rd_kafka_conf_t* conf = self.configured()
        cdef rd_kafka_t* rk = api.new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason))
        if rk == NULL:
            api.conf_destroy(conf)
            # properties that are wrong together: librdkafka's reason names one of them or none
            text = text_of_error(reason)
            named = [name for name, _ in self.properties if name in text]
            raise ConfigError("g." + (named[0] if named else "*"), without_secrets(text, self.properties))
        while topic != NULL:
            wrong = self.open_topic(rk, topic, reason, sizeof(reason))
            if wrong:
                with nogil:
                    self.close_topics()
                    api.destroy(rk)
                self.raise_topic_error(topic, wrong, reason)
            topic = topic.next
        self.handle.rk = rk
        self.handle.queue = api.queue_get_main(rk)
        api.set_log_queue(rk, NULL)
        self.reports.fatal_code = 0
        return 0

    cdef Py_ssize_t open_topic(self, rd_kafka_t* rk, Topic* topic, char* reason, size_t size) except? -2:
        """The handle of a topic; 0, or what raise_topic_error() is given. Raises nothing: it may be called inside the gate."""
        cdef Py_ssize_t i
        name, properties = self.topic_specs[<size_t> topic]
        cdef rd_kafka_topic_conf_t* conf = api.default_topic_conf_dup(rk)
        for i, (property, value) in enumerate(properties):
            if api.topic_conf_set(conf, property, value, reason, size) != RD_KAFKA_CONF_OK:
                api.topic_conf_destroy(conf)
                return i + 1
        api.topic_conf_set_opaque(conf, topic)
        if not topic.partitioner_chosen:
            api.topic_conf_set_partitioner_cb(conf, consistent_random)
        # takes over conf, also when it fails
        topic.handle = api.topic_new(rk, name, conf)
        return 0 if topic.handle != NULL else -1

    cdef int raise_topic_error(self, Topic* topic, Py_ssize_t wrong, const char* reason) except -1:
        """wrong: the property's place among those of the topic, from 1 on; -1: librdkafka makes no such topic."""
        name, properties = self.topic_specs[<size_t> topic]
        if wrong < 0:
            raise delivery_error(api.last_error(), f"topic {name.decode()}")
        raise ConfigError(
            "t." + properties[wrong - 1][0].decode(),
            without_secrets(text_of_error(reason), [(one.decode(), value.decode()) for one, value in properties]),
        )

    cdef int close_topics(self) noexcept nogil:
        cdef Topic* topic = self.handle.topics
        while topic != NULL:
            if topic.handle != NULL:
                api.topic_destroy(topic.handle)
                topic.handle = NULL
            topic = topic.next
        return 0

    cdef Topic* add_topic(self, str name, tuple properties) except NULL:
        cdef char reason[512]
        cdef Waiting waiting
        cdef Ending ending
        cdef Py_ssize_t wrong = 0
        cdef Topic* topic = <Topic*> calloc(1, sizeof(Topic))
        if topic == NULL:
            raise MemoryError()
        memset(&waiting, 0, sizeof(waiting))
        waiting.interrupted = check_signals
        topic.client = &self.handle
        topic.on_delivery = topic.on_error = <PyObject*> None
        topic.partitioner_chosen = "partitioner" in dict(properties) or "partitioner" in dict(self.properties)
        self.topic_specs[<size_t> topic] = (name.encode(), encoded(properties))
        with nogil:
            ending = enter(topic, &waiting)
        if ending == ENDED_DONE:
            wrong = self.open_topic(self.handle.rk, topic, reason, sizeof(reason))
            if not wrong:
                topic.next = self.handle.topics
                self.handle.topics = topic
            gate_leave(&self.handle.gate)
        try:
            self.raise_ended(ending)
            if wrong:
                self.raise_topic_error(topic, wrong, reason)
        except BaseException:
            del self.topic_specs[<size_t> topic]
            free(topic)
            raise
        return topic

    # The report thread

    cdef int start_thread(self) except -1:
        """Start the keeper; in a forked child that is done by the client's first use."""
        if self.serving:
            return 0
        self.serving = True
        try:
            # a daemon: the interpreter does not wait for it, process flushes what is open at exit
            threading.Thread(target=self._serve, name=f"pykafkaevt reports {self.name}", daemon=True).start()
        except BaseException:
            self.serving = False
            raise
        process.opened(self)
        return 0

    def _serve(self):
        """The report thread: keeps an instance, opens another after a fatal error, and ends with the last."""
        cdef int life = self.reports.life
        counter_set(&self.handle.keeper, this_thread())
        while self.reports.life == life:
            if self.handle.rk != NULL:
                with nogil:
                    serve(&self.reports)
            if self.reports.life != life:
                return
            if gate_state(&self.handle.gate) != GATE_FATAL:
                # without an instance there is nothing to drain
                gate_move(&self.handle.gate, GATE_IN(GATE_DRAINING), GATE_CLOSED)
                self.finish()
                return
            self.reopen()

    cdef int reopen(self) except -1:
        """Open the next instance, then hand over what is left of the one that failed."""
        cdef rd_kafka_t* old = self.handle.rk
        cdef rd_kafka_queue_t* queue = self.handle.queue
        cdef uint64_t seen
        with nogil:
            self.close_topics()
            self.handle.rk = NULL
            self.handle.queue = NULL
        try:
            self.open_instance()
            counter_set(&self.handle.broken, 0)
        except BaseException as error:
            if self.open_error is None or not counter_get(&self.handle.broken):
                logger.error("%s: not connected anew after a fatal error: %s", self.name, error)
            self.open_error = error.with_traceback(None)
            counter_set(&self.handle.broken, 1)
        if self.handle.rk != NULL and gate_move(&self.handle.gate, GATE_IN(GATE_FATAL), GATE_OPEN) and old != NULL:
            logger.warning("%s: connected anew after a fatal error", self.name)
        with nogil:
            event_count_signal(&self.handle.gate.changed)
            hand_over(&self.reports)
            if old != NULL:
                api.queue_destroy(queue)
                api.destroy(old)
            seen = event_count_sequence(&self.handle.gate.changed)
            if self.handle.rk == NULL and gate_state(&self.handle.gate) == GATE_FATAL:
                event_count_wait(&self.handle.gate.changed, seen, RETRY_US)
        return 0

    cdef int finish(self) except -1:
        """Destroy the last instance. The state is GATE_CLOSED, and every record has its report."""
        cdef Topic* topic
        cdef rd_kafka_t* rk = self.handle.rk
        with nogil:
            if self.reports.kept.count:
                hand_over(&self.reports)
            while not gate_empty(&self.handle.gate, SLICE_US):
                pass
            self.close_topics()
            if rk != NULL:
                api.queue_destroy(self.handle.queue)
                api.destroy(rk)
            self.handle.rk = NULL
        topic = self.handle.topics
        while topic != NULL:
            drop_callbacks(topic)
            topic = topic.next
        process.closed(self)
        self.serving = False
        counter_set(&self.handle.keeper, 0)
        counter_set(&self.gone, 1)
        event_count_signal(&self.handle.gate.changed)
        return 0

    def _after_fork(self):
        """In the child: as after a fatal error, with nothing in flight; the instance is left to the parent's memory."""
        cdef Topic* topic = self.handle.topics
        cdef unsigned state = gate_state(&self.handle.gate)
        gate_init(&self.handle.gate, GATE_FATAL if state in (GATE_OPENING, GATE_OPEN, GATE_FATAL) else GATE_CLOSED)
        pthread_mutex_init(&self.reports.lock, NULL)
        self.handle.rk = NULL
        self.handle.queue = NULL
        counter_set(&self.handle.keeper, 0)
        counter_set(&self.handle.broken, 0)
        counter_set(&self.gone, 1)
        while topic != NULL:
            topic.handle = NULL
            memset(&topic.counts, 0, sizeof(counters))
            counter_set(&topic.unpaced_at, <uint64_t> -1)
            counter_set(&topic.stalled_at, <uint64_t> -1)
            topic = topic.next
        memset(&self.reports.kept, 0, sizeof(self.reports.kept))
        memset(&self.reports.handed, 0, sizeof(self.reports.handed))
        self.reports.calling = False
        self.reports.life += 1
        counter_set(&self.reports.rejected, 0)
        self.rejected = []
        self.serving = False

    # What calls ask for

    cdef int raise_ended(self, Ending ending) except -1:
        if ending == ENDED_DONE or ending == ENDED_FULL:
            return 0
        if ending == ENDED_INTERRUPTED:
            return -1  # a signal handler's exception is set
        if ending == ENDED_CLOSED:
            raise Closed(f"{self.name} is closed")
        self.not_in_callback("queueing after a fatal error")
        raise Error(f"{self.name}: not connected anew after a fatal error: {self.open_error or 'it takes too long'}")

    cdef int not_in_callback(self, str what) except -1:
        if counter_get(&self.handle.keeper) == this_thread():
            raise Error(f"{what} inside on_delivery or on_error would wait for itself")
        return 0

    cdef int report_rejected(self, Topic* topic, int code, object key, object value, object opaque) except -1:
        self.rejected.append((<size_t> topic, code, key, value, opaque))
        counter_set(&self.reports.rejected, 1)
        if gate_enter(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_DRAINING)):
            api.queue_yield(self.handle.queue)
            gate_leave(&self.handle.gate)
        return 0

    def rejected_reports(self) -> list:
        """For the report thread: what report_rejected() was given since the last call."""
        reports, self.rejected = self.rejected, []
        return reports

    def keep_statistics(self, bytes text) -> None:
        """For the report thread: librdkafka's newest statistics."""
        self.statistics = text

    def statistics_text(self) -> bytes | None:
        """librdkafka's newest statistics as JSON text, None before the first (statistics.interval.ms)."""
        return self.statistics

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more: closed, or to be closed when all is reported."""
        return gate_state(&self.handle.gate) in (GATE_CLOSED, GATE_DRAINING)

    @property
    def ended(self) -> bool:
        """Whether thread and connections are gone, so that the counters are final."""
        return counter_get(&self.gone) != 0

    cdef int flush_slice(self, unsigned states, int64_t until_us) except -1:
        """Flush for 100 ms at most; 1 when every record has its report, and its callback has returned."""
        cdef int64_t left = min(until_us - monotonic_us(), <int64_t> SLICE_US)
        cdef bint done = False
        with nogil:
            if gate_enter(&self.handle.gate, states):
                if self.handle.rk != NULL:
                    done = api.flush(self.handle.rk, <int> (max(left, 0) // 1000)) == RD_KAFKA_RESP_ERR_NO_ERROR
                gate_leave(&self.handle.gate)
        PyErr_CheckSignals()
        return done

    def flush(self, timeout=None) -> int:
        """Wait until every record has its report, for `timeout` seconds at most; the records still without.

        linger.ms does not count while it waits. Ends when closing begins. Source: librdkafka rd_kafka_flush().
        """
        cdef int64_t until = deadline_us(timeout)
        cdef uint64_t seen
        self.not_in_callback("flush()")
        while self.serving:
            seen = event_count_sequence(&self.handle.gate.changed)
            state = gate_state(&self.handle.gate)
            if state == GATE_OPEN:
                if self.flush_slice(GATE_IN(GATE_OPEN), until):
                    break
            elif state == GATE_CLOSED or state == GATE_DRAINING and not (self.reports.adopted and self.in_flight()):
                break
            else:
                with nogil:
                    event_count_wait(
                        &self.handle.gate.changed, seen, min(until - monotonic_us(), <int64_t> SLICE_US)
                    )
                PyErr_CheckSignals()
            if monotonic_us() >= until:
                break
        return self.in_flight()

    def in_flight(self) -> int:
        """Records that have no report yet, of all topics."""
        return all_in_flight(&self.handle)

    def purge(self) -> None:
        """Give up every record that is queued or under way: each gets a report that says so. Raises Closed."""
        if gate_state(&self.handle.gate) == GATE_CLOSED:
            raise Closed(f"{self.name} is closed")
        with nogil:
            if gate_enter(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_DRAINING)):
                if self.handle.rk != NULL:
                    api.purge(self.handle.rk, GIVE_UP)
                gate_leave(&self.handle.gate)

    def close(self, timeout=None) -> int:
        """Take nothing more, flush for `timeout` seconds at most, give up what is left, end thread and connections.

        Returns, a second later at most, the records that were not delivered: each of them gets its report
        (_PURGE_QUEUE or _PURGE_INFLIGHT where it was given up). A second call, from another thread or a signal
        handler, shortens the flushing when its timeout is over earlier. Raises Error in a callback.
        """
        cdef int64_t until = deadline_us(timeout)
        cdef uint64_t seen
        self.not_in_callback("close()")
        if counter_get(&self.gone) and gate_state(&self.handle.gate) == GATE_CLOSED:
            return 0
        self.close_by_us = min(self.close_by_us, until)
        if gate_move(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_DRAINING):
            self.failed_before = failed(&self.handle)
        try:
            while (
                gate_state(&self.handle.gate) == GATE_DRAINING and monotonic_us() < self.close_by_us
                and (gate_users(&self.handle.gate) or all_in_flight(&self.handle)) and self.serving
            ):
                self.flush_slice(GATE_IN(GATE_DRAINING), self.close_by_us)
                self.take_over()
        except BaseException:
            # Ctrl-C while flushing closes too
            self.close_by_us = 0
            raise
        finally:
            self.give_up()
        if self.close_by_us != INT64_MAX:
            until = max(self.close_by_us, monotonic_us()) + ENDING_US
        while self.serving and not counter_get(&self.gone) and monotonic_us() < until:
            self.take_over()
            with nogil:
                seen = event_count_sequence(&self.handle.gate.changed)
                if not counter_get(&self.gone):
                    event_count_wait(
                        &self.handle.gate.changed, seen, min(until - monotonic_us(), <int64_t> SLICE_US // 2)
                    )
            PyErr_CheckSignals()
        return self.undelivered()

    cdef int give_up(self) except -1:
        """The end of flushing: what has no report fails, and the report thread ends the instance."""
        with nogil:
            if gate_enter(&self.handle.gate, GATE_IN(GATE_DRAINING)):
                if self.handle.rk != NULL and all_in_flight(&self.handle):
                    api.purge(self.handle.rk, GIVE_UP)
                gate_move(&self.handle.gate, GATE_IN(GATE_DRAINING), GATE_CLOSED)
                if self.handle.rk != NULL:
                    api.queue_yield(self.handle.queue)
                gate_leave(&self.handle.gate)
        if not self.serving:
            # a forked child that never used it
            self.finish()
        return 0

    def take_over(self) -> None:
        """Count the reports there are while the report thread is held up in a callback."""
        with nogil:
            take_over(&self.reports)

    cdef uint64_t undelivered(self) noexcept:
        """Records without a report, and those that failed since closing began."""
        return all_in_flight(&self.handle) + failed(&self.handle) - self.failed_before

    def adopt(self) -> None:
        """The last producer went without close(): take nothing more, and end when every record has its report."""
        self.reports.adopted = True
        if not gate_move(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_DRAINING):
            return
        self.failed_before = failed(&self.handle)
        if not self.serving:
            self.give_up()
        with nogil:
            if gate_enter(&self.handle.gate, GATE_IN(GATE_DRAINING)):
                if self.handle.rk != NULL:
                    api.queue_yield(self.handle.queue)
                gate_leave(&self.handle.gate)

    def note(self, str text) -> None:
        """Log what a caller may not see, once in 10 s: with how many such notes were held back since."""
        cdef int64_t now = monotonic_us()
        if self.noted_us and now - self.noted_us < NOTE_US:
            self.notes_held_back += 1
            return
        logger.warning("%s (%d more since the last such line)", text, self.notes_held_back)
        self.noted_us = now
        self.notes_held_back = 0


cdef int64_t deadline_us(object timeout) except -1:
    """CLOCK_MONOTONIC in us at which `timeout` seconds are over; INT64_MAX for None and for more than 100 years."""
    if timeout is None or timeout > 3e9:
        return INT64_MAX
    return monotonic_us() + (<int64_t> (timeout * 1e6) if timeout > 0 else 0)


cdef uint64_t failed(Handle* handle) noexcept:
    cdef Topic* topic = handle.topics
    cdef uint64_t n = 0
    while topic != NULL:
        n += counter_get(&topic.counts.failed)
        topic = topic.next
    return n
