/* The room in a client's queue, in records and in bytes of payload: queue.buffering.max.messages and .kbytes.
 *
 * The limit is kept here, out of librdkafka's reach: what goes to several partitions in turn must be refused from one
 * place of the batch on, and nothing before it. It counts as librdkafka does, until a message is destroyed; calls that
 * overlap may exceed it by a batch each. */
#ifndef PYKAFKAEVT_QUEUE_ROOM_H
#define PYKAFKAEVT_QUEUE_ROOM_H

#include "counters.h"

typedef struct queue_room {
    uint64_t max_records, max_bytes; /* set while nobody queues */
    /* taken, by batches of many threads at once */
    counter records, bytes;
    /* taken, one record at a time, under the GIL: no locked instruction */
    counter single_records, single_bytes;
    char apart[64];
    /* given back: by the report thread, and by who closes the client meanwhile */
    counter released_records, released_bytes;
} queue_room;

static inline uint64_t queue_room_left(uint64_t most, uint64_t released, uint64_t taken) {
    uint64_t held = taken > released ? taken - released : 0;
    return most > held ? most - held : 0;
}

/* What is given back or taken meanwhile may count or not: the limit is kept within what overlaps. */
static inline uint64_t queue_room_records(queue_room *r) {
    uint64_t released = counter_get(&r->released_records);
    return queue_room_left(r->max_records, released, counter_get(&r->records) + counter_get(&r->single_records));
}

static inline uint64_t queue_room_bytes(queue_room *r) {
    uint64_t released = counter_get(&r->released_bytes);
    return queue_room_left(r->max_bytes, released, counter_get(&r->bytes) + counter_get(&r->single_bytes));
}

static inline void queue_room_take(queue_room *r, uint64_t records, uint64_t bytes) {
    counter_add_shared(&r->records, records);
    counter_add_shared(&r->bytes, bytes);
}

/* Of records that were taken for and not queued. */
static inline void queue_room_give_back(queue_room *r, uint64_t records, uint64_t bytes) {
    atomic_fetch_sub(&r->records, records);
    atomic_fetch_sub(&r->bytes, bytes);
}

/* With the GIL. */
static inline void queue_room_take_single(queue_room *r, uint64_t bytes) {
    counter_add(&r->single_records, 1);
    counter_add(&r->single_bytes, bytes);
}

static inline void queue_room_release(queue_room *r, uint64_t records, uint64_t bytes) {
    counter_add_shared(&r->released_records, records);
    counter_add_shared(&r->released_bytes, bytes);
}

#endif
