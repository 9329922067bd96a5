"""Calibration images moved a little and mirrored: more of what a network may see, where little is at hand."""

from dataclasses import replace

import numpy as np

from ..quantized.calibration_images import images_at_once
from ..quantized.problem import Problem

_MOST = 8  # views of an image, itself included
_SHIFT = 8  # parts of the height and of the width that it is moved by, at most
_LEAST = 8  # rows and columns of an image


def with_views(problem: Problem) -> Problem:
    """The problem with as many of its images as fit into memory at once, and behind them as many views of each.

    The images come first, then a view of each of them, and so on. What is no image, but for some channels of rows and
    columns, has no views.
    """
    problem = problem.at_once()
    views = min(_MOST, images_at_once(problem.net) // problem.count)
    if views < 2 or not all(_is_image(x) for x in problem.inputs.values()):
        return problem
    inputs = {
        i: np.concatenate([x, *(_view(x, np.random.default_rng(k)) for k in range(views - 1))])
        for i, x in problem.inputs.items()
    }
    return replace(problem, inputs=inputs)


def _is_image(x: np.ndarray) -> bool:
    return x.dtype == np.float32 and x.ndim == 5 and x.shape[2] in (1, 3) and min(x.shape[3:]) >= _LEAST


def _view(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of each of (N, batch, C, H, W): what comes in from beyond the border is mirrored there."""
    height, width = x.shape[3:]
    room = height // _SHIFT, width // _SHIFT
    padded = np.pad(x, [(0, 0)] * 3 + [(room[0], room[0]), (room[1], room[1])], mode="reflect")
    result = np.empty_like(x)
    for image, whole in zip(result, padded, strict=True):
        top, left = (rng.integers(0, 2 * each + 1) for each in room)
        part = whole[..., top : top + height, left : left + width]
        image[...] = part[..., ::-1] if rng.random() < 1 / 2 else part
    return result
