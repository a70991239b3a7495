/* ip_ranges.h and hep_key.h: what is looked up is compared with the plain way, and nothing is read beyond its end. */
#include "ip_ranges.h"

#include <arpa/inet.h>
#include <string.h>

#include "check.h"
#include "hep_key.h"

enum { ROUNDS = 200000, MOST = 9, SPACE = 64 };

/* Ranges of few addresses in a small space, so that their ends and what lies beside them come up often. */
static size_t random_ranges(unsigned char *bounds, size_t size) {
    size_t count = 0;
    unsigned at = (unsigned)random_below(4);
    while (count < MOST) {
        unsigned last = at + (unsigned)random_below(5);
        if (last >= SPACE)
            break;
        memset(bounds + 2 * size * count, 0, 2 * size);
        bounds[2 * size * count + size - 1] = (unsigned char)at;
        bounds[2 * size * (count + 1) - 1] = (unsigned char)last;
        count++;
        at = last + 2 + (unsigned)random_below(6);
    }
    return random_below(5) ? count : random_below(count + 1);
}

static int plainly_held(const unsigned char *bounds, size_t count, size_t size, unsigned value) {
    for (size_t i = 0; i < count; i++)
        if (bounds[2 * size * i + size - 1] <= value && value <= bounds[2 * size * (i + 1) - 1])
            return 1;
    return 0;
}

static void test_ranges(size_t size) {
    wall wall = wall_new(1);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char bounds[2 * IPV6_SIZE * MOST], address[IPV6_SIZE] = {0};
        size_t count = random_ranges(bounds, size);
        unsigned value = (unsigned)random_below(SPACE + 2);
        unsigned char *there = wall.end - 2 * size * count;
        memcpy(there, bounds, 2 * size * count);
        address[size - 1] = (unsigned char)value;
        int held = ip_ranges_hold((IpRanges){(const char *)there, count}, address, size);
        CHECK(held == plainly_held(bounds, count, size, value), "%u among %zu", value, count);
    }
}

static void test_senders(void) {
    static const char ipv4[] = "\xc0\0\2\0\xc0\0\2\xff", ipv6[] = "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\0"
                                                                  "\x20\1\xd\xb8\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    static const struct { const char *text; int held; } table[] = {
        {"192.0.2.1", 1}, {"192.0.3.0", 0}, {"2001:db8::1", 1}, {"2001:db9::", 0}, {"::ffff:192.0.2.255", 1},
        {"::ffff:192.0.3.1", 0}, {"::192.0.2.1", 0},
    };
    IpRanges v4 = {ipv4, 1}, v6 = {ipv6, 1};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        int is_v4 = inet_pton(AF_INET, table[i].text, &in.sin_addr) == 1;
        CHECK(is_v4 || inet_pton(AF_INET6, table[i].text, &in6.sin6_addr) == 1, "%s", table[i].text);
        const void *sender = is_v4 ? (const void *)&in : (const void *)&in6;
        size_t size = is_v4 ? sizeof in : sizeof in6;
        CHECK(ip_ranges_hold_sender(v4, v6, sender, size) == table[i].held, "%s", table[i].text);
        CHECK(!ip_ranges_hold_sender(v4, v6, sender, size - 1), "%s cut", table[i].text);
    }
    CHECK(!ip_ranges_hold_sender(v4, v6, NULL, 0), "no sender");
}

static void test_keys(void) {
    wall wall = wall_new(1);
    for (int round = 0; round < ROUNDS; round++) {
        char bytes[MOST][4];
        HepKey keys[MOST];
        size_t count = random_below(MOST + 1), size = random_below(5);
        char *given = (char *)wall.end - size;
        int known = 0;
        for (size_t at = 0; at < size; at++)
            given[at] = (char)random_below(2);
        for (size_t i = 0; i < count; i++) {
            keys[i] = (HepKey){bytes[i], 1 + random_below(4)};
            for (size_t at = 0; at < keys[i].size; at++)
                bytes[i][at] = (char)random_below(2);
            known |= keys[i].size == size && !memcmp(bytes[i], given, size);
        }
        CHECK(hep_key_known(keys, count, given, size) == known, "%zu bytes, %zu keys", size, count);
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    test_ranges(IPV4_SIZE);
    test_ranges(IPV6_SIZE);
    test_senders();
    test_keys();
    return 0;
}
