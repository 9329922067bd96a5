"""The ARM processors whose cycles are estimated, and the files by which Linux describes them to a program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CORES = 4


@dataclass(frozen=True)
class Cache:
    """A cache of data, and what one of its lines of 64 bytes takes to come from behind it.

    Attributes
    ----------
    kib, ways : int
        Its size, and in how many places of it a line can be.
    wait : int
        Cycles until a line is there that was not foreseen. Round assumptions, as the next ones: no board was measured.
    transfer : int
        Cycles for each of many that were.
    """

    kib: int
    ways: int
    wait: int
    transfer: int


@dataclass(frozen=True)
class Cpu:
    """A processor.

    Attributes
    ----------
    name : str
        LLVM's name of the processor whose cost model is used.
    title : str
    target : str
        What eq_tvm compiles for.
    qemu : str
        The processor that qemu emulates, with the instructions that the real one has.
    midr : int
        The register by which the processor identifies itself.
    features : str
        What Linux lists as its features.
    caches : tuple of Cache
        From the first to the last. Engines may choose the sizes of their tiles by them.
    """

    name: str
    title: str
    target: str
    qemu: str
    midr: int
    features: str
    caches: tuple[Cache, ...]

    @property
    def half(self) -> bool:
        """Whether it computes in half precision."""
        return "asimdhp" in self.features.split()


_FEATURES = "fp asimd evtstrm crc32 cpuid"
_FEATURES_8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_FEATURES_8_4 = f"{_FEATURES_8_2} sha3 sm3 sm4 sha512 asimdfhm dit uscat ilrcpc flagm ssbs i8mm bf16 dgh rng"
_V1 = "max,sve=off,sme=off"  # qemu 7.2 has no V1, and no SVE without SVE2, which the V1 lacks

# Sizes and ways are those of Arm's reference manuals, and the boards'.
_A53 = Cache(32, 4, 15, 8), Cache(512, 16, 180, 40)
_A72 = Cache(32, 2, 20, 4), Cache(1024, 16, 200, 24)
_A76 = Cache(64, 4, 10, 2), Cache(512, 8, 30, 4), Cache(2048, 16, 260, 16)
_V1_CACHES = Cache(64, 4, 10, 2), Cache(1024, 8, 60, 4), Cache(32768, 16, 260, 8)

# LLVM has no cost model of its own for the A76; the Neoverse N1 is the same core for servers.
CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu("cortex-a53", "Cortex-A53 (Pi 3)", "rpi3", "cortex-a53", 0x410FD034, _FEATURES, _A53),
        Cpu("cortex-a72", "Cortex-A72 (Pi 4)", "rpi4", "cortex-a72", 0x410FD083, _FEATURES, _A72),
        Cpu("neoverse-n1", "Cortex-A76 (Pi 5)", "rpi5", "cortex-a76", 0x414FD0B1, _FEATURES_8_2, _A76),
        Cpu("neoverse-v1", "Neoverse V1 (Graviton3)", "graviton3", _V1, 0x411FD401, _FEATURES_8_4, _V1_CACHES),
    )
}


def write_system(cpu: Cpu, root: Path, folder: Path) -> Path:
    """Make a system's root in `folder`: links to what is in `root`, and a processor's files in /proc and /sys.

    Engines choose their kernels by those files, and some end where the files are another architecture's. qemu looks
    up each path there first.
    """
    folder.mkdir(parents=True)
    for entry in root.iterdir():
        if entry.name not in ("proc", "sys"):
            (folder / entry.name).symlink_to(entry.resolve())
    for name, text in files(cpu).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def files(cpu: Cpu) -> dict[str, str]:
    """What stands in /proc and /sys, by path."""
    cores = max(CORES, os.cpu_count() or 1)  # the emulated process may run on any of the host's
    every = f"0-{cores - 1}"
    devices = "sys/devices/system/cpu"
    texts = {f"{devices}/{name}": f"{every}\n" for name in ("possible", "present", "online")}
    texts[f"{devices}/kernel_max"] = f"{cores - 1}\n"
    implementer, variant, part, revision = (
        cpu.midr >> shift & (1 << width) - 1 for shift, width in ((24, 8), (20, 4), (4, 12), (0, 4))
    )
    info = []
    for core in range(cores):
        info.append(
            f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\n"
            f"CPU implementer\t: {implementer:#04x}\nCPU architecture: 8\nCPU variant\t: {variant:#x}\n"
            f"CPU part\t: {part:#05x}\nCPU revision\t: {revision}\n"
        )
        own = f"{devices}/cpu{core}"
        texts |= {
            f"{own}/topology/physical_package_id": "0\n",
            f"{own}/topology/core_id": f"{core}\n",
            f"{own}/topology/core_siblings_list": f"{every}\n",
            f"{own}/topology/thread_siblings_list": f"{core}\n",
            f"{own}/cpufreq/cpuinfo_max_freq": "1500000\n",
            f"{own}/cpufreq/cpuinfo_min_freq": "600000\n",
            f"{own}/regs/identification/midr_el1": f"{cpu.midr:#018x}\n",
        }
        first, *others = (cache.kib for cache in cpu.caches)
        unified = [(level, "Unified", kib) for level, kib in enumerate(others, 2)]
        for index, (level, kind, size) in enumerate([(1, "Data", first), (1, "Instruction", first), *unified]):
            cache = f"{own}/cache/index{index}"
            shared = f"{core}\n" if level == 1 else f"{every}\n"
            texts |= {f"{cache}/level": f"{level}\n", f"{cache}/type": f"{kind}\n", f"{cache}/size": f"{size}K\n"}
            texts |= {f"{cache}/coherency_line_size": "64\n", f"{cache}/shared_cpu_list": shared}
    texts["proc/cpuinfo"] = "\n".join(info)
    return texts
