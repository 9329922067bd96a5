"""The processors that kernels are tested on, and how one gets a kernel's result there."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aarch64 as emulation
import armv7
import avx512
import numpy as np
import pytest
import tvm

from eq_tvm import host
from eq_tvm.schedules.common.lowered import COMPILE_CONFIG
from eq_tvm.schedules.processor import instructions
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.schedules.processor.rounding import rounded
from eq_tvm.targets import X86_LLVM_OPTIONS


@dataclass(frozen=True)
class Family:
    """A processor, restricted to some of its multiply instructions.

    Parameters
    ----------
    cpu : str
        As LLVM names it.
    features : frozenset of str
        What `instructions.choose` may take.
    attributes : tuple of str
        LLVM's, beyond those of the processor.
    needs : tuple of str
        Features that the host must have (LLVM's names); not asked of emulated processors.
    in_order : bool
        It keeps the order of instructions.
    qemu : str
        As qemu names it, where that differs; empty for one that is not emulated.
    """

    cpu: str
    features: frozenset[str]
    attributes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    in_order: bool = False
    qemu: str = ""

    @property
    def emulated(self) -> bool:
        return bool(self.qemu) or self.cpu.startswith("cortex")

    @property
    def has_tiles(self) -> bool:
        """Whether AMX is emulated where the processor lacks it."""
        return any("tile" in name for name in self.features)

    @property
    def is_32_bit(self) -> bool:
        return "vmlal" in self.features

    @property
    def bits(self) -> int:
        """Width of the vector registers."""
        return instructions.vector_bits(self.features)

    @property
    def machine(self) -> Machine:
        """What the choice of kernels knows of it: any figures will do."""
        rates = dict.fromkeys(sorted(self.features), 32.0)
        return Machine(rates, issue=1.0) if self.in_order else Machine(rates)

    @property
    def missing(self) -> set[str]:
        """What this machine would need to run the family's code as it is."""
        return set() if self.emulated else set(self.needs) - (host.cpu_features() or set())

    @property
    def lacking(self) -> list[str]:
        """Of that, what it can't do without: AVX-512 is emulated by AVX2."""
        return sorted(self.missing & _AVX2 or {each for each in self.missing if not each.startswith("avx512")})

    def target(self) -> tvm.target.Target:
        if self.is_32_bit:
            return armv7.target()
        if self.emulated:
            return emulation.target(self.cpu, *self.attributes)
        return tvm.target.Target(
            {
                "kind": "llvm",
                "mtriple": "x86_64-linux-gnu",
                "mcpu": self.cpu,
                "mattr": list(self.attributes),
                "cl-opt": X86_LLVM_OPTIONS,
            }
        )

    def build(self, functions: Sequence[tvm.tirx.PrimFunc]) -> tvm.runtime.Module:
        """One module with the functions k0, k1, ..."""
        functions = [rounded(func, self.features) for func in functions]
        named = {f"k{i}": func.with_attr("global_symbol", f"k{i}") for i, func in enumerate(functions)}
        with tvm.transform.PassContext(opt_level=3, config=COMPILE_CONFIG):
            return tvm.tirx.build(tvm.IRModule(named), self.target())

    def run(self, folder, jobs: Sequence[tuple[tvm.tirx.PrimFunc, Sequence[np.ndarray]]]) -> list[np.ndarray]:
        """The result of each job: a function and its arguments without the last, which is the result.

        Arguments end in front of a page that can't be accessed: a kernel that reads or writes beyond faults.
        """
        built = self.build([func for func, _ in jobs])
        if self.missing:
            built = avx512.without_avx512(built, self.cpu, folder)
        calls = [(f"k{i}", [*arguments, _unwritten(func)]) for i, (func, arguments) in enumerate(jobs)]
        if self.is_32_bit:
            return armv7.run_prim_funcs(built, calls)
        if self.emulated:
            library = emulation.export(built, folder / "kernels.so")
            machine = emulation.machine(self.qemu or self.cpu)
            return [answer[-1] for answer in machine.run_prim_funcs([(library, *call) for call in calls])]
        results = []
        for name, arguments in calls:
            guarded = [_guarded(argument) for argument in arguments]
            built[name](*map(tvm.runtime.from_dlpack, guarded))
            results.append(guarded[-1].copy())
        return results


_AVX2 = set(host.NEEDED_FEATURES["pmaddubsw"])
_VNNI = host.NEEDED_FEATURES["vpdpbusd-512"]
_TILES = ("+amx-tile", "+amx-int8")  # emulated where the processor lacks them: see `tiles`
_AVX512 = (*host.NEEDED_FEATURES["pmaddubsw-512"], "avx512dq")

# Every instruction that `choose` knows. Where a family's own instruction can't take a layer, it falls back as in
# targets.yaml.
FAMILIES = {
    "tdpbusd-tile": Family(
        "cascadelake",
        frozenset({"tdpbusd-tile", "vpdpbusd-512", "pmaddwd-512"}),
        _TILES,
        needs=_VNNI,
    ),
    "tdpbusd-tile-256": Family(
        "haswell",
        frozenset({"tdpbusd-tile-256", "pmaddubsw", "pmaddwd-256"}),
        _TILES,
        needs=("avx2", "fma"),
    ),
    "pmaddubsw": Family("haswell", frozenset({"pmaddubsw", "pmaddwd-256"}), needs=("avx2", "fma")),
    "pmaddwd-256": Family("haswell", frozenset({"pmaddwd-256"}), needs=("avx2", "fma")),
    "vpdpbusd-512": Family("cascadelake", frozenset({"vpdpbusd-512", "pmaddwd-512"}), needs=_VNNI),
    "vpdpbusd-256": Family("cascadelake", frozenset({"vpdpbusd-256", "pmaddwd-256"}), needs=_VNNI),
    "pmaddubsw-512": Family("skylake-avx512", frozenset({"pmaddubsw-512", "pmaddwd-512"}), needs=_AVX512),
    "pmaddwd-512": Family("skylake-avx512", frozenset({"pmaddwd-512"}), needs=_AVX512),
    "smlal": Family("cortex-a72", frozenset({"smlal"})),
    "smlal-in-order": Family("cortex-a53", frozenset({"smlal"}), in_order=True),
    "sdot": Family("cortex-a76", frozenset({"sdot", "smlal"}), ("+dotprod",)),
    "smmla": Family("generic", frozenset({"smmla", "sdot", "smlal"}), ("+dotprod", "+i8mm"), qemu="max"),
    "vmlal": Family(armv7.CPU, frozenset({"vmlal"})),
}

# Whose kernels are candidates beside those of the instruction that `choose` takes.
OF_SUMS = Family("cascadelake", frozenset({"vpdpbusd-sums-512", "vpdpbusd-512", "pmaddwd-512"}), needs=_VNNI)
OF_SUMS_ON_ARM = Family("cortex-a72", frozenset({"smlal-sums", "smlal"}))

# One for each width of vectors, and 32-bit ARM, for kernels that have no multiply instruction to choose.
CPUS = {"256-bit": "pmaddubsw", "512-bit": "vpdpbusd-512", "128-bit": "smlal", "armv7": "vmlal"}


def parameters(names: Iterable[str]) -> list:
    """Families for tests. Of AVX-512 where it is emulated, which takes its time, each run has what `CPUS` has."""
    rare = {name for name in names if FAMILIES[name].missing and not FAMILIES[name].lacking} - set(CPUS.values())
    return [pytest.param(name, marks=pytest.mark.exhaustive) if name in rare else name for name in names]


def _unwritten(func: tvm.tirx.PrimFunc) -> np.ndarray:
    """Space for a function's last argument, filled with what no kernel should leave there."""
    buffer = func.params[-1]
    shape, dtype = [int(extent) for extent in buffer.shape], np.dtype(str(buffer.dtype))
    return np.frombuffer(b"\xa5" * int(np.prod(shape)) * dtype.itemsize, dtype).reshape(shape)


def _guarded(array: np.ndarray) -> np.ndarray:
    """A copy that ends, up to TVM's alignment of 64 bytes, in front of a page that can't be accessed."""
    occupied = -(-array.nbytes // 64) * 64
    room = -(-occupied // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _libc().mprotect(ctypes.c_void_p(address + room), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    copy = np.frombuffer(memory, array.dtype, array.size, room - occupied).reshape(array.shape)
    copy[...] = array
    return copy


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
