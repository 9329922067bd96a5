"""The loops of a direct convolution: one schedule for each kind of instruction, of steps that they share.

What all kinds make of the blocked form (`direct_conv`):

    for group, place, block:          shared among threads; a place is a chunk of rows (of tiles in a single row)
        for row, tile in the place:
            acc = 0                   a tile of pixels by a block of channels, in registers
            for kh, tap, step:
                for pixel, vector in the tile:
                    acc += products
            out = epilogue(acc)

Loops are called after the axes of the blocked form, see `common.loops`: `w` is a pixel of a tile, `i` a place in a
block of channels, which vectors split into `v` and `lane`.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace

from tvm import s_tir, tirx

from ..common.fence import keep_apart
from ..common.loops import along, loops
from ..common.lowered import lowered
from ..common.parted import parted
from ..common.prefetch import prefetch
from ..common.sizes import CACHED
from ..processor.ordered import ordered_function, ordered_intrinsic
from ..sums.pixels import add_pixels, kept
from . import matrix_calls, nibbles
from .direct_nest import Nest, copy_by_vectors, hold_accumulators, share_among_threads, share_copy
from .direct_plan import DirectPlan
from .direct_store import WIDEST, add_parts, order_by_pixels, store
from .packed_stores import packed_stores


def scheduled(
    func: tirx.PrimFunc, plan: DirectPlan, copied: bool, plain: bool = False, offset: int = 0
) -> tirx.PrimFunc:
    """The blocked form of a convolution as plain loops.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Of `direct_conv`, unscheduled: blocks ["prepared", ["im2col",]] ["sums",] "acc", ["total",] "out", where the
        result is packed also ["wide",] "requantized" and "packed"; where sums are multiplied "parts" and "pixels".
    plan : DirectPlan
    copied : bool
        Whether there is a block "prepared".
    plain, offset
        See `direct_conv`.

    Returns
    -------
    tvm.tirx.PrimFunc
        With the same arguments.
    """
    sch = s_tir.Schedule(func)
    if copied and not plan.copies_by_chunk:
        share_copy(sch, plan)
        copy_by_vectors(sch, plan)
    if plan.instruction.sums:
        add_pixels(sch, plan, offset)
    if plan.instruction.matrix:
        _matrix(sch, plan, plain)
    else:
        _kind(plan)(sch, plan)
    if plan.tiling.nibbles:  # not before: intrinsics read weights in memory
        sch.set_scope(sch.get_sblock("unpacked"), 0, "local")
    if copied and plan.copies_by_chunk:
        copy_by_vectors(sch, plan)
    func = lowered(sch.mod["main"], aligned=not plan.instruction.neon)
    if plan.instruction.sums:
        func = kept(func)
    func = packed_stores(func, plan.instruction)
    func = parted(func, math.gcd(plan.block, plan.group_out, WIDEST))
    return (matrix_calls.plain if plain else matrix_calls.called)(func) if plan.instruction.matrix else func


def _kind(plan: DirectPlan) -> Callable[[s_tir.Schedule, DirectPlan], None]:
    ins = plan.instruction
    if ins.activation == "float32":
        return _float
    if ins.pixels > 1:
        return _matrices
    if ins.chains:
        return _assembly
    return _int16_chains if ins.staged else _one_instruction


def _float(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """A vector multiplication and an addition, of which LLVM makes one instruction."""
    nest = hold_accumulators(sch, plan)
    acc = _multiply_by_vectors(sch, plan)
    _fetch_weights(sch, plan, nest, acc)
    share_among_threads(sch, plan, nest)
    sch.vectorize(acc.lane)
    _start_from_zero(sch, acc)
    store(sch, plan)


def _one_instruction(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """An instruction that adds its products to int32 accumulators."""
    nest = hold_accumulators(sch, plan)
    acc = _multiply_by_vectors(sch, plan)
    _fetch_weights(sch, plan, nest, acc)
    _unpack_weights(sch, plan, acc)
    share_among_threads(sch, plan, nest)
    _write_out(sch, plan, acc)
    _start_from_zero(sch, acc)
    sch.tensorize(acc.lane, plan.instruction.intrinsic)
    store(sch, plan)


def _matrices(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """An instruction that multiplies several pixels' activations, which are loaded once in each step."""
    nest = hold_accumulators(sch, plan)
    acc = _multiply_by_vectors(sch, plan)
    _hold_activations(sch, acc)
    sch.reorder(acc.v, acc.w)  # all activations are in registers, weights one vector at a time
    _unpack_weights(sch, plan, acc)
    share_among_threads(sch, plan, nest)
    keep_apart(sch, acc.step)
    _start_from_zero(sch, acc)
    sch.tensorize(acc.lane, plan.instruction.intrinsic)
    order_by_pixels(sch)
    store(sch, plan)


def _int16_chains(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """A chain of instructions that add in int16, whose sums then are widened and added to the accumulators."""
    nest = hold_accumulators(sch, plan)
    acc = _multiply_by_vectors(sch, plan)
    _fetch_weights(sch, plan, nest, acc)
    _hold_sums(sch, acc)
    _unpack_weights(sch, plan, acc)
    share_among_threads(sch, plan, nest)
    _write_out(sch, plan, acc)
    _multiply_link_by_link(sch, plan)
    _start_from_zero(sch, acc)
    sch.tensorize(acc.lane, plan.instruction.intrinsic)
    if plan.instruction.lanes_per_channel > 1:
        add_parts(sch)
    store(sch, plan)


def _assembly(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """A function in assembly that multiplies a tile by a block (see `ordered`); several lanes make a channel."""
    nest = hold_accumulators(sch, plan)
    acc = loops(sch, "acc")
    sch.reorder(acc.kh, acc.tap, acc.step, acc.w, acc.i)
    share_among_threads(sch, plan, nest)
    _start_from_zero(sch, acc)
    _call_assembly(sch, plan, acc)
    add_parts(sch)
    store(sch, plan)


def _matrix(sch: s_tir.Schedule, plan: DirectPlan, plain: bool) -> None:
    """A micro-kernel that adds up all products of a tile and up to two vectors of channels: see `processor.amx`."""
    nest = hold_accumulators(sch, plan)
    acc = loops(sch, "acc")
    *_, acc.row = along(sch, "acc", "h")
    half, i = sch.split(acc.i, [None, plan.instruction.lanes * min(plan.tiling.vectors, 2)])
    axes = {"row": acc.row, "w": acc.w, "i": i, "kh": acc.kh, "tap": acc.tap, "step": acc.step}
    inner = {name: getattr(acc, name) for name in ("link", "pair") if hasattr(acc, name)}
    sch.reorder(half, *axes.values(), *inner.values())
    matrix_calls.mark(sch, axes | inner, [*nest.tiles, half])
    share_among_threads(sch, plan, nest)
    store(sch, plan, plain)


def _multiply_by_vectors(sch: s_tir.Schedule, plan: DirectPlan) -> SimpleNamespace:
    """Let each step of the reduction go over a tile's pixels and vectors; returns the loops of "acc"."""
    acc = loops(sch, "acc")
    acc.v, acc.lane = sch.split(acc.i, [None, plan.instruction.lanes])
    sch.reorder(acc.kh, acc.tap, acc.step, acc.w, acc.v, acc.lane)
    sch.unroll(acc.w)
    sch.unroll(acc.v)
    return acc


def _fetch_weights(sch: s_tir.Schedule, plan: DirectPlan, nest: Nest, acc: SimpleNamespace) -> None:
    """Let each step fetch weights that are read later, unless all of them stay in the first cache."""
    again = math.prod(int(sch.get(loop).extent) for loop in nest.shared[:-1]) > 1
    stay = again and plan.conv.groups * plan.blocks * plan.block_bytes <= CACHED
    if not plan.instruction.neon and not stay:  # ARM's fetch streams by themselves, and each instruction counts
        prefetch(sch, acc.step, nest.tiles, plan.beyond_l1)


def _unpack_weights(sch: s_tir.Schedule, plan: DirectPlan, acc: SimpleNamespace) -> None:
    """Weights of 4 bits become the instruction's in registers, in each step."""
    if not plan.tiling.nibbles:
        return
    block, inner = sch.get_sblock("unpacked"), len(plan.unpacked_shape) - nibbles.VECTOR
    sch.compute_at(block, acc.step, preserve_unit_loops=True)
    v, *links = sch.get_loops(block)[-inner:]
    links = sch.fuse(*links)
    use, lane = sch.split(links, [None, math.gcd(int(sch.get(links).extent), 4 * plan.instruction.lanes)])
    sch.unroll(v)
    sch.unroll(use)
    sch.vectorize(lane)


def _write_out(sch: s_tir.Schedule, plan: DirectPlan, acc: SimpleNamespace) -> None:
    """Unroll all that a tile multiplies, where that pays: see `DirectPlan.unrolled`."""
    if plan.unrolled:
        for loop in (acc.kh, acc.tap, acc.step):
            sch.unroll(loop)


def _hold_sums(sch: s_tir.Schedule, acc: SimpleNamespace) -> None:
    """Compute the int16 sums of a step in registers."""
    sch.set_scope(sch.get_sblock("sums"), 0, "local")
    sch.compute_at(sch.get_sblock("sums"), acc.step, preserve_unit_loops=True)


def _multiply_link_by_link(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """All of a tile's first links, then the second ones: few weights and activations are in registers at once."""
    sums = loops(sch, "sums")
    v, lane = sch.split(sums.i, [None, plan.instruction.lanes])
    pair = [sums.pair] if plan.instruction.pairs > 2 else []
    sch.reorder(sums.link, sums.w, v, lane, sums.half, *pair)
    init = sch.decompose_reduction(sch.get_sblock("sums"), sums.link)
    zero, (*_, zero_v, zero_lane) = loops(sch, init), along(sch, init, "i")
    sch.vectorize(sch.fuse(zero_lane, zero.half))
    for loop in (zero.w, zero_v, sums.link, sums.w, v):
        sch.unroll(loop)
    sch.tensorize(lane, plan.instruction.link)


def _hold_activations(sch: s_tir.Schedule, acc: SimpleNamespace) -> None:
    """Load a tile's activations of a step into registers."""
    sch.set_scope(sch.get_sblock("held"), 0, "local")
    sch.compute_at(sch.get_sblock("held"), acc.step, preserve_unit_loops=True)
    held = loops(sch, "held")
    sch.unroll(held.w)
    sch.vectorize(held.k)


def _start_from_zero(sch: s_tir.Schedule, acc: SimpleNamespace) -> None:
    """Set a tile's accumulators to zero, vector by vector (the whole block at once, if it is not split)."""
    init = sch.decompose_reduction(sch.get_sblock("acc"), acc.kh)
    *vectors, lane = along(sch, init, "i")
    for loop in (loops(sch, init).w, *vectors):
        sch.unroll(loop)
    sch.vectorize(lane)


def _call_assembly(sch: s_tir.Schedule, plan: DirectPlan, acc: SimpleNamespace) -> None:
    """Replace all that is inside of a step by the function that multiplies two pixels by four vectors."""
    ins, im2col = plan.instruction, plan.tiling.im2col
    flat = plan.by_row and not im2col
    distance = 1 if im2col else plan.conv.strides[1] * (plan.conv.in_channels if flat else 1)
    alone = plan.kernel_rows * plan.taps * plan.steps == 1
    sch.annotate(acc.kh, "pragma_import_llvm", ordered_function(ins, alone))
    sch.tensorize(acc.w, ordered_intrinsic(ins, distance, flat, alone))
