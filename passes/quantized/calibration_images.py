"""The calibration images in the form that the executor wants."""

from collections.abc import Iterable

import numpy as np

from ..graph.network import Network


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
