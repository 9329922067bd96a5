"""The errors that quantizing an activation and the weights that read it makes, estimated in closed form."""

from collections.abc import Iterator

import numpy as np

from ..graph.network import Node
from ..graph.step_notes import Figures
from ..quantized.layer_matrices import read_channels
from ..quantized.problem import Problem
from .measured_channels import MeasuredActivation, ranges_of


def noise(
    problem: Problem,
    together: list[MeasuredActivation],
    powers: dict[int, np.ndarray],
    factors: np.ndarray,
    apart: bool = False,
) -> float:
    """Mean square of the errors that all readers' outputs get, in parts of their own and times 12.

    `apart`: of each channel for itself, instead of the whole output.
    By rounding to even steps, of which 1/12 is the mean square error, and by saturation.
    """
    found = (each for activation in together for each in _noises(problem, activation, together, powers, factors))
    return float(
        sum(
            np.sum(noise[power > 0] / power[power > 0]) if apart else noise.sum() / power.sum()
            for _, noise, power in found
        )
    )


def layer_errors(
    problem: Problem, activations: list[MeasuredActivation], powers: dict[int, np.ndarray], factors: np.ndarray
) -> dict[str, Figures]:
    """By the name of each layer whose input was scaled, the errors of its output in parts of it, before and after."""
    found = {}
    for activation in activations:
        if (factors[activation.classes] == 1).all():
            continue
        together = [other for other in activations if other.group == activation.group]
        before, after = (_noises(problem, activation, together, powers, f) for f in (np.ones_like(factors), factors))
        for (reader, *was), (_, *now) in zip(before, after, strict=True):
            if problem.net.nodes[reader].op != "add":
                errors = [float(np.sqrt(noise.sum() / 12 / power.sum())) for noise, power in (was, now)]
                found[problem.net.nodes[reader].name] = (errors[0], errors[1])
    return found


def _noises(
    problem: Problem,
    activation: MeasuredActivation,
    together: list[MeasuredActivation],
    powers: dict[int, np.ndarray],
    factors: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of each reader of an activation, its node, and the mean squares (O,) of errors, times 12, and of its outputs."""
    net, end = problem.net, ranges_of(together, factors)[activation.group]
    f = factors[activation.classes]
    rounded = (end / activation.limit / f) ** 2 * activation.filled
    from_activation = rounded + 12 * _saturation(activation, end / f)
    squares = activation.squares * f**2
    for reader in net.users[activation.node]:
        node = net.nodes[reader]
        if reader not in powers or not powers[reader].any():
            continue
        noise = from_activation
        if node.op != "add":
            noise = _layer_noise(node, f, from_activation, squares, problem.weight_limit(reader))
        yield reader, noise, powers[reader]


def _saturation(activation: MeasuredActivation, ends: np.ndarray) -> np.ndarray:
    """Mean square (C,) of what an image that was not seen loses beyond the ends of its channels' ranges (C,).

    As much as the second half of the images would lose beyond ends as far from the first half's largest magnitudes, but
    half as often: the more images are seen, the fewer go beyond them.
    """
    lost = np.zeros(len(ends))
    if activation.elements:
        ends = ends * activation.first / np.where(activation.largest > 0, activation.largest, 1)
        for channels, magnitudes in activation.beyond:
            np.add.at(lost, channels, np.maximum(magnitudes - ends[channels], 0) ** 2)
        lost /= 2 * activation.elements
    return lost


def _layer_noise(
    node: Node, factors: np.ndarray, from_activation: np.ndarray, squares: np.ndarray, limit: int
) -> np.ndarray:
    """(O,), by the errors of its input's channels (C,), and by those of its weights, on inputs of such mean squares."""
    weight = np.square(by_input(node))
    channels = read_channels(node, len(factors))
    factors, from_activation, squares = (x[channels][..., None] for x in (factors, from_activation, squares))
    steps = (weight / factors**2).max(axis=(1, 2), keepdims=True) / limit**2
    return np.sum(weight * from_activation, axis=(1, 2)) + np.sum(
        np.broadcast_to(steps * squares, weight.shape), axis=(1, 2)
    )


def by_input(node: Node) -> np.ndarray:
    """Weight of a layer as (O, input channels per group, taps)."""
    if node.op == "dense":
        return node.constant.T[..., None].astype(np.float64)
    return node.constant.reshape(*node.constant.shape[:2], -1).astype(np.float64)
