/* event_count.h: a signal wakes every sleeper, none is lost between looking and sleeping, and a wait ends in time. */
#include "event_count.h"

#include "check.h"
#include "counters.h"

enum { SLEEPERS = 4, RECORDS = 10000, CAPACITY = 3, LONG_MS = 10000 };

static void test_wait_returns_at_once_when_the_sequence_is_newer(void) {
    event_count r;
    event_count_init(&r);
    uint64_t seen = event_count_sequence(&r);
    event_count_signal(&r);
    int64_t start = monotonic_us();
    event_count_wait(&r, seen, LONG_MS * 1000);
    CHECK(monotonic_us() - start < LONG_MS * 500, "waited");
    event_count_destroy(&r);
}

static void test_wait_ends_after_its_time(void) {
    static const int times[] = {0, 1, 30, 1001};
    event_count r;
    event_count_init(&r);
    for (int i = 0; i < 4; i++) {
        int64_t start = monotonic_us();
        event_count_wait(&r, event_count_sequence(&r), times[i] * 1000);
        int64_t took = monotonic_us() - start;
        CHECK(took >= times[i] * 1000 - 1 && took < LONG_MS * 1000, "%d ms took %lld us", times[i], (long long)took);
        CHECK(atomic_load(&r.sleepers) == 0, "%d ms", times[i]);
    }
    event_count_destroy(&r);
}

static void *sleep_once(void *r) {
    int64_t start = monotonic_us();
    event_count_wait(r, 0, LONG_MS * 1000);
    CHECK(monotonic_us() - start < LONG_MS * 900, "the signal did not wake a sleeper");
    return NULL;
}

static void test_one_signal_wakes_every_sleeper(void) {
    event_count r;
    pthread_t threads[SLEEPERS];
    event_count_init(&r);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK(pthread_create(&threads[i], NULL, sleep_once, &r) == 0, "pthread_create");
    while (atomic_load(&r.sleepers) < SLEEPERS)
        usleep(100);
    event_count_signal(&r);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&r.sleepers) == 0, "all are up");
    event_count_destroy(&r);
}

/* A queue of CAPACITY records that is always full or empty: callers wait for room, the report thread for records. */
static event_count has_room, has_records;
static _Atomic int queued;

static int add(int n) {
    int old = atomic_load(&queued);
    while (old + n >= 0 && old + n <= CAPACITY)
        if (atomic_compare_exchange_weak(&queued, &old, old + n))
            return 1;
    return 0;
}

static void move_one(int n, event_count *mine, event_count *other) {
    for (;;) {
        uint64_t seen = event_count_sequence(mine);
        if (add(n))
            break;
        int64_t start = monotonic_us();
        event_count_wait(mine, seen, LONG_MS * 1000);
        CHECK(monotonic_us() - start < LONG_MS * 900, "a wakeup was lost");
    }
    event_count_signal(other);
}

static void *call(void *unused) {
    for (int i = 0; i < RECORDS; i++)
        move_one(1, &has_room, &has_records);
    return unused;
}

static void test_no_wakeup_is_lost(void) {
    pthread_t threads[SLEEPERS];
    event_count_init(&has_room);
    event_count_init(&has_records);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK(pthread_create(&threads[i], NULL, call, NULL) == 0, "pthread_create");
    for (int i = 0; i < SLEEPERS * RECORDS; i++)
        move_one(-1, &has_records, &has_room);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&queued) == 0, "%d left", atomic_load(&queued));
    CHECK(event_count_sequence(&has_room) == SLEEPERS * RECORDS, "every release was counted");
    event_count_destroy(&has_room);
    event_count_destroy(&has_records);
}

int main(void) {
    test_wait_returns_at_once_when_the_sequence_is_newer();
    test_wait_ends_after_its_time();
    test_one_signal_wakes_every_sleeper();
    test_no_wakeup_is_lost();
    return 0;
}
