/* Counters of one producer: written by one side, read by any thread, so C11 atomics with relaxed order. */
#ifndef PYKAFKAEVT_COUNTERS_H
#define PYKAFKAEVT_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

typedef _Atomic uint64_t counter;

static inline uint64_t counter_get(counter *c) { return atomic_load_explicit(c, memory_order_relaxed); }
static inline void counter_set(counter *c, uint64_t n) { atomic_store_explicit(c, n, memory_order_relaxed); }
/* For a counter that one thread at a time writes: no locked instruction. */
static inline void counter_add(counter *c, uint64_t n) {
    atomic_store_explicit(c, counter_get(c) + n, memory_order_relaxed);
}
/* For one that several threads write at once. In order with what they do before and after. */
static inline void counter_add_shared(counter *c, uint64_t n) { atomic_fetch_add(c, n); }

/* Log-linear: exact below 64 us, then 32 steps per power of two (3 %), up to 2^40 us. */
enum { HISTOGRAM_EXACT = 64, HISTOGRAM_STEPS = 32, HISTOGRAM_SIZE = 64 + 34 * 32 };

typedef struct histogram {
    counter steps[HISTOGRAM_SIZE];
    counter largest; /* us, exact */
} histogram;

static inline unsigned histogram_step(uint64_t us) {
    if (us < HISTOGRAM_EXACT)
        return (unsigned)us;
    unsigned shift = 58 - (unsigned)__builtin_clzll(us);
    unsigned step = HISTOGRAM_EXACT + (shift - 1) * HISTOGRAM_STEPS + (unsigned)((us >> shift) - HISTOGRAM_STEPS);
    return step < HISTOGRAM_SIZE ? step : HISTOGRAM_SIZE - 1;
}

/* The largest value that falls into a step. */
static inline uint64_t histogram_value(unsigned step) {
    if (step < HISTOGRAM_EXACT)
        return step;
    unsigned shift = (step - HISTOGRAM_EXACT) / HISTOGRAM_STEPS + 1;
    uint64_t mantissa = (step - HISTOGRAM_EXACT) % HISTOGRAM_STEPS + HISTOGRAM_STEPS;
    return ((mantissa + 1) << shift) - 1;
}

static inline void histogram_add(histogram *h, int64_t us, uint64_t weight) {
    uint64_t value = us > 0 ? (uint64_t)us : 0;
    counter_add(&h->steps[histogram_step(value)], weight);
    if (value > counter_get(&h->largest))
        atomic_store_explicit(&h->largest, value, memory_order_relaxed);
}

/* The value in us that the share `quantile` (0 to 1) of what was added does not exceed; 0 when empty. */
static inline uint64_t histogram_quantile(histogram *h, double quantile) {
    uint64_t total = 0, seen = 0, largest = counter_get(&h->largest);
    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++)
        total += counter_get(&h->steps[i]);
    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
        seen += counter_get(&h->steps[i]);
        if (seen && (double)seen >= quantile * (double)total) {
            uint64_t value = histogram_value(i);
            return value < largest ? value : largest;
        }
    }
    return largest;
}

/* One slot per librdkafka error code, which run from about -200 to 130; what is outside shares the first. */
enum { ERROR_SLOTS = 768, ERROR_ZERO = 512 };

typedef struct counters {
    /* callers' side, from many threads */
    counter queued;   /* accepted by librdkafka, in batches */
    counter queued_singly; /* one at a time, under the GIL: no locked instruction */
    counter dropped;  /* the queue was full under on_full="drop" */
    counter rejected; /* by librdkafka, as too large */
    char apart[64];   /* the two sides do not share a cache line */
    /* report thread's side */
    counter delivered;
    counter failed;
    counter bytes_delivered; /* keys and values */
    counter batches;         /* delivery report events */
    histogram latency;       /* us, from the call that queued the record to its report */
    _Atomic uint64_t errors[ERROR_SLOTS];
} counters;

static inline void counters_error(counters *c, int code) {
    int slot = code + ERROR_ZERO;
    atomic_fetch_add_explicit(&c->errors[slot > 0 && slot < ERROR_SLOTS ? slot : 0], 1, memory_order_relaxed);
}

/* CLOCK_MONOTONIC in us: the clock librdkafka measures latencies with. */
static inline int64_t monotonic_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif
