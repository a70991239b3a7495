"""See partitions.pxd. Source: librdkafka rd_kafka_produce_batch(), property partitioner."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from pykafkaevt.kafka.library cimport table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_PARTITION_UA, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
    rd_kafka_topic_t, rdkafka_api,
)
from pykafkaevt.kafka.topic cimport counter_get, counter_set, monotonic_us

cdef extern from "partitioner.h" nogil:
    enum:
        RULE_OTHER
        RULE_CONSISTENT_RANDOM
        RULE_MURMUR2_RANDOM
    void crc32_init()
    int32_t partition_of(int rule, const unsigned char* key, size_t n, int32_t partitions)

cdef extern from *:
    """
    /* Of the thread: the partitions the partitioner was last asked with. */
    static _Thread_local int32_t partitions_seen;
    """
    int32_t partitions_seen

crc32_init()

cdef const rdkafka_api* api = table()

cdef enum:
    SORTED = 512             # messages sorted together
    SORTED_PARTITIONS = 256  # partitions of a topic whose batches are sorted, at most
    SHARE = 2                # messages for each partition that are worth sorting
    RENEW_US = 1000000       # between two batches that look for more partitions

cdef dict RULES = {"consistent_random": RULE_CONSISTENT_RANDOM, "murmur2_random": RULE_MURMUR2_RANDOM}


cdef void set_partitioner(rd_kafka_topic_conf_t* conf, Topic* topic, str name) noexcept:
    topic.rule = RULES.get(name, RULE_OTHER)
    counter_set(&topic.partitions, 0)
    if topic.rule != RULE_OTHER:
        api.topic_conf_set_partitioner_cb(conf, assign)


cdef int32_t assign(
    const rd_kafka_topic_t* rkt, const void* key, size_t length, int32_t partitions, void* opaque, void* tag
) noexcept nogil:
    """librdkafka's callback: on the thread of a caller, or on librdkafka's own for what waited for the topic."""
    global partitions_seen
    cdef Topic* topic = <Topic*> opaque
    cdef uint64_t known = counter_get(&topic.partitions)
    cdef int32_t partition = partition_of(topic.rule, <const unsigned char*> key, length, partitions)
    # a key must not go by the old number once it went by the new one
    if known and known != <uint64_t> partitions:
        counter_set(&topic.partitions, partitions)
    partitions_seen = partitions
    if partition < 0:
        return api.msg_partitioner_random(rkt, key, length, partitions, opaque, tag)
    return partition


cdef void produce_batch(Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t size
    cdef int64_t now = monotonic_us()
    cdef int32_t partitions
    while n:
        size = min(n, SORTED)
        partitions = <int32_t> counter_get(&topic.partitions)
        if (
            partitions == 0 or partitions > SORTED_PARTITIONS or size < SHARE * partitions
            or now >= <int64_t> counter_get(&topic.renew_at)
        ):
            unsorted(topic, messages, size, now)
        else:
            sorted_by_partition(topic, messages, size, partitions)
        messages += size
        n -= size


cdef void unsorted(Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, int64_t now) noexcept nogil:
    """librdkafka finds the partitions. When it asked us here, nothing waits for the topic to be known any more."""
    global partitions_seen
    partitions_seen = 0
    api.produce_batch(topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, messages, <int> n)
    if partitions_seen:
        counter_set(&topic.partitions, partitions_seen)
        counter_set(&topic.renew_at, now + RENEW_US)


cdef void sorted_by_partition(
    Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n, int32_t partitions
) noexcept nogil:
    """A stable counting sort; messages that may go to any partition come last."""
    cdef rd_kafka_message_t[SORTED] in_order
    cdef uint32_t[SORTED_PARTITIONS + 2] ends
    cdef uint32_t[SORTED] place
    cdef rd_kafka_message_t* m
    cdef Py_ssize_t i
    cdef int32_t partition
    cdef uint32_t start = 0
    memset(ends, 0, (partitions + 2) * sizeof(uint32_t))
    for i in range(n):
        m = &messages[i]
        partition = partition_of(topic.rule, <const unsigned char*> m.key, m.key_len, partitions)
        place[i] = partition if partition >= 0 else partitions
        ends[place[i] + 1] += 1
    for i in range(1, partitions + 2):
        ends[i] += ends[i - 1]
    # a partition's start moves to its end as its messages come
    for i in range(n):
        partition = place[i]
        place[i] = ends[partition]
        ends[partition] += 1
        in_order[place[i]] = messages[i]
    for partition in range(partitions + 1):
        if ends[partition] > start:
            produce_to(
                topic, partition if partition < partitions else RD_KAFKA_PARTITION_UA,
                in_order + start, ends[partition] - start,
            )
            start = ends[partition]
    for i in range(n):
        messages[i].err = in_order[place[i]].err


cdef void produce_to(
    Topic* topic, int32_t partition, rd_kafka_message_t* messages, Py_ssize_t n
) noexcept nogil:
    cdef int queued = api.produce_batch(topic.handle, partition, RD_KAFKA_MSG_F_COPY, messages, <int> n)
    if queued == 0 and (
        messages[0].err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION or messages[0].err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
    ):
        # the topic was made anew, with fewer partitions
        counter_set(&topic.partitions, 0)
        api.produce_batch(topic.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, messages, <int> n)
