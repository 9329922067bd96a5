/* AMX for processors without it: what a tile instruction would do, done when it traps (SIGILL).
 *
 * So the machine code that LLVM made for AMX runs as it is. Loading this library is all there is to do, by dlopen or
 * LD_PRELOAD; where the processor has tiles, nothing traps. Eight tiles for each thread, palette 1, with the checks of
 * shapes that the manual asks for (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2): what a
 * processor would refuse ends the process. Preloaded, it also grants the permission that Linux is asked for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { TILES = 8, ROWS = 16, BYTES = 64, THREADS = 256 };

typedef struct {
    int rows, bytes;
    int8_t data[ROWS][BYTES];
} tile;

typedef struct {
    int thread, configured;
    tile tiles[TILES];
} state;

static state states[THREADS];
long eq_tvm_emulated_tiles; /* how many instructions were */

static _Noreturn void refuse(const char *why)
{
    fprintf(stderr, "emulated AMX: %s\n", why);
    abort();
}

/* A thread's own, without thread-local storage, which may need memory the first time. */
static state *mine(void)
{
    int thread = (int)syscall(SYS_gettid);
    for (int i = 0; i < THREADS; i++) {
        int owner = __atomic_load_n(&states[i].thread, __ATOMIC_SEQ_CST);
        int none = 0;
        if (owner == thread ||
            (!owner && __atomic_compare_exchange_n(&states[i].thread, &none, thread, 0, __ATOMIC_SEQ_CST,
                                                   __ATOMIC_SEQ_CST)))
            return &states[i];
    }
    refuse("too many threads");
}

static void configure(state *s, const uint8_t *config)
{
    memset(s->tiles, 0, sizeof s->tiles);
    s->configured = config[0] == 1;
    if (config[0] > 1 || config[1])
        refuse("no such palette, or a row to start from");
    for (int t = 0; t < TILES && s->configured; t++) {
        uint16_t bytes;
        memcpy(&bytes, config + 16 + 2 * t, 2);
        s->tiles[t].bytes = bytes;
        s->tiles[t].rows = config[48 + t];
        if (bytes > BYTES || config[48 + t] > ROWS || !bytes != !config[48 + t])
            refuse("a tile of a shape that there is not");
    }
}

static tile *used(state *s, int number)
{
    if (!s->configured || number >= TILES || !s->tiles[number].rows)
        refuse("a tile that is not configured");
    return &s->tiles[number];
}

static void multiply(state *s, int c_number, int a_number, int b_number, int prefix)
{
    tile *c = used(s, c_number), *a = used(s, a_number), *b = used(s, b_number);
    if (c == a || c == b || a == b || a->bytes % 4 || c->bytes % 4 || c->rows != a->rows || c->bytes != b->bytes ||
        a->bytes / 4 != b->rows)
        refuse("tiles whose shapes do not fit");
    for (int m = 0; m < c->rows; m++)
        for (int n = 0; n < c->bytes / 4; n++) {
            uint32_t sum;
            memcpy(&sum, &c->data[m][4 * n], 4);
            for (int k = 0; k < a->bytes; k++) {
                int8_t x = a->data[m][k], y = b->data[k / 4][4 * n + k % 4];
                int left = prefix & 2 ? x : (uint8_t)x; /* by prefix: tdpbuud, tdpbusd, tdpbsud, tdpbssd */
                int right = prefix & 1 ? y : (uint8_t)y;
                sum += (uint32_t)(left * right);
            }
            memcpy(&c->data[m][4 * n], &sum, 4);
        }
}

static const int REGISTERS[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* Emulates the instruction at rip; returns its length, 0 if it is none of AMX. */
static int emulate(ucontext_t *context)
{
    greg_t *r = context->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)r[REG_RIP];
    if (code[0] != 0xc4 || (code[1] & 31) != 2 || code[2] & 0x84) /* VEX, 0F38, W0, 128 bits */
        return 0;
    int prefix = code[2] & 3, opcode = code[3], modrm = code[4], mode = modrm >> 6, length = 5; /* -, 66, F3, F2 */
    int reg = (modrm >> 3 & 7) | (code[1] & 0x80 ? 0 : 8), rm = modrm & 7;
    if (opcode != 0x49 && opcode != 0x4b && opcode != 0x5e)
        return 0;
    state *s = mine();
    if (mode == 3) {
        if (opcode == 0x5e)
            multiply(s, reg, rm | (code[1] & 0x20 ? 0 : 8), ~code[2] >> 3 & 15, prefix);
        else if (opcode == 0x49 && prefix == 3)
            memset(used(s, reg)->data, 0, sizeof s->tiles->data);
        else if (opcode == 0x49 && prefix == 0 && modrm == 0xc0)
            s->configured = 0;
        else
            return 0;
        return length;
    }

    int64_t stride = 0, address = 0;
    int base = rm | (code[1] & 0x20 ? 0 : 8), bytes = mode == 1 ? 1 : mode == 2 ? 4 : 0, relative = 0;
    if (rm == 4) {
        int sib = code[length++], index = (sib >> 3 & 7) | (code[1] & 0x40 ? 0 : 8);
        base = (sib & 7) | (code[1] & 0x20 ? 0 : 8);
        stride = index == 4 ? 0 : r[REGISTERS[index]] << (sib >> 6);
        if ((sib & 7) == 5 && mode == 0)
            base = -1, bytes = 4;
    } else if (rm == 5 && mode == 0)
        base = -1, bytes = 4, relative = 1;
    if (bytes == 1)
        address = (int8_t)code[length];
    else if (bytes == 4) {
        int32_t displacement;
        memcpy(&displacement, code + length, 4);
        address = displacement;
    }
    length += bytes;
    address += (base >= 0 ? r[REGISTERS[base]] : 0) + (relative ? r[REG_RIP] + length : 0);

    if (opcode == 0x49 && prefix == 0) {
        configure(s, (const uint8_t *)(address + stride));
        return length;
    }
    if (opcode != 0x4b || rm != 4 || prefix == 0)
        return 0;
    tile *t = used(s, reg);
    if (prefix != 2) /* loads, whatever they hint at */
        memset(t->data, 0, sizeof t->data);
    for (int row = 0; row < t->rows; row++, address += stride)
        if (prefix == 2)
            memcpy((void *)address, t->data[row], (size_t)t->bytes);
        else
            memcpy(t->data[row], (const void *)address, (size_t)t->bytes);
    return length;
}

static void trapped(int number, siginfo_t *info, void *context)
{
    (void)info;
    int length = emulate(context);
    if (!length) { /* then it ends the process */
        signal(number, SIG_DFL);
        return;
    }
    __atomic_add_fetch(&eq_tvm_emulated_tiles, 1, __ATOMIC_RELAXED);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += length;
}

static long (*real)(long, ...); /* syscall */

__attribute__((constructor)) static void start(void)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, NULL);
    *(void **)&real = dlsym(RTLD_NEXT, "syscall");
}

/* glibc's, but for the permission to use tiles: arch_prctl(ARCH_REQ_XCOMP_PERM, ...). */
long syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_arch_prctl && a[0] == 0x1023)
        return 0;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
