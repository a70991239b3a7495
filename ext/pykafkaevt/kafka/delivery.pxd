from libc.stdint cimport int64_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t

cdef class DeliveryBatch:
    cdef const rd_kafka_message_t** messages   # borrowed for the length of the on_delivery call, then NULL
    cdef Py_ssize_t count
    cdef Py_ssize_t failed                     # records with an error
    cdef int64_t taken_us                      # CLOCK_MONOTONIC when the reports were taken from librdkafka
    cdef readonly list opaques
    cdef tuple columns                         # the four memoryviews, made at the first look
    cdef list records                          # (key, value) of each, kept by detach()

    cdef int fill(self) except -1
    cdef int detach(self) except -1

# Borrows the messages, and takes over the reference each holds in its _private.
cdef DeliveryBatch batch_of_messages(
    const rd_kafka_message_t** messages, Py_ssize_t count, Py_ssize_t failed, int64_t taken_us
)

cdef bytes text_of(const void* data, size_t size)

# Records that were refused before they were queued: (error code, key, value, opaque) each.
cdef DeliveryBatch batch_of_refused(list refused)

# In an except block: a callback of the user raised. Its traceback goes to the log, at most one a second.
cdef void log_raised(str what, object callback) noexcept
