/* The limit of a bridge: receives datagrams on a port of 127.0.0.1 with recvmmsg, and drops them.
 *
 *     build/receiver PORT [RECEIVE_BUFFER]     (measure.py makes it)
 *
 * Batches and receive buffer (bytes, 8 MiB without it) are the bridge's. Prints "ready" when bound; ends by SIGTERM, a
 * second after the last datagram, or when none came for 30 s, and prints one line of JSON: received, dropped (by the
 * kernel), seconds (from the first datagram to the last). Ends with 1 when the port is taken, with 2 for wrong usage. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sock_diag.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    FAILED = 1,
    USAGE = 2,
    BATCH = 256, /* DATAGRAMS of ext/pykafkaevt/bridge/datagrams.h */
    ROOM = 2048,
    RECEIVE_BUFFER = 8 << 20,
    PATIENCE = 30, /* s, for the first datagram */
};

static volatile sig_atomic_t ended;

static void end(int number) {
    (void)number;
    ended = 1;
}

__attribute__((noreturn)) static void fail(const char *what) {
    fprintf(stderr, "receiver: %s: %s\n", what, strerror(errno));
    exit(FAILED);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int bound(unsigned port, int buffer) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval second = {.tv_sec = 1};
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)))
        fail("bind");
    /* beyond net.core.rmem_max only with CAP_NET_ADMIN */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)))
        fail("SO_RCVBUF");
    if (setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on)) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)))
        fail("setsockopt");
    return fd;
}

/* All of the socket's drops: SO_RXQ_OVFL comes with a datagram and knows only of those before it. */
static uint32_t drops(int fd) {
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(memory);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size))
        fail("SO_MEMINFO");
    return memory[SK_MEMINFO_DROPS];
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 0, buffer = argc > 2 ? atoi(argv[2]) : RECEIVE_BUFFER;
    if (argc > 3 || port < 1 || port > 65535 || buffer < 1) {
        fputs("receiver: usage: receiver PORT [RECEIVE_BUFFER]\n", stderr);
        return USAGE;
    }
    struct sigaction action = {.sa_handler = end}; /* without SA_RESTART: it ends recvmmsg */
    sigaction(SIGTERM, &action, NULL);
    int fd = bound((unsigned)port, buffer);

    static char memory[BATCH][ROOM];
    static struct iovec parts[BATCH];
    static struct mmsghdr headers[BATCH];
    static char control[BATCH][CMSG_SPACE(sizeof(uint32_t))];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){memory[i], ROOM};
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        headers[i].msg_hdr.msg_control = control[i];
    }
    puts("ready");
    fflush(stdout);

    uint64_t received = 0;
    double started = now(), first = 0, last = 0;
    while (!ended) {
        for (int i = 0; i < BATCH; i++)
            headers[i].msg_hdr.msg_controllen = sizeof(control[i]);
        int n = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, NULL);
        if (n > 0) {
            last = now();
            if (!received)
                first = last;
            received += (unsigned)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            fail("recvmmsg");
        } else if (received || now() - started > PATIENCE) {
            break;
        }
    }
    printf("{\"received\": %" PRIu64 ", \"dropped\": %" PRIu32 ", \"seconds\": %.6f}\n", received, drops(fd),
           last - first);
    return 0;
}
