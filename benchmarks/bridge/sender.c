/* Datagrams over UDP to a port of 127.0.0.1: the event of pykafkaevt.bench.workload as JSON-RPC (277 bytes), or HEPv3
 * packets that hold a SIP INVITE (894 bytes, 764 of them SIP).
 *
 *     build/sender PORT json|hep [--count N] [--seconds S] [--rate R] [--gso] [--clock]
 *                                                                       (measure.py makes it)
 *
 * Four datagrams a call share a Call-ID; the event's time in microseconds is 1790000000000000 + the sequence number, or
 * with --clock the time of day at which it was due.
 * Ends after N datagrams or S seconds, one of which is required. --rate R holds R datagrams a second: each is sent when
 * it is due, up to BATCH together; without it they go as fast as they can. Prints one line of JSON: sent, seconds,
 * started (CLOCK_MONOTONIC, seconds). Ends with 1 when the port refuses, with 2 for wrong usage. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
    FAILED = 1,
    USAGE = 2,
    BATCH = 64, /* sent together at most: at 200,000/s what is due within 0.3 ms */
    ROOM = 1536,
    CALL_ID_DIGITS = 16,
    DATAGRAMS_A_CALL = 4,
    WAIT_NS = 200000, /* least time between two sends of a held rate */
};

static const uint64_t FIRST_TIME = 1790000000000000; /* microseconds since 1970 */

/* One datagram, sent again and again with other digits. A position of 0 is none. */
typedef struct datagram {
    char text[ROOM];
    size_t size;
    size_t call_ids[2];         /* where the Call-ID's 16 hexadecimal digits are */
    size_t time_digits;         /* the time as 16 decimal digits */
    size_t seconds_microseconds[2]; /* the time as two numbers of 32 bits, big-endian */
} datagram;

__attribute__((noreturn)) static void fail(int status, const char *what, const char *why) {
    fprintf(stderr, "sender: %s: %s\n", what, why);
    exit(status);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void write_json(datagram *d, unsigned number) {
    static const char *const methods[DATAGRAMS_A_CALL] = {"INVITE", "NOTIFY", "UPDATE", "CANCEL"};
    d->size = (size_t)snprintf(
        d->text, ROOM,
        "{\"jsonrpc\":\"2.0\",\"method\":\"E_SIP\",\"params\":{\"method\":\"%s\",\"callid\":\"0000000000000000@10.1.2.3\","
        "\"cseq\":%u,\"from_uri\":\"sip:2530829@a.example\",\"to_uri\":\"sip:6624039@a.example\","
        "\"src_ip\":\"192.0.2.10\",\"src_port\":5060,\"dst_ip\":\"192.0.2.11\",\"dst_port\":5062,\"time\":%016" PRIu64 "}}",
        methods[number % DATAGRAMS_A_CALL], 1 + number % DATAGRAMS_A_CALL, FIRST_TIME);
    d->call_ids[0] = (size_t)(strstr(d->text, "0000000000000000@") - d->text);
    d->time_digits = d->size - strlen("0000000000000000}}");
}

static const char INVITE[] =
    "INVITE sip:6624039@a.example SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK74bf9a1d;rport\r\n"
    "Max-Forwards: 70\r\n"
    "From: \"2530829\" <sip:2530829@a.example>;tag=9fxced76sl\r\n"
    "To: <sip:6624039@a.example>\r\n"
    "Call-ID: 0000000000000000@10.1.2.3\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: <sip:2530829@192.0.2.10:5060;transport=udp>\r\n"
    "User-Agent: Softphone 4.2.1\r\n"
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REFER, NOTIFY\r\n"
    "Supported: replaces, timer, 100rel\r\n"
    "Session-Expires: 1800\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: 241\r\n"
    "\r\n"
    "v=0\r\n"
    "o=- 2890844526 2890844526 IN IP4 192.0.2.10\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.10\r\n"
    "t=0 0\r\n"
    "m=audio 49170 RTP/AVP 8 0 9 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:9 G722/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=ptime:20\r\n"
    "a=sendrecv\r\n";

static void big_endian(char *at, uint64_t number, size_t size) {
    for (size_t i = size; i-- > 0; number >>= 8)
        at[i] = (char)number;
}

/* A generic chunk (vendor 0); gives where its data is. */
static size_t chunk(datagram *d, unsigned type, const void *data, size_t size) {
    char *at = d->text + d->size;
    big_endian(at, 0, 2);
    big_endian(at + 2, type, 2);
    big_endian(at + 4, size + 6, 2);
    memcpy(at + 6, data, size);
    d->size += size + 6;
    return d->size - size;
}

static size_t number_chunk(datagram *d, unsigned type, uint64_t number, size_t size) {
    char data[8];
    big_endian(data, number, size);
    return chunk(d, type, data, size);
}

static void write_hep(datagram *d) {
    static const char call_id[] = "0000000000000000@10.1.2.3";
    memcpy(d->text, "HEP3", 4);
    d->size = 6;
    number_chunk(d, 0x0001, 2, 1);          /* IPv4 */
    number_chunk(d, 0x0002, 17, 1);         /* UDP */
    number_chunk(d, 0x0003, 0xc000020a, 4); /* from 192.0.2.10 */
    number_chunk(d, 0x0004, 0xc000020b, 4); /* to 192.0.2.11 */
    number_chunk(d, 0x0007, 5060, 2);
    number_chunk(d, 0x0008, 5062, 2);
    d->seconds_microseconds[0] = number_chunk(d, 0x0009, 0, 4);
    d->seconds_microseconds[1] = number_chunk(d, 0x000a, 0, 4);
    number_chunk(d, 0x000b, 1, 1); /* SIP */
    number_chunk(d, 0x000c, 2001, 4);
    d->call_ids[0] = chunk(d, 0x0011, call_id, strlen(call_id));
    size_t sip = chunk(d, 0x000f, INVITE, strlen(INVITE));
    d->call_ids[1] = sip + (size_t)(strstr(INVITE, call_id) - INVITE);
    big_endian(d->text + 4, d->size, 2);
}

static uint64_t mixed(uint64_t x) { /* splitmix64: Call-IDs that look random */
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* time: microseconds since 1970. */
static void stamp(datagram *d, uint64_t sequence, uint64_t time) {
    uint64_t id = mixed(sequence / DATAGRAMS_A_CALL);
    char digits[CALL_ID_DIGITS];
    for (int i = 0; i < CALL_ID_DIGITS; i++)
        digits[i] = "0123456789abcdef"[id >> 4 * i & 15];
    for (int i = 0; i < 2 && d->call_ids[i]; i++)
        memcpy(d->text + d->call_ids[i], digits, CALL_ID_DIGITS);
    if (d->time_digits)
        for (size_t i = d->time_digits + 16; i-- > d->time_digits; time /= 10)
            d->text[i] = (char)('0' + time % 10);
    else {
        big_endian(d->text + d->seconds_microseconds[0], time / 1000000, 4);
        big_endian(d->text + d->seconds_microseconds[1], time % 1000000, 4);
    }
}

static double number(const char *name, const char *text, double most) {
    char *end;
    double n = strtod(text, &end);
    if (end == text || *end || !(n > 0 && n <= most))
        fail(USAGE, name, "no such number");
    return n;
}

static int connected(unsigned port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        fail(FAILED, "socket", strerror(errno));
    return fd;
}

static void send_all(int fd, struct mmsghdr *headers, unsigned count) {
    for (unsigned done = 0; done < count;) {
        int n = sendmmsg(fd, headers + done, count - done, 0);
        if (n >= 0)
            done += (unsigned)n;
        else if (errno != EINTR && errno != ENOBUFS)
            fail(FAILED, "sendmmsg", strerror(errno));
    }
}

int main(int argc, char **argv) {
    static const struct option names[] = {
        {"count", 1, NULL, 'n'}, {"seconds", 1, NULL, 's'}, {"rate", 1, NULL, 'r'},
        {"gso", 0, NULL, 'g'},   {"clock", 0, NULL, 'c'},   {NULL, 0, NULL, 0},
    };
    bool gso = false, of_day = false;
    double count = INFINITY, seconds = INFINITY, rate = INFINITY;
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'n': count = floor(number("--count", optarg, 1e12)); break;
        case 's': seconds = number("--seconds", optarg, 3600); break;
        case 'r': rate = number("--rate", optarg, 1e9); break;
        case 'g': gso = true; break;
        case 'c': of_day = true; break;
        default: return USAGE;
        }
    }
    if (argc - optind != 2 || (isinf(count) && isinf(seconds)))
        fail(USAGE, "usage", "sender PORT json|hep [--rate R] [--gso] [--clock] with --count N, --seconds S or both");
    unsigned port = (unsigned)number("PORT", argv[optind], 65535);
    bool hep = !strcmp(argv[optind + 1], "hep");
    if (!hep && strcmp(argv[optind + 1], "json"))
        fail(USAGE, argv[optind + 1], "neither json nor hep");

    static datagram datagrams[BATCH];
    static struct mmsghdr headers[BATCH];
    static struct iovec parts[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        hep ? write_hep(&datagrams[i]) : write_json(&datagrams[i], i);
        parts[i] = (struct iovec){datagrams[i].text, datagrams[i].size};
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    int fd = connected(port);
    int size = (int)datagrams[0].size; /* of all */
    if (gso && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)))
        fail(FAILED, "UDP_SEGMENT", strerror(errno));
    prctl(PR_SET_TIMERSLACK, 1000UL); /* ns */

    struct timespec day;
    clock_gettime(CLOCK_REALTIME, &day);
    uint64_t first_time = of_day ? (uint64_t)day.tv_sec * 1000000 + (uint64_t)day.tv_nsec / 1000 : FIRST_TIME;
    double started = now(), elapsed = 0;
    uint64_t sent = 0;
    while ((double)sent < count && elapsed < seconds) {
        double due = fmin(count, isinf(rate) ? INFINITY : 1 + floor(elapsed * rate)) - (double)sent;
        if (due >= 1) {
            /* sequence numbers and slots go together: slot i always holds method i % 4 */
            unsigned first = sent % BATCH, n = (unsigned)fmin(due, BATCH - first);
            for (unsigned i = 0; i < n; i++) {
                double due_us = isinf(rate) ? elapsed * 1e6 : (double)(sent + i) / rate * 1e6;
                stamp(&datagrams[first + i], sent + i, first_time + (of_day ? (uint64_t)due_us : sent + i));
            }
            if (gso)
                headers[first].msg_hdr.msg_iovlen = n;
            send_all(fd, headers + first, gso ? 1 : n);
            sent += n;
        }
        if (!isinf(rate) && due <= BATCH && (double)sent < count)
            nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
        elapsed = now() - started;
    }
    printf("{\"sent\": %" PRIu64 ", \"seconds\": %.6f, \"started\": %.6f}\n", sent, elapsed, started);
    return 0;
}
