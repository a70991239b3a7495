"""Where records go: messages into the queue of a topic, with their headers; on the queueing core, without the GIL."""

from pykafkaevt.bridge.datagrams cimport SOURCE_SIZE
from pykafkaevt.bridge.message cimport Message
from pykafkaevt.kafka.topic cimport Topic
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t
from pykafkaevt.kafka.queueing cimport Outcome, Waiting

cdef struct Target:
    const char* pattern          # of event names, or a subscriber's event; borrowed from Routes.kept
    size_t pattern_size
    Topic* topic                 # borrowed from the producer in Routes.kept
    bint keyed                   # records get the event's key

cdef enum Headers:
    HEADERS_NONE
    HEADERS_BASIC                # event, source, content-type
    HEADERS_CLOUDEVENTS          # in binary mode
    HEADERS_DEAD_LETTER          # reason, source, input; the record is the message as received, HEP keys blanked

cdef enum:
    ID_SIZE = 64                 # bytes of a CloudEvents id, with its end
    URI_SIZE = 4 * SOURCE_SIZE   # bytes of a source as a URI, with its end: each of the text may become three

# The input that messages came from, as headers have it; all borrowed.
cdef struct Origin:
    const char* url
    const char* scheme           # of a URI that names a sender, with its colon; empty without
    const char* uri              # the input's, as a URI-reference
    const char* id               # no other input has, here or anywhere: what CloudEvents ids begin with

# What the records of one call get beyond value and key.
cdef struct Attributes:
    Headers headers
    bint timed                   # the messages' own time
    const Origin* origin
    Message** messages           # those of the call of queue() at hand
    char[URI_SIZE] source        # of the record at hand
    char[ID_SIZE] id

# Queues messages to the target of their route. Of each one handled `code` is set, and its report is the record's unless
# that was rejected. Waits for a full queue, and for a client that cannot be opened, until `waiting` is interrupted;
# `handled` and `ending` of the outcome say how far it came.
cdef void queue_routed(
    const Target* target, Message** messages, Py_ssize_t n, Attributes* attributes, Waiting* waiting, Outcome* outcome
) noexcept nogil

# Queues messages to a subscriber or the dead letters, without reports. What a full queue does not hold, or a client
# that is closed or failed does not take, is dropped and counted in topic.counts.
cdef void queue_unwaited(
    const Target* target, Message** messages, Py_ssize_t n, Attributes* attributes, Waiting* waiting
) noexcept nogil

# The reports that on_report= asked for: the report_function of the targets' producers.
cdef void report(const rd_kafka_message_t** messages, Py_ssize_t count) noexcept

# Calls an on_report=, whose reference it takes over, with the error of that code, None for 0.
cdef void call_on_report(void* on_report, int code) noexcept

# Writes where a message came from as a URI-reference, in URI_SIZE bytes at most.
cdef void write_uri(const Origin* origin, const Message* m, char* uri) noexcept nogil
