"""Images changed until the network sees in them what its batch norms saw in training."""

import threading
from collections.abc import Mapping

import numpy as np
import tvm

from ..canonical.fold_batch_norm import Statistics, batch_statistics
from ..graph.network import Network, read_network
from ..quantized.calibration_images import work
from ..quantized.float_executor import FloatExecutor
from ..quantized.gradients.gradients import Pullback, differentiable, pullback
from ..quantized.layer_matrices import by_channel
from ..quantized.parallel import map_threads, single_threaded_blas
from ..quantized.progress import Progress, no_progress
from ..refine.adam import Adam

Bounds = tuple[np.ndarray, np.ndarray]  # the least and the greatest number, as they are broadcast to an image

_STEPS = 40  # at most,
_WORK = 1.6e10  # for all images and steps, in elements computed or held: about two minutes on two cores
_TOGETHER = 8  # images whose statistics are matched, or fewer where these are large
_HELD = 1.6e8  # elements in memory for those that are matched together, as `_Matched.held` counts them,
_ALL_HELD = 3.2e8  # and for all that threads match at a time: about 2 GB
_STEP = 0.02  # of the range between bounds, or of the deviation where there are none
_DEAD = 0.05  # of a layer's median deviation: channels of less are hardly ever anything but their mean


@single_threaded_blas
def match_statistics(
    mod: tvm.IRModule,
    images: Mapping[str, np.ndarray],
    bounds: Mapping[str, Bounds],
    progress: Progress = no_progress,
    typical: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    r"""Change images so that means and deviations of channels become those that batch norms had in training.

    By steps of Adam, downhill on the squares of how far both are from there, in deviations (Cai et al., ZeroQ, arXiv
    2001.00281, section 3.1, which starts from noise). As many steps as a few minutes have room for. Where there are no
    batch norms but a few typical images, means and deviations are those that these have behind each convolution (after
    FDDA's alignment of features, arXiv 2109.04186).

    Parameters
    ----------
    mod : tvm.IRModule
        Canonical; without `batch_statistics` images stay as they are, and where an input's operators can't be
        differentiated.
    images : mapping of str to numpy.ndarray (N, ...)
        As calibration takes them; those of float inputs change.
    bounds : mapping of str to (numpy.ndarray, numpy.ndarray)
        Of inputs, where their numbers end.
    progress : callable (float, str) -> None
    typical : mapping of str to numpy.ndarray (M, ...), optional
        As calibration takes them.

    Returns
    -------
    dict of str to numpy.ndarray
        For each input float32 (N, ...), or as it was.
    """
    net, norms = read_network(mod), batch_statistics(mod)
    matched = _Matched(mod, net, norms or (_seen_in(mod, net, typical) if typical else {}))
    count = len(next(iter(images.values())))
    steps = matched.steps(count)
    if not steps:
        return dict(images)
    done, model = [0], "the batch norms" if norms else "typical ones"
    together = matched.together()
    room = threading.Semaphore(max(1, int(_ALL_HELD / (matched.held() * together))))

    def improve(start: int) -> dict[str, np.ndarray]:
        with room:
            return improved({name: x[start : start + together].copy() for name, x in images.items()})

    def improved(some: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        adams = {name: Adam() for name, x in some.items() if x.dtype == np.float32}
        for step in range(steps):
            gradients = matched.gradients(some)
            for name, adam in adams.items():
                if gradients.get(name) is None:
                    continue
                low, high = bounds.get(name, (-np.inf, np.inf))
                size = np.where(np.isfinite(high - low), high - low, images[name].std())
                rate = np.float32(_STEP * (1 + np.cos(np.pi * step / steps)) / 2) * size.astype(np.float32)
                some[name] = np.clip(some[name] - rate * adam(gradients[name]), low, high).astype(np.float32)
            done[0] += 1
            progress(min(done[0] / steps / -(-count // together), 1.0), f"matching images to {model}")
        return some

    parts = map_threads(improve, range(0, count, together))
    return {name: np.concatenate([part[name] for part in parts]) for name in images}


def matched_norms(mod: tvm.IRModule, count: int) -> int:
    """How many batch norms `match_statistics` matches so many images to."""
    return _targets(mod, read_network(mod), batch_statistics(mod), count)


def matched_layers(mod: tvm.IRModule, count: int) -> int:
    """Behind how many convolutions it matches them to typical images, where there are no batch norms."""
    net = read_network(mod)
    return _targets(mod, net, {net.nodes[i].name: Statistics(np.ones(1), np.ones(1)) for i in _behind(net)}, count)


def _targets(mod: tvm.IRModule, net: Network, statistics: Mapping[str, Statistics], count: int) -> int:
    matched = _Matched(mod, net, statistics)
    return len(matched.targets) if matched.steps(count) else 0


def _behind(net: Network) -> set[int]:
    """What makes the output of each convolution, its bias included."""
    layers = [i for i in net.layers() if net.nodes[i].op == "conv2d"]
    return {i if (bias := net.bias_node(i)) is None else bias for i in layers}


def _seen_in(mod: tvm.IRModule, net: Network, images: Mapping[str, np.ndarray]) -> dict[str, Statistics]:
    """The statistics of images behind each convolution."""
    behind, found = _behind(net), dict[str, Statistics]()
    inputs = ((i, node) for i, node in enumerate(net.nodes) if node.op == "input")
    given = {i: images[node.name].reshape(-1, *node.shape) for i, node in inputs}
    for i, value in FloatExecutor(mod).run(net, given):
        if i in behind:
            x = by_channel(value)
            found[net.nodes[i].name] = Statistics(x.mean(axis=(0, 2)), x.std(axis=(0, 2)))
    return found


class _Matched:
    """The part of a network in front of its last batch norm, as a function of images that can be differentiated."""

    def __init__(self, mod: tvm.IRModule, net: Network, statistics: Mapping[str, Statistics]) -> None:
        self.net, self.executor = net, FloatExecutor(mod)
        self.moved = self._moved()
        self.targets = {
            i: found
            for i, node in enumerate(net.nodes)
            if (found := statistics.get(node.name)) is not None and self.moved[i] and found.deviation.any()
        }
        self.needed = self._needed()

    def steps(self, count: int) -> int:
        """That there is time for with so many images; 0 where nothing can be matched."""
        return min(_STEPS, int(_WORK / (max(work(self.net), self.held()) * count))) if self.targets else 0

    def together(self) -> int:
        """How many images are matched together: the same on each machine, so that results are."""
        return min(_TOGETHER, max(1, int(_HELD / self.held())))

    def held(self) -> int:
        """Elements in memory from where an image goes in until its gradient comes out: values, and what windows see."""
        return sum(map(self._kept, self.needed))

    def _kept(self, i: int) -> int:
        node = self.net.nodes[i]
        size = int(np.prod(node.shape))
        if node.op != "conv2d" or len(node.constant) == int(node.expr.attrs.groups):  # depthwise: tap by tap
            return size
        return size + size // len(node.constant) * int(node.expr.attrs.groups) * node.constant[0].size

    def _moved(self) -> list[bool]:
        """Of each node whether the gradient of what it makes gets to an input."""
        moved: list[bool] = []
        for node in self.net.nodes:
            if node.op == "input":
                moved.append(str(node.expr.ty.dtype) == "float32")
            else:
                moved.append(differentiable(node, in_float=True) and any(moved[j] for j in node.inputs))
        return moved

    def _needed(self) -> set[int]:
        needed = set(self.targets)
        for i in reversed(range(len(self.net.nodes))):
            if i in needed:
                needed.update(self.net.nodes[i].inputs)
        return needed

    def gradients(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of the distance of some images from the statistics, by input."""
        net, values, backs = self.net, dict[int, np.ndarray](), dict[int, Pullback]()
        for i in sorted(self.needed):
            node = net.nodes[i]
            operands = [values[j] for j in node.inputs]
            if node.op == "input":
                x = images[node.name]
                values[i] = x.reshape(len(x), *node.shape)
            elif self.moved[i]:
                values[i], backs[i] = pullback(self.executor, node, *operands)
            else:
                values[i] = self.executor.evaluate(node, *operands)
        gradients: dict[int, np.ndarray] = {}
        for i in sorted(self.needed, reverse=True):
            value = values.pop(i)
            if i in self.targets:
                gradients[i] = _pull(value, self.targets[i]) + gradients.get(i, np.float32(0))
            if i in backs and i in gradients:
                for j, gradient in zip(net.nodes[i].inputs, backs.pop(i)(gradients.pop(i)), strict=True):
                    gradients[j] = gradients[j] + gradient if j in gradients else gradient
        return {net.nodes[i].name: x.reshape(images[net.nodes[i].name].shape) for i, x in gradients.items()}


def _pull(value: np.ndarray, target: Statistics) -> np.ndarray:
    """The gradient of the mean over channels of (m - m')^2 / d'^2 + (d - d')^2 / d'^2."""
    x = by_channel(value)
    mean, spread = (each.astype(np.float32) for each in (x.mean(axis=(0, 2)), x.std(axis=(0, 2))))
    unit = np.maximum(target.deviation, _DEAD * np.median(target.deviation[target.deviation > 0]))
    count = x.size
    of_mean = 2 * (mean - target.mean) / unit**2 / count
    of_spread = 2 * (spread - target.deviation) / unit**2 / count / np.maximum(spread, _DEAD * unit)
    per_channel = (1, 1, -1, *(1,) * (value.ndim - 3))
    centered = value - mean.reshape(per_channel)
    return np.asarray(of_mean.reshape(per_channel) + of_spread.reshape(per_channel) * centered, np.float32)
