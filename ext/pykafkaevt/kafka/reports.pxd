"""The report thread's work: it takes what librdkafka has to say, counts it, and hands reports to their callbacks."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from pykafkaevt.kafka.librdkafka cimport rd_kafka_event_t, rd_kafka_message_t
from pykafkaevt.kafka.topic cimport Handle, Topic, counter, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock

# Reports that were asked for, not handed over yet.
cdef struct Kept:
    rd_kafka_event_t** events            # owned: they keep the messages alive
    Py_ssize_t event_count
    Py_ssize_t event_size                # allocated
    const rd_kafka_message_t** messages  # owned array of borrowed messages
    Py_ssize_t count
    Py_ssize_t size                      # allocated
    uint64_t records                     # of all the events: what the queue has room for again when they are destroyed
    uint64_t bytes                       # … of payload

cdef struct Reports:
    Handle* handle
    PyObject* client           # borrowed: the thread's target keeps it alive
    pthread_mutex_t lock       # guards `kept` while `calling`: who closes the client takes reports then
    bint calling               # the report thread is, or may be held up, in a callback; set and unset under the lock
    bint adopted               # the last producer went without close(): the client closes when all is reported
    int life                   # counts forks: a report thread that forks in a callback is none in the child
    Kept kept
    Kept handed                # what a callback has at the moment
    int warming                # times that metadata may still be asked for before the first report
    counter rejected           # rejected records wait in Keeper.rejected
    counter lost               # reports there was no memory for
    bint untold                # a topic has a failure that the log does not have
    int fatal_code             # librdkafka's, 0 none: what the instance still held failed because of it

# The report thread's loop: ends when the instance is to be destroyed and each of its records has its report. After a
# fatal error reports that were asked for are kept: hand_over() follows when the next instance is open.
cdef void serve(Reports* r) noexcept nogil
cdef void hand_over(Reports* r) noexcept nogil

# An Explanation of what records of the topic failed with.
cdef object explanation(Topic* topic)

# From any thread: counts and keeps the reports there are while the report thread is held up in a callback. The lock
# keeps that thread from going on meanwhile, so the queue is not destroyed.
cdef void take_over(Reports* r) noexcept nogil
