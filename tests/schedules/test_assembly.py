"""The code that LLVM makes of the kernels: the intended instructions, and accumulators in registers."""

import re

import pytest
from families import FAMILIES, Family

from eq_tvm.schedules.depthwise import depthwise_conv, int16_chain
from eq_tvm.schedules.conv2d import Conv2D, direct_conv
from eq_tvm.schedules.epilogue import Output
from eq_tvm.schedules.instructions import choose, fma

BODY = Conv2D(1, 28, 28, 64, 64, (3, 3), (1, 1), (1, 1, 1, 1))
HEAD = Conv2D(1, 1, 1, 512, 1000)

# What multiplies, and what must be there besides.
EXPECTED = {
    "pmaddubsw": (r"vpmaddubsw\s.*%ymm", [r"vpmaddwd\s.*%ymm"]),
    "pmaddwd-256": (r"vpmaddwd\s.*%ymm", []),
    "vpdpbusd-512": (r"vpdpbusd\s.*%zmm", []),
    "vpdpbusd-256": (r"vpdpbusd\s.*%ymm", []),
    "pmaddwd-512": (r"vpmaddwd\s.*%zmm|vpdpwssd\s.*%zmm", []),
    "smlal": (r"(smlal|smull)2?\s", [r"smlal2?\s", r"sadalp\s"]),
    "sdot": (r"sdot\s", []),
}


@pytest.mark.parametrize("conv", [BODY, HEAD], ids=["body", "head"])
@pytest.mark.parametrize("name", EXPECTED)
def test_direct_convolution(name, conv):
    """The innermost loop keeps its accumulators in registers, all but a few."""
    multiply, others = EXPECTED[name]
    family = FAMILIES[name]
    instruction, offset = choose(family.features, (0, 127), 63)
    loop = _busiest_loop(_assembly(family, direct_conv(conv, instruction, offset, "uint8", Output("int8"))), multiply)
    for pattern in others:
        assert re.search(pattern, loop)
    assert _stores(loop) <= len(re.findall(multiply, loop)) / 5


@pytest.mark.parametrize("name, multiply", [
    ("pmaddubsw", r"vfmadd\d+ps\s.*%ymm"), ("vpdpbusd-512", r"vfmadd\d+ps\s.*%zmm"), ("smlal", r"fmla\s.*\.4s")])
def test_float_convolution(name, multiply):
    family = FAMILIES[name]
    func = direct_conv(BODY, fma(family.bits // 32), 0, "float32", Output("float32"))
    assert _stores(_busiest_loop(_assembly(family, func), multiply)) == 0


@pytest.mark.parametrize("name, multiply", [
    ("pmaddubsw", r"vpmullw\s.*%ymm"),
    ("vpdpbusd-512", r"vpmullw\s.*%zmm"),
    ("smlal", r"(mla|mul|smlal|smull)2?\s.*\.8"),
])
def test_depthwise_multiplies_in_int16(name, multiply):
    family = FAMILIES[name]
    conv = Conv2D(1, 28, 28, 96, 96, (3, 3), (1, 1), (1, 1, 1, 1), groups=96)
    func = depthwise_conv(conv, "int8", int16_chain((0, 127), 63), family.bits // 16, Output("int8"))
    assert len(re.findall(multiply, _assembly(family, func))) >= 9


def test_avx_vnni_without_avx512():
    """The 256-bit instruction has a form for processors that lack AVX-512."""
    instruction, offset = choose({"vpdpbusd-256"}, (0, 127), 63)
    func = direct_conv(BODY, instruction, offset, "uint8", Output("int8"))
    alderlake = Family("alderlake", frozenset({"vpdpbusd-256"}))
    assembly = _assembly(alderlake, func)
    assert re.search(r"\{vex\}\s+vpdpbusd\s.*%ymm", assembly)
    assert "zmm" not in assembly


def _assembly(family, func):
    return family.build([func]).inspect_source("asm")


def _busiest_loop(assembly, multiply):
    """The instructions between a label and the jump back to it, of the shortest such loop with the most multiplies."""
    lines = assembly.splitlines()
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    loops = []
    for i, line in enumerate(lines):
        jump = re.match(r"\s+(?:j\w+|b\.?\w*|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
        if jump and labels.get(jump[1], i) < i:
            body = lines[labels[jump[1]]:i]
            loops.append((sum(bool(re.search(multiply, each)) for each in body) / len(body), "\n".join(body)))
    density, loop = max(loops)
    assert density > 0
    return loop


def _stores(loop):
    """Vectors written to memory."""
    x86, arm = r"v?mov\w+\s+%[xyz]mm\d+, [^%\s]*\(", r"\bst[pru]+\s+[qd]\d+|\bst1\s"
    return len(re.findall(f"{x86}|{arm}", loop))
