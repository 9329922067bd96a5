// A qemu-user plugin: how often each translation block runs between two marks, and the instructions in it.
//
//   gcc -O2 -shared -fPIC blockcount.c -o blockcount.so
//   qemu-aarch64 -plugin ./blockcount.so,out=FILE PROGRAM
//
// The program marks what is measured by a system call that does not exist: syscall(4242, 1) starts, syscall(4242, 2)
// stops and writes the file, a line for each block: address, runs, number of instructions, instructions in hexadecimal.
// Counters are not atomic: only one thread may work between the marks.
//
// Debian packages qemu without the header for plugins, so what is used of it (version 1) is declared here.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*Translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*Called)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, Translated);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, Called);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter, uint64_t operand);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { ADD = 0, MARK = 4242, START = 1, STOP = 2 };

typedef struct Block {
  uint64_t address, runs;
  size_t instructions, size;
  struct Block *next;
  uint8_t code[];
} Block;

static Block *blocks;  // threads that only start may add to it
static const char *out = "blocks";

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  size_t instructions = qemu_plugin_tb_n_insns(tb), size = 0;
  for (size_t i = 0; i < instructions; i++) size += qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, i));
  Block *block = calloc(1, sizeof(Block) + size);
  if (!block) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  block->instructions = instructions;
  for (size_t i = 0; i < instructions; i++) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    size_t bytes = qemu_plugin_insn_size(insn);
    memcpy(block->code + block->size, qemu_plugin_insn_data(insn), bytes);
    block->size += bytes;
  }
  block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&blocks, &block->next, block, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
  qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD, &block->runs, 1);
}

static void write_counts(void) {
  FILE *file = fopen(out, "w");
  if (!file) return;
  for (Block *block = blocks; block; block = block->next) {
    if (!block->runs) continue;
    fprintf(file, "%" PRIx64 " %" PRIu64 " %zu ", block->address, block->runs, block->instructions);
    for (size_t i = 0; i < block->size; i++) fprintf(file, "%02x", block->code[i]);
    fputc('\n', file);
  }
  fclose(file);
}

static void on_called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t what, uint64_t b, uint64_t c,
                      uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  if (number != MARK) return;
  if (what == START)
    for (Block *block = blocks; block; block = block->next) block->runs = 0;
  else if (what == STOP)
    write_counts();
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "out=", 4)) out = strdup(argv[i] + 4);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
  qemu_plugin_register_vcpu_syscall_cb(id, on_called);
  return 0;
}
