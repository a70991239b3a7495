/* counters.h: how close the histogram's steps and quantiles are, and that concurrent errors are all counted. */
#include "counters.h"

#include <inttypes.h>
#include <pthread.h>

#include "check.h"

static const double PRECISION = 0.032;
static const uint64_t LIMIT = (uint64_t)1 << 40;

static void check_step(uint64_t us) {
    unsigned step = histogram_step(us);
    uint64_t largest = histogram_value(step), smallest = step ? histogram_value(step - 1) + 1 : 0;
    CHECK(step < HISTOGRAM_SIZE, "%" PRIu64, us);
    CHECK(smallest <= us && us <= largest, "%" PRIu64 ": step %u is %" PRIu64 "..%" PRIu64, us, step, smallest, largest);
    CHECK((double)(largest - smallest) <= PRECISION * (double)smallest, "%" PRIu64 ": step %u", us, step);
}

static void test_steps_bracket_every_value(void) {
    for (uint64_t us = 0; us < 2000000; us++)
        check_step(us);
    for (int bit = 0; bit < 40; bit++) {
        uint64_t power = (uint64_t)1 << bit;
        check_step(power - 1);
        check_step(power);
        check_step(power + (power >> 1));
    }
    check_step(LIMIT - 1);
    for (int round = 0; round < 2000000; round++)
        check_step(random_u64() >> (24 + random_below(40)));
}

static void test_steps_are_exact_below_64_and_have_no_gap(void) {
    for (unsigned step = 0; step < HISTOGRAM_EXACT; step++)
        CHECK(histogram_value(step) == step, "%u", step);
    for (unsigned step = 0; step < HISTOGRAM_SIZE; step++) {
        CHECK(histogram_step(histogram_value(step)) == step, "%u", step);
        CHECK(step + 1 == HISTOGRAM_SIZE || histogram_step(histogram_value(step) + 1) == step + 1, "%u", step);
    }
    CHECK(histogram_value(HISTOGRAM_SIZE - 1) == LIMIT - 1, "%" PRIu64, histogram_value(HISTOGRAM_SIZE - 1));
}

static void test_values_above_the_limit_share_the_last_step(void) {
    static const uint64_t above[] = {(uint64_t)1 << 40, (uint64_t)1 << 41, INT64_MAX, UINT64_MAX};
    for (int i = 0; i < 4; i++)
        CHECK(histogram_step(above[i]) == HISTOGRAM_SIZE - 1, "%" PRIu64, above[i]);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The first of the sorted values with at least the share `quantile` of them up to it. */
static uint64_t exact_quantile(const uint64_t *sorted, size_t n, double quantile) {
    size_t i = 0;
    while (i + 1 < n && (double)(i + 1) < quantile * (double)n)
        i++;
    return sorted[i];
}

static void test_quantiles_are_those_of_the_sorted_values(void) {
    static const double quantiles[] = {0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0};
    enum { LARGEST = 20000 };
    static uint64_t values[LARGEST];
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + random_below(round % 10 ? 100 : LARGEST), weight = 1 + random_below(8);
        /* all alike, within one magnitude, or over all magnitudes */
        unsigned shift = 24 + (unsigned)random_below(40), spread = (unsigned)random_below(3);
        histogram *h = calloc(1, sizeof *h);
        for (size_t i = 0; i < n; i++) {
            values[i] = spread == 0 ? 12345 : random_u64() >> (spread == 1 ? shift : 24 + random_below(40));
            histogram_add(h, (int64_t)values[i], weight);
        }
        qsort(values, n, sizeof values[0], ascending);
        for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
            uint64_t exact = exact_quantile(values, n, quantiles[i]), found = histogram_quantile(h, quantiles[i]);
            CHECK(found >= exact && (double)(found - exact) <= PRECISION * (double)exact,
                  "%g of %zu values: %" PRIu64 " instead of %" PRIu64, quantiles[i], n, found, exact);
        }
        CHECK(histogram_quantile(h, 1.0) == values[n - 1], "%zu values", n);
        free(h);
    }
}

static void test_empty_and_negative(void) {
    histogram *h = calloc(1, sizeof *h);
    CHECK(histogram_quantile(h, 0.5) == 0 && histogram_quantile(h, 1.0) == 0, "empty");
    histogram_add(h, -5, 1);
    CHECK(counter_get(&h->steps[0]) == 1 && histogram_quantile(h, 1.0) == 0, "a negative latency counts as 0");
    free(h);
}

enum { THREADS = 4, ERRORS = 200000 };

static void *count_errors(void *c) {
    for (int i = 0; i < ERRORS; i++)
        counters_error(c, i % 2 ? -192 : 10);
    return NULL;
}

static void test_errors_of_many_threads_are_all_counted(void) {
    counters *c = calloc(1, sizeof *c);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count_errors, c) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t expected = (uint64_t)THREADS * ERRORS / 2;
    CHECK(atomic_load(&c->errors[ERROR_ZERO - 192]) == expected, "code -192");
    CHECK(atomic_load(&c->errors[ERROR_ZERO + 10]) == expected, "code 10");
    free(c);
}

static void test_error_codes_outside_the_table_share_the_first_slot(void) {
    static const int outside[] = {-ERROR_ZERO, -ERROR_ZERO - 1, ERROR_SLOTS - ERROR_ZERO, INT32_MAX - ERROR_ZERO, INT32_MIN};
    counters *c = calloc(1, sizeof *c);
    counters_error(c, 1 - ERROR_ZERO);
    counters_error(c, ERROR_SLOTS - ERROR_ZERO - 1);
    for (int i = 0; i < 5; i++)
        counters_error(c, outside[i]);
    CHECK(atomic_load(&c->errors[0]) == 5, "%" PRIu64, atomic_load(&c->errors[0]));
    CHECK(atomic_load(&c->errors[1]) == 1 && atomic_load(&c->errors[ERROR_SLOTS - 1]) == 1, "the ends of the table");
    free(c);
}

static void test_counters(void) {
    counter c = 0;
    counter_add(&c, 5);
    counter_add(&c, 7);
    CHECK(counter_get(&c) == 12, "%" PRIu64, counter_get(&c));
    counter_set(&c, 3);
    CHECK(counter_get(&c) == 3, "%" PRIu64, counter_get(&c));
    int64_t now = monotonic_us();
    CHECK(now > 0 && monotonic_us() >= now, "the clock runs forward");
}

int main(int count, char **arguments) {
    seed(count, arguments);
    test_steps_bracket_every_value();
    test_steps_are_exact_below_64_and_have_no_gap();
    test_values_above_the_limit_share_the_last_step();
    test_quantiles_are_those_of_the_sorted_values();
    test_empty_and_negative();
    test_errors_of_many_threads_are_all_counted();
    test_error_codes_outside_the_table_share_the_first_slot();
    test_counters();
    return 0;
}
