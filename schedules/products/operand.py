"""The second operand of a product of matrices, packed while the network runs as the weights of a convolution are."""

import math
from collections.abc import Sequence

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.loops import loops
from ..common.sizes import PARALLEL_FROM
from ..convolution.conv2d import Conv2D
from ..convolution.direct_plan import DirectPlan
from ..processor import packing


def product_shape(count: int, rows: int, depth: int, columns: int) -> Conv2D:
    """The product of `count` pairs of matrices, (rows, depth) and (depth, columns), as a grouped 1x1 convolution.

    Its activations are (1, 1, rows, count * depth), its result (1, 1, rows, count, columns); without the axis of
    `count` where that is 1.
    """
    return Conv2D(1, 1, rows, count * depth, count * columns, groups=count)


def pack_operand(plan: DirectPlan, axes: str, dtype: str) -> tirx.PrimFunc:
    """Scheduled PrimFunc that packs matrices as `direct_plan.pack_weights` packs constants.

    Parameters
    ----------
    plan : DirectPlan
        Of a convolution that `product_shape` made.
    axes : str
        The order of the operand's axes as it is stored: of g (which matrix), k (depth) and n (columns).
    dtype : str
        Of the operand.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: the operand, and the result, `plan.weight_shape`.
    """
    extents = {"g": plan.conv.groups, "k": plan.group_in, "n": plan.group_out}
    whole = {"k": plan.steps * plan.instruction.depth, "n": plan.blocks * plan.block}
    partly = [axis for axis, extent in whole.items() if extent > extents[axis]]
    b = te.placeholder([extents[axis] for axis in axes], dtype, "b")

    def packed(*place: Expr) -> Expr:
        g, block, _kh, _tap, step, *inner = place
        channel, k = _place(plan, inner)
        at = {"g": g, "k": step * plan.instruction.depth + k, "n": block * plan.block + channel}
        known = [at[axis] < extents[axis] for axis in partly]
        value = b[tuple(at[axis] for axis in axes)].astype(plan.instruction.weight)
        return te.if_then_else(te.all(*known), value, tirx.const(0, plan.instruction.weight)) if known else value

    names = [f"i{axis}" for axis in range(len(plan.weight_shape))]
    return _shared(te.compute(plan.weight_shape, packed, "packed", varargs_names=names), b, 5)


def operand_bias(plan: DirectPlan, offset: int) -> tirx.PrimFunc:
    """Scheduled PrimFunc of the bias that takes back what was added to each activation: -offset * sum of b over k.

    The offset is not 0.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: the packed operand, and the result int32, as `direct_plan.pack_channels` orders it.
    """
    ins = plan.instruction
    weights = te.placeholder(plan.weight_shape, ins.weight, "weights")
    step = te.reduce_axis((0, plan.steps), "step")
    link = te.reduce_axis((0, ins.links), "link")
    element = te.reduce_axis((0, ins.lanes_per_channel * ins.pairs), "element")

    def sum_of(i: Expr) -> Expr:
        g, place = i // (plan.blocks * plan.block), i % (plan.blocks * plan.block)
        block, vector, lane = place // plan.block, place % plan.block // ins.channels, place % ins.channels
        at = _inner_index(plan, vector, lane, link, element)
        return te.sum(weights[(g, block, 0, 0, step, *at)].astype("int32"), axis=[step, link, element])

    sums = te.compute((plan.conv.groups * plan.blocks * plan.block,), sum_of, "sums")
    bias = te.compute(sums.shape, lambda i: sums[i] * tirx.const(-offset, "int32"), "bias")
    sch = s_tir.Schedule(te.create_prim_func([weights, bias]))
    vector, _ = sch.split(loops(sch, "bias").i, [None, ins.channels])
    sch.compute_at(sch.get_sblock("sums"), vector, preserve_unit_loops=True)
    sch.set_scope("sums", 0, "local")
    at = loops(sch, "sums")
    sch.reorder(at.step, at.link, at.i, at.element)  # so that LLVM adds up vectors
    sch.unroll(at.element)
    if _is_shared(plan.weight_shape):
        sch.parallel(vector)
    sch.decompose_reduction("sums", at.step)
    return sch.mod["main"]


def _place(plan: DirectPlan, inner: Sequence[Expr]) -> tuple[Expr, Expr]:
    """The channel of a block, and the element of a step, at the last indices of the packed form."""
    ins = plan.instruction
    vector, *rest = inner
    if ins.lanes_per_channel > 1:
        (link, element), lane = rest, 0
    elif ins.chain == 1:
        (lane, element), link = rest, 0
    else:
        link, lane, *pair = rest
        element = sum(pair)
    place = vector * ins.channels + lane
    channel = packing.position(place) if plan.packs else place
    return channel, link * (ins.lanes_per_channel * ins.pairs) + element


def _inner_index(plan: DirectPlan, vector: Expr, lane: Expr, link: Expr, element: Expr) -> tuple[Expr, ...]:
    """The reverse: the last indices of the packed form."""
    ins = plan.instruction
    if ins.lanes_per_channel > 1:
        return vector, link, element
    if ins.chain == 1:
        return vector, lane, element
    return (vector, link, lane, element) if ins.pairs > 1 else (vector, link, lane)


def _shared(out: te.Tensor, operand: te.Tensor, outer: int) -> tirx.PrimFunc:
    """Scheduled: threads share so many axes; LLVM vectorizes the others."""
    sch = s_tir.Schedule(te.create_prim_func([operand, out]))
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    if _is_shared(operand.shape):
        sch.parallel(sch.fuse(*sch.get_loops(block)[:outer]))
    return sch.mod["main"]


def _is_shared(shape: Sequence[Expr | int]) -> bool:
    return math.prod(map(int, shape)) >= PARALLEL_FROM
