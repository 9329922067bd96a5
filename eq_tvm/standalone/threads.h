/* The threads of one run, and the three functions that TVM's kernels call: a parallel loop, and scratch memory. */
#ifndef EQ_MODEL_THREADS_H
#define EQ_MODEL_THREADS_H

#include <pthread.h>
#include <stdatomic.h>

#include "eq_model.h"

/* A number that threads wait for. */
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_uint count;
} gate;

struct team;

typedef struct {
    struct team *team;
    pthread_t id;
    int index;
    char *scratch;
    size_t used, bytes;
} member;

typedef struct team {
    member members[EQ_MODEL_MAX_THREADS]; /* the first is the thread that started it */
    int count;
    gate launched, done;
    int (*task)(int index, void *environment, void *data); /* NULL: no more */
    void *data;
    atomic_int failures;
} team;

/*
 * Make the caller and up to `threads` - 1 new threads a team; fewer where the system has no more threads.
 * The new ones get `bytes` of scratch memory each, from `scratch` on; the caller gets its own before each kernel.
 * Returns -1 where it failed.
 */
int team_start(team *all, int threads, char *scratch, size_t bytes);
void team_set_scratch(team *all, char *scratch, size_t bytes);
void team_stop(team *all);

#endif
