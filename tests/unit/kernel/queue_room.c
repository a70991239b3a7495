/* queue_room.h: threads that take room at once exceed a limit by a batch each at most, and what all of them took and
 * gave back adds up. */
#include "queue_room.h"

#include <pthread.h>
#include <sched.h>

#include "check.h"

enum { TAKERS = 4, SINGLES = 2, ROUNDS = 300000, BATCH = 64, SIZE = 10 };

static void test_the_scarcer_of_records_and_bytes_ends_it(void) {
    queue_room room = {.max_records = 3, .max_bytes = 100};
    queue_room_take(&room, 1, 60);
    queue_room_take_single(&room, 30);
    CHECK(queue_room_records(&room) == 1 && queue_room_bytes(&room) == 10, "two are in");
    queue_room_take(&room, 1, 40);
    CHECK(queue_room_records(&room) == 0 && queue_room_bytes(&room) == 0, "too many bytes are no room, and no wrap");
    queue_room_give_back(&room, 1, 40);
    CHECK(queue_room_records(&room) == 1 && queue_room_bytes(&room) == 10, "as before");
    queue_room_release(&room, 2, 90);
    CHECK(queue_room_records(&room) == 3 && queue_room_bytes(&room) == 100, "all reported");
    queue_room_release(&room, 1, 10);
    CHECK(queue_room_records(&room) == 3 && queue_room_bytes(&room) == 100, "reported before it counts");
    queue_room_take_single(&room, 10);
    CHECK(queue_room_records(&room) == 3 && queue_room_bytes(&room) == 100, "the record counts");
}

static queue_room shared;
static _Atomic uint64_t queued; /* records that librdkafka holds */
static _Atomic int taking;
static pthread_mutex_t gil = PTHREAD_MUTEX_INITIALIZER;

static void hold(uint64_t records) {
    uint64_t held = atomic_fetch_add(&queued, records) + records;
    CHECK(held <= shared.max_records + TAKERS * BATCH + SINGLES, "%llu records are held", (unsigned long long)held);
}

static void *take_batches(void *unused) {
    for (int round = 0; round < ROUNDS;) {
        uint64_t n = queue_room_records(&shared), fit = queue_room_bytes(&shared) / SIZE;
        n = n < fit ? n : fit;
        n = n < BATCH ? n : BATCH;
        if (!n) {
            sched_yield();
            continue;
        }
        uint64_t refused = (uint64_t)round++ % (n + 1);
        queue_room_take(&shared, n, n * SIZE);
        hold(n - refused);
        queue_room_give_back(&shared, refused, refused * SIZE);
    }
    atomic_fetch_sub(&taking, 1);
    return unused;
}

static void *take_singles(void *unused) {
    for (int round = 0; round < ROUNDS; round++) {
        pthread_mutex_lock(&gil);
        if (queue_room_records(&shared) && queue_room_bytes(&shared) >= SIZE) {
            hold(1);
            queue_room_take_single(&shared, SIZE);
        }
        pthread_mutex_unlock(&gil);
    }
    atomic_fetch_sub(&taking, 1);
    return unused;
}

static void *report(void *unused) {
    for (int last = 0; !last;) {
        last = !atomic_load(&taking);
        uint64_t n = atomic_exchange(&queued, 0);
        queue_room_release(&shared, n, n * SIZE);
        sched_yield();
    }
    return unused;
}

static void test_what_threads_take_at_once_is_all_given_back(uint64_t most) {
    pthread_t threads[TAKERS + SINGLES + 1];
    shared = (queue_room){.max_records = most, .max_bytes = most * SIZE};
    taking = TAKERS + SINGLES;
    for (int i = 0; i < TAKERS + SINGLES + 1; i++) {
        void *(*run)(void *) = i < TAKERS ? take_batches : i < TAKERS + SINGLES ? take_singles : report;
        CHECK(pthread_create(&threads[i], NULL, run, NULL) == 0, "pthread_create");
    }
    for (int i = 0; i < TAKERS + SINGLES + 1; i++)
        pthread_join(threads[i], NULL);
    CHECK(queue_room_records(&shared) == most && queue_room_bytes(&shared) == most * SIZE, "all of it is there again");
    CHECK(shared.records + shared.single_records == shared.released_records, "a record was lost");
    CHECK(shared.bytes + shared.single_bytes == shared.released_bytes, "bytes were lost");
}

int main(void) {
    test_the_scarcer_of_records_and_bytes_ends_it();
    test_what_threads_take_at_once_is_all_given_back(1000);
    test_what_threads_take_at_once_is_all_given_back((uint64_t)1 << 40);
    return 0;
}
