from pykafkaevt.kafka.librdkafka cimport rd_kafka_t
from pykafkaevt.kafka.topic cimport Topic

cdef enum:
    REASON_SIZE = 512        # bytes of librdkafka's text for what it does not take

# What a topic is made of, in every instance again.
cdef class TopicSpec:
    cdef bytes name
    cdef list properties     # [(property, value), …], as bytes
    cdef list hidden         # values that must not be shown
    cdef bint partitioned    # a property chooses the partitioner

    # The topic's handle in an instance: 0, or what check() is given. Makes no object: it may be called inside the gate.
    cdef Py_ssize_t open(self, rd_kafka_t* rk, Topic* topic, char* reason) except? -2
    # Raises ConfigError or DeliveryError for what open() gave.
    cdef int check(self, Py_ssize_t wrong, const char* reason) except -1

# An instance with a handle for each of the topics; ConfigError naming the property that librdkafka does not take.
# diagnosis: a Diagnosis, which is told what it must not show.
cdef rd_kafka_t* new_instance(str bootstrap_servers, tuple properties, diagnosis, Topic* topics) except NULL
cdef void close_topics(Topic* topics) noexcept nogil
