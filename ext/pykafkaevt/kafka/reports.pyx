"""The report thread's work. Nothing here holds the GIL but where it says so."""

import logging

from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc

from pykafkaevt.kafka.delivery cimport DeliveryBatch, batch_of_messages, batch_of_rejected, detach_if_kept, log_raised
from pykafkaevt.kafka.instance cimport TopicSpec
from pykafkaevt.kafka.library cimport delivery_error, table, text_of_error
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_EVENT_LOG, RD_KAFKA_EVENT_STATS, RD_KAFKA_PURGE_F_INFLIGHT,
    RD_KAFKA_PURGE_F_NON_BLOCKING, RD_KAFKA_PURGE_F_QUEUE, RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, RD_KAFKA_RESP_ERR__PURGE_QUEUE, RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_event_t,
    rd_kafka_message_t, rd_kafka_metadata_t, rdkafka_api,
)
from pykafkaevt.kafka.topic cimport (
    GATE_CLOSED, GATE_DRAINING, GATE_FATAL, GATE_IN, GATE_OPEN, Topic, all_delivered, all_in_flight, counter_add,
    counter_get, counter_set, counters_error, event_count_signal, gate_move, gate_state, gate_users, histogram_add,
    monotonic_us, pacing_report, queue_room_release,
)

from pykafkaevt.diagnosis import is_of_a_broker, is_refusal
from pykafkaevt.kafka.process import log_line

cdef const rdkafka_api* api = table()
logger = logging.getLogger("pykafkaevt")

cdef enum:
    REPORT_CHUNK = 512       # messages looked at together
    REPORT_BATCH = 500       # records that are worth taking the GIL for without looking for more
    LATENCY_SAMPLE = 8       # of larger events one record in so many has its latency measured: a clock call each
    ENDING_MS = 20           # between two looks at an instance that ends
    WARMING_MS = 20          # before metadata are asked for
    METADATA_MS = 200        # how long the answer may take
    GIVE_UP = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING

# syslog levels of librdkafka's log lines, as logging has them
cdef tuple LEVELS = (
    logging.CRITICAL, logging.CRITICAL, logging.CRITICAL, logging.ERROR,
    logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG,
)


cdef void serve(Reports* r) noexcept nogil:
    cdef rd_kafka_event_t* event
    cdef bint ending
    cdef int life = r.life, called
    while r.life == life:
        ending = ends(r)
        if ending and all_in_flight(r.handle) == 0 and gate_users(&r.handle.gate) == 0 and not counter_get(&r.rejected):
            return
        # reports that were asked for go to their callback when nothing more is there at once
        event = api.queue_poll(r.handle.queue, wait_ms(r))
        if event != NULL:
            see_to(r, event)
        elif r.kept.count and gate_state(&r.handle.gate) != GATE_FATAL:
            hand_over(r)
        elif counter_get(&r.rejected):
            called = begin_call(r)
            hand_over_rejected(r)
            end_call(r, called)
        elif r.warming and gate_state(&r.handle.gate) == GATE_OPEN:
            warm_up(r)


cdef int wait_ms(Reports* r) noexcept nogil:
    if gate_state(&r.handle.gate) != GATE_OPEN:
        # the last user's leaving is no event of the queue
        return ENDING_MS
    if r.kept.count or counter_get(&r.rejected):
        return 0
    return WARMING_MS if r.warming else -1


cdef void warm_up(Reports* r) noexcept nogil:
    """Ask for metadata, until the first report comes.

    librdkafka asks for the producer ID before a broker is connected, and again half a second later, or when metadata
    come. Source: librdkafka rd_kafka_idemp_pid_fsm().
    """
    cdef const rd_kafka_metadata_t* metadata = NULL
    r.warming -= 1
    if api.metadata(r.handle.rk, 0, NULL, &metadata, METADATA_MS) == RD_KAFKA_RESP_ERR_NO_ERROR:
        api.metadata_destroy(metadata)


cdef bint ends(Reports* r) noexcept nogil:
    """Whether the instance is to end; what it still holds is given up then."""
    cdef unsigned state = gate_state(&r.handle.gate)
    if r.adopted and state == GATE_DRAINING and all_in_flight(r.handle) == 0 and gate_users(&r.handle.gate) == 0:
        gate_move(&r.handle.gate, GATE_IN(GATE_DRAINING), GATE_CLOSED)
        return True
    if state == GATE_FATAL and r.fatal_code == 0:
        r.fatal_code = begin_fatal(r)
    if state != GATE_FATAL and state != GATE_CLOSED and r.fatal_code == 0:
        return False
    # those inside come out within 100 ms; what they have queued is given up too
    if all_in_flight(r.handle) and gate_users(&r.handle.gate) == 0:
        api.purge(r.handle.rk, GIVE_UP)
    return state != GATE_DRAINING


cdef void see_to(Reports* r, rd_kafka_event_t* event) noexcept nogil:
    cdef int kind = api.event_type(event)
    if kind == RD_KAFKA_EVENT_DR:
        r.warming = 0
        count_reports(r, event)
        if r.untold:
            tell_refusals(r)
        if r.kept.count >= REPORT_BATCH and gate_state(&r.handle.gate) != GATE_FATAL:
            hand_over(r)
    elif kind == RD_KAFKA_EVENT_LOG:
        log_event(r, event)
    elif kind == RD_KAFKA_EVENT_ERROR:
        report_error(r, event)
    elif kind == RD_KAFKA_EVENT_STATS:
        keep_statistics(r, event)
    else:
        api.event_destroy(event)


cdef void take_over(Reports* r) noexcept nogil:
    cdef rd_kafka_event_t* event
    pthread_mutex_lock(&r.lock)
    while r.calling and r.handle.queue != NULL:
        event = api.queue_poll(r.handle.queue, 0)
        if event == NULL:
            break
        if api.event_type(event) == RD_KAFKA_EVENT_DR:
            count_reports(r, event)
        else:
            api.event_destroy(event)
    pthread_mutex_unlock(&r.lock)


cdef void count_reports(Reports* r, rd_kafka_event_t* event) noexcept nogil:
    """Count the records of one event (all of one topic); keep the event while reports of it were asked for."""
    cdef const rd_kafka_message_t* batch[REPORT_CHUNK]
    cdef const rd_kafka_message_t* m
    cdef Topic* topic = NULL
    cdef Py_ssize_t n, i, weight = 1, index = 0
    cdef Py_ssize_t total = api.event_message_count(event)
    cdef uint64_t delivered = 0, failed = 0, size = 0, payload = 0
    cdef bint kept = False, keeps
    if total > 8 * LATENCY_SAMPLE:
        weight = LATENCY_SAMPLE
    while True:
        n = api.event_message_array(event, batch, REPORT_CHUNK)
        if n == 0:
            break
        topic = <Topic*> api.topic_opaque(batch[0].rkt)
        keeps = reserve(r, n)
        for i in range(n):
            m = batch[i]
            payload += m.len
            if m.err == RD_KAFKA_RESP_ERR_NO_ERROR:
                delivered += 1
                size += m.len + m.key_len
            else:
                failed += 1
                count_failure(r, topic, <rd_kafka_message_t*> m)
            # the first of an event has waited longest, so the maximum is exact
            if index % weight == 0:
                histogram_add(&topic.counts.latency, api.message_latency(m), min(weight, total - index))
            index += 1
            if m._private != NULL and keeps:
                r.kept.messages[r.kept.count] = m
                r.kept.count += 1
                kept = True
    if topic != NULL:
        counter_add(&topic.counts.failed, failed)
        counter_add(&topic.counts.bytes_delivered, size)
        counter_add(&topic.counts.batches, 1)
        add_delivered(topic, delivered, m)
        see_refusal(r, topic, delivered != 0)
    if kept:
        r.kept.events[r.kept.event_count] = event
        r.kept.event_count += 1
        r.kept.records += total
        r.kept.bytes += payload
    else:
        api.event_destroy(event)
        queue_room_release(&r.handle.room, total, payload)
        event_count_signal(&r.handle.gate.changed)


cdef void add_delivered(Topic* topic, uint64_t delivered, const rd_kafka_message_t* newest) noexcept nogil:
    counter_add(&topic.counts.delivered, delivered)
    if delivered and topic.pace.adapts:
        pacing_report(
            &topic.pace, delivered, api.message_latency(newest), topic.client.linger_us, monotonic_us()
        )


cdef void count_failure(Reports* r, Topic* topic, rd_kafka_message_t* message) noexcept nogil:
    """A record that was given up because of a fatal error failed with that error."""
    if r.fatal_code and (
        message.err == RD_KAFKA_RESP_ERR__PURGE_QUEUE or message.err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        or message.err == RD_KAFKA_RESP_ERR__FATAL
    ):
        message.err = r.fatal_code
    counters_error(&topic.counts, message.err)
    counter_set(&topic.refused, <uint64_t> message.err)


cdef void see_refusal(Reports* r, Topic* topic, bint delivered) noexcept nogil:
    """After an event of the topic: whether the newest failure is over, and whether the log has it."""
    if delivered:
        counter_set(&topic.refused, 0)
    r.untold = r.untold or counter_get(&topic.refused) != counter_get(&topic.told)


cdef bint reserve(Reports* r, Py_ssize_t n) noexcept nogil:
    """Memory for n more messages whose reports were asked for, and for their event; False without."""
    cdef Kept* kept = &r.kept
    cdef void* larger
    if kept.event_count == kept.event_size:
        larger = realloc(kept.events, (2 * kept.event_size + 16) * sizeof(void*))
        if larger == NULL:
            counter_add(&r.lost, n)
            return False
        kept.events = <rd_kafka_event_t**> larger
        kept.event_size = 2 * kept.event_size + 16
    if kept.size - kept.count < n:
        larger = realloc(<void*> kept.messages, (2 * kept.size + n) * sizeof(void*))
        if larger == NULL:
            counter_add(&r.lost, n)
            return False
        kept.messages = <const rd_kafka_message_t**> larger
        kept.size = 2 * kept.size + n
    return True


cdef void hand_over(Reports* r) noexcept nogil:
    """Hand the reports that wait to their callbacks; then give the records' memory back, without the GIL."""
    cdef Py_ssize_t i, start = 0
    cdef Kept other
    cdef int life = begin_call(r)
    pthread_mutex_lock(&r.lock)
    other = r.handed
    r.handed = r.kept
    r.kept = other
    pthread_mutex_unlock(&r.lock)
    # mostly all of one topic
    for i in range(1, r.handed.count + 1):
        if i == r.handed.count or r.handed.messages[i].rkt != r.handed.messages[start].rkt:
            call(r, r.handed.messages + start, i - start)
            start = i
    if r.life != life:
        return
    for i in range(r.handed.event_count):
        api.event_destroy(r.handed.events[i])
    queue_room_release(&r.handle.room, r.handed.records, r.handed.bytes)
    r.handed.event_count = r.handed.count = 0
    r.handed.records = r.handed.bytes = 0
    end_call(r, life)
    event_count_signal(&r.handle.gate.changed)


cdef int begin_call(Reports* r) noexcept nogil:
    """Before a callback, or a wait for the GIL: others may take over meanwhile. What end_call() is given."""
    pthread_mutex_lock(&r.lock)
    r.calling = True
    pthread_mutex_unlock(&r.lock)
    return r.life


cdef void end_call(Reports* r, int life) noexcept nogil:
    if r.life == life:
        pthread_mutex_lock(&r.lock)
        r.calling = False
        pthread_mutex_unlock(&r.lock)


cdef void call(Reports* r, const rd_kafka_message_t** messages, Py_ssize_t count) noexcept with gil:
    cdef Topic* topic = <Topic*> api.topic_opaque(messages[0].rkt)
    cdef DeliveryBatch batch
    if topic.deliver != NULL:
        topic.deliver(messages, count)
        return
    batch = batch_of_messages(messages, count, monotonic_us())
    if batch.failed:
        batch.explanation = explanation(topic)
    call_on_delivery(topic, batch)
    detach_if_kept(batch)


cdef void call_on_delivery(Topic* topic, DeliveryBatch batch) noexcept:
    handler = <object> topic.on_delivery
    try:
        handler(batch)
    except BaseException:
        log_raised("on_delivery", handler)


cdef void hand_over_rejected(Reports* r) noexcept with gil:
    counter_set(&r.rejected, 0)
    if counter_get(&r.lost):
        logger.critical("no memory to hand over %d delivery reports; their records are counted", counter_get(&r.lost))
        counter_set(&r.lost, 0)
    cdef list reports = (<object> r.client).rejected_reports()
    cdef size_t topic
    cdef DeliveryBatch batch
    for topic in {report[0] for report in reports}:
        batch = batch_of_rejected([report[1:] for report in reports if report[0] == topic])
        batch.explanation = explanation(<Topic*> topic)
        call_on_delivery(<Topic*> topic, batch)


cdef object explanation(Topic* topic):
    name = (<TopicSpec> topic.spec).name.decode()
    return (<object> topic.client.owner).diagnosis.explain(name, all_delivered(topic.client))


cdef void tell_refusals(Reports* r) noexcept with gil:
    """What all records of a topic fail with goes to the log, once as long as it is so."""
    cdef Topic* topic = r.handle.topics
    r.untold = False
    while topic != NULL:
        code = <int> counter_get(&topic.refused)
        if counter_get(&topic.told) != counter_get(&topic.refused):
            counter_set(&topic.told, counter_get(&topic.refused))
            if is_refusal(code):
                name = (<TopicSpec> topic.spec).name.decode()
                log(r, logging.ERROR, str(delivery_error(code, f"topic {name}", explanation(topic))))
        topic = topic.next


cdef void log(Reports* r, int level, str line) noexcept:
    """A line of the client's, unless there were too many: a broker that is away does not fill the log."""
    try:
        rate, name = (<object> r.client).log_rate, (<object> r.client).name
        if rate.allows():
            if rate.held_back:
                log_line(logging.WARNING, f"{name}: {rate.held_back} lines suppressed")
            log_line(level, f"{name}: {line}")
    except BaseException:
        logger.exception("a log line was lost")


cdef void log_line_of_librdkafka(Reports* r, int level, str facility, str text) noexcept:
    try:
        shown = (<object> r.client).diagnosis.line(facility, text, all_delivered(r.handle))
        if shown is not None:
            log(r, level, shown)
    except BaseException:
        logger.exception("a log line was lost")


cdef void log_event(Reports* r, rd_kafka_event_t* event) noexcept nogil:
    cdef const char* facility
    cdef const char* line
    cdef int level
    if api.event_log(event, &facility, &line, &level) == 0:
        with gil:
            log_line_of_librdkafka(r, LEVELS[max(0, min(level, 7))], text_of_error(facility), text_of_error(line))
    api.event_destroy(event)


cdef int begin_fatal(Reports* r) noexcept nogil:
    """The fatal error of the instance, told to on_error and the log; its code."""
    cdef char text[512]
    cdef int code, called
    text[0] = 0
    code = api.fatal_error(r.handle.rk, text, sizeof(text))
    if code == RD_KAFKA_RESP_ERR_NO_ERROR:
        code = RD_KAFKA_RESP_ERR__FATAL
    called = begin_call(r)
    with gil:
        if r.handle.topics != NULL:
            error = delivery_error(code, f"fatal: {text_of_error(text)}", explanation(r.handle.topics))
        else:
            error = delivery_error(code, f"fatal: {text_of_error(text)}")
        call_on_error(r, error, True)
    end_call(r, called)
    return code


cdef void report_error(Reports* r, rd_kafka_event_t* event) noexcept nogil:
    cdef int code = api.event_error(event), called
    if api.event_error_is_fatal(event):
        # begin_fatal() says what it was
        gate_move(&r.handle.gate, GATE_IN(GATE_OPEN), GATE_FATAL)
        if r.fatal_code == 0:
            r.fatal_code = begin_fatal(r)
    else:
        called = begin_call(r)
        with gil:
            error = delivery_error(code, "")
            if api.event_error_string(event) != NULL:
                error.reason = text_of_error(api.event_error_string(event))
            # a single broker's error has a log line of librdkafka's own
            call_on_error(r, error, not is_of_a_broker(error.reason))
        end_call(r, called)
    api.event_destroy(event)


cdef void call_on_error(Reports* r, object error, bint logged) noexcept:
    """Tell on_error, and the log where it is to be logged, what happened and what to do."""
    cdef Topic* topic = r.handle.topics
    try:
        error.reason = (<object> r.client).diagnosis.error(error.code, error.reason, all_delivered(r.handle))
        if logged:
            log(r, logging.ERROR, str(error))
    except BaseException:
        logger.exception("an error was not logged")
    while topic != NULL:
        handler = <object> topic.on_error
        if handler is not None:
            try:
                handler(error)
            except BaseException:
                log_raised("on_error", handler)
        topic = topic.next


cdef void keep_statistics(Reports* r, rd_kafka_event_t* event) noexcept with gil:
    try:
        (<object> r.client).keep_statistics(<bytes> api.event_stats(event))
    except BaseException:
        logger.exception("statistics were lost")
    api.event_destroy(event)
