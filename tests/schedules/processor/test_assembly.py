"""The code that LLVM makes of the kernels: the intended instructions, and accumulators in registers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from families import FAMILIES, Family

from eq_tvm.schedules.choice import cost, tilings
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_conv import direct_conv
from eq_tvm.schedules.convolution.direct_plan import DirectPlan, DirectTiling
from eq_tvm.schedules.depthwise.depthwise import byte_multiply, depthwise_conv
from eq_tvm.schedules.processor.instructions import choose, choose_int16, fma, named
from eq_tvm.schedules.winograd.winograd import winograd_conv
from eq_tvm.schedules.winograd.winograd_form import FORMS
from eq_tvm.schedules.winograd.winograd_plan import WinogradPlan

BODY = Conv2D(1, 28, 28, 64, 64, (3, 3), (1, 1), (1, 1, 1, 1))
POINTWISE = Conv2D(1, 1, 196, 512, 128)
HEAD = Conv2D(1, 1, 1, 512, 1000)
TOKENS = Conv2D(1, 1, 197, 192, 576)

# What multiplies, and what must be there besides.
EXPECTED = {
    "pmaddubsw": (r"vpmaddubsw\s.*%ymm", [r"vpmaddwd\s.*%ymm"]),
    "pmaddwd-256": (r"vpmaddwd\s.*%ymm", []),
    "vpdpbusd-512": (r"vpdpbusd\s.*%zmm", []),
    "vpdpbusd-256": (r"vpdpbusd\s.*%ymm", []),
    "pmaddubsw-512": (r"vpmaddubsw\s.*%zmm", [r"vpmaddwd\s.*%zmm"]),
    "pmaddwd-512": (r"vpmaddwd\s.*%zmm", []),
    "smlal": (r"(smlal|smull)2?\s", [r"smlal2?\s", r"sadalp\s"]),
    "smmla": (r"usmmla\s", []),
    "sdot": (r"sdot\s", []),
    "vmlal": (r"vm(lal|ull)\.s8\s", [r"vmlal\.s8\s", r"vpadal\.s16\s"]),
}


@pytest.mark.parametrize("conv", [BODY, POINTWISE, HEAD], ids=["body", "pointwise", "head"])
@pytest.mark.parametrize("name", EXPECTED)
def test_direct_convolution(name, conv):
    """The innermost loop keeps its accumulators in registers, and nothing is on the heap but padded activations."""
    multiply, others = EXPECTED[name]
    family = FAMILIES[name]
    instruction, offset = choose(family.features, (0, 127), 63)
    plan = _cheapest(conv, instruction, family)
    assembly = _assembly(family, direct_conv(plan, offset, instruction.activation))
    loop = _busiest_loop(assembly, multiply)
    for pattern in others:
        assert re.search(pattern, loop)
    # With 16 registers, a tile of seven is faster than one of six even if one of them is spilled.
    assert _stores(loop) <= (1 if name == "pmaddubsw" else 0)
    assert "AllocWorkspace" not in assembly or plan.needs_copy(instruction.activation, offset)


def test_products_that_are_added_later_have_a_register():
    """Three vectors by four pixels leave none for them, two by six do."""
    family = FAMILIES["pmaddwd-256"]
    instruction, offset = choose(family.features, (0, 127), 63)
    plan = _cheapest(TOKENS, instruction, family)
    loop = _busiest_loop(_assembly(family, direct_conv(plan, offset, "uint8")), EXPECTED["pmaddwd-256"][0])
    assert plan.tiling.vectors * plan.tiling.tile > 11 and _stores(loop) == 0


def test_matrices_of_two_pixels():
    """Two loads and two instructions make the operands for 16 channels of two pixels."""
    family, instruction = FAMILIES["smmla"], named("usmmla_x2")
    plan = DirectPlan(POINTWISE, instruction, Output("uint8", bounded=True), DirectTiling(8, 4))
    loop = _busiest_loop(_assembly(family, direct_conv(plan, 0, "uint8")), r"usmmla\s")
    products, zipped = (len(re.findall(pattern, loop)) for pattern in (r"usmmla\s", r"zip[12]\s.*\.2d"))
    assert products == 8 * zipped and _stores(loop) == 0


@pytest.mark.parametrize("name", ["vpdpbusd-512", "pmaddubsw-512"])
@pytest.mark.parametrize("residual", [None, "uint8"])
def test_packed_results(name, residual):
    """Bytes are packed within lanes, and stored 64 at a time."""
    family = FAMILIES[name]
    instruction, offset = choose(family.features, (0, 127), 63)
    plan = DirectPlan(POINTWISE, instruction, Output("uint8", residual, 8 if residual else 0, True), DirectTiling(4, 2))
    assert plan.packs
    assembly = _assembly(family, direct_conv(plan, offset, "uint8"))
    assert len(re.findall(r"vpackssdw\s.*%zmm", assembly)) >= 4 and len(re.findall(r"vpackuswb\s.*%zmm", assembly)) >= 2
    assert _stores(_busiest_loop(assembly, EXPECTED[name][0])) == 0


@pytest.mark.parametrize("name", ["vpdpbusd-512", "pmaddubsw"])
@pytest.mark.parametrize("channels", [16, 48, 512])
def test_weights_beyond_l1_are_prefetched(name, channels):
    """A block that does not stay there, and the next block unless all of them do."""
    family, conv = FAMILIES[name], Conv2D(1, 14, 14, channels, 64, (3, 3))
    instruction, offset = choose(family.features, (0, 127), 63)
    plan = DirectPlan(conv, instruction, Output("int8", bounded=True), DirectTiling(2, 2))
    assembly = _assembly(family, direct_conv(plan, offset, "uint8"))
    loop = _busiest_loop(assembly, EXPECTED[name][0])
    assert ("prefetcht1" in loop) == (channels > 16)  # the next block
    near = "prefetcht0" in loop
    assert near == plan.beyond_l1 == (channels == 512)


@pytest.mark.parametrize("name", ["vpdpbusd-512", "pmaddubsw"])
def test_spilled_registers_cross_no_cache_line(name):
    """The stack of what threads run is aligned, though nothing in it needs that but what LLVM may spill."""
    family = FAMILIES[name]
    instruction, offset = choose(family.features, (0, 127), 63)
    assembly = _assembly(family, direct_conv(_cheapest(BODY, instruction, family), offset, "uint8"))
    multiply = re.search(EXPECTED[name][0], assembly).start()
    assert re.search(r"andq\s+\$-64, %rsp", assembly[assembly.rindex(".cfi_startproc", 0, multiply) : multiply])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize(
    "name, multiply",
    [
        ("pmaddubsw", r"vpmaddwd\s.*%ymm"),
        ("pmaddubsw-512", r"vpmaddwd\s.*%zmm"),
        ("vpdpbusd-256", r"vpdpwssd\s.*%ymm"),
        ("vpdpbusd-512", r"vpdpwssd\s.*%zmm"),
        ("smlal", r"smlal2?\s.*\.4s.*\.h\["),
    ],
)
def test_winograd(name, multiply, form):
    family, instruction = FAMILIES[name], choose_int16(FAMILIES[name].features)
    output, after = Output("int8", bounded=True), form.taps - 2
    conv = replace(BODY, kernel=(form.taps, form.taps), padding=(1, 1, after, after))
    plan = min(
        (
            WinogradPlan(conv, form, instruction, output, tiling)
            for tiling in tilings.winograd_tilings(conv, form, instruction)
        ),
        key=lambda plan: cost.winograd_cycles(plan, family.machine),
    )
    assembly = _assembly(family, winograd_conv(plan, 0, "uint8"))
    loop = _busiest_loop(assembly, multiply)
    assert len(re.findall(multiply, loop)) >= plan.tiling.tile * plan.tiling.vectors
    assert _stores(loop) == 0


@pytest.mark.parametrize("conv, algorithm", [(BODY, "direct"), (POINTWISE, "direct"), (BODY, "F(4,3)")])
def test_an_order_of_its_own(conv, algorithm):
    """The assembly is there once, in a loop that spills no accumulator."""
    family, rng = FAMILIES["smlal-in-order"], np.random.default_rng(0)
    weight = rng.integers(-30, 31, (conv.out_channels, conv.in_channels, *conv.kernel)).astype("int8")
    constants = np.zeros(conv.out_channels, "int32"), np.full(conv.out_channels, 1e-4, "float32")
    found = convolution_candidates(
        conv, weight, *constants, Stored("int8", 0, 127), Output("int8", bounded=True), family.machine
    )
    fastest = next(candidate for candidate in found if candidate.name.startswith(algorithm))
    assert "ordered" in fastest.name
    assembly = _assembly(family, fastest.make())
    assert assembly.count("//APP") == 1
    assert not re.search(r"\bsp\b", _busiest_loop(assembly, r"(smlal|smull)2?\s"))


@pytest.mark.parametrize(
    "name, multiply",
    [
        ("pmaddubsw", r"vfmadd\d+ps\s.*%ymm"),
        ("vpdpbusd-512", r"vfmadd\d+ps\s.*%zmm"),
        ("smlal", r"fmla\s.*\.4s"),
        ("vmlal", r"v(fma|mul)\.f32\s+q"),
    ],
)
def test_float_convolution(name, multiply):
    family = FAMILIES[name]
    plan = _cheapest(BODY, fma(family.bits // 32, family.features), family, Output("float32"))
    assert _stores(_busiest_loop(_assembly(family, direct_conv(plan, 0, "float32")), multiply)) == 0


@pytest.mark.parametrize(
    "name, multiply",
    [
        ("pmaddubsw", r"vpmullw\s.*%ymm"),
        ("vpdpbusd-512", r"vpmullw\s.*%zmm"),
        ("smlal", r"(smlal|smull)\s.*\.8b"),
        ("vmlal", r"vm(lal|ull)\.s8\s"),
    ],
)
def test_depthwise_multiplies_in_int16(name, multiply):
    family = FAMILIES[name]
    conv = Conv2D(1, 28, 28, 96, 96, (3, 3), (1, 1), (1, 1, 1, 1), groups=96)
    func = depthwise_conv(conv, "int8", 4, family.bits // 16, Output("int8"), multiply=byte_multiply(family.features))
    assert len(re.findall(multiply, _assembly(family, func))) >= 9


@pytest.mark.parametrize("residual", [None, "int8"])
def test_32_bit_arm_rounds_vectors(residual):
    """LLVM would call lrintf for each number."""
    family = FAMILIES["vmlal"]
    instruction, offset = choose(family.features, (0, 127), 63)
    plan = DirectPlan(POINTWISE, instruction, Output("int8", residual, 8 if residual else 0), DirectTiling(2, 2))
    assembly = _assembly(family, direct_conv(plan, offset, "int8"))
    assert "lrint" not in assembly and len(re.findall(r"vmin\.f32\s+q", assembly)) == 4


def test_avx_vnni_without_avx512():
    """The 256-bit instruction has a form for processors that lack AVX-512."""
    instruction, offset = choose({"vpdpbusd-256"}, (0, 127), 63)
    alderlake = Family("alderlake", frozenset({"vpdpbusd-256"}))
    assembly = _assembly(alderlake, direct_conv(_cheapest(BODY, instruction, alderlake), offset, "uint8"))
    assert re.search(r"\{vex\}\s+vpdpbusd\s.*%ymm", assembly)
    assert "zmm" not in assembly


def _cheapest(conv, instruction, family, output=Output("int8", bounded=True)):  # noqa: B008
    """The plan of the least estimated cost."""
    plans = [DirectPlan(conv, instruction, output, tiling) for tiling in tilings.direct_tilings(conv, instruction)]
    return min(plans, key=lambda plan: cost.direct_cycles(plan, family.machine))


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
            body = lines[labels[jump[1]] : i]
            loops.append((sum(bool(re.search(multiply, each)) for each in body) / len(body), "\n".join(body)))
    density, loop = max(loops)
    assert density > 0
    return loop


def _stores(loop):
    """Vectors written to memory."""
    x86, arm = r"v?mov\w+\s+%[xyz]mm\d+, [^%\s]*\(", r"\bst[pru]+\s+[qd]\d+|\bst1\s|\bvst"
    return len(re.findall(f"{x86}|{arm}", loop))
