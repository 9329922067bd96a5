"""How many multiply-accumulates per second one core can do at most, by instruction.

Each loop keeps all its numbers in registers, in sums that do not wait for each other: no kernel can be faster.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers import machine

SECONDS = 0.2


@dataclass(frozen=True)
class Loop:
    """A loop body that is repeated for each accumulator.

    Attributes
    ----------
    needs : tuple of str
        Processor features, in Linux's names.
    macs : int
        Multiply-accumulates of one body.
    accumulators : int
        How many registers, from the first on, are accumulators.
    body : tuple of str
        Assembly in AT&T syntax, with ``{acc}`` for the accumulator. ``{a}``, ``{b}`` hold operands, ``{t}``, ``{u}``
        are free: they take turns, so that no body waits for the one before.
    wide : bool
        512-bit registers, of which there are 32, not 16.
    """

    needs: tuple[str, ...]
    macs: int
    accumulators: int
    body: tuple[str, ...]
    wide: bool = False

    @property
    def registers(self) -> list[str]:
        return [f"%zmm{i}" for i in range(32)] if self.wide else [f"%ymm{i}" for i in range(16)]

    def setup(self) -> list[str]:
        """Zeros for all registers: floats that are none would be slow."""
        clear = "vpxord" if self.wide else "vpxor"
        return [f"{clear} {register}, {register}, {register}" for register in self.registers]

    def assembly(self) -> list[str]:
        """The instructions of one iteration."""
        registers = self.registers
        free = registers[self.accumulators : -2] or [""]
        lines = []
        for i in range(self.accumulators):
            names = {"acc": registers[i], "a": registers[-1], "b": registers[-2]}
            names |= {"t": free[2 * i % len(free)], "u": free[(2 * i + 1) % len(free)]}
            lines += [line.format(**names) for line in self.body]
        return lines


# A chain of d adds d products in 16 bits before it widens: INT8 allows 2 (and may saturate), INT7 4, symmetric INT7 8.
_CHAIN_2 = ("vpmaddubsw {a}, {b}, {t}", "vpmaddwd {a}, {t}, {t}", "vpaddd {t}, {acc}, {acc}")
_PAIR = ("vpmaddubsw {a}, {b}, {t}", "vpmaddubsw {a}, {b}, {u}", "vpaddw {u}, {t}, {t}")
_MORE = ("vpmaddubsw {a}, {b}, {u}", "vpaddw {u}, {t}, {t}")
_WIDEN = ("vpmaddwd {a}, {t}, {t}", "vpaddd {t}, {acc}, {acc}")
_MADDWD = ("vpmaddwd {a}, {b}, {t}", "vpaddd {t}, {acc}, {acc}")
# Four products of sums are worth eight.
_SUMS = ("vpaddb {a}, {b}, {t}", "vpaddb {b}, {b}, {u}", "vpdpbusd {u}, {t}, {acc}")

LOOPS = {
    "vpdpbusd-512": Loop(("avx512_vnni",), 64, 24, ("vpdpbusd {a}, {b}, {acc}",), wide=True),
    "vpdpbusd-512 of sums": Loop(("avx512_vnni",), 128, 24, _SUMS, wide=True),
    "vpdpwssd-512": Loop(("avx512_vnni",), 32, 24, ("vpdpwssd {a}, {b}, {acc}",), wide=True),
    "vpmaddwd-512": Loop(("avx512bw",), 32, 14, _MADDWD, wide=True),
    "vfmadd-512": Loop(("avx512f",), 16, 24, ("vfmadd231ps {a}, {b}, {acc}",), wide=True),
    "vpmaddubsw-256, chains of 2": Loop(("avx2",), 32, 7, _CHAIN_2),
    "vpmaddubsw-256, chains of 4": Loop(("avx2",), 64, 6, _PAIR + _WIDEN),
    "vpmaddubsw-256, chains of 8": Loop(("avx2",), 128, 6, _PAIR + 2 * _MORE + _WIDEN),
    "vpmaddwd-256": Loop(("avx2",), 16, 7, _MADDWD),
    "vfmadd-256": Loop(("fma",), 8, 14, ("vfmadd231ps {a}, {b}, {acc}",)),
}

_PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Prints iterations per second of this thread's time, for forty stretches of the seconds given. */
int main(int argc, char **argv) {
    const double seconds = atof(argv[1]) / 40;
    for (int stretch = 0; stretch < 40; ++stretch) {
        long iterations = 0;
        const double start = now();
        double end;
        do {
            long n = 50000; /* so that reading the clock does not matter */
            __asm__ volatile(SETUP "1:\n\t" BODY "dec %[n]\n\tjnz 1b\n\t" : [n] "+r"(n) : : CLOBBERS "cc");
            iterations += 50000;
            end = now();
        } while (end - start < seconds);
        printf("%.6e\n", iterations / (end - start));
    }
    return 0;
}
"""


def peaks(seconds: float = SECONDS) -> dict[str, float]:
    """Measure the peaks of this machine on one thread. Needs gcc.

    Parameters
    ----------
    seconds : float
        For each loop. The fastest fortieth of them counts: other processes, or another thread on the same core, can
        only make it slower.

    Returns
    -------
    dict
        10^9 multiply-accumulates per second, by instruction; only those that the processor has.
    """
    return {
        name: round(measure(loop, seconds), 1)
        for name, loop in LOOPS.items()
        if machine.cpu_flags().issuperset(loop.needs)
    }


def measure(loop: Loop, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as directory:
        source, program = Path(directory) / "peak.c", Path(directory) / "peak"
        clobbers = "".join(f'"{register}", ' for register in loop.registers)
        defines = {"SETUP": _quoted(loop.setup()), "BODY": _quoted(loop.assembly()), "CLOBBERS": clobbers}
        source.write_text("".join(f"#define {name} {text}\n" for name, text in defines.items()) + _PROGRAM)
        flags = ["-O2", "-mavx512f"] if loop.wide else ["-O2", "-mavx2"]
        subprocess.run(["gcc", *flags, str(source), "-o", str(program)], check=True)
        output = subprocess.run([program, str(seconds)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return max(map(float, output.split())) * loop.macs * loop.accumulators / 1e9


def _quoted(lines: list[str]) -> str:
    """As strings in C, for `asm`."""
    return " ".join(f'"{line.replace("%", "%%")}\\n\\t"' for line in lines)


if __name__ == "__main__":
    for name, peak in peaks().items():
        print(f"{name:<28} {peak:8.1f} GMAC/s")
