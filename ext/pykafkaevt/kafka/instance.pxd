from pykafkaevt.kafka.librdkafka cimport rd_kafka_t
from pykafkaevt.kafka.topic cimport Handle, Topic

cdef enum:
    REASON_SIZE = 512        # bytes of librdkafka's text for what it does not take

# What a topic is made of, in every instance again.
cdef class TopicSpec:
    cdef bytes name
    cdef list properties     # [(property, value), …], as bytes
    cdef list hidden         # values that must not be shown
    cdef str partitioner     # the property of that name

    # The topic's handle in an instance: 0, or what check() is given. Makes no object: it may be called inside the gate.
    cdef Py_ssize_t open(self, rd_kafka_t* rk, Topic* topic, char* reason) except? -2
    # Raises ConfigError or DeliveryError for what open() gave.
    cdef int check(self, Py_ssize_t wrong, const char* reason) except -1

# The client's next instance, with a handle for each of its topics, and the room in its queue; ConfigError naming the
# property that librdkafka does not take. Its Diagnosis is told what must not be shown.
cdef int open_handle(str bootstrap_servers, tuple properties, Handle* handle) except -1
cdef void close_topics(Topic* topics) noexcept nogil
