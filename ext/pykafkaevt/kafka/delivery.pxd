from libc.stdint cimport int64_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t

cdef class DeliveryBatch:
    cdef const rd_kafka_message_t** messages   # borrowed for the length of the on_delivery call, then NULL
    cdef Py_ssize_t count
    cdef Py_ssize_t failed                     # records with an error
    cdef int64_t taken_us                      # CLOCK_MONOTONIC when the reports were taken from librdkafka
    cdef readonly list opaques
    cdef tuple columns                         # the four memoryviews, made at the first look
    cdef readonly object explanation           # an Explanation, None when nothing failed
    cdef list records                          # (key, value) of each, copied by detach_if_kept()

    cdef int fill(self) except -1

# Borrows the messages, and takes over the reference each holds in its _private.
cdef DeliveryBatch batch_of_messages(
    const rd_kafka_message_t** messages, Py_ssize_t count, int64_t taken_us
)

cdef bytes text_of(const void* data, size_t size)

# Records that librdkafka rejected, so that they were not queued: (error code, key, value, opaque) each.
cdef DeliveryBatch batch_of_rejected(list rejected)

# At the end of the on_delivery call: a batch that somebody keeps copies what it shows.
cdef void detach_if_kept(DeliveryBatch batch) noexcept

# In an except block: a callback of the user raised. Its traceback goes to the log, at most one a second.
cdef void log_raised(str what, object callback) noexcept
