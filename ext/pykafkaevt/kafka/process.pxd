from pykafkaevt.kafka.librdkafka cimport rd_kafka_conf_t, rd_kafka_resolver, rd_kafka_t

# What a fork must not meet, see fork_guard.h: librdkafka's resolve_cb, and making and destroying an instance.
cdef rd_kafka_resolver resolver() noexcept
cdef rd_kafka_t* new_guarded(rd_kafka_conf_t* conf, char* reason, size_t size) noexcept nogil
cdef void destroy_guarded(rd_kafka_t* rk) noexcept nogil
