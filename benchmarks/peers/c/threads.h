/* CPU of this process by thread: two looks, and the differences by thread name as a JSON object. Linux only. */
#ifndef PEER_THREADS_H
#define PEER_THREADS_H

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 64, THREAD_NAME = 16 };

typedef struct thread_cpu {
    int number;
    char name[THREAD_NAME]; /* without a number at its end; of the first thread "main" */
    double us;
} thread_cpu;

typedef struct threads_cpu {
    thread_cpu each[THREADS];
    int count;
} threads_cpu;

static inline void thread_name(int number, char name[THREAD_NAME]) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", number);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(name, THREAD_NAME, file))
        strcpy(name, "unknown");
    if (file)
        fclose(file);
    if (number == getpid())
        strcpy(name, "main");
    size_t size = strcspn(name, "\n");
    while (size && isdigit((unsigned char)name[size - 1]))
        size--;
    if (size && name[size - 1] == '-') /* rdk:broker-1 */
        size--;
    name[size] = '\0';
}

static inline void threads_look(threads_cpu *t) {
    t->count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        return;
    for (struct dirent *task; (task = readdir(tasks)) && t->count < THREADS;) {
        int number = atoi(task->d_name);
        struct timespec used;
        /* the clock of a thread by its number, as pthread_getcpuclockid makes it */
        if (number <= 0 || clock_gettime((clockid_t)(~(unsigned)number << 3 | 6), &used))
            continue;
        thread_cpu *one = &t->each[t->count++];
        one->number = number;
        one->us = (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
        thread_name(number, one->name);
    }
    closedir(tasks);
}

/* Prints {"name": microseconds of each of `records` between the looks, ...}. */
static inline void threads_print(const threads_cpu *before, threads_cpu *after, double records) {
    for (int i = 0; i < after->count; i++)
        for (int j = 0; j < before->count; j++)
            if (before->each[j].number == after->each[i].number)
                after->each[i].us -= before->each[j].us;
    const char *separator = "{";
    for (int i = 0; i < after->count; i++) {
        double us = 0;
        int first = i;
        for (int j = after->count; j-- > 0;)
            if (!strcmp(after->each[j].name, after->each[i].name)) {
                us += after->each[j].us;
                first = j;
            }
        if (first == i) { /* of several with one name */
            printf("%s\"%s\":%.4f", separator, after->each[i].name, us / records);
            separator = ",";
        }
    }
    printf("%s", *separator == '{' ? "{}" : "}");
}

#endif
