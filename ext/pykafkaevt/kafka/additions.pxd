"""What records of a call have beyond value, key and opaque: headers, timestamps, a partition."""

from libc.stdint cimport int32_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_vu_t
from pykafkaevt.kafka.queueing cimport Extras

cdef enum:
    HEADERS = 64            # headers of one record at most

cdef struct Additions:
    rd_kafka_vu_t[HEADERS] headers     # of every record of the call
    size_t header_count
    int32_t partition                  # RD_KAFKA_PARTITION_UA: the topic's partitioner chooses
    const long long* timestamps_ms     # one for each message, NULL without
    Extras extras                      # how queue() asks for them

# Fills in the additions; the list returned keeps the headers' bytes. policy: INVALID_… for their texts.
cdef list add(Additions* additions, object headers, object partition, const long long* timestamps_ms, int policy)
