/*
$comment
 *
 * Needs libc, libm and pthreads, and nothing else. The functions may be called from several threads at a time, each
 * with its own workspace: nothing is kept between two calls.
 */
#ifndef EQ_MODEL_H
#define EQ_MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EQ_MODEL_INPUTS = $inputs, EQ_MODEL_OUTPUTS = $outputs, EQ_MODEL_MAX_THREADS = $threads };

typedef struct {
    const char *name;     /* as in the ONNX file */
    const char *dtype;    /* "float32", ...: numpy's name */
    int rank;
    const int64_t *shape; /* `rank` extents; the elements are in C order, without gaps */
    size_t bytes;
} eq_model_tensor;

/* The descriptions of the EQ_MODEL_INPUTS inputs and of the EQ_MODEL_OUTPUTS outputs. */
const eq_model_tensor *eq_model_inputs(void);
const eq_model_tensor *eq_model_outputs(void);

/* Bytes of memory that a run needs, for any number of threads. */
size_t eq_model_workspace_size(void);

/*
 * Run the network once.
 *
 * inputs     one pointer for each input; floats must be finite
 * outputs    one pointer for each output, to be written; may overlap neither each other nor the inputs
 * workspace  eq_model_workspace_size() bytes, with any contents. What would be for threads that are not asked for stays
 *            untouched: it takes no memory where the system gives pages when they are first used
 * threads    how many threads compute, this one included, up to EQ_MODEL_MAX_THREADS. The others live as long as the
 *            call. The result does not depend on it
 *
 * No pointer needs any alignment; inputs and outputs that are multiples of 64 save a copy. Returns 0; -1 where a
 * pointer is NULL; -2 where this processor lacks instructions that the network was compiled for, or Linux does not
 * grant them (AMX, which the first call asks for).
 */
int eq_model_run(const void *const *inputs, void *const *outputs, void *workspace, int threads);

#ifdef __cplusplus
}
#endif

#endif
