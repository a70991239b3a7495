from pykafkaevt.kafka.librdkafka cimport rd_kafka_resolver

# librdkafka's resolve_cb: name resolution that keeps out of fork(), see resolver.h.
cdef rd_kafka_resolver resolver() noexcept
