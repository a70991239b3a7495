/* The limit: librdkafka's own produce calls from C, on the librdkafka that pykafkaevt loads.
 *
 *     build/c --bootstrap HOST:PORT|embedded --topic T --records N [options]     (build.sh makes it)
 *
 * Sends one ready-made payload with keys made before the clock starts, four records a key, and takes the delivery
 * reports in a thread. The clock stops when the last report is in. Prints one line of JSON: records, seconds,
 * cpu_us_per_record (user and system, of the timed part; with `embedded` the broker's too), cpu_us_by_thread,
 * latency_us, failed, rss_kb (peak). Ends with 1 when not all were delivered, with 2 for wrong usage.
 *
 * --throughput R sends record n when it is due, n/R seconds after the start, and counts its latency from then. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "counters.h"
#include "librdkafka_loader.h"
#include "event_count.h"
#include "threads.h"

enum {
    FAILED = 1,
    USAGE = 2,
    RECORDS_A_KEY = 4,
    EMBEDDED_PARTITIONS = 4,
    REPORT_CHUNK = 512, /* messages looked at together */
    LATENCY_SAMPLE = 8, /* of larger events one record in so many has its latency measured: a clock call each */
    WARM_MS = 30000,    /* for the first record */
    WAIT_MS = 1000,     /* for room in the queue, then tried again */
};

typedef struct options {
    const char *bootstrap, *topic, *librdkafka, *linger_ms, *acks;
    uint64_t records, size, key_size, batch;
    double throughput; /* records/s, 0 for as fast as it goes */
    bool batches;      /* rd_kafka_produce_batch */
    char **properties; /* name=value */
    int property_count;
} options;

/* Written by the report thread; read by the producing one. */
typedef struct reports {
    rd_kafka_queue_t *queue;
    event_count released; /* signalled after each event */
    counter delivered, failed;
    counter error;     /* the last one's code, of either thread */
    histogram latency; /* us */
    atomic_bool stopping;
} reports;

typedef struct run {
    options o;
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    reports reports;
    char *payload, *keys;
    rd_kafka_message_t *messages; /* o.batch of them, for rd_kafka_produce_batch */
    int64_t started;              /* us */
    uint64_t refused;             /* records that never got into the queue */
} run;

static rdkafka_api api;

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("c: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory)
        fail(FAILED, "no memory for %zu x %zu bytes", count, size);
    return memory;
}

/* Options */

static uint64_t whole_number(const char *name, const char *text, uint64_t least, uint64_t most) {
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n < least || n > most)
        fail(USAGE, "--%s takes a whole number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, least, most, text);
    return n;
}

static double rate(const char *text) {
    char *end;
    double r = strtod(text, &end);
    if (end == text || *end || !(r >= 0.001 && r <= 1e9))
        fail(USAGE, "--throughput takes records per second, 0.001 to 1e9, not '%s'", text);
    return r;
}

static options parse(int argc, char **argv) {
    enum { POSITIONAL = 1 };
    static const struct option names[] = {
        {"bootstrap", 1, NULL, 'b'},  {"topic", 1, NULL, 't'},      {"records", 1, NULL, 'n'},
        {"size", 1, NULL, 's'},       {"key-size", 1, NULL, 'k'},   {"linger-ms", 1, NULL, 'l'},
        {"acks", 1, NULL, 'a'},       {"mode", 1, NULL, 'm'},       {"batch", 1, NULL, 'B'},
        {"throughput", 1, NULL, 'r'}, {"librdkafka", 1, NULL, 'L'}, {"config", 1, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    const char *library = getenv("PYKAFKAEVT_LIBRDKAFKA");
    options o = {
        .librdkafka = library && *library ? library : "librdkafka.so.1",
        .linger_ms = "5",
        .acks = "all",
        .size = 277,
        .key_size = 25,
        .batch = 512,
        .properties = allocate((size_t)argc, sizeof(char *)),
    };
    int option, before = 0;
    while ((option = getopt_long(argc, argv, "-", names, NULL)) != -1) {
        if (option == POSITIONAL && before == 'c') /* a further word after --config */
            option = 'c';
        switch (option) {
        case 'b': o.bootstrap = optarg; break;
        case 't': o.topic = optarg; break;
        case 'n': o.records = whole_number("records", optarg, 1, UINT32_MAX); break;
        case 's': o.size = whole_number("size", optarg, 1, 1000000000); break;
        case 'k': o.key_size = whole_number("key-size", optarg, 0, 1000000); break;
        case 'l': o.linger_ms = optarg; break;
        case 'a': o.acks = optarg; break;
        case 'B': o.batch = whole_number("batch", optarg, 1, 1000000); break;
        case 'r': o.throughput = rate(optarg); break;
        case 'L': o.librdkafka = optarg; break;
        case 'm':
            o.batches = !strcmp(optarg, "batch");
            if (!o.batches && strcmp(optarg, "single"))
                fail(USAGE, "--mode is single or batch, not '%s'", optarg);
            break;
        case 'c':
            if (!strchr(optarg, '=') || *optarg == '=')
                fail(USAGE, "--config takes name=value, not '%s'", optarg);
            o.properties[o.property_count++] = optarg;
            break;
        case POSITIONAL: fail(USAGE, "nothing is known of '%s'", optarg);
        default: exit(USAGE); /* getopt has said why */
        }
        before = option;
    }
    if (optind < argc)
        fail(USAGE, "nothing is known of '%s'", argv[optind]);
    if (!o.bootstrap || !o.topic || !o.records)
        fail(USAGE, "--bootstrap, --topic and --records are needed");
    return o;
}

/* The report thread */

static void take_reports(reports *r, rd_kafka_event_t *event) {
    const rd_kafka_message_t *batch[REPORT_CHUNK];
    size_t total = api.event_message_count(event), index = 0, n;
    size_t weight = total > 8 * LATENCY_SAMPLE ? LATENCY_SAMPLE : 1;
    uint64_t delivered = 0, failed = 0;
    int64_t now = monotonic_us();
    while ((n = api.event_message_array(event, batch, REPORT_CHUNK)))
        for (size_t i = 0; i < n; i++, index++) {
            const rd_kafka_message_t *m = batch[i];
            if (m->err) {
                failed++;
                counter_set(&r->error, (uint64_t)(int64_t)m->err);
            } else
                delivered++;
            if (index % weight == 0) {
                int64_t us = m->_private ? now - (int64_t)(intptr_t)m->_private : api.message_latency(m);
                histogram_add(&r->latency, us, total - index < weight ? total - index : weight);
            }
        }
    api.event_destroy(event); /* which gives the queue its room back */
    counter_add(&r->delivered, delivered);
    counter_add(&r->failed, failed);
    event_count_signal(&r->released);
}

static void *serve(void *argument) {
    reports *r = argument;
    rd_kafka_resp_err_t said = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (;;) {
        rd_kafka_event_t *event = api.queue_poll(r->queue, -1);
        if (!event) {
            if (atomic_load(&r->stopping))
                return NULL;
            continue;
        }
        if (api.event_type(event) == RD_KAFKA_EVENT_DR) {
            take_reports(r, event);
            continue;
        }
        rd_kafka_resp_err_t error = api.event_error(event);
        if (error != said) /* a connection is tried many times a second */
            fprintf(stderr, "c: %s\n", api.event_error_string(event));
        said = error;
        api.event_destroy(event);
    }
}

/* Whether `count` records have their report within `ms`; a flush, so without the linger for what is still queued. */
static bool all_reported(run *r, uint64_t count, int ms) {
    api.flush(r->rk, ms);
    for (int tries = 0; tries < 2; tries++) {
        uint64_t seen = event_count_sequence(&r->reports.released);
        if (counter_get(&r->reports.delivered) + counter_get(&r->reports.failed) == count)
            return true;
        event_count_wait(&r->reports.released, seen, WAIT_MS * 1000);
    }
    return false;
}

/* Producing */

static const char *key(const run *r, uint64_t n) {
    return r->o.key_size ? r->keys + n / RECORDS_A_KEY * r->o.key_size : NULL;
}

/* When record n is due, in us; 0 without a rate. It travels as the opaque. */
static int64_t due(const run *r, uint64_t n) {
    return r->o.throughput > 0 ? r->started + (int64_t)((double)n * 1e6 / r->o.throughput) : 0;
}

static void refuse(run *r, rd_kafka_resp_err_t error) {
    r->refused++;
    counter_set(&r->reports.error, (uint64_t)(int64_t)error);
}

static void produce_each(run *r, uint64_t first, uint64_t end) {
    const size_t size = r->o.size, key_size = r->o.key_size;
    for (uint64_t n = first; n < end; n++) {
        void *opaque = (void *)(intptr_t)due(r, n);
        for (;;) {
            uint64_t seen = event_count_sequence(&r->reports.released);
            if (!api.produce(r->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, r->payload, size, key(r, n),
                             key_size, opaque))
                break;
            rd_kafka_resp_err_t error = api.last_error();
            if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                refuse(r, error);
                break;
            }
            event_count_wait(&r->reports.released, seen, WAIT_MS * 1000);
        }
    }
}

static void produce_batches(run *r, uint64_t first, uint64_t end) {
    rd_kafka_message_t *m = r->messages;
    while (first < end) {
        int count = (int)(end - first < r->o.batch ? end - first : r->o.batch);
        for (int i = 0; i < count; i++, first++)
            m[i] = (rd_kafka_message_t){
                .payload = r->payload,
                .len = r->o.size,
                .key = (void *)(uintptr_t)key(r, first),
                .key_len = r->o.key_size,
                ._private = (void *)(intptr_t)due(r, first),
            };
        while (count) {
            uint64_t seen = event_count_sequence(&r->reports.released);
            int left = 0;
            if (api.produce_batch(r->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, m, count) < count) {
                for (int i = 0; i < count; i++) {
                    if (m[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
                        m[left++] = m[i];
                    else if (m[i].err)
                        refuse(r, m[i].err);
                }
            }
            if ((count = left))
                event_count_wait(&r->reports.released, seen, WAIT_MS * 1000);
        }
    }
}

static void sleep_until(int64_t us) {
    struct timespec at = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static void produce_all(run *r) {
    void (*produce)(run *, uint64_t, uint64_t) = r->o.batches ? produce_batches : produce_each;
    if (r->o.throughput <= 0) {
        produce(r, 0, r->o.records);
        return;
    }
    for (uint64_t sent = 0, end = 0; sent < r->o.records; sent = end) {
        int64_t now = monotonic_us();
        while (end < r->o.records && due(r, end) <= now)
            end++;
        if (end == sent)
            sleep_until(due(r, sent));
        else
            produce(r, sent, end);
    }
}

/* Making the client and the records */

static void make_records(run *r) {
    static const char head[] = "{\"jsonrpc\":\"2.0\",\"method\":\"E_SIP\",\"params\":{\"data\":\"", tail[] = "\"}}";
    static const size_t head_size = sizeof head - 1, tail_size = sizeof tail - 1;
    const size_t size = r->o.size, key_size = r->o.key_size;
    r->payload = allocate(size, 1);
    memset(r->payload, '0', size);
    if (size >= head_size + tail_size) {
        memcpy(r->payload, head, head_size);
        for (size_t i = head_size; i < size - tail_size; i++)
            r->payload[i] = (char)('a' + i * 7 % 26);
        memcpy(r->payload + size - tail_size, tail, tail_size);
    }
    /* as a Call-ID: 16 digits that differ, and a host; cut or repeated to the size */
    const uint64_t keys = r->o.records / RECORDS_A_KEY + 1;
    r->keys = allocate(keys, key_size);
    for (uint64_t n = 0; n < keys; n++) {
        char call_id[32];
        size_t length = (size_t)snprintf(call_id, sizeof call_id, "%016" PRIx64 "@10.1.2.3", n * 0x9e3779b97f4a7c15u);
        for (size_t i = 0; i < key_size; i++)
            r->keys[n * key_size + i] = call_id[i % length];
    }
    if (r->o.batches)
        r->messages = allocate(r->o.batch, sizeof *r->messages);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char reason[512];
    if (api.conf_set(conf, name, value, reason, sizeof reason) != RD_KAFKA_CONF_OK)
        fail(USAGE, "%s", reason);
}

static rd_kafka_t *client(rd_kafka_conf_t *conf) {
    char reason[512];
    rd_kafka_t *rk = api.new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (!rk)
        fail(USAGE, "%s", reason);
    return rk;
}

/* A cluster of one mock broker inside this process; `*carrier` is the client it lives in. */
static rd_kafka_mock_cluster_t *embedded(const char *topic, rd_kafka_t **carrier) {
    rd_kafka_conf_t *conf = api.conf_new();
    set(conf, "log_level", "2"); /* the carrier connects nowhere: its warning about that is of no use */
    *carrier = client(conf);
    rd_kafka_mock_cluster_t *cluster = api.mock_cluster_new(*carrier, 1);
    if (!cluster)
        fail(FAILED, "librdkafka made no mock cluster");
    rd_kafka_resp_err_t error = api.mock_topic_create(cluster, topic, EMBEDDED_PARTITIONS, 1);
    if (error)
        fail(FAILED, "topic %s: %s", topic, api.err2str(error));
    return cluster;
}

static void open_client(run *r, const char *bootstrap) {
    rd_kafka_conf_t *conf = api.conf_new();
    set(conf, "log_level", "2"); /* errors come as events */
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "linger.ms", r->o.linger_ms);
    set(conf, "acks", r->o.acks);
    for (int i = 0; i < r->o.property_count; i++) {
        char *property = r->o.properties[i], *equals = strchr(property, '=');
        *equals = '\0';
        set(conf, property, equals + 1);
    }
    api.conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    r->rk = client(conf);
    r->topic = api.topic_new(r->rk, r->o.topic, NULL);
    if (!r->topic)
        fail(USAGE, "topic %s: %s", r->o.topic, api.err2str(api.last_error()));
    r->reports.queue = api.queue_get_main(r->rk);
    event_count_init(&r->reports.released);
}

static double cpu_us(const struct rusage *u) {
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e6 +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

int main(int argc, char **argv) {
    static run r;
    char reason[512];
    pthread_t report_thread;
    rd_kafka_t *carrier = NULL;
    rd_kafka_mock_cluster_t *cluster = NULL;
    struct rusage before, after;
    static threads_cpu threads_before, threads_after;

    r.o = parse(argc, argv);
    if (rdkafka_load(r.o.librdkafka, &api, reason, sizeof reason))
        fail(FAILED, "librdkafka %s: %s", r.o.librdkafka, reason);
    if (!strcmp(r.o.bootstrap, "embedded"))
        cluster = embedded(r.o.topic, &carrier);
    open_client(&r, cluster ? api.mock_cluster_bootstraps(cluster) : r.o.bootstrap);
    make_records(&r);
    int error = pthread_create(&report_thread, NULL, serve, &r.reports);
    if (error)
        fail(FAILED, "the report thread: %s", strerror(error));
    pthread_setname_np(report_thread, "reports");

    /* one record first: connections and the topic's partitions are there when the clock starts */
    if (api.produce(r.topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, "warm", 4, NULL, 0, NULL))
        fail(FAILED, "the first record: %s", api.err2str(api.last_error()));
    if (!all_reported(&r, 1, WARM_MS) || counter_get(&r.reports.failed))
        fail(FAILED, "%s took no record within %d s", r.o.bootstrap, WARM_MS / 1000);
    memset(&r.reports.latency, 0, sizeof r.reports.latency);

    threads_look(&threads_before);
    getrusage(RUSAGE_SELF, &before);
    r.started = monotonic_us();
    produce_all(&r);
    bool complete = all_reported(&r, 1 + r.o.records - r.refused, -1);
    double seconds = (double)(monotonic_us() - r.started) / 1e6;
    getrusage(RUSAGE_SELF, &after);
    threads_look(&threads_after);

    uint64_t failed = r.o.records + 1 - counter_get(&r.reports.delivered);
    printf("{\"records\":%" PRIu64 ",\"seconds\":%.6f,\"cpu_us_per_record\":%.4f,\"cpu_us_by_thread\":",
           r.o.records, seconds, (cpu_us(&after) - cpu_us(&before)) / (double)r.o.records);
    threads_print(&threads_before, &threads_after, (double)r.o.records);
    fputs(",\"latency_us\":{", stdout);
    static const struct {
        const char *name;
        double quantile;
    } shown[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        printf("\"%s\":%" PRIu64 ",", shown[i].name, histogram_quantile(&r.reports.latency, shown[i].quantile));
    printf("\"max\":%" PRIu64 "},\"failed\":%" PRIu64 ",\"rss_kb\":%ld}\n", counter_get(&r.reports.latency.largest),
           failed, after.ru_maxrss);
    fflush(stdout);

    if (!complete)
        fail(FAILED, "%" PRIu64 " records have no report", failed);
    atomic_store(&r.reports.stopping, true);
    api.queue_yield(r.reports.queue);
    pthread_join(report_thread, NULL);
    api.queue_destroy(r.reports.queue);
    api.topic_destroy(r.topic);
    api.destroy(r.rk);
    if (cluster) {
        api.mock_cluster_destroy(cluster);
        api.destroy(carrier);
    }
    if (failed)
        fail(FAILED, "%" PRIu64 " of %" PRIu64 " records were not delivered: %s", failed, r.o.records,
             api.err2str((rd_kafka_resp_err_t)(int64_t)counter_get(&r.reports.error)));
    return 0;
}
