"""Winograd's products by an instruction that multiplies sums of what is transformed: see `processor.sums`."""

from tvm import s_tir, te
from tvm.s_tir.schedule import LoopRV
from tvm.tirx import Expr, IterVar

from ..common.loops import loops
from ..processor.sums import QUADS, of_pixel, of_pixels, product
from ..sums.pixels import groups
from .winograd_plan import Part, WinogradPlan


def products_of_sums(v: te.Tensor, part: Part, weights: te.Tensor, plan: WinogradPlan) -> te.Tensor:
    """As `winograd.products`, with what activations, and weights, multiply among themselves."""
    ins = plan.instruction
    step, pair = te.reduce_axis((0, plan.steps), "step"), _pair(plan)

    def value(n: Expr, s: Expr, b: Expr, p: Expr, t: Expr, i: Expr) -> Expr:
        activations = (v[n, s, p, t, step * ins.depth + half * ins.pairs + sum(pair)] for half in (0, 1))
        at = [weights[(b, part.start + p, step, i // ins.lanes, half, i % ins.lanes, *pair)] for half in (0, 1)]
        return te.sum(product(ins.weight, *activations, *at), axis=[step, *pair])

    shape = plan.conv.batch, plan.chunks, plan.blocks, part.places, part.padded_tiles, plan.block
    return te.compute(shape, value, part.named("product"))


def tile_sums(v: te.Tensor, part: Part, plan: WinogradPlan) -> te.Tensor:
    """What the activations of each tile multiply among themselves: int32 (N, chunk, place, tile)."""
    count, ins = groups(plan.steps), plan.instruction
    several, pair = te.reduce_axis((0, plan.steps // count), "several"), _pair(plan)
    shape = plan.conv.batch, plan.chunks, part.places, part.padded_tiles

    def several_of(n: Expr, s: Expr, p: Expr, t: Expr, i: Expr) -> Expr:
        first = (several * count + i) * ins.depth + sum(pair)
        both = (v[n, s, p, t, first + place] for place in (0, ins.pairs))
        return te.sum(of_pixel(ins.weight, *both), axis=[several, *pair])

    parts, i = te.compute((*shape, count), several_of, part.named("parts")), te.reduce_axis((0, count), "i")
    return te.compute(shape, lambda n, s, p, t: te.sum(parts[n, s, p, t, i], axis=i), part.named("tile_sums"))


def _pair(plan: WinogradPlan) -> list[IterVar]:
    """The axis of what a lane multiplies at once; none where it is one product, as the axis would vanish."""
    pairs = plan.instruction.pairs
    return [te.reduce_axis((0, pairs), "pair")] if pairs > 1 else []


def place_tiles(sch: s_tir.Schedule, part: Part, chunk: LoopRV | None) -> None:
    """Those of a chunk, or, where there is none, all in parallel: as `winograd_schedule` transforms the input."""
    parts, sums = (sch.get_sblock(part.named(name)) for name in ("parts", "tile_sums"))
    if chunk is not None:
        sch.compute_at(sums, chunk, preserve_unit_loops=True)
    at = loops(sch, sums)
    sch.set_scope(parts, 0, "local")
    sch.compute_at(parts, at.t, preserve_unit_loops=True)
    if chunk is None:
        sch.parallel(sch.fuse(at.n, at.s, at.p))
    sch.unroll(at.i)


def multiply_tiles(sch: s_tir.Schedule, plan: WinogradPlan, part: Part) -> None:
    """By vectors, once all is where it is computed."""
    count, parts = groups(plan.steps), sch.get_sblock(part.named("parts"))
    inside = loops(sch, parts)
    sch.reorder(inside.several, inside.i, *([inside.pair] if plan.instruction.pairs > 1 else []))
    init = sch.decompose_reduction(parts, inside.several)
    sch.vectorize(loops(sch, init).i)
    if count in QUADS:
        sch.tensorize(inside.i, of_pixels(plan.instruction, count))
