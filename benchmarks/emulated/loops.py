"""Finds the innermost loop that multiplies in aarch64 assembly, and what its multiplications take at least."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_MATRIX = r"(us|[su])mmla\s"
_DOT = r"(us|su|[su])dot\s.*\.16b"
_LONG_8 = r"[su](mull|mlal)2?\s+v\d+\.8h"
_LONG_16 = r"[su](mull|mlal)2?\s+v\d+\.4s"
_SHORT = r"(mla|mul)\s+v\d+\.8h"
_FLOAT = r"(fmla|fmul)\s+v\d+\.4s"
_ADD_PAIRS = r"[su]ad(alp|dlp)\s"

# What multiplies vectors, and how many multiply-accumulates that is.
MULTIPLIES = {_MATRIX: 32, _DOT: 16, _LONG_8: 8, _LONG_16: 4, _SHORT: 8, _FLOAT: 4}

# For how many cycles of a processor an instruction occupies what multiplies there.
PIPES = {
    "cortex-a53": {_LONG_8: 1, _LONG_16: 1, _SHORT: 1, _FLOAT: 1, _ADD_PAIRS: 1},
    "cortex-a72": {_LONG_8: 1, _LONG_16: 1, _SHORT: 2, _FLOAT: 1},
    "neoverse-n1": {_DOT: 0.5, _LONG_8: 1, _LONG_16: 1, _SHORT: 2, _FLOAT: 0.5},
    "neoverse-v1": {_MATRIX: 0.25, _DOT: 0.25, _LONG_8: 0.5, _LONG_16: 0.5, _SHORT: 0.5, _FLOAT: 0.25},
}


def busiest_loop(assembly: str) -> list[str]:
    """The instructions of the loop without another inside that multiplies most in one turn.

    Raises
    ------
    ValueError
        Nothing multiplies in a loop.
    """
    lines = [line.split("//")[0].strip() for line in assembly.splitlines()]
    labels = {line[:-1]: at for at, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    found = []
    for at, line in enumerate(lines):
        jump = re.match(r"(?:b|b\.\w+|cbn?z|tbn?z)\s(?:.*\s)?(\.L\w+)$", line)
        if jump and labels.get(jump[1], at) < at:
            found.append((labels[jump[1]], at + 1))
    bodies = []
    for start, end in found:
        if not any(start <= first and last < end for first, last in found):
            bodies.append([line for line in lines[start:end] if line and not line.startswith(".")])
    loop = max(bodies, key=macs, default=[])
    if not macs(loop):
        raise ValueError("nothing multiplies in a loop")
    return loop


def macs(instructions: Sequence[str]) -> int:
    """Multiply-accumulates of one turn."""
    return sum(_value(MULTIPLIES, line) for line in instructions)


def multiply_cycles(instructions: Sequence[str], cpu: str) -> float:
    """The cycles that one turn takes at least, as what multiplies is busy for so long."""
    return sum(_value(PIPES[cpu], line) for line in instructions)


def _value(patterns: Mapping[str, float], instruction: str) -> float:
    return next((value for pattern, value in patterns.items() if re.match(pattern, instruction)), 0)
