"""The list of free buffers, in a module of its own so that there is one; all else is inline, in buffer.pxd."""

cdef Buffer* free_buffers = NULL
