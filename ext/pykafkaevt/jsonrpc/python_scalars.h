/* The values of Python's ints, and the JSON text of None, True and False. */
#ifndef PYKAFKAEVT_PYTHON_SCALARS_H
#define PYKAFKAEVT_PYTHON_SCALARS_H

#include <Python.h>
#include <string.h>
#if PY_VERSION_HEX < 0x030b0000
#include <longintrepr.h>
#endif

/* As PyLong_AsLongLongAndOverflow; an int of a single digit (30 bits) is read in place. */
static inline long long int_value(PyObject *number, int *overflow) {
#if PY_VERSION_HEX >= 0x030c0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)number)) {
        *overflow = 0;
        return PyUnstable_Long_CompactValue((PyLongObject *)number);
    }
#else
    Py_ssize_t size = Py_SIZE(number);
    if (size == 0 || size == 1) {
        *overflow = 0;
        return size ? (long long)((PyLongObject *)number)->ob_digit[0] : 0;
    }
#endif
    return PyLong_AsLongLongAndOverflow(number, overflow);
}

#define JSON_WORD_BYTES 5
/* Writes null, true or false, for which it may touch JSON_WORD_BYTES; returns the end, NULL for another value. */
static inline char *json_word(char *dst, PyObject *value) {
    if (value == Py_False) {
        memcpy(dst, "false", 5);
        return dst + 5;
    }
    if (value != Py_None && value != Py_True)
        return NULL;
    memcpy(dst, value == Py_None ? "null" : "true", 4);
    return dst + 4;
}

#endif
