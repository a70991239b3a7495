/* gate.h: nobody is let in but in the states that were named, exactly one caller makes a move, and what the gate guards
 * is destroyed and made anew under the feet of many users without one of them ever seeing it gone. */
#include "gate.h"

#include "check.h"
#include "counters.h"

enum { USERS = 4, MOVERS = 4, LONG_US = 10000000 };

static void test_only_the_named_states_let_in(void) {
    gate g;
    gate_init(&g, GATE_OPENING);
    CHECK(!gate_enter(&g, GATE_IN(GATE_OPEN)), "not open yet");
    CHECK(gate_move(&g, GATE_IN(GATE_OPENING), GATE_OPEN), "opens");
    CHECK(gate_enter(&g, GATE_IN(GATE_OPEN)), "open");
    CHECK(gate_users(&g) == 1 && gate_state(&g) == GATE_OPEN, "one inside");
    CHECK(gate_move(&g, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_DRAINING), "moves with somebody inside");
    CHECK(gate_users(&g) == 1 && gate_state(&g) == GATE_DRAINING, "the user stays counted");
    CHECK(!gate_enter(&g, GATE_IN(GATE_OPEN)), "no longer open");
    CHECK(gate_enter(&g, GATE_IN(GATE_OPEN) | GATE_IN(GATE_DRAINING)), "who drains may");
    gate_leave(&g);
    gate_leave(&g);
    CHECK(gate_users(&g) == 0, "empty");
    CHECK(!gate_move(&g, GATE_IN(GATE_OPEN), GATE_FATAL), "a move from another state is none");
    gate_destroy(&g);
    gate zeros = {0};
    CHECK(gate_state(&zeros) == GATE_CLOSED && !gate_enter(&zeros, GATE_IN(GATE_OPEN)), "zeros are a closed gate");
}

static void test_waiting_for_users_has_a_deadline(void) {
    gate g;
    gate_init(&g, GATE_OPEN);
    CHECK(gate_enter(&g, GATE_IN(GATE_OPEN)) && gate_move(&g, GATE_IN(GATE_OPEN), GATE_CLOSED), "closes");
    int64_t start = monotonic_us();
    CHECK(!gate_empty(&g, 30000), "somebody is inside");
    int64_t took = monotonic_us() - start;
    CHECK(took >= 29999 && took < LONG_US, "%lld us", (long long)took);
    CHECK(!gate_empty(&g, 0), "still inside");
    gate_leave(&g);
    CHECK(gate_empty(&g, 0), "empty");
    gate_destroy(&g);
}

static void *leave_soon(void *g) {
    usleep(20000);
    gate_leave(g);
    return NULL;
}

static void test_the_last_one_out_wakes_who_waits(void) {
    gate g;
    pthread_t thread;
    gate_init(&g, GATE_OPEN);
    CHECK(gate_enter(&g, GATE_IN(GATE_OPEN)) && gate_move(&g, GATE_IN(GATE_OPEN), GATE_CLOSED), "closes");
    CHECK(pthread_create(&thread, NULL, leave_soon, &g) == 0, "pthread_create");
    int64_t start = monotonic_us();
    CHECK(gate_empty(&g, LONG_US), "left");
    CHECK(monotonic_us() - start < LONG_US * 9 / 10, "it was not woken");
    pthread_join(thread, NULL);
    gate_destroy(&g);
}

/* Many users, a keeper that destroys and makes anew, and callers that all want to be the one that moves it. */
static gate shared;
static int *guarded; /* plain memory: the gate alone orders the accesses to it */
static _Atomic int turns, uses, moved, stop;

static void *use(void *unused) {
    while (!atomic_load(&stop)) {
        uint64_t seen = event_count_sequence(&shared.changed);
        if (gate_enter(&shared, GATE_IN(GATE_OPEN))) {
            CHECK(*guarded == 42, "destroyed under a user");
            gate_leave(&shared);
            atomic_fetch_add(&uses, 1);
        } else {
            event_count_wait(&shared.changed, seen, 1000);
        }
    }
    return unused;
}

static void *fail(void *unused) {
    while (!atomic_load(&stop)) {
        atomic_fetch_add(&moved, gate_move(&shared, GATE_IN(GATE_OPEN), GATE_FATAL));
        usleep(50);
    }
    return unused;
}

static void test_nobody_sees_what_is_guarded_gone(int rounds) {
    pthread_t threads[USERS + MOVERS];
    gate_init(&shared, GATE_OPENING);
    guarded = malloc(sizeof *guarded);
    *guarded = 42;
    for (int i = 0; i < USERS + MOVERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < USERS ? use : fail, NULL) == 0, "pthread_create");
    CHECK(gate_move(&shared, GATE_IN(GATE_OPENING), GATE_OPEN), "opens last");
    while (atomic_load(&turns) < rounds) {
        uint64_t seen = event_count_sequence(&shared.changed);
        if (gate_state(&shared) != GATE_FATAL) {
            event_count_wait(&shared.changed, seen, LONG_US);
            continue;
        }
        CHECK(gate_empty(&shared, LONG_US), "users leave");
        *guarded = 0;
        free(guarded);
        guarded = malloc(sizeof *guarded);
        *guarded = 42;
        atomic_fetch_add(&turns, 1);
        CHECK(gate_move(&shared, GATE_IN(GATE_FATAL), GATE_OPEN), "only the keeper reopens");
    }
    CHECK(gate_move(&shared, GATE_IN(GATE_OPEN) | GATE_IN(GATE_FATAL), GATE_CLOSED), "closes");
    CHECK(gate_empty(&shared, LONG_US), "the last users leave");
    free(guarded);
    atomic_store(&stop, 1);
    for (int i = 0; i < USERS + MOVERS; i++)
        pthread_join(threads[i], NULL);
    int moves = atomic_load(&moved) - atomic_load(&turns);
    CHECK(moves == 0 || moves == 1, "each failure was one caller's: %d", moves);
    CHECK(gate_users(&shared) == 0 && atomic_load(&uses) > 0, "all are out");
    gate_destroy(&shared);
}

int main(void) {
    test_only_the_named_states_let_in();
    test_waiting_for_users_has_a_deadline();
    test_the_last_one_out_wakes_who_waits();
    test_nobody_sees_what_is_guarded_gone(2000);
    return 0;
}
