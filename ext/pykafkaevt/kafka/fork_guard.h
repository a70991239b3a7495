/* Keeps fork() out of what holds locks of the C library's or librdkafka's own: a child has those locks as they were, and
 * where another thread was inside, for ever. That is name resolution, and making and destroying an instance. */
#ifndef PYKAFKAEVT_FORK_GUARD_H
#define PYKAFKAEVT_FORK_GUARD_H

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <time.h>

static pthread_rwlock_t fork_lock = PTHREAD_RWLOCK_INITIALIZER; /* who is inside shares it, a fork has it alone */
static int fork_locked;                                         /* the forking thread has it */

static inline void fork_guard_enter(void) { pthread_rwlock_rdlock(&fork_lock); }
static inline void fork_guard_leave(void) { pthread_rwlock_unlock(&fork_lock); }

/* librdkafka's resolve_cb: getaddrinfo(), and freeaddrinfo() when only `found` is given. */
static int guarded_resolve(const char *node, const char *service, const struct addrinfo *hints,
                           struct addrinfo **found, void *opaque) {
    (void)opaque;
    if (!node && !service && !hints) {
        freeaddrinfo(*found);
        return 0;
    }
    fork_guard_enter();
    int result = getaddrinfo(node, service, hints, found), error = errno;
    fork_guard_leave();
    errno = error;
    return result;
}

/* Waits for those inside, a second at most: one that hangs must not hang the fork. */
static inline void fork_guard_before(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    fork_locked = pthread_rwlock_timedwrlock(&fork_lock, &until) == 0;
}

static inline void fork_guard_after(int in_child) {
    if (in_child)
        pthread_rwlock_init(&fork_lock, NULL);
    else if (fork_locked)
        pthread_rwlock_unlock(&fork_lock);
    fork_locked = 0;
}

#endif
