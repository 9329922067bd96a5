// A qemu-user plugin: which lines a program's data come from, in a model of a processor's caches.
//
//   gcc -O2 -shared -fPIC caches.c -o caches.so
//   qemu-aarch64 -plugin ./caches.so,out=FILE,caches=32:2/1024:16 PROGRAM
//
// Caches are given from the first to the last, KiB:ways. Between the marks of blockcount.c each access of data looks for
// its line of 64 bytes in one after the other; it is then the newest of its set in all of them. Written to the file is,
// for each cache but the first and then for memory, how many lines came from there, and how many of these were
// foreseen, as hardware does: the one beside it came just before, or another two at the same distance.
// Counters are not atomic: only one thread may work between the marks.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What is used of qemu's plugins (version 1), as in blockcount.c.
typedef uint64_t qemu_plugin_id_t;
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*Translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*Called)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t);
typedef void (*Accessed)(unsigned cpu, uint32_t how, uint64_t address, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, Translated);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, Called);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, Accessed, int flags, int direction, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { MARK = 4242, START = 1, STOP = 2 };
enum { NO_REGISTERS = 0, READ_AND_WRITE = 3, LINE = 6, LEVELS = 3, STREAMS = 16, NEAR = 64 };

typedef struct {
  uint64_t last;
  int64_t step;
} Stream;

typedef struct {
  uint64_t *lines;  // of each set, the newest first
  size_t sets, ways;
  Stream streams[STREAMS];  // of lines that were not in it
  size_t next;
} Cache;

static Cache caches[LEVELS];
static size_t levels;
static uint64_t came[LEVELS], foreseen[LEVELS];  // from behind the cache of this number
static const char *out = "lines";

// Whether the line was there; now it is the newest.
static bool found(Cache *cache, uint64_t line) {
  uint64_t *set = cache->lines + line % cache->sets * cache->ways, before = line;
  for (size_t way = 0; way < cache->ways; way++) {
    uint64_t here = set[way];
    set[way] = before;
    if (here == line) return true;
    before = here;
  }
  return false;
}

// Whether the line is the next one of a stream; now it is the last one of a stream.
static bool follows(Cache *cache, uint64_t line) {
  Stream *near = NULL;
  for (Stream *stream = cache->streams; stream < cache->streams + STREAMS; stream++) {
    int64_t step = (int64_t)(line - stream->last);
    if (step == 1 || step == -1 || (step && step == stream->step)) {
      *stream = (Stream){line, step};
      return true;
    }
    if (step >= -NEAR && step <= NEAR) near = stream;
  }
  if (near) *near = (Stream){line, (int64_t)(line - near->last)};
  else cache->streams[cache->next++ % STREAMS] = (Stream){line, 0};
  return false;
}

static void on_accessed(unsigned cpu, uint32_t how, uint64_t address, void *data) {
  uint64_t line = address >> LINE;
  for (size_t level = 0; level < levels && !found(&caches[level], line); level++) {
    came[level]++;
    foreseen[level] += follows(&caches[level], line);
  }
}

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), on_accessed, NO_REGISTERS, READ_AND_WRITE, NULL);
}

static void on_called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t what, uint64_t b, uint64_t c,
                      uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  if (number != MARK) return;
  if (what == START) {
    memset(came, 0, sizeof came);
    memset(foreseen, 0, sizeof foreseen);
  } else if (what == STOP) {
    FILE *file = fopen(out, "w");
    if (!file) return;
    for (size_t level = 0; level < levels; level++) fprintf(file, "%" PRIu64 " %" PRIu64 "\n", came[level], foreseen[level]);
    fclose(file);
  }
}

// Caches as KiB:ways/KiB:ways; false where that is not what the text is.
static bool described(const char *text) {
  for (; levels < LEVELS; levels++) {
    size_t kib, ways;
    int read = 0;
    if (sscanf(text, "%zu:%zu%n", &kib, &ways, &read) != 2 || !ways || kib << 10 < ways << LINE) return false;
    Cache *cache = &caches[levels];
    cache->ways = ways;
    cache->sets = (kib << 10) / (ways << LINE);
    cache->lines = calloc(cache->sets * ways, sizeof *cache->lines);
    if (!cache->lines) abort();
    text += read;
    if (*text != '/') return levels++, !*text;
    text++;
  }
  return false;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
  bool given = false;
  for (int i = 0; i < argc; i++) {
    if (!strncmp(argv[i], "out=", 4)) out = strdup(argv[i] + 4);
    if (!strncmp(argv[i], "caches=", 7)) given = described(argv[i] + 7);
  }
  if (!given) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
  qemu_plugin_register_vcpu_syscall_cb(id, on_called);
  return 0;
}
