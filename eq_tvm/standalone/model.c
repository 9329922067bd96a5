/*
 * The functions of eq_model.h. The network is in tables.h: which kernels run in which order, on which parts of the
 * constants, of the workspace, and of what the caller passes.
 */
#include <string.h>
#include <sys/auxv.h>
#ifdef __x86_64__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef __ANDROID__
#include <asm/hwcap.h>
#endif

#include "threads.h"

#define ALIGNMENT 64u
#define EXPORTED __attribute__((visibility("default")))

/* What kernels take (see dlpack.h and tvm/ffi/c_api.h): they read the pointers to the data; shapes are in their code. */
typedef struct {
    void *data;
    int32_t device_type, device_id, rank;
    uint8_t dtype_code, dtype_bits;
    uint16_t dtype_lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} dl_tensor;

typedef struct {
    int32_t type_index, padding;
    union {
        int64_t bits;
        dl_tensor *tensor;
    } value;
} tvm_any;

enum { DL_CPU = 1, DL_TENSOR_INDEX = 7 };

typedef int kernel(void *self, tvm_any *arguments, int32_t count, tvm_any *result);

/* An argument is in one of these places, so many bytes behind its beginning; of inputs and outputs, it is the n-th. */
enum { CONSTANT, WORKSPACE, INPUT, OUTPUT };

typedef struct {
    uint32_t place, offset;
} argument;

typedef struct {
    kernel *run;
    uint32_t first, count;           /* of its arguments */
    uint32_t scratch, scratch_bytes; /* in the workspace */
} call;

#ifdef __x86_64__
/* Whether Linux lets this process use AMX, which it is asked once: without that the first instruction ends the process.
 * See the kernel's Documentation/arch/x86/xstate.rst. */
__attribute__((unused)) static int tiles_granted(void)
{
    enum { REQUIRE_PERMISSION = 0x1023, TILE_DATA = 18 };
    static atomic_int answer; /* 0: not asked yet */
    if (!atomic_load(&answer))
        atomic_store(&answer, syscall(SYS_arch_prctl, REQUIRE_PERMISSION, TILE_DATA) ? -1 : 1);
    return atomic_load(&answer) > 0;
}
#endif

#include "tables.h"

typedef struct {
    char *workspace, *inputs[EQ_MODEL_INPUTS], *outputs[EQ_MODEL_OUTPUTS];
} memory;

static char *aligned(void *pointer)
{
    return (char *)pointer + (-(uintptr_t)pointer & (ALIGNMENT - 1));
}

static void *find(const memory *at, argument which)
{
    switch (which.place) {
    case CONSTANT:
        return (void *)(constants + which.offset);
    case WORKSPACE:
        return at->workspace + which.offset;
    case INPUT:
        return at->inputs[which.offset];
    default:
        return at->outputs[which.offset];
    }
}

static int run_call(const memory *at, const call *what)
{
    dl_tensor tensors[MOST_ARGUMENTS];
    tvm_any values[MOST_ARGUMENTS], result = {0};

    for (uint32_t i = 0; i < what->count; i++) {
        tensors[i] = (dl_tensor){.data = find(at, arguments[what->first + i]), .device_type = DL_CPU};
        values[i] = (tvm_any){.type_index = DL_TENSOR_INDEX, .value.tensor = &tensors[i]};
    }
    return what->run(NULL, values, (int32_t)what->count, &result);
}

EXPORTED int eq_model_run(const void *const *inputs, void *const *outputs, void *workspace, int threads)
{
    memory at;
    team all;
    int failed = 0;

    if (!inputs || !outputs || !workspace)
        return -1;
    if (!SUPPORTED())
        return -2;
    at.workspace = aligned(workspace);
    for (int i = 0; i < EQ_MODEL_INPUTS; i++) {
        if (!inputs[i])
            return -1;
        at.inputs[i] = (char *)inputs[i];
        if (at.inputs[i] != aligned(at.inputs[i]))
            at.inputs[i] = memcpy(at.workspace + input_places[i], inputs[i], input_tensors[i].bytes);
    }
    for (int i = 0; i < EQ_MODEL_OUTPUTS; i++) {
        if (!outputs[i])
            return -1;
        at.outputs[i] = outputs[i];
        if (at.outputs[i] != aligned(at.outputs[i]))
            at.outputs[i] = at.workspace + output_places[i];
    }

    if (team_start(&all, threads, at.workspace + PLANNED_BYTES, TASK_BYTES))
        return -1;
    for (size_t i = 0; i < sizeof calls / sizeof *calls && !failed; i++) {
        team_set_scratch(&all, at.workspace + calls[i].scratch, calls[i].scratch_bytes);
        failed = run_call(&at, &calls[i]);
    }
    team_stop(&all);

    for (int i = 0; i < EQ_MODEL_OUTPUTS; i++) {
        const void *result = find(&at, results[i]);
        if (result != outputs[i])
            memcpy(outputs[i], result, output_tensors[i].bytes);
    }
    return failed ? -1 : 0;
}

EXPORTED size_t eq_model_workspace_size(void)
{
    return ALIGNMENT - 1 + PLANNED_BYTES + (EQ_MODEL_MAX_THREADS - 1) * (size_t)TASK_BYTES;
}

EXPORTED const eq_model_tensor *eq_model_inputs(void) { return input_tensors; }

EXPORTED const eq_model_tensor *eq_model_outputs(void) { return output_tensors; }
