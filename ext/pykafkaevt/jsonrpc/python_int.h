/* The value of a Python int; one of a single digit (30 bits) is read in place. */
#ifndef PYKAFKAEVT_PYTHON_INT_H
#define PYKAFKAEVT_PYTHON_INT_H

#include <Python.h>
#if PY_VERSION_HEX < 0x030b0000
#include <longintrepr.h>
#endif

/* As PyLong_AsLongLongAndOverflow. */
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

#endif
