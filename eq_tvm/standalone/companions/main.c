/*
 * Runs the network on raw tensor files, and prints the highest values of each output.
 *
 *     cc main.c -L. -l@library@ -Wl,-rpath,'$ORIGIN' -o main && ./main input.raw
 *
 * A raw tensor file has the elements of one input and nothing else: numpy writes it by array.tofile("input.raw").
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eq_model.h"

enum { TOP = 5 };

_Noreturn static void fail(const char *what, const char *name)
{
    fprintf(stderr, "error: %s%s\n", what, name);
    exit(2);
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory)
        fail("out of memory", "");
    return memory;
}

static void *read_tensor(const char *name, size_t bytes)
{
    FILE *file = fopen(name, "rb");
    void *tensor = allocate(bytes);

    if (!file)
        fail("can't read ", name);
    if (fread(tensor, 1, bytes, file) != bytes || fgetc(file) != EOF)
        fail("not as large as the network's input: ", name);
    fclose(file);
    return tensor;
}

static void write_tensors(const char *name, void *const *tensors)
{
    FILE *file = fopen(name, "wb");
    int written = file != NULL;

    for (int i = 0; i < EQ_MODEL_OUTPUTS && written; i++)
        written = fwrite(tensors[i], 1, eq_model_outputs()[i].bytes, file) == eq_model_outputs()[i].bytes;
    if (!written || fclose(file))
        fail("can't write ", name);
}

static void print_top(const eq_model_tensor *what, const float *values)
{
    size_t count = what->bytes / sizeof *values, best = 0;

    printf("%s\n", what->name);
    if (strcmp(what->dtype, "float32"))
        return;
    for (int shown = 0; shown < TOP && (size_t)shown < count; shown++) {
        size_t last = best;
        int found = 0;
        /* The greatest of those behind the last one: smaller, or equal and of a higher index. */
        for (size_t i = 0; i < count; i++) {
            int behind = !shown || values[i] < values[last] || (values[i] == values[last] && i > last);
            if (behind && (!found || values[i] > values[best]))
                best = i, found = 1;
        }
        printf("  %6zu  %.4f\n", best, values[best]);
    }
}

int main(int count, char **arguments)
{
    const void *inputs[EQ_MODEL_INPUTS];
    void *outputs[EQ_MODEL_OUTPUTS];
    const char *threads = getenv("THREADS");

    if (count - 1 != EQ_MODEL_INPUTS && count - 2 != EQ_MODEL_INPUTS)
        fail("usage: [THREADS=1] main INPUT.raw... [OUTPUT.raw], with as many inputs as the network has", "");
    for (int i = 0; i < EQ_MODEL_INPUTS; i++)
        inputs[i] = read_tensor(arguments[i + 1], eq_model_inputs()[i].bytes);
    for (int i = 0; i < EQ_MODEL_OUTPUTS; i++)
        outputs[i] = allocate(eq_model_outputs()[i].bytes);

    switch (eq_model_run(inputs, outputs, allocate(eq_model_workspace_size()), threads ? atoi(threads) : 1)) {
    case 0:
        break;
    case -2:
        fail("the network was compiled for another processor: choose another --target", "");
    default:
        fail("the network could not run", "");
    }
    for (int i = 0; i < EQ_MODEL_OUTPUTS; i++)
        print_top(&eq_model_outputs()[i], outputs[i]);
    if (count - 2 == EQ_MODEL_INPUTS)
        write_tensors(arguments[count - 1], outputs);
    return 0;
}
