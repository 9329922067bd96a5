"""What calibration images show of the channels of quantized activations."""

from dataclasses import dataclass, field

import numpy as np

from ..quantized.layer_matrices import by_channel, positions
from ..quantized.problem import Problem
from ..quantized.progress import Progress, part_of
from .coupled_channels import CoupledChannels


@dataclass
class MeasuredActivation:
    """A quantized activation, and what was seen of it.

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
    """What some images say of an activation: as `MeasuredActivation` has it, mean squares and shares summed over them.

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


def measure_channels(
    problem: Problem, coupled: CoupledChannels, progress: Progress
) -> tuple[list[MeasuredActivation], dict[int, np.ndarray]]:
    """The quantized activations whose channels are known; and the mean squares (C,) of layers and additions."""
    net, points = problem.net, problem.points
    found = {
        i: MeasuredActivation(
            i, g, points.scale_groups[g].range.hi, coupled.classes[i], *np.zeros((4, net.nodes[i].shape[1]))
        )
        for i, g in points.scale_group_of.items()
        if i in coupled.classes
    }
    layers = [i for i, node in enumerate(net.nodes) if node.op in ("conv2d", "dense", "add")]
    powers = {i: np.zeros(net.nodes[i].shape[1]) for i in layers}

    def measure(i: int, value: np.ndarray) -> tuple[np.ndarray | float, _Seen | None] | None:
        if i not in powers and i not in found:
            return None
        x = by_channel(value)
        power = np.einsum("ncp,ncp->c", x, x, dtype=np.float64) if i in powers else 0.0
        first = firsts[i] if firsts and i in found else None
        return power, _Seen.of(x, first) if i in found else None

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


def ranges_of(together: list[MeasuredActivation], factors: np.ndarray) -> dict[int, float]:
    """The largest magnitude of each scale group."""
    ranges: dict[int, float] = {}
    for activation in together:
        largest = np.max(activation.largest * factors[activation.classes])
        ranges[activation.group] = max(ranges.get(activation.group, 1e-30), largest)
    return ranges


def components_of(activations: list[MeasuredActivation]) -> list[list[MeasuredActivation]]:
    """Activations that have classes in common, directly or through others."""
    components: list[tuple[set[int], list[MeasuredActivation]]] = []
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
