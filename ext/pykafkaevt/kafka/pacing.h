/* How many records in flight keep a topic's partitions busy, and no more than that: the rate at which records are
 * delivered, times the time they need: three times the least latency there is, the linger, and 2 ms.
 *
 * What waits at the brokers adds to every latency, so the least is found anew now and then with few records in flight.
 * Written by whoever handles reports, read by callers. */
#ifndef PYKAFKAEVT_PACING_H
#define PYKAFKAEVT_PACING_H

#include "counters.h"

enum {
    PACING_FIRST = 20000,    /* records, before the first estimate */
    PACING_LEAST = 4000,     /* records: some requests full of them */
    PACING_INTERVAL = 20000, /* us between two estimates, and twice the least latency more: reports come in lumps */
    PACING_EXTRA = 2000,     /* us */
    PACING_PROBE = 10000000, /* us from one search for the least latency to the next */
};

typedef struct pacing {
    counter limit;      /* records in flight above which a caller lets the reports catch up */
    int adapts;         /* else the limit stays */
    int probing;        /* the interval at hand has few records in flight */
    uint64_t rate;      /* records/s: the greatest of late */
    int64_t least_us;   /* the least latency since the last search; 0 before the first record */
    int64_t probed_us;  /* the last search */
    int64_t since_us;   /* the interval at hand … */
    int64_t until_us;
    uint64_t delivered; /* … and the records delivered in it */
} pacing;

/* limit: records; 0 to adapt. */
static inline void pacing_init(pacing *p, uint64_t limit) {
    p->adapts = limit == 0;
    counter_set(&p->limit, limit ? limit : PACING_FIRST);
}

/* So many records are delivered, the newest of them within newest_us. linger_us: linger.ms; now_us: monotonic_us(). */
static inline void pacing_report(
    pacing *p, uint64_t delivered, int64_t newest_us, int64_t linger_us, int64_t now_us
) {
    p->delivered += delivered;
    if (p->least_us == 0 || newest_us < p->least_us)
        p->least_us = newest_us;
    if (now_us < p->until_us)
        return;
    if (!p->probing && p->since_us) {
        uint64_t rate = p->delivered * 1000000 / (uint64_t)(now_us - p->since_us);
        p->rate = rate > p->rate ? rate : p->rate - (p->rate - rate) / 8;
    }
    uint64_t limit = p->rate * (uint64_t)(3 * p->least_us + linger_us + PACING_EXTRA) / 1000000;
    p->since_us = now_us;
    p->until_us = now_us + PACING_INTERVAL + 2 * p->least_us;
    p->delivered = 0;
    p->probing = p->rate && now_us - p->probed_us > PACING_PROBE;
    if (p->probing) {
        p->probed_us = now_us;
        p->least_us = 0;
    }
    counter_set(&p->limit, limit > PACING_LEAST && !p->probing ? limit : PACING_LEAST);
}

#endif
