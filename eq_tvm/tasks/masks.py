"""Classes of pixels, from the outputs of a network that segments."""

from __future__ import annotations

import numpy as np

from eq_tvm.preprocess import Placement


def mask(output: np.ndarray) -> np.ndarray:
    """The class (H, W) of each place, int64.

    Parameters
    ----------
    output : np.ndarray
        Of one image. Scores (1, C, H, W), whose highest counts; of one channel probabilities, above 0.5 of class 1, or
        where some are not from 0 to 1 logits, above 0. Integers or truth values (1, H, W) or (1, 1, H, W) are classes.
    """
    if output.dtype.kind in "iub":
        return output.reshape(output.shape[-2:]).astype(np.int64)
    scores = output.reshape(output.shape[-3:])
    if len(scores) == 1:
        probabilities = scores.min() >= 0 and scores.max() <= 1
        return (scores[0] > (0.5 if probabilities else 0)).astype(np.int64)
    return scores.argmax(axis=0)


def on_image(classes: np.ndarray, placement: Placement, outside: int) -> np.ndarray:
    """The nearest class for each pixel of the image that was placed so; another one where the network saw none."""
    rows, columns = placement.places_in_map(*classes.shape)
    seen = (rows >= 0)[:, None] & (columns >= 0)
    return np.where(seen, classes[rows[:, None], columns], outside)
