from pykafkaevt.kafka.librdkafka cimport rd_kafka_resp_err_t, rdkafka_api

# the table of librdkafka's functions, filled when this module is imported; lives as long as the process
cdef const rdkafka_api* table() noexcept

# the exception for a librdkafka error: retriable errors are those librdkafka documents as temporary
# explanation: None, or an Explanation of what the record met
cdef object delivery_error(rd_kafka_resp_err_t err, str doing, object explanation=*)

# a text of librdkafka's, "" for NULL
cdef str text_of_error(const char* text)
