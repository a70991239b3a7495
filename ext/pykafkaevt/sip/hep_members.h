/* A HEP packet's parts as members of a JSON object, into memory that the caller has reserved. */
#ifndef PYKAFKAEVT_HEP_MEMBERS_H
#define PYKAFKAEVT_HEP_MEMBERS_H

#include <arpa/inet.h>

#include "hep.h"
#include "json_number.h"
#include "unicode_escape.h"

/* NULL when the protocol number has no name. 22 and 50 stand for TLS and WS in HEP, which have no number of their own;
 * Kamailio sends 22 for WS and WSS as well. */
static inline const char *hep_transport(long long protocol) {
    switch (protocol) {
    case 6: return "tcp";
    case 17: return "udp";
    case 22: return "tls";
    case 50: return "ws";
    case 132: return "sctp";
    default: return NULL;
    }
}

static inline char *hep_put(char *dst, const char *text) {
    size_t n = strlen(text);
    memcpy(dst, text, n);
    return dst + n;
}

static inline char *hep_name(char *dst, const char *name) {
    *dst++ = '"';
    dst = hep_put(dst, name);
    *dst++ = '"';
    *dst++ = ':';
    return dst;
}

/* The members below are `"name":value,`, or nothing when the value is absent (text: or empty). */
static inline char *hep_number_member(char *dst, const char *name, long long value) {
    if (value < 0)
        return dst;
    dst = json_uint(hep_name(dst, name), (uint64_t)value);
    *dst++ = ',';
    return dst;
}

/* What is not UTF-8 becomes U+FFFD. */
static inline char *hep_text_member(char *dst, const char *name, const char *text, size_t n) {
    Py_ssize_t ignored;
    if (!n)
        return dst;
    dst = hep_name(dst, name);
    *dst++ = '"';
    dst = bytes_write(dst, text, n, INVALID_REPLACE, &ignored);
    *dst++ = '"';
    *dst++ = ',';
    return dst;
}

static inline int hep_is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* A header's value, a fold as one space (RFC 3261, 7.3.1). */
static inline char *hep_header_member(char *dst, const char *name, const char *text, size_t n) {
    const char *end, *stop;
    Py_ssize_t ignored;
    char *start;
    if (!n || !memchr(text, '\n', n))
        return hep_text_member(dst, name, text, n);
    end = text + n;
    dst = hep_name(dst, name);
    *dst++ = '"';
    for (start = dst; text < end; text = stop + 1) {
        const char *last = stop = (stop = memchr(text, '\n', (size_t)(end - text))) ? stop : end;
        while (text < last && hep_is_blank(*text))
            text++;
        while (text < last && hep_is_blank(last[-1]))
            last--;
        if (text < last && dst > start)
            *dst++ = ' ';
        dst = bytes_write(dst, text, (size_t)(last - text), INVALID_REPLACE, &ignored);
    }
    *dst++ = '"';
    *dst++ = ',';
    return dst;
}

static inline char *hep_address_member(char *dst, const char *name, HepBytes address) {
    if (!address.data)
        return dst;
    dst = hep_name(dst, name);
    *dst++ = '"';
    if (address.size == 4) {
        for (int i = 0; i < 4; i++) {
            dst = json_small(dst, (unsigned char)address.data[i]);
            *dst++ = '.';
        }
        dst--;
    } else {
        inet_ntop(AF_INET6, address.data, dst, INET6_ADDRSTRLEN);
        dst += strlen(dst);
    }
    *dst++ = '"';
    *dst++ = ',';
    return dst;
}

/* Where and when the packet was seen. */
static inline char *hep_packet_members(char *dst, const HepPacket *packet) {
    const char *transport = hep_transport(packet->protocol);
    if (transport)
        dst = hep_text_member(dst, "transport", transport, strlen(transport));
    dst = hep_address_member(dst, "src_ip", packet->src);
    dst = hep_number_member(dst, "src_port", packet->src_port);
    dst = hep_address_member(dst, "dst_ip", packet->dst);
    dst = hep_number_member(dst, "dst_port", packet->dst_port);
    dst = hep_number_member(dst, "time", hep_time_us(packet));
    dst = hep_number_member(dst, "capture_id", packet->capture_id);
    dst = hep_text_member(dst, "correlation_id", packet->correlation.data, packet->correlation.size);
    return hep_text_member(dst, "node", packet->node.data, packet->node.size);
}

#endif
