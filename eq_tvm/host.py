"""What the machine that this runs on can do."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from eq_tvm.errors import UserError

# Multiply instruction -> the processor features it needs, in LLVM's names.
NEEDED_FEATURES = {
    "tdpbusd-tile": ("amx-int8", "amx-tile", "avx512f", "avx512bw", "avx512vl"),
    "tdpbusd-tile-256": ("amx-int8", "amx-tile", "avx2"),
    "vpdpbusd-512": ("avx512f", "avx512bw", "avx512vl", "avx512vnni"),
    "vpdpbusd-sums-512": ("avx512f", "avx512bw", "avx512vl", "avx512vnni"),
    "vpdpbusd-256": ("avx2", "avxvnni"),
    "pmaddubsw-512": ("avx512f", "avx512bw", "avx512vl"),
    "pmaddubsw": ("avx2",),
    "pmaddwd-512": ("avx512f", "avx512bw", "avx512vl"),
    "pmaddwd-256": ("avx2",),
    "smmla": ("i8mm",),
    "sdot": ("dotprod",),
    "smlal": (),
    "smlal-sums": (),
    "vmlal": ("neon",),
}
# Of each, how the triples of machines begin that may have it; the others are x86_64's.
ARCHITECTURES = {"smmla": "aarch64", "sdot": "aarch64", "smlal": "aarch64", "smlal-sums": "aarch64", "vmlal": "arm"}


def missing_features(names: Iterable[str], present: Iterable[str] | None = None) -> list[str]:
    """Features that the multiply instructions `names` need and a processor (this one) lacks, in LLVM's names."""
    present = (cpu_features() or set()) if present is None else present
    return sorted({feature for name in names for feature in NEEDED_FEATURES[name] if feature not in present})


@functools.cache
def cpu_features() -> set[str] | None:
    """Features of this processor that matter here, in LLVM's names; None where Linux does not say.

    From /proc/cpuinfo and not from LLVM, which knows what the processor's model has, not what a hypervisor or the
    kernel switched off. AMX counts where Linux grants it to this process, which is asked for it here. (An emulated
    process may see its host's file, without the line for its own architecture.)
    """
    try:
        features = features_of(Path("/proc/cpuinfo").read_text(), platform.machine())
    except OSError:
        return None
    if features is not None and "amx-tile" in features and not tiles_granted():
        features -= {"amx-tile", "amx-int8"}
    return features


def features_of(text: str, machine: str) -> set[str] | None:
    """The same of what /proc/cpuinfo says on a `machine`, as ``uname -m`` calls it."""
    line = {"x86_64": "flags", "aarch64": "Features"}.get(machine)
    for row in text.splitlines():
        key, _, value = row.partition(":")
        if key.strip() == line:
            words = set(value.split())
            return {llvm for llvm, linux in _LINUX_NAMES.items() if linux in words}
    return None


def is_described_by(lines: Mapping[str, object], text: str | None = None) -> bool:
    """Whether /proc/cpuinfo (or a `text` like it) says of its first processor what `lines` do, by their names."""
    try:
        found = (Path("/proc/cpuinfo").read_text() if text is None else text).strip().partition("\n\n")[0]
    except OSError:
        found = ""
    said = {key.strip(): value.strip() for key, _, value in (row.partition(":") for row in found.splitlines())}
    return all(said.get(name) == str(value) for name, value in lines.items())


def needs_permission(names: Iterable[str]) -> bool:
    """Whether Linux has to be asked for what multiply instructions need: see `tiles_granted`."""
    return any("amx-tile" in NEEDED_FEATURES.get(name, ()) for name in names)


@functools.cache
def tiles_granted() -> bool:
    """Ask Linux, for this process, for the registers of AMX, whose first use would end it otherwise; whether it agreed.

    Source: the kernel's `Documentation/arch/x86/xstate.rst`.
    """
    arch_prctl, require_permission, tile_data = 158, 0x1023, 18
    try:
        return ctypes.CDLL(None).syscall(arch_prctl, require_permission, tile_data) == 0
    except (OSError, AttributeError):
        return False


def check_compiler() -> None:
    """Raise a UserError where TVM is, or would be, loaded without its compiler."""
    if os.environ.get("TVM_USE_RUNTIME_LIB") == "1":
        raise UserError("TVM is loaded without its compiler here: unset TVM_USE_RUNTIME_LIB")


def model_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or _board_name() or platform.processor() or platform.machine()


def _board_name() -> str:
    """Of a board whose processor has no name, without its revision; empty where there is none."""
    try:
        return Path("/proc/device-tree/model").read_text().rstrip("\0").partition(" Rev ")[0]
    except OSError:
        return ""


def llvm_cpu() -> tuple[str, list[str]]:
    """LLVM's name of this processor, and the attributes that correct it to what is really there."""
    import tvm
    from tvm.target import codegen

    cpu = codegen.llvm_get_system_cpu()
    present = cpu_features()
    if present is None:
        return cpu, []
    modelled = codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": cpu}))
    relevant = [name for name in _LINUX_NAMES if name in present.symmetric_difference(set(map(str, modelled)))]
    return cpu, [("+" if name in present else "-") + name for name in relevant]


def cores() -> int:
    """Physical cores that this process may use."""
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.add(str(cpu))
    return len(siblings)


def processors() -> int:
    """Logical processors of this machine."""
    return os.cpu_count() or 1


def default_threads() -> int:
    """What the environment asks TVM for, or else the physical cores (TVM itself would take half the logical ones).

    At most the processors there are, and what is no positive number asks for nothing: TVM would make any number.
    """
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        asked = os.environ.get(name, "").strip()
        if asked.isascii() and asked.isdecimal() and int(asked[:9]) > 0:
            return min(int(asked[:9]), processors())
    return cores()


def cache_sizes() -> tuple[int, int, int]:
    """L1 data, L2 and L3 cache of the first core in bytes; a modest guess for what Linux does not say."""
    sizes = {1: 32 << 10, 2: 512 << 10, 3: 0}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            sizes[int(level)] = int(size[:-1]) << 10
    return sizes[1], sizes[2], sizes[3]


_LINUX_NAMES = {  # LLVM's name -> name in /proc/cpuinfo
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avxvnni": "avx_vnni",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
}
