from libc.stdint cimport int64_t, uint64_t

from pykafkaevt.kafka.keeper cimport Keeper
from pykafkaevt.kafka.queueing cimport Ending
from pykafkaevt.kafka.topic cimport Topic

cdef class Client(Keeper):
    cdef int64_t close_by_us          # CLOCK_MONOTONIC until which closing flushes, the earliest that was asked for
    cdef int64_t gave_up_us           # when flushing ended
    cdef uint64_t failed_before       # records that had failed when closing began
    cdef public double exit_timeout   # seconds to flush for when the interpreter ends
    cdef object note_rate             # a LogRate

    # A topic with its handle, entered as a call is: Closed, Error.
    cdef Topic* add_topic(self, str name, tuple properties) except NULL
    # Raises what ended a call, but for ENDED_FULL.
    cdef int raise_ended(self, Ending ending) except -1

    cdef int flush_slice(self, unsigned states, int64_t until_us) except -1
    cdef int give_up(self) except -1
    cdef uint64_t undelivered(self) noexcept
    cpdef int not_in_callback(self, str what) except -1
    cdef int begin_closing(self, int64_t until) except -1
    cdef bint draining(self) noexcept

# The `interrupted` of calls from Python: a signal handler has raised; its exception is set.
cdef bint check_signals(void* context) noexcept nogil
