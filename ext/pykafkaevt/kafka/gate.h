/* Who may use a client's librdkafka instance, and when: one atomic word with the gate's state and the users inside.
 *
 * The rules:
 *  1. Nobody touches the librdkafka handle, its queue or a topic's handle but between gate_enter() and gate_leave(). The
 *     one exception is the keeper, the client's report thread (and who counts reports in its place while it is held up in
 *     a callback, under reports.lock): it alone opens and destroys an instance.
 *  2. No Python code runs inside: no object is made, no callback called, no signal handler. So whoever closes is
 *     never inside, and nobody waits for users while being one.
 *  3. Whoever is inside comes out within 100 ms: what waits for longer (a full queue, a flush) does so outside, on
 *     `changed`, and enters again.
 *  4. The state becomes GATE_OPEN last, when every topic has its handle. It leaves it by a move, which exactly one
 *     caller makes; nobody enters after the move, and what is shut is destroyed when the last user has left. Who drains
 *     may still enter to flush, so an instance is exchanged in GATE_OPENING, which closing waits for.
 *  5. Every wait has a limit and is woken by each change of the state.
 * State and users are one word, and its operations sequentially consistent: whoever enters sees the state that holds.
 *
 *   opening -> open -> fatal -> opening ...   the keeper opens anew after a fatal error; after a fork the child is fatal
 *   open or fatal -> draining -> closed       closing stops accepting first, then flushes
 */
#ifndef PYKAFKAEVT_GATE_H
#define PYKAFKAEVT_GATE_H

#include "event_count.h"

/* States, and sets of them. Memory of zeros is a closed gate. */
enum {
    GATE_CLOSED, GATE_OPENING, GATE_OPEN, GATE_FATAL, GATE_DRAINING,
    GATE_STATE = 7, /* the bits of the state */
    GATE_USER = 8,  /* one user more */
};
#define GATE_IN(state) (1u << (state))

typedef struct gate {
    /* callers write the word, the report thread `changed`: they do not share a cache line, nor with what is beside them */
    char before[64];
    _Atomic uint64_t word;
    char apart[64];
    event_count changed; /* the state, the last user's leaving, and whatever else is worth another try */
} gate;

static inline void gate_init(gate *g, unsigned state) {
    event_count_init(&g->changed);
    atomic_store(&g->word, state);
}

static inline unsigned gate_state(gate *g) { return (unsigned)(atomic_load(&g->word) & GATE_STATE); }

static inline uint64_t gate_users(gate *g) { return atomic_load(&g->word) / GATE_USER; }

/* 1 when the state is one of `states`: the caller is inside, and leaves again. */
static inline int gate_enter(gate *g, unsigned states) {
    uint64_t word = atomic_load(&g->word);
    do {
        if (!(states & GATE_IN(word & GATE_STATE)))
            return 0;
    } while (!atomic_compare_exchange_weak(&g->word, &word, word + GATE_USER));
    return 1;
}

static inline void gate_leave(gate *g) {
    uint64_t word = atomic_fetch_sub(&g->word, GATE_USER) - GATE_USER;
    if (word < GATE_USER && word != GATE_OPEN)
        event_count_signal(&g->changed);
}

/* Changes the state from one of `states` to another and wakes whoever waits; 1 when this call has done it. */
static inline int gate_move(gate *g, unsigned states, unsigned to) {
    uint64_t word = atomic_load(&g->word);
    do {
        if (!(states & GATE_IN(word & GATE_STATE)))
            return 0;
    } while (!atomic_compare_exchange_weak(&g->word, &word, (word & ~(uint64_t)GATE_STATE) | to));
    event_count_signal(&g->changed);
    return 1;
}

/* Waits until nobody is inside, for at most `us` microseconds; 1 when nobody is. For a state that lets nobody in. */
static inline int gate_empty(gate *g, int64_t us) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t left = us, start = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    for (;;) {
        uint64_t seen = event_count_sequence(&g->changed);
        if (!gate_users(g))
            return 1;
        if (left <= 0)
            return 0;
        event_count_wait(&g->changed, seen, left);
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = us - ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - start);
    }
}

static inline void gate_destroy(gate *g) { event_count_destroy(&g->changed); }

#endif
