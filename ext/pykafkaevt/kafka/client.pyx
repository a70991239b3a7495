# cython: nonecheck=True
"""A Kafka client: topics, flushing and closing over the librdkafka instances that a Keeper keeps."""

import logging

from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pykafkaevt.kafka.instance cimport REASON_SIZE, TopicSpec
from pykafkaevt.kafka.library cimport table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_PURGE_F_INFLIGHT, RD_KAFKA_PURGE_F_NON_BLOCKING, RD_KAFKA_PURGE_F_QUEUE, RD_KAFKA_RESP_ERR_NO_ERROR,
    rdkafka_api,
)
from pykafkaevt.kafka.queueing cimport ENDED_CLOSED, ENDED_DONE, ENDED_FULL, ENDED_INTERRUPTED, Ending, Waiting, enter
from pykafkaevt.kafka.reports cimport take_over
from pykafkaevt.kafka.topic cimport (
    GATE_CLOSED, GATE_DRAINING, GATE_FATAL, GATE_IN, GATE_OPEN, GATE_OPENING, Handle, Topic, all_in_flight, counter_get,
    counter_set, event_count_sequence, event_count_wait, gate_enter, gate_leave, gate_move, gate_state, gate_users,
    monotonic_us, publish_topic, this_thread,
)

from pykafkaevt.errors import Closed, Error
from pykafkaevt.log_rate import LogRate

cdef extern from "Python.h":
    int signals_raised "PyErr_CheckSignals" () noexcept

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")

cdef enum:
    NOTE_SECONDS = 10        # between two notes in the log
    SLICE_US = 100000        # a wait looks this often for Ctrl-C, and nobody is inside the gate for longer
    ENDING_US = 900000       # what close() may take beyond its timeout
    GIVE_UP = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING


cdef bint check_signals(void* context) noexcept nogil:
    with gil:
        return signals_raised() != 0


cdef class Client(Keeper):
    """What producers share: a librdkafka producer, its topics, and calls that end in bounded time.

    As Keeper. Connecting is lazy: no broker need be there. Several producers may share a client, each with a topic of
    its own.
    """

    def __cinit__(self):
        self.exit_timeout = 5.0
        self.close_by_us = INT64_MAX
        self.note_rate = LogRate(1, NOTE_SECONDS)

    cdef Topic* add_topic(self, str name, tuple properties) except NULL:
        cdef char reason[REASON_SIZE]
        cdef Waiting waiting
        cdef Ending ending
        cdef Py_ssize_t wrong = 0
        cdef Topic* topic
        cdef TopicSpec spec = TopicSpec(name, properties, self.properties)
        memset(&waiting, 0, sizeof(waiting))
        waiting.interrupted = check_signals
        topic = <Topic*> calloc(1, sizeof(Topic))
        if topic == NULL:
            raise MemoryError()
        self.topic_specs.append(spec)
        topic.client = &self.handle
        topic.spec = <PyObject*> spec
        topic.on_delivery = topic.on_error = <PyObject*> None
        counter_set(&topic.paced_at, <uint64_t> -1)
        counter_set(&topic.stalled_at, <uint64_t> -1)
        with nogil:
            ending = enter(topic, &waiting)
        if ending == ENDED_DONE:
            wrong = spec.open(self.handle.rk, topic, reason)
            if not wrong:
                topic.next = self.handle.topics
                publish_topic(&self.handle, topic)
            gate_leave(&self.handle.gate)
        try:
            self.raise_ended(ending)
            spec.check(wrong, reason)
        except BaseException:
            self.topic_specs.remove(spec)
            free(topic)
            raise
        return topic

    cdef int raise_ended(self, Ending ending) except -1:
        if ending == ENDED_DONE or ending == ENDED_FULL:
            return 0
        if ending == ENDED_INTERRUPTED:
            return -1  # a signal handler's exception is set
        if ending == ENDED_CLOSED:
            raise Closed(f"{self.name} is closed")
        self.not_in_callback("queueing after a fatal error")
        raise Error(f"{self.name}: not connected anew after a fatal error: {self.open_error or 'it takes too long'}")

    cpdef int not_in_callback(self, str what) except -1:
        """Raise Error when this thread is the one that calls on_delivery and on_error."""
        if counter_get(&self.handle.keeper) == this_thread():
            raise Error(f"{what} inside on_delivery or on_error would wait for itself")
        return 0

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more: closed, or to be closed when all is reported."""
        return gate_state(&self.handle.gate) in (GATE_CLOSED, GATE_DRAINING)

    cdef int flush_slice(self, unsigned states, int64_t until_us) except -1:
        """Flush until then; 1 when every record has its report, and its callback has returned."""
        cdef int64_t left = until_us - monotonic_us()
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
                if self.flush_slice(GATE_IN(GATE_OPEN), min(until, monotonic_us() + SLICE_US)):
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
        return close_all([self], timeout)

    cdef int begin_closing(self, int64_t until) except -1:
        """Take nothing more from now on."""
        cdef uint64_t seen
        self.close_by_us = min(self.close_by_us, until)
        while True:
            seen = event_count_sequence(&self.handle.gate.changed)
            if gate_move(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_DRAINING):
                self.failed_before = failed(&self.handle)
            if gate_state(&self.handle.gate) != GATE_OPENING:
                return 0
            if monotonic_us() >= until:
                # the keeper closes what it opens
                self.reports.adopted = True
                return 0
            with nogil:
                event_count_wait(&self.handle.gate.changed, seen, min(until - monotonic_us(), <int64_t> SLICE_US))
            PyErr_CheckSignals()

    cdef bint draining(self) noexcept:
        """Whether flushing is worth going on with."""
        return (
            self.serving and gate_state(&self.handle.gate) == GATE_DRAINING and monotonic_us() < self.close_by_us
            and (gate_users(&self.handle.gate) != 0 or all_in_flight(&self.handle) != 0)
        )

    cdef int give_up(self) except -1:
        """The end of flushing: what has no report fails, and the report thread ends the instance."""
        self.gave_up_us = monotonic_us()
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
        if not self.closed:
            self.failed_before = failed(&self.handle)
        # before the move: while an instance is opened, it is the keeper that makes it
        self.reports.adopted = True
        if not gate_move(&self.handle.gate, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_DRAINING):
            return
        if not self.serving:
            self.give_up()
        with nogil:
            if gate_enter(&self.handle.gate, GATE_IN(GATE_DRAINING)):
                if self.handle.rk != NULL:
                    api.queue_yield(self.handle.queue)
                gate_leave(&self.handle.gate)

    def note(self, str text) -> None:
        """Log what a caller may not see, once in 10 s: with how many such notes were held back since."""
        if self.note_rate.allows():
            logger.warning("%s (%d more since the last such line)", text, self.note_rate.held_back)


def close_all(clients, timeout=None) -> int:
    """Client.close() for all of them, side by side within the same time: the sum of what it returns."""
    cdef int64_t until = deadline_us(timeout)
    cdef Client client
    cdef list closing = []
    for client in clients:
        client.not_in_callback("close()")
        if not (counter_get(&client.gone) and gate_state(&client.handle.gate) == GATE_CLOSED):
            closing.append(client)
    for client in closing:
        client.begin_closing(until)
    try:
        while flush_once(closing):
            pass
    except BaseException:
        # Ctrl-C while flushing closes too
        for client in closing:
            client.close_by_us = 0
        raise
    finally:
        for client in closing:
            client.give_up()
    for client in closing:
        wait_until_gone(client)
    return sum([client.undelivered() for client in closing])


cdef bint flush_once(list clients) except -1:
    """Flush those that are worth it for 100 ms together; whether there were any."""
    cdef Client client
    cdef list left = [client for client in clients if client.draining()]
    for client in left:
        until = monotonic_us() + max(SLICE_US // len(left), 1000)
        client.flush_slice(GATE_IN(GATE_DRAINING), min(until, client.close_by_us))
        client.take_over()
    return len(left) != 0


cdef int wait_until_gone(Client client) except -1:
    """Until the instance is destroyed, or a second after flushing ended; reports are counted meanwhile."""
    cdef int64_t until = INT64_MAX
    cdef uint64_t seen
    if client.close_by_us != INT64_MAX:
        until = max(client.close_by_us, client.gave_up_us) + ENDING_US
    while client.serving and not counter_get(&client.gone) and monotonic_us() < until:
        client.take_over()
        with nogil:
            seen = event_count_sequence(&client.handle.gate.changed)
            if not counter_get(&client.gone):
                event_count_wait(
                    &client.handle.gate.changed, seen, min(until - monotonic_us(), <int64_t> SLICE_US // 2)
                )
        PyErr_CheckSignals()
    return 0


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
