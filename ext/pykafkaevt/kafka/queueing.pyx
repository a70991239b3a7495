"""The queueing core. Nothing here holds the GIL, and no Python object is touched."""

from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memset

from pykafkaevt.kafka.library cimport table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR__FATAL, RD_KAFKA_RESP_ERR__QUEUE_FULL,
    RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_RKT,
    RD_KAFKA_VTYPE_VALUE, rd_kafka_error_t, rd_kafka_message_t, rd_kafka_vu_t, rdkafka_api,
)
from pykafkaevt.kafka.topic cimport (
    GATE_FATAL, GATE_IN, GATE_OPEN, GATE_OPENING, Handle, Topic, counter_add_shared, counter_get, counter_set,
    counters_error, event_count_sequence, event_count_wait, gate_enter, gate_leave, gate_move, gate_state, in_flight,
    monotonic_us, this_thread,
)

cdef const rdkafka_api* api = table()

cdef enum:
    FIXED = 5                # arguments that every record has
    SLICE_US = 100000        # a wait looks this often whether it should go on
    PACE_US = 10000          # how long a caller lets the reports catch up
    REOPENING_US = 30000000  # how long an instance may take to be opened anew


cdef void queue(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, Waiting* waiting, Outcome* outcome
) noexcept nogil:
    cdef uint64_t seen
    memset(outcome, 0, sizeof(Outcome))
    while True:
        outcome.ending = enter(topic, waiting)
        if outcome.ending != ENDED_DONE:
            return
        seen = event_count_sequence(&topic.client.gate.changed)
        submit(topic, messages, n, extras, outcome)
        gate_leave(&topic.client.gate)
        if outcome.handled == n:
            if in_flight(topic) > topic.pace_from and pace(topic) and interrupted(waiting):
                outcome.ending = ENDED_INTERRUPTED
            return
        if messages[outcome.handled].err != RD_KAFKA_RESP_ERR__QUEUE_FULL:
            continue
        if drops(topic, waiting, seen):
            outcome.dropped = n - outcome.handled
            outcome.handled = n
            counter_add_shared(&topic.counts.dropped, outcome.dropped)
            return
        outcome.ending = wait_for_room(topic, waiting, seen)
        if outcome.ending != ENDED_DONE:
            return


cdef Ending enter(Topic* topic, Waiting* waiting) noexcept nogil:
    cdef Handle* handle = topic.client
    cdef uint64_t seen
    cdef unsigned state
    cdef int64_t until = 0
    while True:
        seen = event_count_sequence(&handle.gate.changed)
        if gate_enter(&handle.gate, GATE_IN(GATE_OPEN)):
            return ENDED_DONE
        state = gate_state(&handle.gate)
        if state == GATE_OPEN:
            continue
        if state != GATE_FATAL and state != GATE_OPENING:
            return ENDED_CLOSED
        if counter_get(&handle.keeper) == this_thread() or counter_get(&handle.broken):
            return ENDED_FAILED
        handle.call_keeper(handle)
        if until == 0:
            until = monotonic_us() + REOPENING_US
        elif monotonic_us() > until:
            return ENDED_FAILED
        event_count_wait(&handle.gate.changed, seen, SLICE_US)
        if interrupted(waiting):
            return ENDED_INTERRUPTED


cdef bint interrupted(Waiting* waiting) noexcept nogil:
    return waiting.interrupted != NULL and waiting.interrupted(waiting.context)


cdef void submit(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, Outcome* outcome
) noexcept nogil:
    """One try with what has no outcome yet, inside the gate. Ends before a message that is to be tried again."""
    cdef Handle* handle = topic.client
    cdef Py_ssize_t i = outcome.handled, queued = 0
    cdef int err
    if extras == NULL:
        api.produce_batch(topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, messages + i, <int> (n - i))
    while i < n:
        if extras != NULL:
            messages[i].err = produce(topic, &messages[i], i, extras)
        err = messages[i].err
        if err == RD_KAFKA_RESP_ERR_NO_ERROR:
            queued += 1
        elif err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
            break
        elif err == RD_KAFKA_RESP_ERR__FATAL:
            # librdkafka says so before the report thread has heard of it
            if gate_move(&handle.gate, GATE_IN(GATE_OPEN), GATE_FATAL):
                api.queue_yield(handle.queue)
            break
        else:
            outcome.rejected += 1
            counter_add_shared(&topic.counts.rejected, 1)
            counters_error(&topic.counts, err)
        i += 1
    outcome.handled = i
    outcome.queued += queued
    # before the gate is left: who closes it counts what is in flight
    counter_add_shared(&topic.counts.queued, queued)


cdef int produce(Topic* topic, rd_kafka_message_t* message, Py_ssize_t index, Extras* extras) noexcept nogil:
    """One record with extras; librdkafka's error code."""
    cdef rd_kafka_vu_t[FIXED + EXTRAS] a
    cdef rd_kafka_error_t* error
    cdef int code
    a[0].vtype, a[0].u.rkt = RD_KAFKA_VTYPE_RKT, topic.handle
    a[1].vtype, a[1].u.i = RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_MSG_F_COPY
    a[2].vtype, a[2].u.mem.ptr, a[2].u.mem.size = RD_KAFKA_VTYPE_VALUE, message.payload, message.len
    a[3].vtype, a[3].u.mem.ptr, a[3].u.mem.size = RD_KAFKA_VTYPE_KEY, message.key, message.key_len
    a[4].vtype, a[4].u.ptr = RD_KAFKA_VTYPE_OPAQUE, message._private
    error = api.produceva(topic.client.rk, a, FIXED + extras.write(extras.context, index, a + FIXED))
    if error == NULL:
        return RD_KAFKA_RESP_ERR_NO_ERROR
    code = RD_KAFKA_RESP_ERR__FATAL if api.error_is_fatal(error) else api.error_code(error)
    api.error_destroy(error)
    return code


cdef bint drops(Topic* topic, Waiting* waiting, uint64_t seen) noexcept nogil:
    """Whether what finds the queue full is dropped at once."""
    if waiting.on_full == FULL_BLOCK_ONCE:
        return counter_get(&topic.stalled_at) == seen
    return waiting.on_full == FULL_DROP


cdef Ending wait_for_room(Topic* topic, Waiting* waiting, uint64_t seen) noexcept nogil:
    """Sleep until something happens at the gate; ENDED_DONE when it is worth another try."""
    cdef int64_t left = SLICE_US
    if waiting.on_full == FULL_RAISE or counter_get(&topic.client.keeper) == this_thread():
        return ENDED_FULL
    if waiting.deadline_us != INT64_MAX:
        left = min(left, waiting.deadline_us - monotonic_us())
        if left <= 0:
            if waiting.on_full != FULL_BLOCK_ONCE:
                return ENDED_FULL
            # the next try, which finds the queue as it is, drops
            counter_set(&topic.stalled_at, seen)
            return ENDED_DONE
    event_count_wait(&topic.client.gate.changed, seen, left)
    return ENDED_INTERRUPTED if interrupted(waiting) else ENDED_DONE


cdef bint pace(Topic* topic) noexcept nogil:
    """Let the reports catch up: a caller that may block does so before the queue outgrows the caches.

    When nothing is released meanwhile (brokers far away, or gone) it waits no more until something is. Says whether it
    waited.
    """
    cdef Handle* handle = topic.client
    cdef uint64_t seen = event_count_sequence(&handle.gate.changed)
    if seen == counter_get(&topic.unpaced_at) or counter_get(&handle.keeper) == this_thread():
        return False
    event_count_wait(&handle.gate.changed, seen, PACE_US)
    if event_count_sequence(&handle.gate.changed) == seen:
        counter_set(&topic.unpaced_at, seen)
    return True
