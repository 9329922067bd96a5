"""Rounding of weights learned block by block, by the error of each block's output."""

from dataclasses import dataclass

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.layer_record import Refined, Steps
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress, part_of
from ..quantized.quantizers import smallest_weight_scale
from ..quantized.simulation import Simulation
from .block_gradients import BlockFunction, Constants
from .blocks import Block, blocks
from .soft_rounding import LatentRounding, SoftRounding


@dataclass(frozen=True)
class Descent:
    """How it is learned."""

    steps: int = 300
    batch: int = 8
    least: int = 2  # layers in a block
    rate: float = 0.02  # of the roundings
    scale_rate: float = 1e-3
    bias_rate: float = 1e-3
    start: float = 0.5
    push: float = 3.0
    warm: float = 0.2  # of the steps without the regularizer
    powers: tuple[float, float] = (2.0, 0.3)
    drop: bool = True
    held: int = 5  # every so many-th image is held out
    learn_weight_scales: bool = True
    learn_activation_scales: bool = True
    seed: int = 0
    views: int = 1
    learn_rounding: bool = True
    ste: float = 0.0
    tiny: float = 1e-20


def reconstruct_blocks(
    problem: Problem, scales: Scales, progress: Progress = no_progress, how: Descent = Descent()
) -> Refined:
    originals = problem.at_once()
    sim = Simulation(with_views(originals, how.views), scales)
    firsts = {block.nodes[0]: block for block in blocks(problem.net, problem.points, how.least)}
    steps: dict[str, Steps] = {}

    def prepare(i: int) -> None:
        if i in firsts:
            progress(i / len(problem.net.nodes), f"reconstructing {problem.net.nodes[i].name}")
            _reconstruct(sim, firsts[i], how, originals.count)

    for _ in sim.walk(prepare):
        pass
    return Refined({}, steps)


class _Adam:
    def __init__(self) -> None:
        self._m = self._v = np.float32(0)
        self._t = 0

    def __call__(self, gradient):
        self._t += 1
        self._m = np.float32(0.9) * self._m + np.float32(0.1) * gradient
        self._v = np.float32(0.99) * self._v + np.float32(0.01) * gradient * gradient
        m = self._m / np.float32(1 - 0.9**self._t)
        v = self._v / np.float32(1 - 0.99**self._t)
        return m / (np.sqrt(v) + np.float32(1e-20))


def _per_channel(node, scale):
    return scale if node.op == "dense" else scale.reshape(-1, 1, 1, 1)


def _reconstruct(sim: Simulation, block: Block, how: Descent, originals: int) -> None:
    net, points, scales = sim.net, sim.points, sim.scales
    function = BlockFunction(sim.executor, net, points, block, scales.ranges)
    layers = [i for i in block.nodes if net.nodes[i].op in ("conv2d", "dense")]
    biases = {i: b for i in layers if (b := net.bias_node(i)) is not None and b in block.nodes}
    groups = {points.scale_group_of[j] for j in (*block.inputs, *block.nodes[:-1]) if j in points.scale_group_of}
    unread = {
        g
        for g in groups
        if set(points.scale_groups[g].consumers) <= set(block.nodes)
        and all(p in block.nodes[:-1] or sim._simulated[p].dtype == np.float32 for p in points.scale_groups[g].producers)
    }
    learned = unread if how.learn_activation_scales else set()
    inputs = {}
    for j in block.inputs:
        g = points.scale_group_of.get(j)
        inputs[j] = sim.unquantized(j) if g is None or g in unread else sim.dequantized(j)
    ins = {j: sim.float(j) for j in block.inputs}
    count = len(next(iter(inputs.values())))
    size = max(1, min(how.batch // 2, 4))

    target = np.concatenate(map_threads(lambda s: function({j: x[s:s+size] for j, x in ins.items()}), range(0, count, size)))
    power = np.einsum("ij,ij->i", target.reshape(count, -1), target.reshape(count, -1))
    shares = 1 / np.maximum(power, power.mean() * 1e-3 + 1e-30)
    everyone = np.arange(count)
    held = everyone[: originals : how.held]
    train = everyone[~np.isin(everyone % originals, held)]

    soft, wscale, bias = {}, {}, {}
    start = Constants({}, {g: scales.activations[g] for g in groups})
    for i in layers:
        node = net.nodes[i]
        s = scales.weights[i].astype(np.float32)
        q = sim.quantized_weight(i).astype(np.float32)
        soft[i] = (LatentRounding if how.ste else SoftRounding)(q, node.constant / _per_channel(node, s), sim.weight_limit(i), how.start)
        wscale[i] = s.copy()
        start.tensors[i] = q * _per_channel(node, s)
        if i in biases:
            start.tensors[biases[i]] = scales.constant(net, biases[i])
            bias[i] = start.tensors[biases[i]].copy()
    ascale = dict(start.scales)

    def constants(hard: bool) -> Constants:
        hard = hard or not how.learn_rounding
        found = Constants({}, dict(ascale))
        for i in layers:
            found.tensors[i] = (soft[i].hard if hard else soft[i].soft) * _per_channel(net.nodes[i], wscale[i])
            if i in biases:
                found.tensors[biases[i]] = bias[i]
        return found

    def loss(c: Constants, which) -> float:
        def part(s):
            at = which[s:s+size]
            e = (function({j: x[at] for j, x in inputs.items()}, c) - target[at]).reshape(len(at), -1)
            return float((np.einsum("ij,ij->i", e, e) * shares[at]).sum())
        return sum(map_threads(part, range(0, len(which), size))) / len(which)

    rng = np.random.default_rng(how.seed + block.nodes[0])
    adam = {}
    before = loss(start, held), loss(start, train)
    units = {i: np.float32(np.sqrt(power.mean() / target[0].size)) for i in layers}
    order = []
    for step in range(how.steps):
        if len(order) < how.batch:
            order = list(rng.permutation(train))
        at, order = np.array(order[: how.batch]), order[how.batch :]
        now = constants(False)
        seeds = rng.integers(0, 2**62, -(-len(at) // size))

        def part(k):
            some = at[k*size:(k+1)*size]
            return function.gradients({j: x[some] for j, x in inputs.items()}, now, target[some], shares[some] / len(at),
                np.random.Generator(np.random.SFC64(int(seeds[k]))) if how.drop else None)

        results = map_threads(part, range(len(seeds)))
        def total(get):
            return sum(get(g) for _, g in results)
        done = step / how.steps
        cosine = np.float32(0.5 * (1 + np.cos(np.pi * done)))
        annealed = max(0.0, (done - how.warm) / (1 - how.warm))
        power_ = how.powers[1] + (how.powers[0] - how.powers[1]) * (1 - annealed)
        for i in layers:
            node = net.nodes[i]
            g = total(lambda x: x.tensors[i])
            s = _per_channel(node, wscale[i])
            by = -np.float32(how.rate) * adam.setdefault((i, "v"), _Adam())(g * s * soft[i].slope())
            if done >= how.warm:
                by = by + np.float32(how.rate * how.push * annealed) * soft[i].push(power_)
            if how.learn_weight_scales:
                axes = 0 if node.op == "dense" else (1, 2, 3)
                gs = (g * now.tensors[i]).sum(axis=axes)
                wscale[i] = wscale[i] * np.exp(-np.float32(how.scale_rate) * cosine * adam.setdefault((i, "s"), _Adam())(gs))
            if i in biases:
                gb = total(lambda x: x.tensors[biases[i]])
                bias[i] = bias[i] - units[i] * np.float32(how.bias_rate) * cosine * adam.setdefault((i, "b"), _Adam())(gb)
            if how.learn_rounding:
                soft[i].move(by)
        for group in learned:
            gs = np.float32(total(lambda x: x.scales.get(group, np.float32(0)))) * ascale[group]
            ascale[group] = np.float32(ascale[group] * np.exp(-np.float32(how.scale_rate) * cosine * adam.setdefault(("a", group), _Adam())(gs)))
    final = constants(True)
    after = loss(final, held), loss(final, train)
    softl = loss(constants(False), held)
    changed = {net.nodes[i].name: float((soft[i].hard != sim.quantized_weight(i)).mean()) for i in layers}
    print(f"{[net.nodes[i].name for i in layers]} held {before[0]:.5f} -> {after[0]:.5f} (soft {softl:.5f}) train {before[1]:.5f} -> {after[1]:.5f} changed {[round(c, 3) for c in changed.values()]}", flush=True)
    if after[0] >= before[0]:
        return
    for group in learned:
        scales.activations[group] = ascale[group]
    for i in layers:
        s_in = scales.activations[points.scale_group_of[net.nodes[i].inputs[0]]]
        smallest = smallest_weight_scale(net.bias_of(i), s_in)
        scales.weights[i] = np.maximum(wscale[i], smallest).astype(np.float32)
        scales.constants[i] = final.tensors[i].astype(np.float32)
        if i in biases:
            scales.constants[biases[i]] = bias[i].astype(np.float32)


def with_views(problem, views):
    from dataclasses import replace
    if views == 1:
        return problem
    rng = np.random.default_rng(0)
    inputs = {i: np.concatenate([x, *(view(x, rng) for _ in range(views - 1))]) for i, x in problem.inputs.items()}
    return replace(problem, inputs=inputs)


def view(x, rng):
    """Images (N, batch, C, H, W) moved a little, and mirrored."""
    h, w = x.shape[-2:]
    mh, mw = h // 8, w // 8
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(mh, mh), (mw, mw)], mode="reflect")
    y = np.empty_like(x)
    for k in range(len(x)):
        a, b = rng.integers(0, 2 * mh + 1), rng.integers(0, 2 * mw + 1)
        y[k] = padded[k, ..., a:a+h, b:b+w]
        if rng.random() < 0.5: y[k] = y[k, ..., ::-1].copy()
    return y

import os
MIX = float(os.environ.get("MIX", 0.5))
