"""The process that clients live in: its fork, its end, and librdkafka's log lines on their way to logging."""

import atexit
import logging
import os
import sys
import threading
import time
from queue import SimpleQueue
from weakref import WeakSet

from pykafkaevt.kafka.library cimport table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_PRODUCER, addrinfo, rd_kafka_conf_t, rd_kafka_resolver, rd_kafka_t, rdkafka_api,
)

cdef extern from "fork_guard.h" nogil:
    int guarded_resolve(
        const char* node, const char* service, const addrinfo* hints, addrinfo** found, void* opaque) noexcept
    void fork_guard_enter()
    void fork_guard_leave()
    void fork_guard_before()
    void fork_guard_after(int in_child)

cdef const rdkafka_api* api = table()
rdkafka_logger = logging.getLogger("pykafkaevt.rdkafka")

# Every open client: a record accepted is not forgotten because its producer was.
cdef set open_clients = set()
# What has locks and threads of its own besides.
cdef object families = WeakSet()
cdef bint finalizer_is_set = False


cdef rd_kafka_resolver resolver() noexcept:
    return guarded_resolve


cdef rd_kafka_t* new_guarded(rd_kafka_conf_t* conf, char* reason, size_t size) noexcept nogil:
    cdef rd_kafka_t* rk
    fork_guard_enter()
    rk = api.new(RD_KAFKA_PRODUCER, conf, reason, size)
    fork_guard_leave()
    return rk


cdef void destroy_guarded(rd_kafka_t* rk) noexcept nogil:
    fork_guard_enter()
    api.destroy(rk)
    fork_guard_leave()


def opened(client) -> None:
    """Flush the client when the interpreter ends: until closed() is called for it."""
    global finalizer_is_set
    open_clients.add(client)
    # multiprocessing ends its children by os._exit(), after finalizers of its own: atexit is not called there
    process = sys.modules.get("multiprocessing.process")
    if not finalizer_is_set and process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, exitpriority=0)
        finalizer_is_set = True


def closed(client) -> None:
    """The client has nothing left to flush."""
    open_clients.discard(client)


def renewed_after_fork(family) -> None:
    """Have family._after_fork() called in every forked child: it makes its locks and threads anew. Held weakly."""
    families.add(family)


def _after_fork_in_child():
    """The threads of the clients stayed in the parent, and so did their records; a lock may be held for ever."""
    global _log_lines, finalizer_is_set
    fork_guard_after(True)
    _log_lines = _LogLines()
    finalizer_is_set = False
    for client in open_clients:
        client._after_fork()
    open_clients.clear()
    for family in list(families):
        family._after_fork()


def _before_fork():
    fork_guard_before()


def _after_fork_in_parent():
    fork_guard_after(False)


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)


class _LogLines:
    """librdkafka's log lines on their way to logging, on a thread of their own: a slow handler holds up nothing."""

    def __init__(self):
        self.queue = SimpleQueue()
        self.thread = None

    def put(self, line):
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="pykafkaevt log", daemon=True)
            self.thread.start()
        self.queue.put(line)

    def run(self):
        while (line := self.queue.get()) is not None:
            rdkafka_logger.log(*line)

    def close(self):
        """Write what is there, for a second at most."""
        if self.thread is not None:
            self.queue.put(None)
            self.thread.join(1)


_log_lines = _LogLines()


def log_line(int level, str line) -> None:
    """A line of librdkafka's, or about it, for the logger pykafkaevt.rdkafka."""
    # as it is set now, not when the line is written
    if rdkafka_logger.isEnabledFor(level):
        _log_lines.put((level, line))


def _at_exit():
    """Flush what is still open when the interpreter ends, bounded; say on stderr what was not delivered."""
    started = time.monotonic()
    for client in list(open_clients):
        try:
            left = client.close(max(0.0, client.exit_timeout - (time.monotonic() - started)))
        except Exception as error:
            left = error
        if left:
            print(
                f"pykafkaevt: {client.name}: {left} records were not delivered "
                f"within {client.exit_timeout:g} s at exit",
                file=sys.stderr,
            )
    _log_lines.close()


atexit.register(_at_exit)
