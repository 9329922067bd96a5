"""Rounding of weights learned block by block, by the error of each block's output."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..graph.network import PASS_THROUGH
from ..quantized.annotate import Scales
from ..quantized.layer_record import Refined, Steps
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress, part_of
from ..quantized.simulation import Simulation
from .block_constants import BlockConstants
from .block_gradients import BlockFunction, Constants
from .blocks import Block, blocks
from .image_views import with_views
from .refinement import refine_scales
from .round_weights import round_weights

_ROUNDED = 0.1  # of the time: rounding layer by layer, where blocks start from
_STEPS = 400
_BATCH = 8  # images in a step,
_PART = 2  # and those that one thread works on
_HELD = 5  # every so many-th image is held out, to judge by
_STARTS = 0.5, 1.0  # of roundings: half of the way to the integers that are there; these, where bits are few
_COARSE = 7  # the largest weight where there are few
_DARK = 1e-3  # the least mean square of an image's output that counts, in parts of that of all


def reconstruct_blocks(
    problem: Problem, scales: Scales, progress: Progress = no_progress, steps: int = _STEPS
) -> Refined:
    """Round weights layer by layer as `round_weights`, then learn roundings, scales and biases block by block.

    A block is what stands between two places where one tensor carries all that follows, see `blocks`. Its constants are
    learned to leave the least error of its output, for the inputs that the quantized network has there: Li et al.,
    BRECQ (arXiv 2102.05426), with the roundings of Nagel et al. (arXiv 2004.10568), activations that are left as they
    are at random as by Wei et al. (QDrop, arXiv 2203.05740) and whose scales are learned as by Esser et al. (LSQ, arXiv
    1902.08153). The error is in parts of each image's output, as in `image_shares`. Views of the images are learned
    from, too (`with_views`). A fifth of the images is held out: where their error is not less at the end, a block stays
    as it was. With weights of 4 bits, a second descent starts at the roundings that are there, and the error on
    these images chooses between both.

    Results are the same bits for any number of threads, on one machine.

    Parameters
    ----------
    problem : Problem
    scales : Scales
        Where to start; changed in place.
    progress : callable, optional
    steps : int
        Of each block's descent.
    """
    rounded = round_weights(problem, scales, part_of(progress, 0.0, _ROUNDED), for_rows=False)
    learned = learn_blocks(problem, scales, part_of(progress, _ROUNDED, 1.0), steps)
    names = rounded.steps.keys() | learned.steps.keys()
    found = {name: rounded.steps.get(name, {}) | learned.steps.get(name, {}) for name in sorted(names)}
    return Refined(learned.cosines, found)


def learn_blocks(problem: Problem, scales: Scales, progress: Progress = no_progress, steps: int = _STEPS) -> Refined:
    """Learn the constants of each block, from those that `scales` has."""
    firsts = {_first(problem, block): block for block in blocks(problem.net, problem.points)}
    images = problem.at_once().count
    said: dict[int, Steps] = {}

    def refine(sim: Simulation, i: int) -> Steps:
        if i in firsts:
            found = _BlockData.of(sim, firsts[i], images).learn(sim, steps)
            said.update({j: {"block": found} for j in firsts[i].nodes})
        return said.get(i, {}) if i in sim.scales.weights else {}

    return refine_scales(with_views(problem), scales, refine, progress)


def _first(problem: Problem, block: Block) -> int:
    """The first of its nodes at which a walk stops: others are evaluated when they are read."""
    nodes, groups = problem.net.nodes, problem.points.scale_group_of
    return next(i for i in block.nodes if nodes[i].op not in PASS_THROUGH or i not in groups)


@dataclass(frozen=True)
class _BlockData:
    """A block, and what it should make of what.

    Attributes
    ----------
    function : BlockFunction
    inputs : dict of int to numpy.ndarray (N, ...)
        As the quantized network has them, not yet quantized where their scale is learned.
    target : numpy.ndarray (N, ...)
        Output of the float network.
    shares : numpy.ndarray (N,)
        By which square errors of images are multiplied.
    learned : set of int
        Scale groups whose scales are learned.
    images : int
        How many come before the views of them.
    """

    function: BlockFunction
    inputs: dict[int, np.ndarray]
    target: np.ndarray
    shares: np.ndarray
    learned: set[int]
    images: int

    @classmethod
    def of(cls, sim: Simulation, block: Block, images: int) -> "_BlockData":
        """At the first of its nodes."""
        function = BlockFunction(sim.executor, sim.net, sim.points, block, sim.scales.ranges)
        learned, group_of = _own_groups(sim, block), sim.points.scale_group_of
        inputs = {
            j: sim.unquantized(j) if j not in group_of or group_of[j] in learned else sim.dequantized(j)
            for j in block.inputs
        }
        in_float = {j: sim.float(j) for j in block.inputs}
        starts = range(0, max(map(len, inputs.values())), _PART)
        target = np.concatenate(map_threads(lambda at: function(_some(in_float, slice(at, at + _PART))), starts))
        squares = np.einsum("ij,ij->i", *[target.reshape(len(target), -1)] * 2, dtype=np.float64)
        shares = 1 / np.maximum(squares, _DARK * squares.mean() + np.finfo(np.float32).tiny)
        return cls(function, inputs, target, shares, learned, images)

    def learn(self, sim: Simulation, steps: int) -> tuple[float, float]:
        """Change the network's constants if that is for the better; the relative error before and after."""
        block = self.function.block
        held, others = self._parted()
        size = float(np.sqrt(np.square(self.target).mean()))
        coarse = any(sim.weight_limit(i) <= _COARSE for i in block.nodes if i in sim.scales.weights)
        found = [BlockConstants(sim, block, self.learned, size, steps, start) for start in _STARTS[: 1 + coarse]]
        before = self._error(found[0].start(), held)
        seed = sim.net.place(block.nodes[0])
        with ThreadPoolExecutor(len(found)) as descents:  # each takes up the cores that others leave between steps
            list(descents.map(lambda each: self._descend(each, others, steps, np.random.default_rng(seed)), found))
        errors = [self._error(constants.rounded(), held) for constants in found]

        after = min(errors)
        if not after < before:
            return before, before
        found[errors.index(after)].put()
        return before, after

    def _descend(self, constants: BlockConstants, others: np.ndarray, steps: int, rng: np.random.Generator) -> None:
        """By the errors of some images at a time."""
        order = np.empty(0, int)
        for step in range(steps):
            if len(order) < min(_BATCH, len(others)):
                order = rng.permutation(others)
            batch, order = order[:_BATCH], order[_BATCH:]
            constants.descend(self._gradients(constants.soft(), batch, rng), step / steps)

    def _parted(self) -> tuple[np.ndarray, np.ndarray]:
        """Images that judge, and those to learn from, with views: the same where there are few."""
        everyone = np.arange(len(self.target))
        if self.images < _HELD:
            return everyone[: self.images], everyone
        is_held = everyone % self.images % _HELD == 0
        return np.flatnonzero(is_held)[: -(-self.images // _HELD)], np.flatnonzero(~is_held)

    def _gradients(self, constants: Constants, batch: np.ndarray, rng: np.random.Generator) -> list[Constants]:
        parts = np.split(batch, range(_PART, len(batch), _PART))

        def of_part(pair: tuple[np.ndarray, np.random.Generator]) -> Constants:
            part, dropping = pair
            shares = self.shares[part] / len(batch)
            return self.function.gradients(_some(self.inputs, part), constants, self.target[part], shares, dropping)[1]

        return map_threads(of_part, list(zip(parts, rng.spawn(len(parts)), strict=True)))

    def _error(self, constants: Constants, which: np.ndarray) -> float:
        """Of some images: the root of the mean square error, in parts of the output."""

        def of_part(part: np.ndarray) -> float:
            missed = self.function(_some(self.inputs, part), constants) - self.target[part]
            squares = np.einsum("ij,ij->i", *[missed.reshape(len(part), -1)] * 2, dtype=np.float64)
            return float(squares @ self.shares[part])

        parts = np.split(which, range(_PART, len(which), _PART))
        return float(np.sqrt(sum(map_threads(of_part, parts)) / len(which)))


def _own_groups(sim: Simulation, block: Block) -> set[int]:
    """Scale groups that nothing but the block reads, of which nothing was read before."""
    points, inner = sim.points, set(block.nodes) - {block.end}
    found = {points.scale_group_of[j] for j in (*block.inputs, *inner) if j in points.scale_group_of}

    def is_own(group: int) -> bool:
        members = {i for i, other in points.scale_group_of.items() if other == group}
        readers = {user for i in members for user in sim.net.users[i]} | set(points.scale_groups[group].consumers)
        leaves = members & set(sim.net.outputs)
        made = all(i in inner or sim.is_unread(i) for i in points.scale_groups[group].producers)
        return made and not leaves and readers - members <= set(block.nodes)

    return {group for group in found if is_own(group)}


def _some(arrays: Mapping[int, np.ndarray], at: slice | np.ndarray) -> dict[int, np.ndarray]:
    """Of some images; what depends on no input of the network stands for all."""
    return {j: x if len(x) == 1 else x[at] for j, x in arrays.items()}
