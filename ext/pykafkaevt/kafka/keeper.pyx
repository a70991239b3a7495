# cython: nonecheck=True
"""One librdkafka instance after another, and the thread that keeps them. gate.h has the rules of who may use them."""

import logging
import threading

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from pykafkaevt.kafka.instance cimport close_topics, open_handle
from pykafkaevt.kafka.library cimport table
from pykafkaevt.kafka.librdkafka cimport rd_kafka_queue_t, rd_kafka_t, rdkafka_api
from pykafkaevt.kafka.process cimport destroy_guarded
from pykafkaevt.kafka.reports cimport hand_over, serve
from pykafkaevt.kafka.topic cimport (
    GATE_CLOSED, GATE_DRAINING, GATE_FATAL, GATE_IN, GATE_OPEN, GATE_OPENING, Handle, Topic, all_delivered, counter_get,
    counter_set, counters, event_count_sequence, event_count_signal, event_count_wait, gate_destroy, gate_empty,
    gate_enter, gate_init, gate_leave, gate_move, gate_state, monotonic_us, pthread_mutex_destroy, pthread_mutex_init,
    queue_room, this_thread,
)

from pykafkaevt.diagnosis import Diagnosis
from pykafkaevt.kafka import process
from pykafkaevt.errors import Error
from pykafkaevt.log_rate import LogRate

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")

cdef enum:
    LOG_BURST = 10           # lines of a client at once, and
    LOG_SECONDS = 10         # the time after which it may log one more
    WARMINGS = 10            # times that metadata are asked for at most, for the producer ID's sake
    SLICE_US = 100000        # between two looks at a gate that users leave
    RETRY_US = 1000000       # between two tries to open anew
    PAUSE_US = 20000         # before opening anew what has failed soon, the first time
    PAUSE_MAX_US = 500000    # … at most
    SETTLED_US = 2000000     # life of an instance that has not failed soon


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
            start_keeper(<Keeper> handle.owner)


cdef void start_keeper(Keeper keeper) noexcept:
    try:
        keeper.start_thread()
    except BaseException as error:
        keeper.open_error = error.with_traceback(None)
        counter_set(&keeper.handle.broken, 1)


cdef class Keeper:
    """A librdkafka producer. properties: ((name, value), …), the global ones without bootstrap.servers.

    Raises ConfigError, naming the property, when librdkafka does not take one.
    """

    def __cinit__(self):
        gate_init(&self.handle.gate, GATE_CLOSED)
        pthread_mutex_init(&self.reports.lock, NULL)
        self.handle.owner = <PyObject*> self
        self.handle.call_keeper = call_keeper
        self.reports.handle = &self.handle
        self.reports.client = <PyObject*> self
        self.topic_specs = []
        self.rejected = []
        self.log_rate = LogRate(LOG_BURST, LOG_SECONDS)
        counter_set(&self.gone, 1)

    def __init__(self, str bootstrap_servers, tuple properties, str name):
        if self.bootstrap_servers is not None:
            raise Error("it is made once")
        self.bootstrap_servers = bootstrap_servers
        self.properties = properties
        self.name = name
        self.diagnosis = Diagnosis(properties)
        self.open_instance()
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

    cdef int open_instance(self) except -1:
        """Make the instance and the topics' handles, while the gate lets nobody in."""
        open_handle(self.bootstrap_servers, self.properties, &self.handle)
        self.reports.fatal_code = 0
        self.reports.warming = WARMINGS if self.handle.idempotent else 0
        self.opened_us = monotonic_us()
        return 0

    # The report thread

    cdef int start_thread(self) except -1:
        """Start the keeper; in a forked child that is done by the client's first use."""
        if self.serving:
            return 0
        self.serving = True
        counter_set(&self.gone, 0)
        try:
            # a daemon: the interpreter does not wait for it, process flushes what is open at exit
            threading.Thread(target=self._serve, name=f"pykafkaevt reports {self.name}", daemon=True).start()
        except BaseException:
            self.serving = False
            counter_set(&self.gone, 1)
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
        """Open the next instance, then hand over what is left of the one that failed.

        One that failed soon (the cluster may never grant what it asks for) makes the next one wait, longer each time.
        """
        cdef rd_kafka_t* old = self.handle.rk
        cdef rd_kafka_queue_t* queue = self.handle.queue
        with nogil:
            if monotonic_us() - self.opened_us > SETTLED_US:
                self.pause_us = 0
            self.wait_while_fatal(self.pause_us)
            self.pause_us = min(2 * self.pause_us + PAUSE_US, <int64_t> PAUSE_MAX_US)
        # who flushes while it drains uses the instance: closing begins before this, or when the next one is there
        if not gate_move(&self.handle.gate, GATE_IN(GATE_FATAL), GATE_OPENING):
            return 0
        with nogil:
            close_topics(self.handle.topics)
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
        opened = self.handle.rk != NULL
        gate_move(&self.handle.gate, GATE_IN(GATE_OPENING), GATE_OPEN if opened else GATE_FATAL)
        if self.reports.adopted:
            # adopt() came while the state could not be moved
            gate_move(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_DRAINING)
        if opened and old != NULL and self.log_rate.allows():
            logger.warning("%s: connected anew after a fatal error", self.name)
        with nogil:
            hand_over(&self.reports)
            if old != NULL:
                api.queue_destroy(queue)
                destroy_guarded(old)
            if self.handle.rk == NULL:
                self.wait_while_fatal(RETRY_US)
        return 0

    cdef int wait_while_fatal(self, int64_t us) noexcept nogil:
        """Sleep; closing ends it."""
        cdef int64_t until = monotonic_us() + us
        cdef uint64_t seen
        while monotonic_us() < until:
            seen = event_count_sequence(&self.handle.gate.changed)
            if gate_state(&self.handle.gate) != GATE_FATAL:
                break
            event_count_wait(&self.handle.gate.changed, seen, until - monotonic_us())
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
            close_topics(self.handle.topics)
            if rk != NULL:
                api.queue_destroy(self.handle.queue)
                destroy_guarded(rk)
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
        memset(&self.handle.room, 0, sizeof(queue_room))
        while topic != NULL:
            topic.handle = NULL
            memset(&topic.counts, 0, sizeof(counters))
            counter_set(&topic.refused, 0)
            counter_set(&topic.told, 0)
            counter_set(&topic.paced_at, <uint64_t> -1)
            counter_set(&topic.stalled_at, <uint64_t> -1)
            topic = topic.next
        memset(&self.reports.kept, 0, sizeof(self.reports.kept))
        memset(&self.reports.handed, 0, sizeof(self.reports.handed))
        self.reports.calling = False
        self.reports.life += 1
        counter_set(&self.reports.rejected, 0)
        self.rejected = []
        self.serving = False

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
    def trouble(self):
        """The Trouble that was met last, None when records were delivered since."""
        return self.diagnosis.newest(all_delivered(&self.handle))

    @property
    def ended(self) -> bool:
        """Whether thread and connections are gone, so that the counters are final."""
        return counter_get(&self.gone) != 0
