/* Datagrams received many at a time into buffers that are used again, with their senders and the kernel's count of
 * those it dropped (SO_RXQ_OVFL). */
#ifndef PYKAFKAEVT_DATAGRAMS_H
#define PYKAFKAEVT_DATAGRAMS_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum {
    DATAGRAMS = 256,             /* received at once */
    DATAGRAM_SIZE = 65536,       /* bytes of one at most: UDP's limit; a longer one of a unix socket is cut */
    DATAGRAM_STRIDE = 65536 + 192, /* apart in memory: no power of two, or all would share the same cache sets */
    SOURCE_SIZE = 128,           /* bytes of a sender's text, with its end */
};

typedef struct Datagrams {
    struct mmsghdr headers[DATAGRAMS];
    struct iovec parts[DATAGRAMS];
    struct sockaddr_storage senders[DATAGRAMS];
    char control[DATAGRAMS][CMSG_SPACE(sizeof(uint32_t))];
    char *memory;
} Datagrams;

static inline Datagrams *datagrams_new(void) {
    Datagrams *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    /* touched only as far as datagrams reach */
    d->memory = malloc((size_t)DATAGRAMS * DATAGRAM_STRIDE);
    if (!d->memory) {
        free(d);
        return NULL;
    }
    for (int i = 0; i < DATAGRAMS; i++) {
        d->parts[i] = (struct iovec){d->memory + (size_t)i * DATAGRAM_STRIDE, DATAGRAM_SIZE};
        d->headers[i].msg_hdr.msg_iov = &d->parts[i];
        d->headers[i].msg_hdr.msg_iovlen = 1;
        d->headers[i].msg_hdr.msg_name = &d->senders[i];
    }
    return d;
}

static inline void datagrams_free(Datagrams *d) {
    if (d)
        free(d->memory);
    free(d);
}

/* How many were received, 0 after the socket's receive timeout (or with nothing there when `wait` is 0), or -errno. */
static inline int datagrams_receive(Datagrams *d, int fd, int wait) {
    for (int i = 0; i < DATAGRAMS; i++) {
        struct msghdr *header = &d->headers[i].msg_hdr;
        header->msg_namelen = sizeof(d->senders[i]);
        header->msg_control = d->control[i];
        header->msg_controllen = sizeof(d->control[i]);
    }
    int n = recvmmsg(fd, d->headers, DATAGRAMS, wait ? MSG_WAITFORONE : MSG_DONTWAIT, NULL);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;
}

/* The socket's drops so far as datagram i has them, or `before` when it says nothing. */
static inline uint32_t datagrams_drops(Datagrams *d, int i, uint32_t before) {
    struct msghdr *header = &d->headers[i].msg_hdr;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
            memcpy(&before, CMSG_DATA(c), sizeof(before));
    return before;
}

/* The same as the socket itself has it, with the drops since its last datagram. */
static inline uint32_t datagrams_drops_now(int fd, uint32_t before) {
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t size = sizeof(memory);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 && size == sizeof(memory))
        return memory[SK_MEMINFO_DROPS];
    return before;
}

/* The sender of a datagram as text: host:port, [host]:port, a unix socket's path, or "unix" when it has none. */
static inline void datagrams_source(const struct msghdr *header, char text[SOURCE_SIZE]) {
    const struct sockaddr_storage *sender = header->msg_name;
    const size_t before_path = offsetof(struct sockaddr_un, sun_path);
    char host[INET6_ADDRSTRLEN] = "";
    if (header->msg_namelen && sender->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sender;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, SOURCE_SIZE, "%s:%u", host, ntohs(in->sin_port));
    } else if (header->msg_namelen && sender->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sender;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, SOURCE_SIZE, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (header->msg_namelen > before_path && ((const struct sockaddr_un *)sender)->sun_path[0]) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)sender;
        snprintf(text, SOURCE_SIZE, "%.*s", (int)(header->msg_namelen - before_path), un->sun_path);
    } else {
        snprintf(text, SOURCE_SIZE, "unix");
    }
}

/* Microseconds since 1970. */
static inline long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

#endif
