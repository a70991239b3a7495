/* HEP version 3 (also called EEP): a captured packet and its addresses as a list of chunks.
 * Source: "HEP3 Network Protocol Specification" rev. 12. */
#ifndef PYKAFKAEVT_HEP_H
#define PYKAFKAEVT_HEP_H

#include <stddef.h>
#include <string.h>

/* Bytes that the event of a packet of n bytes needs at most: the payload's headers and the rest, and the payload once more as text,
 * each byte six at most; then names, numbers, addresses and whole vectors at the end. */
#define HEP_EVENT_MAX(n) (12 * (size_t)(n) + 1024)

enum {
    HEP_OK, HEP_SHORT, HEP_V1, HEP_V2, HEP_NOT_HEP, HEP_TRUNCATED, HEP_TRAILING, HEP_BAD_CHUNK, HEP_NO_TYPE,
    HEP_NO_PAYLOAD, HEP_COMPRESSED, HEP_KEEPALIVE, HEP_NOT_SIP, HEP_NO_KEY, HEP_WRONG_KEY, HEP_REASONS
};

static const char *const hep_reasons[HEP_REASONS] = {
    "ok", "hep_short", "hep_v1", "hep_v2", "hep_not_hep", "hep_truncated", "hep_trailing", "hep_bad_chunk",
    "hep_no_type", "hep_no_payload", "hep_compressed", "hep_keepalive", "hep_not_sip", "hep_no_key", "hep_wrong_key",
};

enum { HEP_HEADER = 6, HEP_TYPE_SIP = 1, HEP_TYPE_RTCP = 5, HEP_TYPE_LOG = 100 };

/* Borrowed from the packet; data is NULL when there is no such chunk. */
typedef struct {
    const char *data;
    size_t size;
} HepBytes;

/* Of equal chunks the first counts; a number is -1 when there is none. */
typedef struct {
    HepBytes src, dst; /* 4 or 16 bytes, of IPv4 or IPv6 */
    HepBytes payload, compressed, correlation, node;
    HepBytes key; /* for authentication: a secret */
    long long protocol, type, src_port, dst_port, seconds, microseconds, capture_id;
} HepPacket;

static inline unsigned hep_u16(const char *at) {
    return (unsigned)(unsigned char)at[0] << 8 | (unsigned char)at[1];
}

static inline int hep_set(HepBytes body, HepBytes *field) {
    if (!field->data)
        *field = body;
    return 1;
}

/* An unsigned number of exactly `size` bytes; 0 when it has others. */
static inline int hep_set_number(HepBytes body, size_t size, long long *field) {
    long long value = 0;
    if (body.size != size)
        return 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | (unsigned char)body.data[i];
    if (*field < 0)
        *field = value;
    return 1;
}

/* 0 when the chunk's size is not its type's. */
static inline int hep_set_chunk(unsigned type, HepBytes body, HepPacket *packet) {
    switch (type) {
    case 0x0002: return hep_set_number(body, 1, &packet->protocol);
    case 0x0003: return body.size == 4 && hep_set(body, &packet->src);
    case 0x0004: return body.size == 4 && hep_set(body, &packet->dst);
    case 0x0005: return body.size == 16 && hep_set(body, &packet->src);
    case 0x0006: return body.size == 16 && hep_set(body, &packet->dst);
    case 0x0007: return hep_set_number(body, 2, &packet->src_port);
    case 0x0008: return hep_set_number(body, 2, &packet->dst_port);
    case 0x0009: return hep_set_number(body, 4, &packet->seconds);
    case 0x000a: return hep_set_number(body, 4, &packet->microseconds);
    case 0x000b: return hep_set_number(body, 1, &packet->type);
    /* four bytes, but some agents send two */
    case 0x000c: return hep_set_number(body, body.size == 2 ? 2 : 4, &packet->capture_id);
    case 0x000e: return hep_set(body, &packet->key);
    case 0x000f: return hep_set(body, &packet->payload);
    case 0x0010: return hep_set(body, &packet->compressed);
    case 0x0011: return hep_set(body, &packet->correlation);
    case 0x0013: return hep_set(body, &packet->node);
    default: return 1;
    }
}

/* HEP_OK or the reason why `data` is no packet that is read here. Chunks of a vendor are skipped. */
static inline int hep_parse(const char *data, size_t size, HepPacket *packet) {
    const char *at = data + HEP_HEADER, *end = data + size;
    memset(packet, 0, sizeof *packet);
    packet->protocol = packet->type = packet->src_port = packet->dst_port = -1;
    packet->seconds = packet->microseconds = packet->capture_id = -1;
    if (!size)
        return HEP_SHORT;
    if (data[0] == 1 || data[0] == 2)
        return data[0] == 1 ? HEP_V1 : HEP_V2;
    if (memcmp(data, "HEP3", size < 4 ? size : 4))
        return HEP_NOT_HEP;
    if (size < HEP_HEADER)
        return HEP_SHORT;
    if (hep_u16(data + 4) != size)
        return hep_u16(data + 4) > size ? HEP_TRUNCATED : HEP_TRAILING;
    while (at < end) {
        size_t length = end - at < 6 ? 0 : hep_u16(at + 4);
        if (length < 6 || length > (size_t)(end - at))
            return HEP_BAD_CHUNK;
        if (hep_u16(at) == 0 && !hep_set_chunk(hep_u16(at + 2), (HepBytes){at + 6, length - 6}, packet))
            return HEP_BAD_CHUNK;
        at += length;
    }
    if (!packet->payload.size)
        return packet->compressed.data ? HEP_COMPRESSED : HEP_NO_PAYLOAD;
    return packet->type < 0 ? HEP_NO_TYPE : HEP_OK;
}

/* Whether hep_parse() came to the packet's end with this answer, so that each chunk that is there is known. */
static inline int hep_is_whole(int reason) { return reason == HEP_OK || reason >= HEP_NO_TYPE; }

/* Whether a payload is only line ends, as a keep-alive on a SIP flow (RFC 5626, 3.5.1), or zero bytes. */
static inline int hep_is_keepalive(HepBytes payload) {
    for (size_t i = 0; i < payload.size; i++)
        if (payload.data[i] != '\r' && payload.data[i] != '\n' && payload.data[i] != 0)
            return 0;
    return 1;
}

/* Microseconds since 1970, -1 without a time. */
static inline long long hep_time_us(const HepPacket *packet) {
    if (packet->seconds < 0)
        return -1;
    return packet->seconds * 1000000 + (packet->microseconds < 0 ? 0 : packet->microseconds);
}

#endif
