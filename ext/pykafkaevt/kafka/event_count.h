/* Waiting for something to happen without missing it: a sequence that counts what happened, and sleepers on it. A caller
 * reads the sequence, tries what it wants, and only when that failed waits for a newer sequence: no wakeup is lost. */
#ifndef PYKAFKAEVT_EVENT_COUNT_H
#define PYKAFKAEVT_EVENT_COUNT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

typedef struct event_count {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic uint64_t sequence;
    _Atomic uint32_t sleepers;
} event_count;

static inline void event_count_init(event_count *e) {
    pthread_condattr_t attributes;
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&e->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    atomic_store(&e->sequence, 0);
    atomic_store(&e->sleepers, 0);
}

static inline uint64_t event_count_sequence(event_count *e) { return atomic_load(&e->sequence); }

/* Something happened: costs one atomic addition when nobody sleeps. */
static inline void event_count_signal(event_count *e) {
    atomic_fetch_add(&e->sequence, 1);
    if (atomic_load(&e->sleepers)) {
        pthread_mutex_lock(&e->lock);
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->lock);
    }
}

/* Sleeps until the sequence is no longer `seen`, for at most `us` microseconds. */
static inline void event_count_wait(event_count *e, uint64_t seen, int64_t us) {
    struct timespec until;
    if (us <= 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += us / 1000000;
    until.tv_nsec += (long)(us % 1000000) * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&e->lock);
    atomic_fetch_add(&e->sleepers, 1);
    while (atomic_load(&e->sequence) == seen)
        if (pthread_cond_timedwait(&e->changed, &e->lock, &until))
            break;
    atomic_fetch_sub(&e->sleepers, 1);
    pthread_mutex_unlock(&e->lock);
}

static inline void event_count_destroy(event_count *e) {
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
}

#endif
