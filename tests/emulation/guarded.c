/*
 * Runs a standalone library on buffers of which each ends, or begins, at a page that can't be accessed:
 *
 *     ./guarded end|start|aligned THREADS INPUT.raw... OUTPUT.raw
 *
 * `end` is the last byte; `aligned` leaves the bytes up to a multiple of 64, with which inputs are read in place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "eq_model.h"

enum { ALIGNMENT = 64 };

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(3);
}

static size_t up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

static void *guarded(size_t bytes, const char *where)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = up(bytes + !bytes, page);
    char *base = mmap(NULL, room + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED || mprotect(base, page, PROT_NONE) || mprotect(base + page + room, page, PROT_NONE))
        fail("no memory");
    memset(base + page, 0xa5, room);
    if (!strcmp(where, "start"))
        return base + page;
    return base + page + room - (strcmp(where, "end") ? up(bytes, ALIGNMENT) : bytes);
}

int main(int count, char **arguments)
{
    const void *inputs[EQ_MODEL_INPUTS];
    void *outputs[EQ_MODEL_OUTPUTS], *workspace;
    FILE *file;

    if (count != EQ_MODEL_INPUTS + 4)
        fail("wrong number of arguments");
    for (int i = 0; i < EQ_MODEL_INPUTS; i++) {
        size_t bytes = eq_model_inputs()[i].bytes;
        void *input = guarded(bytes, arguments[1]);
        if (!(file = fopen(arguments[3 + i], "rb")) || fread(input, 1, bytes, file) != bytes)
            fail("can't read an input");
        fclose(file);
        inputs[i] = input;
    }
    for (int i = 0; i < EQ_MODEL_OUTPUTS; i++)
        outputs[i] = guarded(eq_model_outputs()[i].bytes, arguments[1]);
    workspace = guarded(eq_model_workspace_size(), arguments[1]);
    for (int run = 0; run < 2; run++) /* the second finds what the first left */
        if (eq_model_run(inputs, outputs, workspace, atoi(arguments[2])))
            fail("the run failed");
    if (!(file = fopen(arguments[count - 1], "wb")))
        fail("can't write");
    for (int i = 0; i < EQ_MODEL_OUTPUTS; i++)
        fwrite(outputs[i], 1, eq_model_outputs()[i].bytes, file);
    return fclose(file) != 0;
}
