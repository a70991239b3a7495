/* pacing.h: the limit follows rate and latency, and a path that changed is found. */
#include "pacing.h"

#include <inttypes.h>

#include "check.h"

#define EXPECT(holds) CHECK(holds, "the limit is %" PRIu64, counter_get(&one.limit))

enum { LINGER = 5000 };

static pacing one;
static int64_t now = 1000000;

/* Reports every millisecond for so many ms: so many records each, the newest within newest_us. */
static uint64_t run(int ms, uint64_t records, int64_t newest_us) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < ms; i++) {
        now += 1000;
        pacing_report(&one, records, newest_us, LINGER, now);
        if (counter_get(&one.limit) < least)
            least = counter_get(&one.limit);
    }
    return least;
}

int main(void) {
    /* 1,000 records/ms that need 3 x 1 ms, the linger, and 2 ms */
    pacing_init(&one, 0);
    EXPECT(counter_get(&one.limit) == PACING_FIRST);
    run(200, 1000, 1000);
    EXPECT(counter_get(&one.limit) == 10000);
    /* what waits at the brokers does not count as the path */
    run(200, 1000, 50000);
    EXPECT(counter_get(&one.limit) == 10000);
    /* a slower broker shows after a while, a faster one at once, and little traffic leaves some room */
    run(2000, 500, 1000);
    EXPECT(counter_get(&one.limit) < 5500);
    run(100, 2000, 1000);
    EXPECT(counter_get(&one.limit) == 20000);
    run(5000, 1, 1000);
    EXPECT(counter_get(&one.limit) == PACING_LEAST);
    /* the search for another path: few records in flight for a moment, then the new path's limit */
    run(100, 1000, 1000);
    EXPECT(run(PACING_PROBE / 1000 + 1000, 1000, 100000) == PACING_LEAST);
    EXPECT(counter_get(&one.limit) == 307000);
    /* a number that was given stays */
    pacing_init(&one, 77);
    EXPECT(counter_get(&one.limit) == 77 && !one.adapts);
    return 0;
}
