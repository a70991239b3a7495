"""What threads without the GIL share of a client and its topics: the gate, the handles behind it, and the counters."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_t, rd_kafka_topic_t

cdef extern from "event_count.h" nogil:
    ctypedef struct event_count:
        pass
    uint64_t event_count_sequence(event_count* e)
    void event_count_signal(event_count* e)
    void event_count_wait(event_count* e, uint64_t seen, int64_t us)

cdef extern from "gate.h" nogil:
    ctypedef struct gate:
        event_count changed
    enum:
        GATE_CLOSED
        GATE_OPENING
        GATE_OPEN
        GATE_FATAL
        GATE_DRAINING
    unsigned GATE_IN(unsigned state)
    void gate_init(gate* g, unsigned state)
    unsigned gate_state(gate* g)
    uint64_t gate_users(gate* g)
    bint gate_enter(gate* g, unsigned states)
    void gate_leave(gate* g)
    bint gate_move(gate* g, unsigned states, unsigned to)
    bint gate_empty(gate* g, int64_t us)
    void gate_destroy(gate* g)

cdef extern from "counters.h" nogil:
    ctypedef uint64_t counter
    ctypedef struct histogram:
        counter largest
    ctypedef struct counters:
        counter queued
        counter queued_singly
        counter dropped
        counter rejected
        counter delivered
        counter failed
        counter bytes_delivered
        counter batches
        histogram latency
        counter* errors
    enum:
        ERROR_SLOTS
        ERROR_ZERO
    uint64_t counter_get(counter* c)
    void counter_add(counter* c, uint64_t n)
    void counter_add_shared(counter* c, uint64_t n)
    void counter_set(counter* c, uint64_t n)
    void counters_error(counters* c, int code)
    void histogram_add(histogram* h, int64_t us, uint64_t weight)
    uint64_t histogram_quantile(histogram* h, double quantile)
    int64_t monotonic_us()

cdef extern from "queue_room.h" nogil:
    ctypedef struct queue_room:
        uint64_t max_records
        uint64_t max_bytes
    uint64_t queue_room_records(queue_room* r)
    uint64_t queue_room_bytes(queue_room* r)
    void queue_room_take(queue_room* r, uint64_t records, uint64_t bytes)
    void queue_room_give_back(queue_room* r, uint64_t records, uint64_t bytes)
    void queue_room_take_single(queue_room* r, uint64_t bytes)
    void queue_room_release(queue_room* r, uint64_t records, uint64_t bytes)

cdef extern from "pacing.h" nogil:
    ctypedef struct pacing:
        counter limit
        int adapts
    void pacing_init(pacing* p, uint64_t limit)
    void pacing_report(pacing* p, uint64_t delivered, int64_t newest_us, int64_t linger_us, int64_t now_us)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t*, void*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)
    int pthread_mutex_destroy(pthread_mutex_t*)
    uint64_t this_thread "(uint64_t) pthread_self" ()

# Takes the reports of a topic in the place of on_delivery: called with the GIL, the messages live for the call. Each
# _private is a reference it takes over, possibly with its lowest three bits set.
ctypedef void (*report_function)(const rd_kafka_message_t** messages, Py_ssize_t count) noexcept

# A client's librdkafka instance, for as long as the client object lives.
cdef struct Handle:
    gate gate                  # `changed` moves also when records are released
    rd_kafka_t* rk             # inside the gate only; NULL when opening failed, or in a forked child not used yet
    rd_kafka_queue_t* queue    # of rk: reports, errors, log lines, statistics; inside the gate only
    queue_room room            # what the queue holds, and may hold
    bint idempotent            # a producer ID is needed before the first record goes
    int64_t linger_us          # linger.ms
    counter keeper             # the report thread's pthread_t, 0 without
    counter broken             # the last try to open anew failed; its exception is in the client
    Topic* topics              # all of them, the newest first; none goes before the client
    PyObject* owner            # the Client, borrowed
    void (*call_keeper)(Handle*) noexcept nogil  # has an instance opened anew: starts the keeper of a forked child

# One topic of a client, as one Producer uses it. librdkafka gives its address back with every message.
cdef struct Topic:
    Handle* client
    rd_kafka_topic_t* handle   # inside the gate only
    PyObject* spec             # its TopicSpec, borrowed from the client
    Topic* next                # in Handle.topics
    int rule                   # RULE_…: how a key's partition is found
    counter partitions         # of the topic, once a caller has seen them in this instance; 0 before
    counter renew_at           # us: when a batch goes to librdkafka unsorted, to see whether there are more
    counters counts
    counter refused            # code of the newest failure, 0 when a record was delivered since
    counter told               # the one that the log has
    PyObject* on_delivery      # borrowed from the Producer, or owned once that is gone; None: no reports are wanted
    PyObject* on_error         # likewise; None or a callable
    bint owns_callbacks
    report_function deliver    # NULL: on_delivery gets a DeliveryBatch
    pacing pace                # records in flight above which a caller lets the reports catch up
    counter paced_at           # sequence of `changed` at which a caller last did so …
    counter paced_us           # … from when on
    counter stalled_at         # … at which FULL_BLOCK_ONCE gave up waiting


cdef extern from *:
    """
    /* A new head of the list that threads without a lock walk: what it points to is written before. */
    #define topic_publish(head, topic) __atomic_store_n(head, topic, __ATOMIC_RELEASE)
    """
    void topic_publish(Topic** head, Topic* topic) noexcept nogil


cdef inline void publish_topic(Handle* handle, Topic* topic) noexcept nogil:
    topic_publish(&handle.topics, topic)


cdef inline uint64_t all_queued(Topic* topic) noexcept nogil:
    return counter_get(&topic.counts.queued) + counter_get(&topic.counts.queued_singly)


cdef inline uint64_t in_flight(Topic* topic) noexcept nogil:
    """Records of a topic that have no report yet."""
    # the two report counters first: what is queued meanwhile counts as in flight
    cdef uint64_t done = counter_get(&topic.counts.delivered) + counter_get(&topic.counts.failed)
    cdef uint64_t queued = all_queued(topic)
    return queued - done if queued > done else 0


cdef inline uint64_t all_delivered(Handle* handle) noexcept nogil:
    """Records of all topics of a client that were delivered."""
    cdef Topic* topic = handle.topics
    cdef uint64_t n = 0
    while topic != NULL:
        n += counter_get(&topic.counts.delivered)
        topic = topic.next
    return n


cdef inline uint64_t all_in_flight(Handle* handle) noexcept nogil:
    """Those of all topics of a client."""
    cdef Topic* topic = handle.topics
    cdef uint64_t n = 0
    while topic != NULL:
        n += in_flight(topic)
        topic = topic.next
    return n
