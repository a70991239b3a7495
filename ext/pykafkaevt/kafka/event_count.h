/* Waiting until the producer's queue has room again: a sequence that counts releases of records, and sleepers on it.
 * A caller reads the sequence, tries to queue, and only when that failed waits for a newer sequence: no wakeup is lost. */
#ifndef PYKAFKAEVT_ROOM_H
#define PYKAFKAEVT_ROOM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

typedef struct room {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic uint64_t sequence;
    _Atomic uint32_t sleepers;
} room;

static inline void room_init(room *r) {
    pthread_condattr_t attributes;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    atomic_store(&r->sequence, 0);
    atomic_store(&r->sleepers, 0);
}

static inline uint64_t room_sequence(room *r) { return atomic_load(&r->sequence); }

/* Something was released: costs one atomic addition when nobody sleeps. */
static inline void room_signal(room *r) {
    atomic_fetch_add(&r->sequence, 1);
    if (atomic_load(&r->sleepers)) {
        pthread_mutex_lock(&r->lock);
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
}

/* Sleeps until the sequence is no longer `seen`, for at most `ms`. */
static inline void room_wait(room *r, uint64_t seen, int ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&r->lock);
    atomic_fetch_add(&r->sleepers, 1);
    while (atomic_load(&r->sequence) == seen)
        if (pthread_cond_timedwait(&r->changed, &r->lock, &until))
            break;
    atomic_fetch_sub(&r->sleepers, 1);
    pthread_mutex_unlock(&r->lock);
}

static inline void room_destroy(room *r) {
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
}

#endif
