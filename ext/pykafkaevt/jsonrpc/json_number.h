/* Decimal integers, two digits at a time, into JSON_UINT_BYTES or JSON_INT_BYTES bytes that the caller has reserved. */
#ifndef PYKAFKAEVT_JSON_NUMBER_H
#define PYKAFKAEVT_JSON_NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static const char json_pairs[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* Exactly eight digits, from two halves that do not wait for each other. */
static inline void json_eight(char *dst, uint32_t value) {
    uint32_t high = value / 10000, low = value % 10000;
    memcpy(dst, json_pairs + 2 * (high / 100), 2);
    memcpy(dst + 2, json_pairs + 2 * (high % 100), 2);
    memcpy(dst + 4, json_pairs + 2 * (low / 100), 2);
    memcpy(dst + 6, json_pairs + 2 * (low % 100), 2);
}

/* An integer below 10,000. */
static inline char *json_four(char *dst, uint32_t value) {
    if (value >= 100) {
        uint32_t high = value / 100;
        if (high >= 10) {
            memcpy(dst, json_pairs + 2 * high, 2);
            dst += 2;
        } else {
            *dst++ = (char)('0' + high);
        }
        value -= high * 100;
    } else if (value < 10) {
        *dst = (char)('0' + value);
        return dst + 1;
    }
    memcpy(dst, json_pairs + 2 * value, 2);
    return dst + 2;
}

/* An integer below 100,000,000. */
static inline char *json_small(char *dst, uint32_t value) {
    if (value < 10000)
        return json_four(dst, value);
    if (value >= 10000000) {
        json_eight(dst, value);
        return dst + 8;
    }
    uint32_t high = value / 10000, low = value % 10000;
    dst = json_four(dst, high);
    memcpy(dst, json_pairs + 2 * (low / 100), 2);
    memcpy(dst + 2, json_pairs + 2 * (low % 100), 2);
    return dst + 4;
}

#define JSON_UINT_BYTES 20
static inline char *json_uint(char *dst, uint64_t value) {
    if (value < 100000000u)
        return json_small(dst, (uint32_t)value);
    uint64_t rest = value / 100000000u;
    if (rest < 100000000u) {
        dst = json_small(dst, (uint32_t)rest);
    } else {
        dst = json_small(dst, (uint32_t)(rest / 100000000u));
        json_eight(dst, (uint32_t)(rest % 100000000u));
        dst += 8;
    }
    json_eight(dst, (uint32_t)(value % 100000000u));
    return dst + 8;
}

#define JSON_INT_BYTES (JSON_UINT_BYTES + 1)
static inline char *json_int(char *dst, long long value) {
    if (value >= 0)
        return json_uint(dst, (uint64_t)value);
    *dst = '-';
    return json_uint(dst + 1, 0 - (uint64_t)value);
}

#endif
