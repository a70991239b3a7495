"""The preallocated growing buffer that events are serialized into."""

from libc.stdlib cimport calloc, free, realloc

# A buffer that one large event made bigger than this returns its memory when it is released.
cdef enum:
    BUFFER_FIRST = 4096
    BUFFER_KEPT = 1 << 20

ctypedef struct Buffer:
    char* data      # owned; NULL until the first reserve
    size_t used     # bytes written
    size_t size     # bytes allocated
    Buffer* next    # in the list of free buffers

# Free buffers, of all modules; guarded by the GIL.
cdef Buffer* free_buffers


cdef inline Buffer* acquire_buffer() except NULL:
    """An empty buffer for the length of a call, for release_buffer().

    A value's own code may serialize too meanwhile: that call acquires another one.
    """
    global free_buffers
    cdef Buffer* b = free_buffers
    if b != NULL:
        free_buffers = b.next
        return b
    b = <Buffer*> calloc(1, sizeof(Buffer))
    if b == NULL:
        raise MemoryError()
    return b


cdef inline void release_buffer(Buffer* b) noexcept:
    """The end of its use; what was written is gone."""
    global free_buffers
    buffer_reset(b)
    b.next = free_buffers
    free_buffers = b


cdef inline void buffer_reset(Buffer* b) noexcept nogil:
    """Empties the buffer for its next use."""
    b.used = 0
    if b.size > BUFFER_KEPT:
        free(b.data)
        b.data = NULL
        b.size = 0


cdef inline int buffer_grow(Buffer* b, size_t extra) except -1:
    """Make space for `extra` more bytes, at least doubling; on MemoryError the buffer stays as it was."""
    cdef size_t size = max(2 * b.size, b.used + extra, <size_t> BUFFER_FIRST)
    cdef char* data = <char*> realloc(b.data, size)
    if data == NULL:
        raise MemoryError(f"no memory for an event of {size} bytes")
    b.data = data
    b.size = size
    return 0


cdef inline char* buffer_reserve(Buffer* b, size_t extra) except NULL:
    """Where `extra` bytes may be written at the end; the pointer holds until the next reserve."""
    if b.size - b.used < extra:
        buffer_grow(b, extra)
    return b.data + b.used
