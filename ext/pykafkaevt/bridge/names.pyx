"""Events counted by name. Whoever can send messages can fill the table: the name whose last event is the oldest makes
place for a new one, so that the names of real events are in it again when a flood of others ends.
"""

cimport cython
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from pykafkaevt.kafka.topic cimport (
    counter_add, counter_get, counter_set, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock,
)


cdef uint32_t fnv1a(const char* text, size_t size) noexcept nogil:
    cdef uint32_t hash = 2166136261
    cdef size_t i
    for i in range(size):
        hash = (hash ^ <unsigned char> text[i]) * 16777619
    return hash


@cython.final
cdef class Names:
    """Counts by name."""

    def __cinit__(self):
        cdef int i
        pthread_mutex_init(&self.lock, NULL)
        for i in range(BUCKETS):
            self.buckets[i] = NOBODY
        self.newest = self.oldest = NOBODY

    def __dealloc__(self):
        pthread_mutex_destroy(&self.lock)

    cdef void add(self, const char* text, size_t size) noexcept nogil:
        cdef int i = self.newest
        cdef uint32_t hash
        if size >= NAME_SIZE:
            counter_add(&self.others, 1)
            return
        # most events have the name of the one before
        if i == NOBODY or self.names[i].size != size or memcmp(self.names[i].text, text, size) != 0:
            hash = fnv1a(text, size)
            i = self.find(text, size, hash)
            if i == NOBODY:
                i = self.insert(text, size, hash)
            else:
                self.unlink(i)
            self.link_newest(i)
        counter_add(&self.names[i].count, 1)

    cdef int find(self, const char* text, size_t size, uint32_t hash) noexcept nogil:
        cdef int i = self.buckets[hash % BUCKETS]
        while i != NOBODY:
            if (
                self.names[i].hash == hash and self.names[i].size == size
                and memcmp(self.names[i].text, text, size) == 0
            ):
                break
            i = self.names[i].next
        return i

    cdef int insert(self, const char* text, size_t size, uint32_t hash) noexcept nogil:
        """A new name's index; the oldest makes place when the table is full."""
        cdef int i
        pthread_mutex_lock(&self.lock)
        if self.count < NAMES:
            i = self.count
            self.count += 1
        else:
            i = self.oldest
            self.forget(i)
        memcpy(self.names[i].text, text, size)
        self.names[i].size = size
        self.names[i].hash = hash
        self.names[i].next = self.buckets[hash % BUCKETS]
        self.buckets[hash % BUCKETS] = i
        pthread_mutex_unlock(&self.lock)
        return i

    cdef void forget(self, int name) noexcept nogil:
        """Take a name out; its events are those of the others."""
        cdef int* at = &self.buckets[self.names[name].hash % BUCKETS]
        while at[0] != name:
            at = &self.names[at[0]].next
        at[0] = self.names[name].next
        self.unlink(name)
        counter_add(&self.others, counter_get(&self.names[name].count))
        counter_set(&self.names[name].count, 0)

    cdef void unlink(self, int name) noexcept nogil:
        cdef int newer = self.names[name].newer, older = self.names[name].older
        if newer == NOBODY:
            self.newest = older
        else:
            self.names[newer].older = older
        if older == NOBODY:
            self.oldest = newer
        else:
            self.names[older].newer = newer

    cdef void link_newest(self, int name) noexcept nogil:
        self.names[name].newer = NOBODY
        self.names[name].older = self.newest
        if self.newest == NOBODY:
            self.oldest = name
        else:
            self.names[self.newest].newer = name
        self.newest = name

    cdef dict counts(self):
        cdef dict events = {}
        cdef int i, n
        cdef unsigned long long others
        # objects are made without the lock: that may run any code
        cdef Name* copies = <Name*> malloc(NAMES * sizeof(Name))
        if copies == NULL:
            raise MemoryError()
        pthread_mutex_lock(&self.lock)
        n = self.count
        others = counter_get(&self.others)
        for i in range(n):
            memcpy(copies[i].text, self.names[i].text, self.names[i].size)
            copies[i].size = self.names[i].size
            counter_set(&copies[i].count, counter_get(&self.names[i].count))
        pthread_mutex_unlock(&self.lock)
        try:
            for i in range(n):
                name = copies[i].text[:copies[i].size].decode("utf-8", "replace")
                # names that are not UTF-8 may look alike
                events[name] = events.get(name, 0) + counter_get(&copies[i].count)
        finally:
            free(copies)
        if others:
            events["(other)"] = events.get("(other)", 0) + others
        return events
