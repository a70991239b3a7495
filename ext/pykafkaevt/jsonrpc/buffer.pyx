"""The list of buffers that are free."""

from libc.stdlib cimport calloc

cdef Buffer* free_buffers = NULL


cdef Buffer* acquire_buffer() except NULL:
    global free_buffers
    cdef Buffer* b = free_buffers
    if b != NULL:
        free_buffers = b.next
        return b
    b = <Buffer*> calloc(1, sizeof(Buffer))
    if b == NULL:
        raise MemoryError()
    return b


cdef void release_buffer(Buffer* b) noexcept:
    global free_buffers
    buffer_reset(b)
    b.next = free_buffers
    free_buffers = b
