"""Shift what only functions of single elements read so that a signed quantized tensor spends itself where they vary."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ..graph.network import Network, Node
from ..graph.pointwise import evaluate, number
from ..graph.rebuild import rebuild
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import emit_named
from ..graph.saturation import with_saturation
from ..graph.step_notes import with_step
from ..quantized.parallel import map_threads, single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from .preparation import Preparation

_SAMPLED = 2**12  # elements of each image
_QUANTILES = 2**12  # of them all that errors are counted on
_FLAT = 0.25  # of a step of a function's result: what it may vary beyond a bound
_LEVELS = 255  # of a result
_ENDS = 1 - np.linspace(0, 0.5, 11)  # candidates for the greatest element that is told apart, in parts of the span
_CLEARLY = 0.9  # of the error that there was


@relax_pass
class CenterSources(Preparation):
    """Subtract a constant from a bias that only functions of single elements read, which add it again.

    SiLU, GELU, hard-swish and sigmoid hardly vary below some number (or above one), but what they read lies there with
    half of its elements: [-127, 127] around 0 is mostly spent on it. Quantized up to where the function becomes flat
    only, and centered, the source takes half the steps or less. The integer program makes tables of these functions, so
    that the constant costs nothing.

    The constant is the one with the least error behind the functions. The ends are for the calibration that follows
    (`saturation`), and leave the float network as it was: up to them the functions change by less than a quarter of a
    step of their results.

    Parameters are those of `Preparation`.
    """

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace biases, put constants behind them, and note where their quantized ranges are to end."""
        problem = self.problem(mod)
        limits = _sources(problem)
        samples = _samples(problem, limits, self.progress) if limits else {}
        fits = map_threads(lambda i: _fit(problem.net, i, samples[i], limits[i]), samples)
        found = {i: fit for i, fit in zip(samples, fits, strict=True) if fit is not None}
        return _shifted(mod, problem.net, found) if found else mod


@dataclass(frozen=True)
class _Fit:
    """What is subtracted, where the quantized range of what is left is to end, and the errors before and after."""

    center: float
    low: float
    high: float
    errors: tuple[float, float]


def _sources(problem: Problem) -> dict[int, int]:
    """The quantized biases that only functions read, each with the greatest of its integers."""
    net, points = problem.net, problem.points
    found = {}
    for group in points.scale_groups:
        i = group.producers[0]
        users = {net.nodes[user].source for user in net.users[i]}
        if len(group.producers) == 1 and net.nodes[i].op == "bias_add" and users == {i} and group.range.lo < 0:
            found[i] = group.range.hi
    return found


def _samples(problem: Problem, sources: dict[int, int], progress: Progress) -> dict[int, np.ndarray]:
    """Elements of each source, the least and the greatest among them, in order."""

    def measure(i: int, value: np.ndarray) -> np.ndarray | None:
        if i not in sources:
            return None
        flat = value.reshape(len(value), -1)
        some = np.random.default_rng(problem.net.place(i)).integers(flat.shape[1], size=min(_SAMPLED, flat.shape[1]))
        return np.concatenate([flat[:, some].ravel(), [value.min(), value.max()]])

    parts: dict[int, list[np.ndarray]] = {}
    for found in problem.measured(measure, progress, "what functions read"):
        for i, values in found.items():
            parts.setdefault(i, []).append(values)
    samples = {i: np.sort(np.concatenate(each)).astype(np.float64) for i, each in parts.items()}
    return {i: x[np.linspace(0, len(x) - 1, _QUANTILES).round().astype(int)] for i, x in samples.items()}


def _fit(net: Network, source: int, x: np.ndarray, limit: int) -> _Fit | None:
    """The best center for these elements; None where it hardly gains, or where they are not finite."""
    if not np.isfinite(x).all() or x[0] == x[-1]:
        return None  # the calibration that follows names the layer
    results = np.stack(list(_results(net, source, x)))
    if not np.isfinite(results).all():
        return None
    span = np.ptp(results, axis=1, keepdims=True)
    low, high = _flat_until(results, span), len(x) - 1 - _flat_until(results[:, ::-1], span)
    if low >= high:
        return None
    least, greatest = x[low], x[high]
    weights = np.array([1 / max(float(np.mean(each**2)), np.finfo(float).tiny) for each in results])

    def error(center: float, reach: float) -> float:
        steps = center + np.arange(-limit, limit + 1) * (reach / limit)
        nearest = np.clip(np.rint((np.clip(x, least, greatest) - center) * (limit / reach)), -limit, limit)
        after = np.stack(list(_results(net, source, steps)))[:, nearest.astype(int) + limit]
        return float(np.sum(weights * np.mean((after - results) ** 2, axis=1)))

    ends = least + (greatest - least) * _ENDS
    tried = [((least + end) / 2, (end - least) / 2) for end in ends]
    errors = [error(*each) for each in tried]
    best = int(np.argmin(errors))
    before = min(error(0.0, reach) for reach in np.abs([x[0], x[-1]]).max() * _ENDS)
    if errors[best] > _CLEARLY * before:
        return None
    center = tried[best][0]
    ends = least - center if low else -np.inf, greatest - center if high < len(x) - 1 else np.inf
    return _Fit(center, *ends, (float(np.sqrt(before)), float(np.sqrt(errors[best]))))


def _flat_until(results: np.ndarray, span: np.ndarray) -> int:
    """The last element up to which all functions (F, N) give nearly what they give there."""
    tolerance = _FLAT * span / _LEVELS
    lowest, highest = np.minimum.accumulate(results, axis=1), np.maximum.accumulate(results, axis=1)
    near = (highest - results <= tolerance) & (results - lowest <= tolerance)
    return int(np.flatnonzero(near.all(axis=0))[-1])


def _shifted(mod: tvm.IRModule, net: Network, found: dict[int, _Fit]) -> tvm.IRModule:
    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        node = net.nodes[i]
        if node.op == "input":
            return expr
        if i not in found:
            return emit_named(builder, expr, node.name)
        fit, name = found[i], node.name
        bias = relax.const((node.constant - fit.center).astype(np.float32))
        var = emit_named(builder, relax.Call(expr.op, [expr.args[0], bias], expr.attrs), name)
        return emit_named(builder, relax.op.add(var, relax.const(np.float32(fit.center))), f"{name}_whole")

    layers = {net.nodes[net.nodes[i].inputs[0]].name: fit.errors for i, fit in found.items()}
    shifted = with_step(rebuild(mod, net, bind), "center_sources", layers)
    return with_saturation(shifted, {net.nodes[i].name: (f.low, f.high) for i, f in found.items()})


def _results(net: Network, source: int, x: np.ndarray) -> Iterator[np.ndarray]:
    """What the functions of a source that others than its functions read give for elements x."""
    values = {source: x}
    for i, node in enumerate(net.nodes):
        if node.source != source or node.op not in ("pointwise", "relu", "clip"):
            continue
        values[i] = np.broadcast_to(_evaluated(net, node, values), x.shape)
        if any(net.nodes[user].source != source for user in net.users[i]) or i in net.outputs:
            yield values[i]


def _evaluated(net: Network, node: Node, values: dict[int, np.ndarray]) -> np.ndarray:
    operands = [
        values[net.var_node[arg]] if isinstance(arg, relax.Var) else np.float64(constant)
        for arg in node.expr.args
        if isinstance(arg, relax.Var) or (constant := number(arg)) is not None  # those of a clip are its own
    ]
    return evaluate(node.expr, *operands)
