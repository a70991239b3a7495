/* unicode_escape.h as functions that ctypes can call; input bytes and output room end at a wall. */
#include "unicode_escape.h"

#include "check.h"

static wall in, out;

static void build_walls(void) {
    if (!out.end)
        in = wall_new(1), out = wall_new(8);
}

static PyObject *result(const char *start, const char *end, Py_ssize_t bad) {
    return end ? PyBytes_FromStringAndSize(start, end - start) : PyLong_FromSsize_t(bad);
}

/* What unicode_write writes, or the index in *bad. */
PyObject *written_text(PyObject *text, int escape, int invalid) {
    Py_ssize_t bad = -1;
    build_walls();
    char *dst = (char *)out.end - JSON_ESCAPED_MAX(PyUnicode_GET_LENGTH(text));
    char *end = unicode_write(dst, text, escape, invalid, &bad);
    return result(dst, end, bad);
}

/* What bytes_write writes, or the offset in *bad. */
PyObject *written_bytes(PyObject *octets, int invalid) {
    Py_ssize_t bad = -1, n = PyBytes_GET_SIZE(octets);
    build_walls();
    memcpy(in.end - n, PyBytes_AS_STRING(octets), (size_t)n);
    char *dst = (char *)out.end - JSON_ESCAPED_MAX(n);
    char *end = bytes_write(dst, (const char *)in.end - n, (size_t)n, invalid, &bad);
    return result(dst, end, bad);
}

/* The UTF-8 the text carries, None without. */
PyObject *carried_utf8(PyObject *text) {
    Py_ssize_t n;
    const char *utf8 = unicode_utf8(text, &n);
    if (!utf8)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(utf8, n);
}
