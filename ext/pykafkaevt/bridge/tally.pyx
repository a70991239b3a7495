"""What an input counts, and what it keeps for the page and the log."""

cimport cython
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from pykafkaevt.bridge.datagrams cimport datagrams_source, now_us
from pykafkaevt.bridge.message cimport REASONS, reason_text, write_source
from pykafkaevt.kafka.topic cimport (
    counter_add, counter_get, counter_set, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock,
)
from pykafkaevt.sip.hep cimport hep_blank_keys

cdef extern from "credentials.h" nogil:
    void credentials_cover_all(char* text, size_t size)


@cython.final
cdef class Tally:
    """The counters, samples and newest events of one input."""

    def __cinit__(self):
        pthread_mutex_init(&self.lock, NULL)
        self.names = Names()
        self.other_reasons = {}
        self.reasons = <counter*> calloc(REASONS, sizeof(counter))
        if self.reasons == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.reasons)
        pthread_mutex_destroy(&self.lock)

    cdef void invalid(self, Message* m, int reason) noexcept nogil:
        m.reason = reason_text(reason)
        counter_add(&self.reasons[reason], 1)
        self.keep_sample(m)

    cdef void keep_sample(self, const Message* m) noexcept nogil:
        cdef Sample* sample
        pthread_mutex_lock(&self.lock)
        if self.sample_count < SAMPLES:
            sample = &self.kept_samples[self.sample_count]
            self.sample_count += 1
            snprintf(sample.reason, sizeof(sample.reason), "%s", m.reason)
            write_source(m, sample.source)
            sample.size = min(m.size, <size_t> EXCERPT)
            sample.total = m.size
            memcpy(sample.excerpt, m.data, sample.size)
            hep_blank_keys(m.data, sample.size, sample.excerpt)
            credentials_cover_all(sample.excerpt, sample.size)
            sample.time_us = now_us()
        pthread_mutex_unlock(&self.lock)

    cdef void refuse(self, const msghdr* datagram) noexcept nogil:
        cdef char[SOURCE_SIZE] source
        counter_add(&self.refused, 1)
        if not counter_get(&self.refused_kept):
            datagrams_source(datagram, source)
            self.keep_refused(source)

    cdef void refuse_peer(self, const char* source) noexcept nogil:
        counter_add(&self.refused, 1)
        self.keep_refused(source)

    cdef void keep_refused(self, const char* source) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        snprintf(self.refused_source, sizeof(self.refused_source), "%s", source)
        counter_set(&self.refused_kept, 1)
        pthread_mutex_unlock(&self.lock)

    cdef void count_event(self, const Message* m) noexcept nogil:
        self.names.add(m.name, m.name_size)

    cdef void remember(self, const Message* m) noexcept nogil:
        cdef Newest* newest
        pthread_mutex_lock(&self.lock)
        newest = &self.newest[self.newest_count % NEWEST]
        self.newest_count += 1
        newest.name_size = min(m.name_size, <size_t> NAME_SIZE)
        memcpy(newest.name, m.name, newest.name_size)
        newest.key_size = min(m.key_size, <size_t> NAME_SIZE)
        if newest.key_size:
            memcpy(newest.key, m.key, newest.key_size)
        write_source(m, newest.source)
        newest.time_us = now_us()
        pthread_mutex_unlock(&self.lock)

    cdef dict counts(self):
        cdef dict reasons = dict(self.other_reasons)
        cdef unsigned long long count
        cdef int i
        for i in range(REASONS):
            count = counter_get(&self.reasons[i])
            if count:
                name = reason_text(i).decode()
                reasons[name] = reasons.get(name, 0) + count
        return {
            "received": counter_get(&self.received),
            "bytes": counter_get(&self.bytes),
            "queued": counter_get(&self.queued),
            "invalid": sum(reasons.values()),
            "unrouted": counter_get(&self.unrouted),
            "kernel_drops": counter_get(&self.kernel_drops),
            "refused": counter_get(&self.refused),
            "reasons": reasons,
            "events": self.names.counts(),
        }

    cdef list samples(self):
        cdef Sample[SAMPLES] copies
        cdef int i, n
        pthread_mutex_lock(&self.lock)
        n = self.sample_count
        self.sample_count = 0
        memcpy(copies, self.kept_samples, n * sizeof(Sample))
        pthread_mutex_unlock(&self.lock)
        found = []
        for i in range(n):
            excerpt = repr(copies[i].excerpt[:copies[i].size])
            found.append({
                "reason": copies[i].reason.decode("utf-8", "replace"),
                "source": copies[i].source.decode("utf-8", "replace"),
                "size": copies[i].total,
                "excerpt": excerpt[2:len(excerpt) - 1],
                "time": copies[i].time_us / 1e6,
            })
        return found

    cdef str newest_refused(self):
        cdef char[SOURCE_SIZE] source
        if not counter_get(&self.refused_kept):
            return None
        pthread_mutex_lock(&self.lock)
        memcpy(source, self.refused_source, sizeof(source))
        counter_set(&self.refused_kept, 0)
        pthread_mutex_unlock(&self.lock)
        return source.decode("utf-8", "replace")

    cdef list last_events(self):
        cdef Newest[NEWEST] newest
        cdef unsigned long long count, i
        cdef Newest* one
        pthread_mutex_lock(&self.lock)
        count = self.newest_count
        memcpy(newest, self.newest, sizeof(newest))
        pthread_mutex_unlock(&self.lock)
        found = []
        for i in range(min(count, <unsigned long long> NEWEST)):
            one = &newest[(count - 1 - i) % NEWEST]
            found.append({
                "event": one.name[:one.name_size].decode("utf-8", "replace"),
                "key": one.key[:one.key_size].decode("utf-8", "replace"),
                "source": one.source.decode("utf-8", "replace"),
                "time": one.time_us / 1e6,
            })
        return found
