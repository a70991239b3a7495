/* The fields of an event whose values are what most are: text that has UTF-8 at hand, 64-bit integers,
 * None, True and False. */
#ifndef PYKAFKAEVT_EVENT_FIELDS_H
#define PYKAFKAEVT_EVENT_FIELDS_H

#include "json_number.h"
#include "python_scalars.h"
#include "unicode_escape.h"

#define FIELD_COPIED 32 /* bytes copied at once of a template's text: two vectors */

typedef struct Prefix {
    size_t at;     /* offset into the template's text of ,"name":" */
    size_t length; /* bytes, with the quote that only a string's value has */
} Prefix;

/* Copies short text, in whole vectors: FIELD_COPIED bytes behind the end of both are touched too. */
static inline void copy_padded(char *dst, const char *text, size_t length) {
    size_t done = FIELD_COPIED;
    memcpy(dst, text, FIELD_COPIED);
    for (; done < length; done += FIELD_COPIED)
        memcpy(dst + done, text + done, FIELD_COPIED);
}

/* Writes fields from *at on, at most `count` and while they fit before `limit`; *at becomes the first not written.
 * A value that is `skip` leaves its field out. Returns the end of what was written. */
static inline char *fields_write(char *dst, const char *limit, const char *text, const Prefix *prefixes,
                                 PyObject *const *values, Py_ssize_t count, PyObject *skip, Py_ssize_t *at) {
    Py_ssize_t i = *at;
    for (; i < count; i++) {
        PyObject *value = values[i];
        size_t length = prefixes[i].length, left = (size_t)(limit - dst);
        if (PyUnicode_CheckExact(value)) {
            Py_ssize_t n;
            const char *utf8 = unicode_utf8(value, &n);
            if (!utf8 || left < length + FIELD_COPIED + JSON_ESCAPED_MAX(n) + 1)
                break;
            copy_padded(dst, text + prefixes[i].at, length);
            dst = json_escape(dst + length, utf8, (size_t)n);
            *dst++ = '"';
        } else if (PyLong_CheckExact(value)) {
            int overflow;
            long long number = int_value(value, &overflow);
            if (overflow || left < length + FIELD_COPIED + JSON_INT_BYTES)
                break;
            copy_padded(dst, text + prefixes[i].at, length - 1);
            dst = json_int(dst + length - 1, number);
        } else if (value == Py_None || value == Py_True || value == Py_False) {
            if (left < length + FIELD_COPIED + JSON_WORD_BYTES)
                break;
            copy_padded(dst, text + prefixes[i].at, length - 1);
            dst = json_word(dst + length - 1, value);
        } else if (value != skip) {
            break;
        }
    }
    *at = i;
    return dst;
}

#endif
