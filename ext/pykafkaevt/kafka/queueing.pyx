"""The queueing core. Nothing here holds the GIL, and no Python object is touched."""

from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memset

from pykafkaevt.kafka.library cimport table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR__FATAL, RD_KAFKA_RESP_ERR__QUEUE_FULL,
    RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_RKT,
    RD_KAFKA_VTYPE_VALUE, rd_kafka_error_t, rd_kafka_message_t, rd_kafka_vu_t, rdkafka_api,
)
from pykafkaevt.kafka.partitions cimport produce_batch
from pykafkaevt.kafka.topic cimport (
    GATE_FATAL, GATE_IN, GATE_OPEN, GATE_OPENING, Handle, Topic, counter_add_shared, counter_get, counter_set,
    counters_error, event_count_sequence, event_count_wait, gate_enter, gate_leave, gate_move, gate_state, in_flight,
    monotonic_us, queue_room, queue_room_bytes, queue_room_give_back, queue_room_records, queue_room_take, this_thread,
)

cdef const rdkafka_api* api = table()

cdef enum:
    FIXED = 5                # arguments that every record has
    SLICE_US = 100000        # a wait looks this often whether it should go on
    PACE_US = 10000          # how long a caller lets the reports catch up
    STALL_US = 100000        # … and others did, with no report at all, until none waits any more
    REOPENING_US = 30000000  # how long an instance may take to be opened anew


cdef void queue(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, Waiting* waiting, Outcome* outcome
) noexcept nogil:
    cdef uint64_t seen
    cdef Py_ssize_t start, end, i
    memset(outcome, 0, sizeof(Outcome))
    while True:
        outcome.ending = enter(topic, waiting)
        if outcome.ending != ENDED_DONE:
            return
        seen = event_count_sequence(&topic.client.gate.changed)
        start = outcome.handled
        end = submit(topic, messages, n, extras, outcome)
        gate_leave(&topic.client.gate)
        if outcome.handled < end and not submit_rest(topic, messages, end, extras, waiting, outcome):
            return
        if outcome.handled == n:
            if in_flight(topic) > counter_get(&topic.pace.limit) and pace(topic) and interrupted(waiting):
                outcome.ending = ENDED_INTERRUPTED
            return
        if end > start:
            # a fatal error, or no room for more; what was rejected took none
            continue
        if drops(topic, waiting, seen):
            for i in range(outcome.handled, n):
                messages[i].err = RD_KAFKA_RESP_ERR__QUEUE_FULL
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


cdef Py_ssize_t submit(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, Extras* extras, Outcome* outcome
) noexcept nogil:
    """One try with what has no outcome yet and finds room, inside the gate; where that ends.

    After a fatal error some messages before the end have an outcome, and those with __FATAL are to be tried again.
    """
    cdef Py_ssize_t start = outcome.handled, i
    cdef Py_ssize_t end = start + take_room(&topic.client.room, messages + start, n - start)
    if extras == NULL:
        produce_batch(topic, messages + start, end - start)
    else:
        for i in range(start, end):
            messages[i].err = produce(topic, &messages[i], i, extras)
    account(topic, messages, end, outcome)
    return end


cdef Py_ssize_t take_room(queue_room* room, rd_kafka_message_t* messages, Py_ssize_t n) noexcept nogil:
    """How many of the messages the queue has room for."""
    cdef uint64_t left = queue_room_bytes(room), size = 0
    cdef Py_ssize_t i
    n = <Py_ssize_t> min(<uint64_t> n, queue_room_records(room))
    for i in range(n):
        if size + length(&messages[i]) > left:
            n = i
            break
        size += length(&messages[i])
    queue_room_take(room, n, size)
    return n


cdef inline size_t length(const rd_kafka_message_t* message) noexcept nogil:
    return message.len if message.payload != NULL else 0


cdef void account(Topic* topic, rd_kafka_message_t* messages, Py_ssize_t end, Outcome* outcome) noexcept nogil:
    """Count what was tried, inside the gate: who closes it counts what is in flight."""
    cdef Handle* handle = topic.client
    cdef Py_ssize_t i, queued = 0, refused = 0, handled = end
    cdef uint64_t size = 0
    cdef int err
    for i in range(outcome.handled, end):
        err = messages[i].err
        if err == RD_KAFKA_RESP_ERR_NO_ERROR:
            queued += 1
            continue
        refused += 1
        size += length(&messages[i])
        if err == RD_KAFKA_RESP_ERR__FATAL:
            handled = min(handled, i)
        else:
            reject(topic, err, outcome)
    outcome.handled = handled
    outcome.queued += queued
    counter_add_shared(&topic.counts.queued, queued)
    if refused:
        queue_room_give_back(&handle.room, refused, size)
    # librdkafka says so before the report thread has heard of it
    if handled < end and gate_move(&handle.gate, GATE_IN(GATE_OPEN), GATE_FATAL):
        api.queue_yield(handle.queue)


cdef void reject(Topic* topic, int err, Outcome* outcome) noexcept nogil:
    outcome.rejected += 1
    counter_add_shared(&topic.counts.rejected, 1)
    counters_error(&topic.counts, err)


cdef bint submit_rest(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t end, Extras* extras, Waiting* waiting, Outcome* outcome
) noexcept nogil:
    """Try those that a fatal error left out in the midst of a batch, one after another; False when that ended early.

    The call's outcome is then still one place: what was left out before the last message that was queued is rejected.
    """
    cdef Py_ssize_t i = outcome.handled, last = end
    while last > i and messages[last - 1].err == RD_KAFKA_RESP_ERR__FATAL:
        last -= 1
    # without any queued behind it, the batch goes on from here as a whole
    while i < last:
        if messages[i].err == RD_KAFKA_RESP_ERR__FATAL:
            outcome.ending = enter(topic, waiting)
            if outcome.ending != ENDED_DONE:
                break
            outcome.handled = i
            queue_room_take(&topic.client.room, 1, length(&messages[i]))
            if extras == NULL:
                api.produce_batch(topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, &messages[i], 1)
            else:
                messages[i].err = produce(topic, &messages[i], i, extras)
            account(topic, messages, i + 1, outcome)
            gate_leave(&topic.client.gate)
            i = outcome.handled
        else:
            i += 1
    for i in range(i, last):
        if messages[i].err == RD_KAFKA_RESP_ERR__FATAL:
            reject(topic, RD_KAFKA_RESP_ERR__FATAL, outcome)
    outcome.handled = last
    return outcome.ending == ENDED_DONE


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

    When nothing has been released for a while (brokers are gone) it does not, until something is. Says whether it has.
    """
    cdef Handle* handle = topic.client
    cdef uint64_t seen = event_count_sequence(&handle.gate.changed)
    if counter_get(&handle.keeper) == this_thread():
        return False
    if seen != counter_get(&topic.paced_at):
        counter_set(&topic.paced_at, seen)
        counter_set(&topic.paced_us, monotonic_us())
    elif monotonic_us() - <int64_t> counter_get(&topic.paced_us) > STALL_US:
        return False
    event_count_wait(&handle.gate.changed, seen, PACE_US)
    return True
