/* IP addresses looked up in sorted ranges. */
#ifndef PYKAFKAEVT_IP_RANGES_H
#define PYKAFKAEVT_IP_RANGES_H

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

enum { IPV4_SIZE = 4, IPV6_SIZE = 16 };

/* `count` ranges that do not touch, in order: the first and the last address of each, in network order; borrowed. */
typedef struct {
    const char *bounds;
    size_t count;
} IpRanges;

static inline int ip_ranges_hold(IpRanges ranges, const void *address, size_t size) {
    size_t low = 0, high = ranges.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(ranges.bounds + 2 * size * middle, address, size) > 0)
            high = middle;
        else
            low = middle + 1;
    }
    /* `low` ranges begin at the address or before it */
    return low && memcmp(ranges.bounds + 2 * size * low - size, address, size) >= 0;
}

/* Whether the sender of a datagram or the peer of a connection is in them. IPv4 over an IPv6 socket is IPv4. */
static inline int ip_ranges_hold_sender(IpRanges ipv4, IpRanges ipv6, const void *sender, size_t size) {
    const struct sockaddr_in *in = sender;
    const struct sockaddr_in6 *in6 = sender;
    if (size >= sizeof(*in) && in->sin_family == AF_INET)
        return ip_ranges_hold(ipv4, &in->sin_addr, IPV4_SIZE);
    if (size < sizeof(*in6) || in6->sin6_family != AF_INET6)
        return 0;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return ip_ranges_hold(ipv4, in6->sin6_addr.s6_addr + IPV6_SIZE - IPV4_SIZE, IPV4_SIZE);
    return ip_ranges_hold(ipv6, &in6->sin6_addr, IPV6_SIZE);
}

#endif
