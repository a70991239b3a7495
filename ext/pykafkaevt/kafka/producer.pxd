from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from pykafkaevt.kafka.additions cimport Additions
from pykafkaevt.kafka.batch cimport Records
from pykafkaevt.kafka.client cimport Client
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t, rd_kafka_resp_err_t
from pykafkaevt.kafka.queueing cimport OnFull, Outcome
from pykafkaevt.kafka.topic cimport Topic, report_function

# What became of a batch call so far.
cdef struct Progress:
    Py_ssize_t queued
    Py_ssize_t rejected                # by librdkafka, each for itself
    Py_ssize_t first_rejected          # index in the call
    rd_kafka_resp_err_t first_error

cdef class Producer:
    cdef readonly Client client
    cdef Topic* topic            # owned by the client, never NULL
    cdef OnFull full
    cdef int64_t full_timeout_us  # to wait for; negative: no limit
    cdef int policy              # INVALID_… for emit
    cdef object on_delivery
    cdef object on_error
    cdef bint owns_client        # it goes with the producer
    cdef void leave_to_client(self) noexcept
    cdef readonly str name

    # The topic; Error without.
    cdef Topic* opened(self) except NULL
    # Have the reports of the topic go to a C function.
    cdef int report_to(self, report_function deliver) except -1
    # Queue one record; tag: borrowed, what its report carries, NULL for no report.
    cdef bint queue_one(
        self, void* value, size_t length, const void* key, size_t key_length, PyObject* tag
    ) except -1
    cdef bint queue_with(self, Additions* additions, rd_kafka_message_t* message) except -1
    # Queue messages 0 to n, the call's from `base` on; each takes its tag's reference along or gives it back.
    cdef int queue_batch(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Additions* additions, Py_ssize_t base, Progress* progress
    ) except -1
    cdef PyObject* tag_for(self, bint report, PyObject* opaque) except? NULL
    cdef int see_to_rejected(
        self, rd_kafka_message_t* messages, Py_ssize_t n, Py_ssize_t base, Progress* progress
    ) except -1
    cdef Py_ssize_t queue_all(self, Records records, object headers) except -1
    cdef int name_rejected(self, Progress* progress) except -1
