/*
 * Calls compiled 32-bit ARM functions for armv7.py: linked with them, it reads calls from stdin, and writes the
 * last argument of each to stdout as it is after the call.
 *
 * A call is a line "NAME COUNT" and COUNT tensors; a tensor is a line "DTYPE DIM...", and its bytes.
 */
#include <dlfcn.h>
#include <dlpack/dlpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tvm/ffi/c_api.h>
#include <unistd.h>

enum { TASKS = 3, MOST_ARGUMENTS = 16, MOST_AXES = 9, LINE = 256 };

static void fail(const char *message)
{
    fprintf(stderr, "%s\n", message);
    exit(1);
}

/* What the functions call of TVM's runtime: tasks run in turn, and scratch memory is not zero. */
typedef struct {
    void *synchronization;
    int32_t tasks;
} environment;

static int launch(int (*task)(int, environment *, void *), void *data, int tasks)
{
    environment all = {NULL, TASKS};
    (void)tasks;
    for (int i = 0; i < TASKS; i++)
        if (task(i, &all, data))
            return -1;
    return 0;
}

static void *allocate(int device_type, int device_id, uint64_t bytes, int code, int bits)
{
    void *memory = NULL;
    (void)device_type, (void)device_id, (void)code, (void)bits;
    if (posix_memalign(&memory, 64, bytes))
        fail("no memory");
    return memset(memory, 0xa5, bytes);
}

static int release(int device_type, int device_id, void *memory)
{
    (void)device_type, (void)device_id;
    free(memory);
    return 0;
}

int (*__TVMBackendParallelLaunch)(int (*)(int, environment *, void *), void *, int) = launch;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count)
{
    fprintf(stderr, "%s: ", kind);
    for (int32_t i = 0; i < count; i++)
        fputs(parts[i], stderr);
    fail("");
}

typedef struct {
    DLTensor tensor;
    int64_t shape[MOST_AXES];
    char header[LINE];
    size_t bytes;
} argument;

/* It ends, up to TVM's alignment of 64 bytes, in front of a page that can't be accessed. */
static void *guarded(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), occupied = (bytes + 63) / 64 * 64;
    size_t room = (occupied + page - 1) / page * page;
    char *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + room, page, PROT_NONE))
        fail("no memory");
    return base + room - occupied;
}

static void read_argument(argument *into)
{
    static const struct {
        const char *name;
        DLDataType type;
    } types[] = {{"int8", {kDLInt, 8, 1}},   {"uint8", {kDLUInt, 8, 1}},      {"int16", {kDLInt, 16, 1}},
                 {"int32", {kDLInt, 32, 1}}, {"float32", {kDLFloat, 32, 1}}, {"float64", {kDLFloat, 64, 1}},
                 {"bool", {kDLBool, 8, 1}}};
    char line[LINE], *word;

    if (!fgets(into->header, LINE, stdin))
        fail("an argument is missing");
    into->tensor = (DLTensor){.device = {kDLCPU, 0}, .shape = into->shape};
    word = strtok(strcpy(line, into->header), " \n");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(word, types[i].name))
            into->tensor.dtype = types[i].type;
    if (!into->tensor.dtype.bits)
        fail("unknown dtype");
    into->bytes = into->tensor.dtype.bits / 8;
    while ((word = strtok(NULL, " \n")))
        into->bytes *= (size_t)(into->shape[into->tensor.ndim++] = atoll(word));
    into->tensor.data = guarded(into->bytes);
    if (fread(into->tensor.data, 1, into->bytes, stdin) != into->bytes)
        fail("an argument is too short");
}

int main(void)
{
    char line[LINE], name[LINE], symbol[LINE + 16];
    int count;

    while (fgets(line, LINE, stdin)) {
        argument arguments[MOST_ARGUMENTS];
        TVMFFIAny values[MOST_ARGUMENTS], result = {0};
        int (*call)(void *, const TVMFFIAny *, int32_t, TVMFFIAny *);

        if (sscanf(line, "%s %d", name, &count) != 2 || count < 1 || count > MOST_ARGUMENTS)
            fail("no call");
        for (int i = 0; i < count; i++) {
            read_argument(&arguments[i]);
            values[i] = (TVMFFIAny){.type_index = kTVMFFIDLTensorPtr, .v_ptr = &arguments[i].tensor};
        }
        sprintf(symbol, "__tvm_ffi_%s", name);
        *(void **)&call = dlsym(RTLD_DEFAULT, symbol);
        if (!call)
            fail("no such function");
        if (call(NULL, values, count, &result))
            fail("the function failed");
        fputs(arguments[count - 1].header, stdout);
        fwrite(arguments[count - 1].tensor.data, 1, arguments[count - 1].bytes, stdout);
    }
    return 0;
}
