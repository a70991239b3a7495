/* The partition of a key, by the two rules whose result librdkafka's batches can be sorted by: consistent_random, its
 * default, and murmur2_random, which is the Java client's. CRC32 takes four table look-ups for four bytes, where zlib's
 * goes byte by byte through a key as short as a Call-ID. */
#ifndef PYKAFKAEVT_PARTITIONER_H
#define PYKAFKAEVT_PARTITIONER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t crc32_table[4][256];

static inline void crc32_init(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc32_table[0][n] = c;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 1; k < 4; k++)
            crc32_table[k][n] = crc32_table[0][crc32_table[k - 1][n] & 0xff] ^ (crc32_table[k - 1][n] >> 8);
}

/* The CRC32 of zlib and of ISO 3309 (polynomial 0xedb88320, reflected). */
static inline uint32_t crc32_of(const unsigned char *data, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (; n >= 4; data += 4, n -= 4) {
        crc ^= data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = crc32_table[3][crc & 0xff] ^ crc32_table[2][crc >> 8 & 0xff] ^ crc32_table[1][crc >> 16 & 0xff] ^
              crc32_table[0][crc >> 24];
    }
    for (; n; data++, n--)
        crc = crc32_table[0][(crc ^ *data) & 0xff] ^ (crc >> 8);
    return ~crc;
}

/* Kafka's: org.apache.kafka.common.utils.Utils.murmur2(). */
static inline uint32_t murmur2_of(const unsigned char *data, size_t n) {
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28cu ^ (uint32_t)n;
    for (; n >= 4; data += 4, n -= 4) {
        uint32_t k = data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    if (n > 2)
        h ^= (uint32_t)data[2] << 16;
    if (n > 1)
        h ^= (uint32_t)data[1] << 8;
    if (n > 0)
        h = (h ^ data[0]) * m;
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

/* Rules for a key's partition. */
enum { RULE_OTHER, RULE_CONSISTENT_RANDOM, RULE_MURMUR2_RANDOM };

/* A key's partition of so many; -1: any. */
static inline int32_t partition_of(int rule, const unsigned char *key, size_t n, int32_t partitions) {
    if (rule == RULE_CONSISTENT_RANDOM && n)
        return (int32_t)(crc32_of(key, n) % (uint32_t)partitions);
    if (rule == RULE_MURMUR2_RANDOM && key)
        return (int32_t)((murmur2_of(key, n) & 0x7fffffff) % (uint32_t)partitions);
    return -1;
}

#endif
