/* A method that is called with its arguments where the interpreter has them (METH_FASTCALL): no tuple of them is made. */
#ifndef PYKAFKAEVT_FAST_METHOD_H
#define PYKAFKAEVT_FAST_METHOD_H

#include <Python.h>

typedef PyObject *(*fast_method)(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* Adds the method to the type; `definition` must live as long as the type. Returns -1 with an exception. */
static inline int fast_method_add(PyObject *type, PyMethodDef *definition, const char *name, fast_method method,
                                  const char *doc) {
    definition->ml_name = name;
    definition->ml_meth = (PyCFunction)(void (*)(void))method;
    definition->ml_flags = METH_FASTCALL | METH_KEYWORDS;
    definition->ml_doc = doc;
    PyObject *descriptor = PyDescr_NewMethod((PyTypeObject *)type, definition);
    if (!descriptor)
        return -1;
    int failed = PyDict_SetItemString(((PyTypeObject *)type)->tp_dict, name, descriptor);
    Py_DECREF(descriptor);
    PyType_Modified((PyTypeObject *)type);
    return failed;
}

#endif
