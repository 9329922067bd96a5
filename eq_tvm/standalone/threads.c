#include "threads.h"

#define ALIGNMENT 64u
#define STACK_BYTES (1u << 20) /* kernels keep tiles of some 32 KiB on it */
#define SPINS 2000             /* some 50 us: from one kernel to the next */

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__) || (defined(__ARM_ARCH) && __ARM_ARCH >= 7)
#define PAUSE() __asm__ volatile("isb")
#else
#define PAUSE() ((void)0)
#endif

static void *work(void *self);
static int make_key(void);
static void gate_init(gate *g);
static void gate_destroy(gate *g);
static void gate_add(gate *g);
static void gate_wait(gate *g, unsigned count);

/* The kernels don't say on whose behalf they call: each thread remembers of which team it is a member. */
static pthread_key_t membership;

int team_start(team *all, int threads, char *scratch, size_t bytes)
{
    pthread_attr_t attributes;

    if (make_key() || pthread_setspecific(membership, &all->members[0]) || pthread_attr_init(&attributes))
        return -1;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    gate_init(&all->launched);
    gate_init(&all->done);
    all->task = NULL;
    atomic_init(&all->failures, 0);
    all->members[0] = (member){.team = all};
    for (all->count = 1; all->count < threads && all->count < EQ_MODEL_MAX_THREADS; all->count++) {
        member *new = &all->members[all->count];
        *new = (member){.team = all, .index = all->count, .scratch = scratch, .bytes = bytes};
        if (pthread_create(&new->id, &attributes, work, new))
            break;
        scratch += bytes;
    }
    pthread_attr_destroy(&attributes);
    return 0;
}

void team_set_scratch(team *all, char *scratch, size_t bytes)
{
    all->members[0].scratch = scratch;
    all->members[0].bytes = bytes;
    all->members[0].used = 0;
}

void team_stop(team *all)
{
    all->task = NULL;
    gate_add(&all->launched);
    for (int i = 1; i < all->count; i++)
        pthread_join(all->members[i].id, NULL);
    gate_destroy(&all->launched);
    gate_destroy(&all->done);
    pthread_setspecific(membership, NULL);
}

static void run_task(member *self)
{
    struct {
        void *synchronization;
        int32_t tasks;
    } environment = {NULL, self->team->count};

    if (self->team->task(self->index, &environment, self->team->data))
        atomic_fetch_add(&self->team->failures, 1);
}

static void *work(void *argument)
{
    member *self = argument;
    team *all = self->team;
    int lost = pthread_setspecific(membership, self);

    for (unsigned launch = 1;; launch++) {
        gate_wait(&all->launched, launch);
        if (!all->task)
            return NULL;
        if (lost)
            atomic_fetch_add(&all->failures, 1);
        else
            run_task(self);
        gate_add(&all->done);
    }
}

/* `tasks` is 0: as many as there are threads. */
static int parallel_launch(int (*task)(int, void *, void *), void *data, int tasks)
{
    member *self = pthread_getspecific(membership);
    team *all = self->team;
    (void)tasks;

    all->task = task;
    all->data = data;
    if (all->count == 1) {
        run_task(self);
    } else {
        gate_add(&all->launched);
        run_task(self);
        gate_wait(&all->done, atomic_load(&all->launched.count) * (unsigned)(all->count - 1));
    }
    return atomic_load(&all->failures) ? -1 : 0;
}

/* Kernels free in the reverse order. */
static void *allocate(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits)
{
    member *self = pthread_getspecific(membership);
    char *result = self->scratch + self->used;
    (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;

    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > self->bytes - self->used)
        return NULL;
    self->used += bytes;
    return result;
}

static int release(int device_type, int device_id, void *memory)
{
    member *self = pthread_getspecific(membership);
    (void)device_type, (void)device_id;

    self->used = (size_t)((char *)memory - self->scratch);
    return 0;
}

/* Kernels call through these. */
int (*__TVMBackendParallelLaunch)(int (*)(int, void *, void *), void *, int) = parallel_launch;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;

#ifdef __ARM_EABI__
/* 32-bit kernels come with tables for exceptions, which never pass through them: no need of what would read those. */
void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}
#endif

static int key_state; /* 0: not made yet, 1: made, -1: can't be made */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_key_once(void) { key_state = pthread_key_create(&membership, NULL) ? -1 : 1; }

static int make_key(void)
{
    pthread_once(&once, make_key_once);
    return key_state < 0;
}

__attribute__((destructor)) static void forget_key(void)
{
    if (key_state > 0)
        pthread_key_delete(membership);
}

static void gate_init(gate *g)
{
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    atomic_init(&g->count, 0);
}

static void gate_destroy(gate *g)
{
    pthread_mutex_destroy(&g->mutex);
    pthread_cond_destroy(&g->changed);
}

static void gate_add(gate *g)
{
    pthread_mutex_lock(&g->mutex);
    atomic_fetch_add(&g->count, 1);
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

/* Until the count, which goes no further without those that wait, is as given. */
static void gate_wait(gate *g, unsigned count)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&g->count, memory_order_acquire) == count)
            return;
        PAUSE();
    }
    pthread_mutex_lock(&g->mutex);
    while (atomic_load(&g->count) != count)
        pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}
