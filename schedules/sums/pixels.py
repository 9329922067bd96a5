"""What each pixel's activations multiply among themselves, for all output channels: taken from accumulators."""

import math

import tvm_ffi
from tvm import s_tir, te, tirx
from tvm.ir import Var
from tvm.tirx import Expr

from ..common.loops import loops
from ..common.sizes import largest_divisor
from ..convolution.direct_activations import Read
from ..convolution.direct_plan import DirectPlan
from ..processor.sums import QUADS, of_pixel, of_pixels

TOGETHER = 32  # pixels that a thread takes at a time
SHARED = 2**15  # activations from which on threads share them


def pixel_sums(read: Read, plan: DirectPlan, p: int) -> te.Tensor:
    """int32 (N, padded OH, padded OW), each in `groups` parts at first: the accumulators for weights of 0.

    Parameters
    ----------
    read : Read
        As the kernel reads activations.
    plan : DirectPlan
        Of an instruction that multiplies sums; one group.
    p : int
        See `processor.sums.offset`.
    """
    count, pairs = groups(plan.steps), plan.instruction.pairs
    kh, tap = te.reduce_axis((0, plan.kernel_rows), "kh"), te.reduce_axis((0, plan.taps), "tap")
    several, pair = te.reduce_axis((0, plan.steps // count), "several"), te.reduce_axis((0, pairs), "pair")
    shape = plan.conv.batch, plan.padded_rows, plan.padded_columns

    def part(n: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        first = (several * count + i) * plan.instruction.depth + pair
        a, b = (read(n, h, w, kh, tap, 0, first + place) for place in (0, pairs))
        return te.sum(of_pixel(plan.instruction.weight, a, b, p), axis=[kh, tap, several, pair])

    parts = te.compute((*shape, count), part, "parts")
    i = te.reduce_axis((0, count), "i")
    return te.compute(shape, lambda n, h, w: te.sum(parts[n, h, w, i], axis=i), "pixels")


def kept(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A lowered function whose last arguments but one, what it reads of pixels and what it writes, are one buffer.

    For a schedule the two are strangers: it moves a block only to where all are that make what the block reads.
    """
    *params, taken, pixels, out = func.params
    buffer = tirx.decl_buffer(pixels.shape, "int32", "pixels")

    def one(variable: Var) -> Var:
        return buffer if variable.same_as(taken) or variable.same_as(pixels) else variable

    block = func.body.block
    body = tirx.SeqStmt([tirx.AllocBuffer(buffer), tvm_ffi.structural_map(block.body, [(Var, one)], order="pre")])
    body = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], block.name_hint, body))
    return tirx.PrimFunc([*params, out], body, func.ret_type, attrs=func.attrs)


def groups(steps: int) -> int:
    """How many of the steps' products are added beside each other, in a vector where there are enough."""
    return next((count for count in QUADS if steps % count == 0), math.gcd(steps, 2))


def add_pixels(sch: s_tir.Schedule, plan: DirectPlan, p: int) -> None:
    """Pixel by pixel, before the convolution."""
    count = groups(plan.steps)
    parts, pixels = sch.get_sblock("parts"), sch.get_sblock("pixels")
    at = loops(sch, pixels)
    _, inner = sch.split(at.w, [None, largest_divisor(plan.padded_columns, TOGETHER)])
    sch.set_scope(parts, 0, "local")
    sch.compute_at(parts, inner, preserve_unit_loops=True)
    if plan.conv.height * plan.conv.width * plan.conv.in_channels >= SHARED:
        sch.parallel(sch.fuse(*sch.get_loops(pixels)[:3]))
    sch.unroll(at.i)
    inside = loops(sch, parts)
    sch.reorder(inside.kh, inside.tap, inside.several, inside.i, inside.pair)
    init = sch.decompose_reduction(parts, inside.kh)
    sch.vectorize(loops(sch, init).i)
    if count in QUADS:
        sch.tensorize(inside.i, of_pixels(plan.instruction, count, p))
