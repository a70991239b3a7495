"""The partition of a key, and batches sorted by it: librdkafka takes those of one partition with half the work."""

from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t, rd_kafka_topic_conf_t
from pykafkaevt.kafka.topic cimport Topic

# Has librdkafka ask us for a key's partition, by the rule of librdkafka's partitioner of that name: its own, with any
# other. A new instance knows no partitions yet.
cdef void set_partitioner(rd_kafka_topic_conf_t* conf, Topic* topic, str name) noexcept

# rd_kafka_produce_batch() to the partitions of the keys, copying: each message has its `err` then. The messages of a
# key keep their order; after a fatal error between two partitions some messages are queued and some are not.
cdef void produce_batch(Topic* topic, rd_kafka_message_t* messages, Py_ssize_t n) noexcept nogil
