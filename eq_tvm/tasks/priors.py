"""Prior boxes of SSD-type detectors that do not apply them themselves: those of Ultra-Light-Fast-Generic-Face-Detector.

Which priors a network was trained with is not in its file. These are recognized by their number.
"""

from __future__ import annotations

import numpy as np

from eq_tvm.errors import UserError

# By feature map: its stride, and the sizes of its square priors in pixels.
_MAPS = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))
_CENTER, _SIZE = 0.1, 0.2  # variances: what one unit of the network's boxes is, by the prior's size


def decoded_by_priors(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corners (A, 4) in pixels of what a network says relative to its priors.

    Parameters
    ----------
    boxes : np.ndarray (A, 4)
        Offsets of centers and logarithms of sizes, in units of the variances.
    size : (int, int)
        Height and width of the network's input.

    Raises
    ------
    UserError
        It has another number of them: what its priors are is not known.
    """
    known = priors(size)
    if len(known) != len(boxes):
        raise UserError(
            f"the network's {len(boxes)} boxes are relative to priors that eq_tvm does not know (for an input of "
            f"{size[0]} x {size[1]} it knows {len(known)}, of Ultra-Light-Fast-Generic-Face-Detector): export the "
            "network with its boxes decoded, as corners from 0 to 1"
        )
    center = known[:, :2] + _CENTER * boxes[:, :2] * known[:, 2:]
    sizes = known[:, 2:] * np.exp(_SIZE * boxes[:, 2:])
    return np.concatenate([center - sizes / 2, center + sizes / 2], axis=1)


def priors(size: tuple[int, int]) -> np.ndarray:
    """Center and size (A, 4) of each prior in pixels: row by row, the sizes of a place behind each other."""
    height, width = size
    found = []
    for stride, sizes in _MAPS:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, square = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sizes, indexing="ij")
        # sizes beyond the image's end at its own
        parts = x * width / columns, y * height / rows, np.minimum(square, width), np.minimum(square, height)
        found.append(np.stack(parts, axis=-1).reshape(-1, 4))
    return np.concatenate(found)
