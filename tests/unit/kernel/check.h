/* What the test programs share: a check that names the place, random numbers from a seed, memory with a wall behind. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(holds, ...)                                                                                \
    do {                                                                                                 \
        if (!(holds)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s fails: ", __FILE__, __LINE__, #holds);                            \
            fprintf(stderr, __VA_ARGS__);                                                                \
            fputc('\n', stderr);                                                                         \
            exit(1);                                                                                     \
        }                                                                                                \
    } while (0)

static uint64_t random_state = 1;

/* The seed is the program's first argument, 1 without it. */
static inline void seed(int count, char **arguments) {
    random_state = count > 1 ? strtoull(arguments[1], NULL, 10) | 1 : 1;
}

/* xorshift64*, Vigna 2016 */
static inline uint64_t random_u64(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717u;
}

static inline uint64_t random_below(uint64_t n) { return random_u64() % n; }

/* One page after `pages` pages can be neither read nor written. */
typedef struct wall {
    unsigned char *start, *end;
} wall;

static inline wall wall_new(size_t pages) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *start = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED, "mmap");
    CHECK(mprotect(start + pages * page, page, PROT_NONE) == 0, "mprotect");
    return (wall){start, start + pages * page};
}

#endif
