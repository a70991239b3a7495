from libc.stdint cimport int64_t, uint64_t

from pykafkaevt.jsonrpc.template cimport EventTemplate
from pykafkaevt.kafka.producer cimport Producer
from pykafkaevt.kafka.batch cimport Batch

cdef class Subscription:
    cdef readonly object socket       # KafkaSocket
    cdef readonly Producer producer
    cdef readonly bint keyed          # key=callid
    cdef readonly object expire       # seconds as given, None: never
    cdef int64_t deadline_us          # CLOCK_MONOTONIC; INT64_MAX: never

cdef class Event:
    cdef readonly str name
    cdef readonly int id
    cdef readonly EventTemplate template  # None: without fields
    cdef readonly tuple subscriptions     # replaced as a whole: a raise under way goes on with its own
    cdef readonly uint64_t raised         # times
    cdef bint keyed                       # one subscription wants the Call-ID
    cdef int64_t next_expiry_us           # the earliest deadline of its subscriptions
    cdef int policy                       # INVALID_…
    cdef object __weakref__

    cdef int fresh(self) except -1
    cdef object key_of(self, object call_id, object sip_message)
    cdef bint note(self, Subscription subscription, error) except -1
    cdef Py_ssize_t queue_to_all(self, tuple subscriptions, Batch* batch, Py_ssize_t n) except -1
