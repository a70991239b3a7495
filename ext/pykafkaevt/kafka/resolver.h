/* Name resolution for librdkafka that keeps out of fork(): a child whose parent forked while another thread was inside
 * getaddrinfo() may find the C library's locks held for ever, and would never connect. */
#ifndef PYKAFKAEVT_RESOLVER_H
#define PYKAFKAEVT_RESOLVER_H

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <time.h>

static pthread_rwlock_t resolver_lock = PTHREAD_RWLOCK_INITIALIZER; /* look-ups share it, a fork has it alone */
static int resolver_forking;                                        /* the forking thread has it */

/* librdkafka's resolve_cb: getaddrinfo(), and freeaddrinfo() when only `found` is given. */
static int resolver_resolve(const char *node, const char *service, const struct addrinfo *hints,
                            struct addrinfo **found, void *opaque) {
    (void)opaque;
    if (!node && !service && !hints) {
        freeaddrinfo(*found);
        return 0;
    }
    pthread_rwlock_rdlock(&resolver_lock);
    int result = getaddrinfo(node, service, hints, found), error = errno;
    pthread_rwlock_unlock(&resolver_lock);
    errno = error;
    return result;
}

/* Waits for look-ups that are under way, a second at most: one that hangs must not hang the fork. */
static inline void resolver_before_fork(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    resolver_forking = pthread_rwlock_timedwrlock(&resolver_lock, &until) == 0;
}

static inline void resolver_after_fork(int in_child) {
    if (in_child)
        pthread_rwlock_init(&resolver_lock, NULL);
    else if (resolver_forking)
        pthread_rwlock_unlock(&resolver_lock);
    resolver_forking = 0;
}

#endif
