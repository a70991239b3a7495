"""The C API of librdkafka that we use, as declarations; nothing else (source: rdkafka.h, rdkafka_mock.h)."""

from libc.stdint cimport int16_t, int32_t, int64_t

cdef extern from "librdkafka_loader.h" nogil:
    ctypedef struct rd_kafka_t
    ctypedef struct rd_kafka_topic_t
    ctypedef struct rd_kafka_conf_t
    ctypedef struct rd_kafka_topic_conf_t
    ctypedef struct rd_kafka_queue_t
    ctypedef struct rd_kafka_event_t
    ctypedef struct rd_kafka_error_t
    ctypedef struct rd_kafka_mock_cluster_t
    ctypedef int rd_kafka_resp_err_t

    enum:
        RD_KAFKA_PRODUCER
        RD_KAFKA_CONF_OK
        RD_KAFKA_PARTITION_UA
        RD_KAFKA_MSG_F_COPY
        RD_KAFKA_EVENT_DR
        RD_KAFKA_EVENT_LOG
        RD_KAFKA_EVENT_ERROR
        RD_KAFKA_EVENT_STATS
        RD_KAFKA_PURGE_F_QUEUE
        RD_KAFKA_PURGE_F_INFLIGHT
        RD_KAFKA_PURGE_F_NON_BLOCKING
        RD_KAFKA_VTYPE_RKT
        RD_KAFKA_VTYPE_PARTITION
        RD_KAFKA_VTYPE_VALUE
        RD_KAFKA_VTYPE_KEY
        RD_KAFKA_VTYPE_OPAQUE
        RD_KAFKA_VTYPE_MSGFLAGS
        RD_KAFKA_VTYPE_TIMESTAMP
        RD_KAFKA_VTYPE_HEADER
        RD_KAFKA_RESP_ERR__QUEUE_FULL
        RD_KAFKA_RESP_ERR__PURGE_QUEUE
        RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        RD_KAFKA_RESP_ERR__FATAL
        RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        RD_KAFKA_RESP_ERR_NO_ERROR

    ctypedef struct rd_kafka_message_t:
        rd_kafka_resp_err_t err
        rd_kafka_topic_t *rkt
        int32_t partition
        void *payload
        size_t len
        void *key
        size_t key_len
        int64_t offset
        void *_private

    ctypedef struct _mem "struct { void *ptr; size_t size; }":
        void *ptr
        size_t size

    ctypedef struct _header "struct { const char *name; const void *val; ssize_t size; }":
        const char *name
        const void *val
        Py_ssize_t size

    ctypedef struct _value "union":
        rd_kafka_topic_t *rkt
        int i
        int32_t i32
        int64_t i64
        _mem mem
        _header header
        void *ptr

    ctypedef struct rd_kafka_vu_t:
        int vtype
        _value u

    ctypedef int32_t (*rd_kafka_partitioner)(
        const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *) noexcept nogil

    ctypedef struct addrinfo "struct addrinfo":
        pass
    ctypedef int (*rd_kafka_resolver)(
        const char *, const char *, const addrinfo *, addrinfo **, void *) noexcept nogil

    # the table of functions: a member NAME is librdkafka's rd_kafka_NAME
    ctypedef struct rdkafka_api:
        int (*version)() noexcept nogil
        const char *(*version_str)() noexcept nogil
        const char *(*err2str)(rd_kafka_resp_err_t) noexcept nogil
        const char *(*err2name)(rd_kafka_resp_err_t) noexcept nogil
        rd_kafka_resp_err_t (*last_error)() noexcept nogil
        rd_kafka_resp_err_t (*error_code)(const rd_kafka_error_t *) noexcept nogil
        int (*error_is_fatal)(const rd_kafka_error_t *) noexcept nogil
        void (*error_destroy)(rd_kafka_error_t *) noexcept nogil
        rd_kafka_conf_t *(*conf_new)() noexcept nogil
        void (*conf_destroy)(rd_kafka_conf_t *) noexcept nogil
        int (*conf_set)(rd_kafka_conf_t *, const char *, const char *, char *, size_t) noexcept nogil
        void (*conf_set_resolve_cb)(rd_kafka_conf_t *, rd_kafka_resolver) noexcept nogil
        void (*conf_set_events)(rd_kafka_conf_t *, int) noexcept nogil
        rd_kafka_topic_conf_t *(*default_topic_conf_dup)(rd_kafka_t *) noexcept nogil
        void (*topic_conf_destroy)(rd_kafka_topic_conf_t *) noexcept nogil
        int (*topic_conf_set)(rd_kafka_topic_conf_t *, const char *, const char *, char *, size_t) noexcept nogil
        void (*topic_conf_set_opaque)(rd_kafka_topic_conf_t *, void *) noexcept nogil
        void (*topic_conf_set_partitioner_cb)(rd_kafka_topic_conf_t *, rd_kafka_partitioner) noexcept nogil
        int32_t (*msg_partitioner_random)(
            const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *) noexcept nogil
        rd_kafka_t *(*new)(int, rd_kafka_conf_t *, char *, size_t) noexcept nogil
        void (*destroy)(rd_kafka_t *) noexcept nogil
        rd_kafka_topic_t *(*topic_new)(rd_kafka_t *, const char *, rd_kafka_topic_conf_t *) noexcept nogil
        void (*topic_destroy)(rd_kafka_topic_t *) noexcept nogil
        void *(*topic_opaque)(const rd_kafka_topic_t *) noexcept nogil
        int (*produce)(rd_kafka_topic_t *, int32_t, int, void *, size_t, const void *, size_t, void *) noexcept nogil
        int (*produce_batch)(rd_kafka_topic_t *, int32_t, int, rd_kafka_message_t *, int) noexcept nogil
        rd_kafka_error_t *(*produceva)(rd_kafka_t *, const rd_kafka_vu_t *, size_t) noexcept nogil
        int64_t (*message_latency)(const rd_kafka_message_t *) noexcept nogil
        rd_kafka_resp_err_t (*flush)(rd_kafka_t *, int) noexcept nogil
        rd_kafka_resp_err_t (*purge)(rd_kafka_t *, int) noexcept nogil
        rd_kafka_resp_err_t (*fatal_error)(rd_kafka_t *, char *, size_t) noexcept nogil
        rd_kafka_resp_err_t (*set_log_queue)(rd_kafka_t *, rd_kafka_queue_t *) noexcept nogil
        rd_kafka_queue_t *(*queue_get_main)(rd_kafka_t *) noexcept nogil
        void (*queue_destroy)(rd_kafka_queue_t *) noexcept nogil
        rd_kafka_event_t *(*queue_poll)(rd_kafka_queue_t *, int) noexcept nogil
        void (*queue_yield)(rd_kafka_queue_t *) noexcept nogil
        int (*event_type)(const rd_kafka_event_t *) noexcept nogil
        void (*event_destroy)(rd_kafka_event_t *) noexcept nogil
        size_t (*event_message_array)(rd_kafka_event_t *, const rd_kafka_message_t **, size_t) noexcept nogil
        size_t (*event_message_count)(rd_kafka_event_t *) noexcept nogil
        int (*event_log)(rd_kafka_event_t *, const char **, const char **, int *) noexcept nogil
        rd_kafka_resp_err_t (*event_error)(rd_kafka_event_t *) noexcept nogil
        const char *(*event_error_string)(rd_kafka_event_t *) noexcept nogil
        int (*event_error_is_fatal)(rd_kafka_event_t *) noexcept nogil
        const char *(*event_stats)(rd_kafka_event_t *) noexcept nogil
        rd_kafka_mock_cluster_t *(*mock_cluster_new)(rd_kafka_t *, int) noexcept nogil
        void (*mock_cluster_destroy)(rd_kafka_mock_cluster_t *) noexcept nogil
        const char *(*mock_cluster_bootstraps)(const rd_kafka_mock_cluster_t *) noexcept nogil
        rd_kafka_resp_err_t (*mock_topic_create)(rd_kafka_mock_cluster_t *, const char *, int, int) noexcept nogil
        rd_kafka_resp_err_t (*mock_broker_set_down)(rd_kafka_mock_cluster_t *, int32_t) noexcept nogil
        rd_kafka_resp_err_t (*mock_broker_set_up)(rd_kafka_mock_cluster_t *, int32_t) noexcept nogil
        rd_kafka_resp_err_t (*mock_broker_set_rtt)(rd_kafka_mock_cluster_t *, int32_t, int) noexcept nogil
        void (*mock_push_request_errors_array)(
            rd_kafka_mock_cluster_t *, int16_t, size_t, const rd_kafka_resp_err_t *) noexcept nogil
        void (*mock_clear_request_errors)(rd_kafka_mock_cluster_t *, int16_t) noexcept nogil

    int rdkafka_load(const char *path, rdkafka_api *api, char *reason, size_t size)
    const char *rdkafka_file(const rdkafka_api *api)
