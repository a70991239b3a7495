"""librdkafka instances and the handles of their topics, made from properties."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdio cimport snprintf

from pykafkaevt.kafka.library cimport delivery_error, table, text_of_error
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_CONF_OK, RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_EVENT_LOG, RD_KAFKA_EVENT_STATS,
    rd_kafka_conf_t, rd_kafka_t, rd_kafka_topic_conf_t, rdkafka_api,
)
from pykafkaevt.kafka.partitions cimport set_partitioner
from pykafkaevt.kafka.process cimport destroy_guarded, new_guarded, resolver
from pykafkaevt.kafka.topic cimport Handle, Topic

from pykafkaevt.diagnosis import advice, joined
from pykafkaevt.errors import ConfigError
from pykafkaevt.references import all_resolved, without

cdef const rdkafka_api* api = table()

cdef str DEFAULT = "consistent_random"  # librdkafka's partitioner


cdef int name_verdict(
    rd_kafka_t* rk, const char* broker, int32_t broker_id, int* verdict, int depth, const char* certificate,
    size_t certificate_size, char* reason, size_t size, void* opaque
) noexcept nogil:
    """Leaves OpenSSL's verdict on a certificate as it is: librdkafka logs the reason, which its own errors lack."""
    if verdict[0] == 0:
        return 1
    snprintf(reason, size, b"X509_V_ERR %d", verdict[0])
    return 0


cdef void take_settings(rd_kafka_conf_t* conf, Handle* handle) noexcept:
    """What we act by ourselves. The limits of librdkafka's queue are ours to keep: it gets the largest there are."""
    cdef uint64_t records = int(setting(conf, "queue.buffering.max.messages"))
    handle.room.max_records = records if records else <uint64_t> -1
    handle.room.max_bytes = int(setting(conf, "queue.buffering.max.kbytes")) * 1024
    for name in (b"queue.buffering.max.messages", b"queue.buffering.max.kbytes"):
        api.conf_set(conf, name, b"2147483647", NULL, 0)
    handle.idempotent = setting(conf, "enable.idempotence") == b"true"
    handle.linger_us = <int64_t> (1000 * float(setting(conf, "linger.ms")))


cdef bytes setting(rd_kafka_conf_t* conf, const char* name):
    cdef char text[32]
    cdef size_t size = sizeof(text)
    return text if api.conf_get(conf, name, text, &size) == RD_KAFKA_CONF_OK else b""


cdef rd_kafka_conf_t* configured(str bootstrap_servers, list properties, list hidden, Handle* handle) except NULL:
    cdef char reason[REASON_SIZE]
    cdef rd_kafka_conf_t* conf = api.conf_new()
    # the client.id shows in the broker's logs; librdkafka's own log lines come as events
    for name, value in (
        ("client.id", "pykafkaevt"), ("statistics.interval.ms", "5000"), *properties,
        ("bootstrap.servers", bootstrap_servers), ("log.queue", "true"),
    ):
        if api.conf_set(conf, name.encode(), value.encode(), reason, sizeof(reason)) != RD_KAFKA_CONF_OK:
            api.conf_destroy(conf)
            raise config_error("g." + name, hidden, reason)
    take_settings(conf, handle)
    # a librdkafka without TLS has nothing to verify
    api.conf_set_ssl_cert_verify_cb(conf, name_verdict)
    api.conf_set_resolve_cb(conf, resolver())
    api.conf_set_events(
        conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS
    )
    return conf


cdef object config_error(str property, list hidden, const char* reason):
    text = text_of_error(reason)
    return ConfigError(property, joined(without(hidden, text), advice(text)))


cdef int open_handle(str bootstrap_servers, tuple properties, Handle* handle) except -1:
    cdef char reason[REASON_SIZE]
    cdef Topic* topic = handle.topics
    cdef Py_ssize_t wrong
    # for every instance again: a secret in a file may have changed
    found, hidden = all_resolved("g.", properties)
    (<object> handle.owner).diagnosis.hidden = hidden
    cdef rd_kafka_conf_t* conf = configured(bootstrap_servers, found, hidden, handle)
    cdef rd_kafka_t* rk
    with nogil:
        rk = new_guarded(conf, reason, sizeof(reason))
    if rk == NULL:
        api.conf_destroy(conf)
        # properties that are wrong together: librdkafka's reason names one of them or none
        text = text_of_error(reason)
        named = [name for name, _ in properties if name in text]
        raise config_error("g." + (named[0] if named else "*"), hidden, reason)
    while topic != NULL:
        wrong = (<TopicSpec> topic.spec).open(rk, topic, reason)
        if wrong:
            with nogil:
                close_topics(handle.topics)
                destroy_guarded(rk)
            (<TopicSpec> topic.spec).check(wrong, reason)
        topic = topic.next
    handle.rk = rk
    handle.queue = api.queue_get_main(rk)
    api.set_log_queue(rk, NULL)
    return 0


cdef void close_topics(Topic* topics) noexcept nogil:
    cdef Topic* topic = topics
    while topic != NULL:
        if topic.handle != NULL:
            api.topic_destroy(topic.handle)
            topic.handle = NULL
        topic = topic.next


cdef class TopicSpec:
    """name: the topic; properties: ((name, value), …) of it; global_properties: those of its client.

    Raises ConfigError for a value that is read from elsewhere and not to be had.
    """

    def __init__(self, str name, tuple properties, tuple global_properties):
        self.name = name.encode()
        found, self.hidden = all_resolved("t.", properties)
        self.properties = [(property.encode(), value.encode()) for property, value in found]
        self.partitioner = dict(found).get("partitioner") or dict(global_properties).get("partitioner", DEFAULT)

    cdef Py_ssize_t open(self, rd_kafka_t* rk, Topic* topic, char* reason) except? -2:
        cdef Py_ssize_t i
        cdef rd_kafka_topic_conf_t* conf = api.default_topic_conf_dup(rk)
        for i, (property, value) in enumerate(self.properties):
            if api.topic_conf_set(conf, property, value, reason, REASON_SIZE) != RD_KAFKA_CONF_OK:
                api.topic_conf_destroy(conf)
                return i + 1
        api.topic_conf_set_opaque(conf, topic)
        set_partitioner(conf, topic, self.partitioner)
        # takes over conf, also when it fails
        topic.handle = api.topic_new(rk, self.name, conf)
        return 0 if topic.handle != NULL else -1

    cdef int check(self, Py_ssize_t wrong, const char* reason) except -1:
        """wrong: 0; the property's place, from 1 on; -1: librdkafka makes no such topic."""
        if wrong == 0:
            return 0
        if wrong < 0:
            raise delivery_error(api.last_error(), f"topic {self.name.decode()}")
        raise config_error("t." + self.properties[wrong - 1][0].decode(), self.hidden, reason)
