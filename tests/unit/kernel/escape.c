/* json_escape.h against the plainest code that does the same; JSON_SCALAR builds its fallback. */
#include "json_escape.h"
#include "json_number.h"

#include <inttypes.h>

#include "check.h"

enum { LONGEST = 600 };

static char *reference_escape(char *dst, const unsigned char *src, size_t n) {
    static const char named[][2] = {{'"', '"'}, {'\\', '\\'}, {'\b', 'b'}, {'\t', 't'}, {'\n', 'n'}, {'\f', 'f'}, {'\r', 'r'}};
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < 7 && (unsigned char)named[k][0] != src[i])
            k++;
        if (k < 7)
            dst += sprintf(dst, "\\%c", named[k][1]);
        else if (src[i] < 0x20)
            dst += sprintf(dst, "\\u%04x", src[i]);
        else
            *dst++ = (char)src[i];
    }
    return dst;
}

static void check_escape(wall in, wall out, const unsigned char *text, size_t n) {
    static char expected[6 * LONGEST + 1];
    size_t length = (size_t)(reference_escape(expected, text, n) - expected);
    /* the input ends at a wall, and so does the room */
    unsigned char *src = in.end - n;
    char *dst = (char *)out.end - JSON_ESCAPED_MAX(n);
    memcpy(src, text, n);
    dst[-1] = '#';
    size_t written = (size_t)(json_escape(dst, (char *)src, n) - dst);
    CHECK(written == length && memcmp(dst, expected, length) == 0, "%zu bytes, %zu written", n, written);
    CHECK(dst[-1] == '#', "%zu bytes", n);
}

/* Every byte at every place of every length up to 70 among plain bytes, alone and with a neighbour. */
static void test_each_byte_at_each_place(wall in, wall out) {
    unsigned char text[70];
    for (size_t n = 0; n <= sizeof text; n++)
        for (size_t i = 0; i < n; i++)
            for (int byte = 0; byte < 256; byte++) {
                memset(text, n & 1 ? 'a' : 0xa9, n);
                text[i] = (unsigned char)byte;
                check_escape(in, out, text, n);
                if (i + 1 < n) {
                    text[i + 1] = '"';
                    check_escape(in, out, text, n);
                }
            }
}

static void test_random_bytes(wall in, wall out) {
    unsigned char text[LONGEST];
    for (int round = 0; round < 200000; round++) {
        size_t n = random_below(round % 50 ? 80 : LONGEST + 1);
        /* from none to all of the bytes need an escape */
        uint64_t share = random_below(101);
        for (size_t i = 0; i < n; i++)
            text[i] = (unsigned char)(random_below(100) < share ? random_below(0x30) : random_below(256));
        check_escape(in, out, text, n);
    }
}

/* The decoder of RFC 3629 section 4, one sequence at a time: the length of a valid one, 0 otherwise. */
static size_t reference_sequence(const unsigned char *s, size_t n) {
    uint32_t c;
    size_t more, i;
    if (s[0] < 0x80)
        return 1;
    if ((s[0] & 0xe0) == 0xc0)
        more = 1, c = s[0] & 0x1f;
    else if ((s[0] & 0xf0) == 0xe0)
        more = 2, c = s[0] & 0x0f;
    else if ((s[0] & 0xf8) == 0xf0)
        more = 3, c = s[0] & 0x07;
    else
        return 0;
    if (n <= more)
        return 0;
    for (i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < (uint32_t[]){0, 0x80, 0x800, 0x10000}[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return more + 1;
}

/* Whether s could be the start of a valid sequence, n bytes of it being there. */
static int reference_prefix(const unsigned char *s, size_t n) {
    unsigned char longer[4];
    memcpy(longer, s, n);
    for (unsigned second = 0x80; second < 0xc0; second++)
        for (size_t length = n + 1; length <= 4; length++) {
            for (size_t i = n; i < 4; i++)
                longer[i] = i == 1 ? (unsigned char)second : 0x80;
            if (reference_sequence(longer, length) == length)
                return 1;
        }
    return 0;
}

static void check_valid(wall in, const unsigned char *text, size_t n) {
    size_t valid = 0, length, skip = 0, expected_skip = 1;
    while (valid < n && (length = reference_sequence(text + valid, n - valid)) != 0)
        valid += length;
    unsigned char *src = in.end - n;
    memcpy(src, text, n);
    size_t found = utf8_valid(src, n, &skip);
    CHECK(found == valid, "%zu bytes: %zu instead of %zu", n, found, valid);
    if (valid == n)
        return;
    /* a maximal subpart: the longest start of a valid sequence, or one byte */
    while (expected_skip < 3 && valid + expected_skip < n && reference_prefix(text + valid, expected_skip + 1))
        expected_skip++;
    CHECK(skip == expected_skip, "%zu bytes at %zu: skips %zu instead of %zu", n, valid, skip, expected_skip);
}

static void test_utf8(wall in) {
    static const unsigned char telling[] = {0x00, 'a',  0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
                                            0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5,
                                            0xff};
    unsigned char text[LONGEST];
    /* every text of one to four telling bytes, at every distance from the eight-byte steps */
    for (size_t before = 0; before < 9; before++)
        for (size_t number = 0; number < 25 * 25 * 25 * 25; number++) {
            memset(text, 'a', before);
            for (size_t i = 0, rest = number; i < 4; i++, rest /= 25)
                text[before + i] = telling[rest % 25];
            check_valid(in, text, before + 1 + number % 4);
        }
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c < 0x80 || (c >= 0xd800 && c <= 0xdfff))
            continue;
        char encoded[4];
        size_t n = (size_t)(utf8_encode(encoded, c) - encoded);
        uint32_t decoded = (unsigned char)encoded[0] & (0xffu >> (n + 1));
        for (size_t i = 1; i < n; i++)
            decoded = decoded << 6 | ((unsigned char)encoded[i] & 0x3f);
        CHECK(decoded == c && reference_sequence((unsigned char *)encoded, n) == n, "U+%04" PRIX32, c);
    }
    for (int round = 0; round < 100000; round++) {
        size_t n = 0, wanted = random_below(LONGEST / 4);
        while (n < wanted) {
            uint32_t c = (uint32_t)random_below(round & 1 ? 0x110000 : 0x900);
            if (c < 0x80)
                text[n++] = (unsigned char)c;
            else
                n = (size_t)(utf8_encode((char *)text + n, c) - (char *)text);
        }
        if (n && round % 3)
            text[random_below(n)] = (unsigned char)random_below(256);
        check_valid(in, text, n);
    }
}

static void check_uint(wall out, uint64_t value) {
    char expected[21];
    int n = snprintf(expected, sizeof expected, "%" PRIu64, value);
    char *dst = (char *)out.end - JSON_UINT_BYTES;
    CHECK(json_uint(dst, value) == dst + n && memcmp(dst, expected, (size_t)n) == 0, "%" PRIu64, value);
}

static void test_integers(wall out) {
    for (uint64_t value = 0; value < 200000; value++)
        check_uint(out, value);
    for (int bit = 0; bit < 64; bit++)
        for (int step = -2; step <= 2; step++)
            check_uint(out, ((uint64_t)1 << bit) + (uint64_t)step);
    for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10)
        for (int step = -2; step <= 2; step++)
            check_uint(out, power + (uint64_t)step);
    for (int round = 0; round < 200000; round++)
        check_uint(out, random_u64() >> random_below(64));
}

int main(int count, char **arguments) {
    wall in = wall_new(1), out = wall_new(2);
    seed(count, arguments);
    test_each_byte_at_each_place(in, out);
    test_random_bytes(in, out);
    test_utf8(in);
    test_integers(out);
    puts(JSON_SIMD);
    return 0;
}
