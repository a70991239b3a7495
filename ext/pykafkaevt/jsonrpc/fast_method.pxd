"""Methods that get their arguments without a tuple of them."""

from cpython.object cimport PyObject

cdef extern from "fast_method.h":
    ctypedef struct PyMethodDef:
        pass
    ctypedef PyObject* (*fast_method)(PyObject*, PyObject**, Py_ssize_t, PyObject*)
    int fast_method_add(
        object type, PyMethodDef* definition, const char* name, fast_method method, const char* doc
    ) except -1
