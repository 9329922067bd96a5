"""Cross-layer equalization: channels of one activation get ranges that one scale serves better."""

from dataclasses import dataclass, field

import numpy as np
import tvm

from ..graph.network import PASS_THROUGH, Network, Node, read_network
from ..graph.rebuild import replace_constants
from ..quantized.layer_matrices import by_channel, positions, read_channels
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, part_of
from .channel_bounds import upper_bounds, with_scaled_bounds
from .channel_scalings import scaling, with_scalings, without_idle_scalings
from .coupled_channels import CoupledChannels
from .preparation import Preparation

# Exponents and margins that are tried: see EqualizeChannels. True: relative to channels that take no factors, if there
# are any; of use where products scale what layers don't make, such as a table's features, which have any ranges.
_TRIED = (
    (0.0, 0.0, False),
    *((exponent, margin, False) for exponent in (0.25, 0.5, 0.75) for margin in (0, 0.1, 0.25)),
)
_TRIED_OUTSIDE = (
    *_TRIED,
    *((1.0, margin, False) for margin in (0.0, 0.1, 0.25)),
    *((exponent, margin, True) for exponent in (0.25, 0.5, 0.75, 1.0) for margin in (0.0, 0.1, 0.25)),
)
_LARGEST_FACTOR, _LARGEST_OUTSIDE = 2.0**10, 2.0**24
_WORTH = 0.25  # parts of the noise that may be left for the inputs' channels to be scaled: a bit is won
_MEASURED = 0.8  # of the time, before factors are tried


@tvm.transform.module_pass(opt_level=0, name="EqualizeChannels")
class EqualizeChannels(Preparation):
    """Scale channels between layers of a canonical module: what they compute stays the same, but for rounding.

    Each channel is multiplied by a factor where a layer makes it, and what the layers that read it multiply it by is
    divided by that (Nagel et al., Data-Free Quantization, arXiv 1906.04721, section 4.1); coupled channels
    (`CoupledChannels`), as in residual networks, have one factor. As each output channel of weights has a scale of its
    own, it costs nothing where depthwise layers read the channel. Elsewhere it moves error from activations to weights.
    And the nearer channels come to the end of the range, the more of them saturate in images other than those seen: one
    half of the images (every second one) tells how far they go beyond the other.

    Factors are (R / min(R, r (1 + m)))^e for channels of the largest magnitude r, R being the activation's, with the
    exponent e and the margin m for which the sum of these three errors, estimated in closed form, is least. Where
    products scale channels that layers don't make, R may also be that of the channels that take no factors. Channels
    of inputs are left as they are, often pixels that integers hold exactly, unless that gains much.

    Parameters are those of `Preparation`.

    Attributes
    ----------
    record : list of dict
        After a run, for each set of activations that were equalized together: the first `layer` that makes one, the
        `exponent`, the `margin`, and the estimated `noise`, in parts of what it was.
    """

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace weights and biases."""
        problem = self.problem(mod)
        mod = with_scalings(mod, problem.net, problem.points)
        problem = self.problem(mod)
        net, coupled = problem.net, CoupledChannels(problem.net)
        activations, powers = _measure(problem, coupled, part_of(self.progress, 0.0, _MEASURED))
        # what is not finite is for the calibration that follows, which names the layer
        activations = [a for a in activations if np.isfinite(a.squares).all()]
        bounds = {i: high for i, high in upper_bounds(net).items() if i in coupled.classes}
        _freeze_inner_bounds(bounds, activations, coupled)
        factors, self.record = np.ones(len(coupled)), list[dict[str, str | float]]()
        components, progress = _components(activations), part_of(self.progress, _MEASURED, 1.0)
        for k, together in enumerate(components):
            progress(k / len(components), f"equalizing {net.nodes[together[0].node].name}")
            outside = [a.node for a in together if scaling(net.nodes[a.node]) is not None]
            ways = _TRIED_OUTSIDE if outside else _TRIED
            tried = [_factors(together, coupled, *how) for how in ways]
            noises = [
                _noise(problem, together, powers, f) if _ends_within(bounds, together, f) else np.inf for f in tried
            ]
            best = int(np.argmin(noises))
            if best and noises[best] <= noises[0] * (_WORTH if any(_reads_input(net, i) for i in outside) else 1):
                factors *= tried[best]
                name, (exponent, margin, _) = net.nodes[min(a.node for a in together)].name, ways[best]
                noise = float(noises[best] / noises[0])
                self.record.append({"layer": name, "exponent": exponent, "margin": margin, "noise": noise})
        mod = replace_constants(mod, net, _scaled(net, coupled, factors))
        mod = with_scaled_bounds(mod, read_network(mod), {i: factors[coupled.classes[i]] for i in bounds})
        return without_idle_scalings(mod, read_network(mod))


@dataclass
class _Activation:
    """A quantized activation.

    Attributes
    ----------
    node : int
    group : int
        Of those that share one scale: see `quantization_points`.
    limit : int
        Where its quantized values end.
    classes : numpy.ndarray (C,) int
        Of its channels.
    largest, squares, filled : numpy.ndarray (C,)
        Of each channel the largest magnitude, the mean square, and the share of elements that are not 0.
    first : numpy.ndarray (C,)
        The largest magnitude in the first half of the images: the first, the third and so on.
    beyond : list of (numpy.ndarray int, numpy.ndarray)
        Channels and magnitudes of all elements of the second half that are larger than that.
    elements : int
        Of each channel in the second half.
    """

    node: int
    group: int
    limit: int
    classes: np.ndarray
    largest: np.ndarray
    squares: np.ndarray
    filled: np.ndarray
    first: np.ndarray
    beyond: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    elements: int = 0

    def add(self, seen: "_Seen", images: int) -> None:
        """Take what was seen in some of so many images."""
        if seen.beyond is None:
            self.first = np.maximum(self.first, seen.largest)
        else:
            self.beyond.append(seen.beyond)
            self.elements += seen.elements
        self.largest = np.maximum(self.largest, seen.largest)
        self.squares += seen.squares / images
        self.filled += seen.filled / images


@dataclass(frozen=True)
class _Seen:
    """What some images say of an activation: as `_Activation` has it, mean squares and shares summed over the images.

    `beyond` is None in the first half of the images.
    """

    largest: np.ndarray
    squares: np.ndarray
    filled: np.ndarray
    beyond: tuple[np.ndarray, np.ndarray] | None
    elements: int

    @classmethod
    def of(cls, x: np.ndarray, first: np.ndarray | None) -> "_Seen":
        """In activations (N, C, H * W), where the first half of the images is known to end."""
        images, _, size = x.shape
        largest = np.maximum(x.max(axis=(0, 2)), -x.min(axis=(0, 2)))
        squares = np.einsum("ncp,ncp->c", x, x, dtype=np.float64) / size
        filled = np.count_nonzero(x, axis=(0, 2)) / size
        beyond = None
        if first is not None:
            larger = np.flatnonzero((largest > first) & (first > 0))
            magnitudes = np.abs(x[:, larger])
            _, which, _ = over = np.nonzero(magnitudes > first[larger, None])
            beyond = larger[which], magnitudes[over]
        return cls(largest, squares, filled, beyond, images * size)


def _measure(
    problem: Problem, coupled: CoupledChannels, progress: Progress
) -> tuple[list[_Activation], dict[int, float]]:
    """The quantized activations whose channels are known; and the mean square of each layer's and addition's output."""
    net, points = problem.net, problem.points
    found = {
        i: _Activation(i, g, points.scale_groups[g].range.hi, coupled.classes[i], *np.zeros((4, net.nodes[i].shape[1])))
        for i, g in points.scale_group_of.items()
        if i in coupled.classes
    }
    powers = {i: 0.0 for i, node in enumerate(net.nodes) if node.op in ("conv2d", "dense", "add")}

    def measure(i: int, value: np.ndarray) -> tuple[float, _Seen | None] | None:
        if i not in powers and i not in found:
            return None
        power = np.einsum("i,i->", value.ravel(), value.ravel(), dtype=np.float64) if i in powers else 0.0
        first = firsts[i] if firsts and i in found else None
        return float(power), _Seen.of(by_channel(value), first) if i in found else None

    firsts: dict[int, np.ndarray] = {}
    halves = [problem.subset(slice(half, None, 2)) for half in range(min(2, problem.count))]
    for half, subset in enumerate(halves):
        part = part_of(progress, half / len(halves), (half + 1) / len(halves))
        for each in subset.measured(measure, part, "ranges of channels"):
            for i, (power, seen) in each.items():
                if i in powers:
                    powers[i] += power / problem.count / positions(net.nodes[i])
                if seen is not None:
                    found[i].add(seen, problem.count)
        firsts = {i: activation.first for i, activation in found.items()}
    return list(found.values()), powers


def _freeze_inner_bounds(
    bounds: dict[int, np.ndarray], activations: list[_Activation], coupled: CoupledChannels
) -> None:
    """Let upper bounds be where an activation shares its scale with larger ones, or has none of its own.

    Elsewhere the end of the quantized range bounds all channels as much, whatever they are scaled by.
    """
    ranges = _ranges(activations, np.ones(len(coupled)))
    group_of = {activation.node: activation.group for activation in activations}
    for i, high in bounds.items():
        if i not in group_of or high.min() < ranges[group_of[i]]:
            coupled.freeze(i)


def _ends_within(bounds: dict[int, np.ndarray], together: list[_Activation], factors: np.ndarray) -> bool:
    """Whether the ranges of scaled activations end before the scaled bounds of each channel, where these are scaled."""
    ranges = _ranges(together, factors)
    return all(
        (f == 1).all() or (bounds[a.node] * f).min() >= ranges[a.group] * (1 - 1e-6)
        for a in together
        if a.node in bounds
        for f in [factors[a.classes]]
    )


def _components(activations: list[_Activation]) -> list[list[_Activation]]:
    """Activations that have classes in common, directly or through others."""
    components: list[tuple[set[int], list[_Activation]]] = []
    for activation in activations:
        classes, together = set(activation.classes.tolist()), [activation]
        apart = []
        for other in components:
            if other[0] & classes:
                classes, together = classes | other[0], other[1] + together
            else:
                apart.append(other)
        components = [*apart, (classes, together)]
    return [together for _, together in components]


def _reads_input(net: Network, node: int) -> bool:
    """Whether an input of the network gets there as it is."""
    return any(
        net.nodes[i].op == "input" or (net.nodes[i].op in PASS_THROUGH and _reads_input(net, i))
        for i in net.nodes[node].inputs
    )


def _factors(
    together: list[_Activation], coupled: CoupledChannels, exponent: float, margin: float, from_frozen: bool
) -> np.ndarray:
    """For all classes, 1 for those of other activations."""
    factors, ranges = np.ones((2, len(coupled)))
    whole = _ranges(together, factors)
    classes = np.unique(np.concatenate([activation.classes for activation in together]))
    ranges[classes] = 0
    for activation in together:
        np.maximum.at(ranges, activation.classes, activation.largest / whole[activation.group])
    frozen = coupled.is_frozen[classes]
    end = ranges[classes[frozen]].max(initial=0) if from_frozen else 1.0
    classes = classes[(ranges[classes] > 0) & ~frozen]
    least = 1 / (_LARGEST_OUTSIDE if exponent == 1 or from_frozen else _LARGEST_FACTOR)
    factors[classes] = (np.clip(ranges[classes] * (1 + margin), least, 1) / (end or 1.0)) ** -exponent
    return factors


def _ranges(together: list[_Activation], factors: np.ndarray) -> dict[int, float]:
    """The largest magnitude of each scale group."""
    ranges: dict[int, float] = {}
    for activation in together:
        largest = np.max(activation.largest * factors[activation.classes])
        ranges[activation.group] = max(ranges.get(activation.group, 1e-30), largest)
    return ranges


def _noise(problem: Problem, together: list[_Activation], powers: dict[int, float], factors: np.ndarray) -> float:
    """Mean square of the errors that all readers' outputs get, in parts of their own and times 12.

    By rounding to even steps, of which 1/12 is the mean square error, and by saturation.
    """
    net, total, ranges = problem.net, 0.0, _ranges(together, factors)
    for activation in together:
        f, end = factors[activation.classes], ranges[activation.group]
        rounded = (end / activation.limit / f) ** 2 * activation.filled
        from_activation = rounded + 12 * _saturation(activation, end / f)
        squares = activation.squares * f**2
        for reader in net.users[activation.node]:
            node = net.nodes[reader]
            if not powers.get(reader):
                continue
            if node.op == "add":
                total += from_activation.sum() / powers[reader]
                continue
            total += _layer_noise(node, f, from_activation, squares, problem.weight_limit(reader)) / powers[reader]
    return total


def _saturation(activation: _Activation, ends: np.ndarray) -> np.ndarray:
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
) -> float:
    """By the errors of its input's channels (C,), and by those of its weights, on inputs of such mean squares."""
    weight = np.square(_by_input(node))
    channels = read_channels(node, len(factors))
    factors, from_activation, squares = (x[channels][..., None] for x in (factors, from_activation, squares))
    steps = (weight / factors**2).max(axis=(1, 2), keepdims=True) / limit**2
    return float(np.sum(weight * from_activation) + np.sum(np.broadcast_to(steps * squares, weight.shape)))


def _by_input(node: Node) -> np.ndarray:
    """Weight of a layer as (O, input channels per group, taps)."""
    if node.op == "dense":
        return node.constant.T[..., None].astype(np.float64)
    return node.constant.reshape(*node.constant.shape[:2], -1).astype(np.float64)


def _scaled(net: Network, coupled: CoupledChannels, factors: np.ndarray) -> dict[int, np.ndarray]:
    """The network's constants with factors taken up."""
    constants = {}
    for i, node in enumerate(net.nodes):
        constant = node.constant if node.op == "bias_add" else scaling(node)
        if constant is not None and i in coupled.classes:
            constants[i] = constant * factors[coupled.classes[i]].reshape(constant.shape)
        elif node.op in ("conv2d", "dense"):
            made, read = (factors[coupled.classes[j]] if j in coupled.classes else None for j in (i, node.inputs[0]))
            out = (-1, 1, 1, 1) if node.op == "conv2d" else (1, -1)
            weight = node.constant.astype(np.float64)
            if made is not None:
                weight = weight * made.reshape(out)
            if read is not None:
                read = read[read_channels(node, len(read))]
                weight = weight / (read.T if node.op == "dense" else read[..., None, None])
            constants[i] = weight
    return constants
