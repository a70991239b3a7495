/* librdkafka's public ABI as far as we use it, and the table of its functions, filled by dlopen/dlsym.
 * Source of every declaration: the documentation in rdkafka.h and rdkafka_mock.h. */
#ifndef PYKAFKAEVT_LIBRDKAFKA_LOADER_H
#define PYKAFKAEVT_LIBRDKAFKA_LOADER_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_op_s rd_kafka_event_t;
typedef struct rd_kafka_error_s rd_kafka_error_t;
typedef struct rd_kafka_metadata rd_kafka_metadata_t;
typedef struct rd_kafka_mock_cluster_s rd_kafka_mock_cluster_t;
typedef int rd_kafka_resp_err_t;

enum {
    RD_KAFKA_PRODUCER = 0,
    RD_KAFKA_CONF_OK = 0,
    RD_KAFKA_PARTITION_UA = -1,
    RD_KAFKA_MSG_F_COPY = 0x2,
    RD_KAFKA_EVENT_DR = 0x1,
    RD_KAFKA_EVENT_LOG = 0x4,
    RD_KAFKA_EVENT_ERROR = 0x8,
    RD_KAFKA_EVENT_STATS = 0x40,
    RD_KAFKA_PURGE_F_QUEUE = 0x1,
    RD_KAFKA_PURGE_F_INFLIGHT = 0x2,
    RD_KAFKA_PURGE_F_NON_BLOCKING = 0x4,
    RD_KAFKA_VTYPE_RKT = 2,
    RD_KAFKA_VTYPE_PARTITION = 3,
    RD_KAFKA_VTYPE_VALUE = 4,
    RD_KAFKA_VTYPE_KEY = 5,
    RD_KAFKA_VTYPE_OPAQUE = 6,
    RD_KAFKA_VTYPE_MSGFLAGS = 7,
    RD_KAFKA_VTYPE_TIMESTAMP = 8,
    RD_KAFKA_VTYPE_HEADER = 9,
    RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION = -190,
    RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC = -188,
    RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN = -187,
    RD_KAFKA_RESP_ERR__QUEUE_FULL = -184,
    RD_KAFKA_RESP_ERR__PURGE_QUEUE = -152,
    RD_KAFKA_RESP_ERR__PURGE_INFLIGHT = -151,
    RD_KAFKA_RESP_ERR__FATAL = -150,
    RD_KAFKA_RESP_ERR_NO_ERROR = 0,
};

typedef struct rd_kafka_message_s {
    rd_kafka_resp_err_t err;
    rd_kafka_topic_t *rkt;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *_private; /* the opaque given to produce */
} rd_kafka_message_t;

typedef struct rd_kafka_vu_s {
    int vtype;
    union {
        rd_kafka_topic_t *rkt;
        int i;
        int32_t i32;
        int64_t i64;
        struct {
            void *ptr;
            size_t size;
        } mem;
        struct {
            const char *name;
            const void *val;
            ssize_t size;
        } header;
        void *ptr;
        char _pad[64];
    } u;
} rd_kafka_vu_t;

typedef int32_t (*rd_kafka_partitioner)(const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *);

typedef int (*rd_kafka_verifier)(
    rd_kafka_t *, const char *, int32_t, int *, int, const char *, size_t, char *, size_t, void *);

struct addrinfo;
typedef int (*rd_kafka_resolver)(const char *, const char *, const struct addrinfo *, struct addrinfo **, void *);

/* One row per function: result, name without its rd_kafka_ prefix, arguments. */
#define RDKAFKA_FUNCTIONS(F) \
    F(int, version, (void)) \
    F(const char *, version_str, (void)) \
    F(const char *, err2str, (rd_kafka_resp_err_t)) \
    F(const char *, err2name, (rd_kafka_resp_err_t)) \
    F(rd_kafka_resp_err_t, last_error, (void)) \
    F(rd_kafka_resp_err_t, error_code, (const rd_kafka_error_t *)) \
    F(int, error_is_fatal, (const rd_kafka_error_t *)) \
    F(void, error_destroy, (rd_kafka_error_t *)) \
    F(rd_kafka_conf_t *, conf_new, (void)) \
    F(void, conf_destroy, (rd_kafka_conf_t *)) \
    F(int, conf_set, (rd_kafka_conf_t *, const char *, const char *, char *, size_t)) \
    F(int, conf_get, (const rd_kafka_conf_t *, const char *, char *, size_t *)) \
    F(void, conf_set_resolve_cb, (rd_kafka_conf_t *, rd_kafka_resolver)) \
    F(int, conf_set_ssl_cert_verify_cb, (rd_kafka_conf_t *, rd_kafka_verifier)) \
    F(void, conf_set_events, (rd_kafka_conf_t *, int)) \
    F(rd_kafka_topic_conf_t *, default_topic_conf_dup, (rd_kafka_t *)) \
    F(void, topic_conf_destroy, (rd_kafka_topic_conf_t *)) \
    F(int, topic_conf_set, (rd_kafka_topic_conf_t *, const char *, const char *, char *, size_t)) \
    F(void, topic_conf_set_opaque, (rd_kafka_topic_conf_t *, void *)) \
    F(void, topic_conf_set_partitioner_cb, (rd_kafka_topic_conf_t *, rd_kafka_partitioner)) \
    F(int32_t, msg_partitioner_random, (const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *)) \
    F(rd_kafka_t *, new, (int, rd_kafka_conf_t *, char *, size_t)) \
    F(void, destroy, (rd_kafka_t *)) \
    F(rd_kafka_topic_t *, topic_new, (rd_kafka_t *, const char *, rd_kafka_topic_conf_t *)) \
    F(void, topic_destroy, (rd_kafka_topic_t *)) \
    F(void *, topic_opaque, (const rd_kafka_topic_t *)) \
    F(int, produce, (rd_kafka_topic_t *, int32_t, int, void *, size_t, const void *, size_t, void *)) \
    F(int, produce_batch, (rd_kafka_topic_t *, int32_t, int, rd_kafka_message_t *, int)) \
    F(rd_kafka_error_t *, produceva, (rd_kafka_t *, const rd_kafka_vu_t *, size_t)) \
    F(int64_t, message_latency, (const rd_kafka_message_t *)) \
    F(rd_kafka_resp_err_t, metadata, (rd_kafka_t *, int, rd_kafka_topic_t *, const rd_kafka_metadata_t **, int)) \
    F(void, metadata_destroy, (const rd_kafka_metadata_t *)) \
    F(rd_kafka_resp_err_t, flush, (rd_kafka_t *, int)) \
    F(rd_kafka_resp_err_t, purge, (rd_kafka_t *, int)) \
    F(rd_kafka_resp_err_t, fatal_error, (rd_kafka_t *, char *, size_t)) \
    F(rd_kafka_resp_err_t, set_log_queue, (rd_kafka_t *, rd_kafka_queue_t *)) \
    F(rd_kafka_queue_t *, queue_get_main, (rd_kafka_t *)) \
    F(void, queue_destroy, (rd_kafka_queue_t *)) \
    F(rd_kafka_event_t *, queue_poll, (rd_kafka_queue_t *, int)) \
    F(void, queue_yield, (rd_kafka_queue_t *)) \
    F(int, event_type, (const rd_kafka_event_t *)) \
    F(void, event_destroy, (rd_kafka_event_t *)) \
    F(size_t, event_message_array, (rd_kafka_event_t *, const rd_kafka_message_t **, size_t)) \
    F(size_t, event_message_count, (rd_kafka_event_t *)) \
    F(int, event_log, (rd_kafka_event_t *, const char **, const char **, int *)) \
    F(rd_kafka_resp_err_t, event_error, (rd_kafka_event_t *)) \
    F(const char *, event_error_string, (rd_kafka_event_t *)) \
    F(int, event_error_is_fatal, (rd_kafka_event_t *)) \
    F(const char *, event_stats, (rd_kafka_event_t *)) \
    F(rd_kafka_mock_cluster_t *, mock_cluster_new, (rd_kafka_t *, int)) \
    F(void, mock_cluster_destroy, (rd_kafka_mock_cluster_t *)) \
    F(const char *, mock_cluster_bootstraps, (const rd_kafka_mock_cluster_t *)) \
    F(rd_kafka_resp_err_t, mock_topic_create, (rd_kafka_mock_cluster_t *, const char *, int, int)) \
    F(rd_kafka_resp_err_t, mock_broker_set_down, (rd_kafka_mock_cluster_t *, int32_t)) \
    F(rd_kafka_resp_err_t, mock_broker_set_up, (rd_kafka_mock_cluster_t *, int32_t)) \
    F(rd_kafka_resp_err_t, mock_broker_set_rtt, (rd_kafka_mock_cluster_t *, int32_t, int)) \
    F(void, mock_push_request_errors_array, \
      (rd_kafka_mock_cluster_t *, int16_t, size_t, const rd_kafka_resp_err_t *)) \
    F(void, mock_clear_request_errors, (rd_kafka_mock_cluster_t *, int16_t))

typedef struct rdkafka_api {
#define F(result, name, arguments) result (*name) arguments;
    RDKAFKA_FUNCTIONS(F)
#undef F
} rdkafka_api;

/* Fills the table from the library at `path`. Returns 0, or -1 with the reason in `reason`.
 * The handle stays open for the life of the process. */
static inline int rdkafka_load(const char *path, rdkafka_api *api, char *reason, size_t size) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *text = dlerror();
        snprintf(reason, size, "%s", text ? text : "dlopen failed");
        return -1;
    }
#define F(result, name, arguments) \
    if (!(*(void **)&api->name = dlsym(handle, "rd_kafka_" #name))) { \
        snprintf(reason, size, "has no symbol rd_kafka_" #name); \
        dlclose(handle); \
        return -1; \
    }
    RDKAFKA_FUNCTIONS(F)
#undef F
    return 0;
}

/* The file the loaded library came from, as the dynamic linker has it. */
static inline const char *rdkafka_file(const rdkafka_api *api) {
    Dl_info info;
    return dladdr(*(void *const *)&api->version, &info) ? info.dli_fname : NULL;
}

#endif
