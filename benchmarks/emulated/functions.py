"""Which functions the instructions and cycles of a compiled network belong to."""

from __future__ import annotations

import bisect
import json
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emulated.cycles import Block, Estimate, tool


@dataclass
class Function:
    """A function of the network's shared object, or all of another file.

    Attributes
    ----------
    name : str
        As in the bundle; of another file its name.
    calls : float
        Per inference, as the instructions and cycles are.
    instructions : float
    cycles : float
    macs : int
        Multiply-accumulates; 0 where the bundle does not say.
    planned : int
        The cycles that the compiler expected when it chose the kernel; 0 where it had no choice.
    kernel : str
        What it chose: algorithm, instruction, tiling.
    """

    name: str
    calls: float = 0
    instructions: float = 0
    cycles: float = 0
    macs: int = 0
    planned: int = 0
    kernel: str = ""


class Addresses:
    """What stands where in a process.

    Parameters
    ----------
    maps : str
        The text of its /proc/self/maps.
    """

    def __init__(self, maps: str):
        self._files = []
        bases: dict[str, int] = {}
        for line in maps.splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s+(/.+)", line)
            if match:
                start, end, path = int(match[1], 16), int(match[2], 16), match[3]
                self._files.append((start, end, bases.setdefault(path, start), path))

    def find(self, address: int) -> tuple[Path, int] | None:
        """The file at an address, and how far in its memory that is."""
        for start, end, base, path in self._files:
            if start <= address < end:
                return Path(path), address - base
        return None


class Symbols:
    """The functions of a shared object, by address."""

    def __init__(self, library: Path):
        printed = subprocess.check_output([tool("llvm-nm"), "--defined-only", library], text=True)
        rows = (line.split() for line in printed.splitlines())
        found = sorted((int(row[0], 16), row[2]) for row in rows if row[1] in "tT" and not row[2].startswith("$"))
        self._addresses, self._names = [address for address, _ in found], [name for _, name in found]

    def find(self, address: int) -> tuple[str, bool]:
        """The function at an address, and whether it begins there."""
        at = bisect.bisect_right(self._addresses, address) - 1
        return (self._names[at], self._addresses[at] == address) if at >= 0 else ("", False)


def functions(
    blocks: Sequence[Block], estimate: Estimate, addresses: Addresses, bundle: Path, inferences: int
) -> list[Function]:
    """The functions of a bundle and the files that ran besides, those that take most cycles first."""
    library = (bundle / "model.so").resolve()
    symbols = Symbols(library)

    def owner(block: Block) -> tuple[str, bool]:
        file, offset = addresses.find(block.address) or (Path("elsewhere"), 0)
        if not file.exists() or not os.path.samefile(file, library):
            return file.name, False
        name, begins = symbols.find(offset)
        kernel = name.removesuffix("_compute_")
        return kernel.removeprefix("__tvm_ffi_"), begins and kernel != name

    found: defaultdict[str, Function] = defaultdict(lambda: Function(""))
    for block in blocks:
        name, begins = owner(block)
        found[name].instructions += block.executed / inferences
        found[name].calls += begins * block.runs / inferences
    for block, cycles in estimate.of_block:
        found[owner(block)[0]].cycles += cycles / inferences
    for name, function in found.items():
        function.name = name
    for kernel in json.loads((bundle / "bundle.json").read_text())["kernels"]:
        if function := found.get(kernel["function"]):
            function.macs += kernel["macs"]
            function.planned += kernel["cycles"]
            function.kernel = kernel["kernel"]
    return sorted(found.values(), key=lambda function: -function.cycles)
