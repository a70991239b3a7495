/* JSON text of Python strings that are not ASCII, straight from their 1, 2 or 4 byte characters. */
#ifndef PYKAFKAEVT_UNICODE_ESCAPE_H
#define PYKAFKAEVT_UNICODE_ESCAPE_H

#include <Python.h>

#include "json_escape.h"

/* What becomes of text that has no UTF-8: the values of invalid=. */
enum { INVALID_REPLACE, INVALID_STRICT, INVALID_LATIN1 };

/* The UTF-8 a str carries already: its own data when ASCII, or what an earlier call cached; else NULL. */
static inline const char *unicode_utf8(PyObject *text, Py_ssize_t *n) {
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        *n = PyUnicode_GET_LENGTH(text);
        return (const char *)PyUnicode_DATA(text);
    }
    *n = ((PyCompactUnicodeObject *)text)->utf8_length;
    return ((PyCompactUnicodeObject *)text)->utf8;
}

/* Writes the characters of `text` as UTF-8, escaped for JSON when `escape`; needs JSON_ESCAPED_MAX(length).
 * Returns the end, or NULL with the index of a lone surrogate in *bad under INVALID_STRICT. */
static inline char *unicode_write(char *dst, PyObject *text, int escape, int invalid, Py_ssize_t *bad) {
    int kind = (int)PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    Py_ssize_t n = PyUnicode_GET_LENGTH(text);
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (c < 0x80) {
            if (escape)
                dst = json_escape_byte(dst, (unsigned char)c);
            else
                *dst++ = (char)c;
            continue;
        }
        if (c >= 0xd800 && c <= 0xdfff) {
            if (invalid == INVALID_STRICT) {
                *bad = i;
                return NULL;
            }
            /* surrogateescape keeps an undecodable byte b as U+DC00 + b */
            c = invalid == INVALID_LATIN1 && c >= 0xdc80 && c <= 0xdcff ? c - 0xdc00 : 0xfffd;
        }
        dst = utf8_encode(dst, c);
    }
    return dst;
}

/* Writes n bytes that should be UTF-8, escaped for JSON; needs JSON_ESCAPED_MAX(n).
 * Returns the end, or NULL with the offset of the first invalid byte in *bad under INVALID_STRICT. */
static inline char *bytes_write(char *dst, const char *src, size_t n, int invalid, Py_ssize_t *bad) {
    const char *start = src, *end = src + n;
    while (src < end) {
        size_t skip = 0, valid = utf8_valid((const unsigned char *)src, (size_t)(end - src), &skip);
        dst = json_escape(dst, src, valid);
        src += valid;
        if (src == end)
            break;
        if (invalid == INVALID_STRICT) {
            *bad = src - start;
            return NULL;
        }
        if (invalid == INVALID_LATIN1)
            for (size_t i = 0; i < skip; i++)
                dst = utf8_encode(dst, (unsigned char)src[i]);
        else
            dst = utf8_encode(dst, 0xfffd);
        src += skip;
    }
    return dst;
}

#endif
