/* Escaping of JSON strings (RFC 8259 section 7), into memory that the caller has reserved.
 * Short escapes \b \t \n \f \r \" \\; other bytes below 0x20 as \u00xx in lower case; all else as it is. */
#ifndef PYKAFKAEVT_JSON_ESCAPE_H
#define PYKAFKAEVT_JSON_ESCAPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that json_escape may touch for n bytes of input: six for one, and whole vectors are stored at the end. */
#define JSON_ESCAPED_MAX(n) (6 * (size_t)(n) + 32)

/* 0: as it is; 'u': \u00xx; otherwise the letter behind the backslash. */
static const char json_short[256] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
    ['"'] = '"', ['\\'] = '\\',
};

static inline char *json_escape_byte(char *dst, unsigned char byte) {
    static const char hex[] = "0123456789abcdef";
    char letter = json_short[byte];
    if (!letter) {
        *dst++ = (char)byte;
        return dst;
    }
    *dst++ = '\\';
    *dst++ = letter;
    if (letter == 'u') {
        *dst++ = '0';
        *dst++ = '0';
        *dst++ = hex[byte >> 4];
        *dst++ = hex[byte & 15];
    }
    return dst;
}

/* Non-zero when one of the 8 bytes needs an escape. */
static inline uint64_t json_special8(uint64_t x) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = x ^ (ones * '"'), slash = x ^ (ones * '\\');
    return ((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | (x - ones * 0x20)) & ~x & high);
}

/* JSON_SCALAR asks for the portable fallback, for its test. */
#if defined(__SSE2__) && !defined(JSON_SCALAR)
#include <emmintrin.h>
#define JSON_SIMD "sse2"
#define JSON_LANES 16
typedef __m128i json_vector;
static inline json_vector json_load(const char *src) { return _mm_loadu_si128((const __m128i *)src); }
static inline void json_store(char *dst, json_vector v) { _mm_storeu_si128((__m128i *)dst, v); }
/* One bit per byte that needs an escape. */
static inline uint64_t json_special(json_vector v) {
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"')), slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    return (uint64_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), control));
}
#define JSON_FIRST(bits) ((size_t)__builtin_ctzll(bits))
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(JSON_SCALAR)
#include <arm_neon.h>
#define JSON_SIMD "neon"
#define JSON_LANES 16
typedef uint8x16_t json_vector;
static inline json_vector json_load(const char *src) { return vld1q_u8((const uint8_t *)src); }
static inline void json_store(char *dst, json_vector v) { vst1q_u8((uint8_t *)dst, v); }
/* Four bits per byte that needs an escape: NEON has no movemask. */
static inline uint64_t json_special(json_vector v) {
    uint8x16_t bad = vorrq_u8(vorrq_u8(vceqq_u8(v, vdupq_n_u8('"')), vceqq_u8(v, vdupq_n_u8('\\'))),
                              vcltq_u8(v, vdupq_n_u8(0x20)));
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(bad), 4)), 0);
}
#define JSON_FIRST(bits) ((size_t)(__builtin_ctzll(bits) >> 2))
#else
#define JSON_SIMD "scalar"
#endif

/* Copies n bytes that need no escape (n < 2 * JSON_LANES is one or two loads and stores, which may overlap);
 * returns the end, or NULL when there is an escape to make or n is below 4. */
static inline char *json_clean(char *dst, const char *src, size_t n) {
    const char *last;
#ifdef JSON_LANES
    if (n >= JSON_LANES) {
        json_vector v;
        for (last = src + n - JSON_LANES; src < last; src += JSON_LANES, dst += JSON_LANES) {
            v = json_load(src);
            if (json_special(v))
                return NULL;
            json_store(dst, v);
        }
        v = json_load(last);
        if (json_special(v))
            return NULL;
        dst -= src - last;
        json_store(dst, v);
        return dst + JSON_LANES;
    }
#endif
    if (n >= 8) {
        uint64_t x;
        for (last = src + n - 8; src < last; src += 8, dst += 8) {
            memcpy(&x, src, 8);
            if (json_special8(x))
                return NULL;
            memcpy(dst, &x, 8);
        }
        memcpy(&x, last, 8);
        if (json_special8(x))
            return NULL;
        dst -= src - last;
        memcpy(dst, &x, 8);
        return dst + 8;
    }
    if (n >= 4) {
        uint32_t first, rest;
        memcpy(&first, src, 4);
        memcpy(&rest, src + n - 4, 4);
        if (json_special8(first | (uint64_t)rest << 32))
            return NULL;
        memcpy(dst, &first, 4);
        memcpy(dst + n - 4, &rest, 4);
        return dst + n;
    }
    return NULL;
}

/* Writes the n bytes of valid UTF-8 at src, escaped; needs JSON_ESCAPED_MAX(n); returns the end of what it wrote.
 * Never reads outside [src, src + n). */
static inline char *json_escape(char *dst, const char *src, size_t n) {
    const char *end = src + n;
    char *clean_end = json_clean(dst, src, n);
    if (clean_end)
        return clean_end;
#ifdef JSON_LANES
    while ((size_t)(end - src) >= JSON_LANES) {
        json_vector v = json_load(src);
        uint64_t bits = json_special(v);
        json_store(dst, v);
        if (bits) {
            size_t clean = JSON_FIRST(bits);
            dst = json_escape_byte(dst + clean, (unsigned char)src[clean]);
            src += clean + 1;
        } else {
            src += JSON_LANES;
            dst += JSON_LANES;
        }
    }
#endif
    while (src < end)
        dst = json_escape_byte(dst, (unsigned char)*src++);
    return dst;
}

static inline char *utf8_encode(char *dst, uint32_t c) {
    if (c < 0x800) {
        *dst++ = (char)(0xc0 | (c >> 6));
    } else {
        if (c < 0x10000) {
            *dst++ = (char)(0xe0 | (c >> 12));
        } else {
            *dst++ = (char)(0xf0 | (c >> 18));
            *dst++ = (char)(0x80 | ((c >> 12) & 0x3f));
        }
        *dst++ = (char)(0x80 | ((c >> 6) & 0x3f));
    }
    *dst++ = (char)(0x80 | (c & 0x3f));
    return dst;
}

/* The length of the valid UTF-8 at the start of [src, src + n); when it is shorter than n, *skip is the
 * length of the invalid part behind it (a maximal subpart: Unicode 16.0 section 3.9, as Python's decoder). */
static inline size_t utf8_valid(const unsigned char *src, size_t n, size_t *skip) {
    size_t i = 0;
    while (i < n) {
        uint64_t x;
        if (n - i >= 8 && (memcpy(&x, src + i, 8), !(x & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        unsigned char lead = src[i], low = 0x80, high = 0xbf;
        size_t more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3, k = 1;
        if (lead >= 0x80 && (lead < 0xc2 || lead > 0xf4)) {
            *skip = 1;
            return i;
        }
        /* the second byte's range excludes overlong forms, surrogates and what is above U+10FFFF */
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
        for (; k <= more; k++, low = 0x80, high = 0xbf)
            if (i + k >= n || src[i + k] < low || src[i + k] > high) {
                *skip = k;
                return i;
            }
        i += k;
    }
    return n;
}

#endif
