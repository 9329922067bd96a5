"""The calibration images in the form that the executor wants, and how many of them."""

from collections.abc import Iterable

import numpy as np
import tvm

from ..graph.network import Network, Node, read_network

_WORK = 2e9  # elements computed in one pass over the images: 50 of 224x224 take far fewer in most networks
_MACS = 100  # multiplications that take as long as one element
_LEAST = 8  # images, however large
_HELD = 10**8  # elements in memory when all images are simulated at once, in float32 and beside it
_FEWEST = 4  # images then: their statistics are of positions, of which large images have many


def affordable_images(mod: tvm.IRModule) -> int:
    """How many calibration images keep the work in bounds, at least 8: the larger the network's tensors, the fewer.

    Statistics are of positions. A few large images have as many as some tens of usual ones.
    """
    return max(_LEAST, int(_WORK / work(read_network(mod))))


def enough_images(net: Network, count: int) -> np.ndarray:
    """Which of so many images, evenly spaced, a pass takes that wants to know no more than ranges: half that work."""
    enough = max(_LEAST, int(_WORK / 2 / work(net)))
    return np.linspace(0, count - 1, min(enough, count)).round().astype(int)


def work(net: Network) -> float:
    """Of one pass over an image, in elements computed; a hundred multiplications take as long as one."""
    return max(sum(map(_elements, net.nodes)) + _macs(net) / _MACS, 1)


def images_at_once(net: Network) -> int:
    """Of how many images the activations of a walk over the network fit into memory, layer by layer, at least 4."""
    last_use, held, most = net.last_uses(), 0, 1
    for i, node in enumerate(net.nodes):
        held += _elements(node)
        most = max(most, held)
        held -= sum(_elements(net.nodes[j]) for j in {i, *node.inputs} if last_use[j] <= i)
    return max(_FEWEST, _HELD // most)


def _elements(node: Node) -> int:
    return int(np.prod(node.shape)) if node.shape else 0


def _macs(net: Network) -> int:
    sizes = {"conv2d": lambda weight: weight[0].size, "dense": len}
    return sum(_elements(node) * sizes[node.computes](node.constant) for node in net.nodes if node.computes in sizes)


def calibration_inputs(net: Network, images: dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    """Match images to the network's inputs.

    Parameters
    ----------
    images : dict of input name to array (N, ...)
        N images each, of the input's shape and dtype. A first axis of 1, the model's batch, is left out.

    Returns
    -------
    dict of input node to array (N, *shape)

    Raises
    ------
    ValueError
        Where an input has no images, they have another shape, their numbers differ, or they hold NaN or infinity.
    """
    inputs = {i: node for i, node in enumerate(net.nodes) if node.op == "input"}
    names = [node.name for node in inputs.values()]
    if set(names) != set(images):
        raise ValueError(f"calibration images for {_list(images)}, but the network's inputs are {_list(names)}")
    counts = {len(images[name]) for name in names}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"calibration needs the same number of images, at least one, for each input: got {counts}")
    result = {}
    for i, node in inputs.items():
        x = np.asarray(images[node.name], str(node.expr.ty.dtype))
        expected = node.shape[1:] if node.shape[:1] == (1,) else node.shape
        if x.shape[1:] != expected:
            raise ValueError(f"calibration images of shape {x.shape[1:]} for input '{node.name}' of shape {node.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"NaN or infinity in the calibration images for input '{node.name}'")
        result[i] = x.reshape(len(x), *node.shape)
    return result


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
