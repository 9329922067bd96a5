"""Estimates the cycles of executed blocks of aarch64 instructions with llvm-mca.

Each block is taken as if it followed itself again and again: blocks that run often are loops. Data is in the first
cache, and branches are foreseen. What processors that keep the order of instructions wait for is modelled roughly, and
LLVM orders its own code by the same model: hence the estimate without any waiting as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LLVM = "22"  # as in TVM: older ones have other cost models
SHARE = 0.985  # of the executed instructions: the rest, in thousands of blocks, is taken to cost as much
ITERATIONS = 100


class CyclesError(Exception):
    """LLVM's tools are missing, or read something else than what ran; the message is one line."""


@dataclass(frozen=True)
class Block:
    """Instructions without a jump, except at the end.

    Attributes
    ----------
    address : int
    runs : int
        How often it ran.
    instructions : int
    code : str
        In hexadecimal.
    """

    address: int
    runs: int
    instructions: int
    code: str

    @property
    def executed(self) -> int:
        """Instructions in all runs."""
        return self.runs * self.instructions


@dataclass(frozen=True)
class Estimate:
    """Of all inferences that were counted.

    Attributes
    ----------
    instructions : int
        Executed; this is no estimate.
    cycles : float
    least : float
        The cycles if no instruction waited for another's result.
    of_block : list of pairs of Block and float
        The blocks that were looked at, with the cycles of all their runs. What is missing to `cycles` are the others.
    """

    instructions: int
    cycles: float
    least: float
    of_block: list[tuple[Block, float]]


def read_blocks(path: Path) -> list[Block]:
    """What the plugin `blockcount.c` wrote."""
    blocks = []
    for line in path.read_text().splitlines():
        address, runs, instructions, code = line.split()
        blocks.append(Block(int(address, 16), int(runs), int(instructions), code))
    return blocks


def estimate(blocks: Sequence[Block], cpu: str) -> Estimate:
    """Estimate the cycles on a processor.

    Parameters
    ----------
    blocks : sequence of Block
    cpu : str
        LLVM's name of the processor.

    Raises
    ------
    CyclesError
    """
    total = sum(block.executed for block in blocks)
    looked_at = hottest(blocks, SHARE)
    sources = disassemble({block.code: block.instructions for block in looked_at})
    of_code = dict(zip(sources, cycles_per_run(sources.values(), cpu), strict=True))
    of_block = [(block, of_code[block.code][0] * block.runs) for block in looked_at]
    least = sum(of_code[block.code][1] * block.runs for block in looked_at)
    scale = total / sum(block.executed for block in looked_at)
    return Estimate(total, sum(cycles for _, cycles in of_block) * scale, least * scale, of_block)


def hottest(blocks: Iterable[Block], share: float) -> list[Block]:
    """The blocks that execute most instructions, until they are this share of all."""
    blocks = sorted(blocks, key=lambda block: -block.executed)
    missing = share * sum(block.executed for block in blocks)
    chosen = []
    for block in blocks:
        if missing <= 0:
            break
        chosen.append(block)
        missing -= block.executed
    return chosen


def disassemble(blocks: dict[str, int]) -> dict[str, list[str]]:
    """The assembly of blocks, which are given as codes and their numbers of instructions."""
    text = "\n".join(" ".join(f"0x{byte:02x}" for byte in bytes.fromhex(code)) for code in blocks)
    printed = _run("llvm-mc", ["--disassemble", "--triple=aarch64", "--mattr=+all"], text)
    lines = [line.strip() for line in printed.splitlines() if line.startswith("\t") and ".text" not in line]
    if len(lines) != sum(blocks.values()):
        raise CyclesError("llvm-mc read other instructions than were executed")
    at, sources = 0, {}
    for code, count in blocks.items():
        sources[code] = lines[at : at + count]
        at += count
    return sources


def cycles_per_run(sources: Iterable[Sequence[str]], cpu: str) -> list[tuple[float, float]]:
    """llvm-mca's cycles of one run of each block of assembly that follows itself again and again.

    The second figure is without what instructions wait for each other.
    """
    regions = [
        "\n".join([f"# LLVM-MCA-BEGIN {number}", *lines, f"# LLVM-MCA-END {number}"])
        for number, lines in enumerate(sources)
    ]
    options = ["--mtriple=aarch64", f"--mcpu={cpu}", "--mattr=+all", f"--iterations={ITERATIONS}"]
    options += ["--instruction-info=false", "--resource-pressure=false", "--skip-unsupported-instructions=any"]
    printed = _run("llvm-mca", options, "\n".join([*regions, ""]))
    pattern = r"Code Region - (\d+)\n.*?\nTotal Cycles:\s+(\d+)\n.*?\nBlock RThroughput:\s+([\d.]+)\n"
    found = re.findall(pattern, printed, re.DOTALL)
    if [int(number) for number, _, _ in found] != list(range(len(regions))):
        raise CyclesError("llvm-mca did not estimate all blocks")
    return [(int(total) / ITERATIONS, float(least)) for _, total, least in found]


def tool(name: str) -> str:
    """The command of one of LLVM's tools.

    Raises
    ------
    CyclesError
    """
    command = f"{name}-{LLVM}"
    if shutil.which(command) is None:
        raise CyclesError(f"{command} is missing: apt-get install llvm-{LLVM}")
    return command


def _run(name: str, options: list[str], text: str) -> str:
    done = subprocess.run([tool(name), *options], input=text, capture_output=True, text=True)
    if done.returncode:
        raise CyclesError(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout
