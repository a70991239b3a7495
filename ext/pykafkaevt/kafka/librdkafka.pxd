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
    ctypedef struct rd_kafka_metadata_t
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
        RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
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

    ctypedef int (*rd_kafka_verifier)(
        rd_kafka_t *, const char *, int32_t, int *, int, const char *, size_t, char *, size_t, void *) noexcept nogil

    ctypedef struct addrinfo "struct addrinfo":
        pass
    ctypedef int (*rd_kafka_resolver)(
        const char *, const char *, const addrinfo *, addrinfo **, void *) noexcept nogil

# struct rdkafka_api, the table of functions: setup.py writes its declaration from librdkafka_loader.h
include "functions.pxi"

cdef extern from "librdkafka_loader.h" nogil:
    int rdkafka_load(const char *path, rdkafka_api *api, char *reason, size_t size)
    const char *rdkafka_file(const rdkafka_api *api)
