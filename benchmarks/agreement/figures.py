"""How far two engines that run one quantized network agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from peers import detection
from peers.trained import FACES

_ROUNDING = 1e-5


def compare(
    ours: list[np.ndarray], theirs: list[np.ndarray], data_set: str, step: float | None = None
) -> dict[str, object]:
    """Figures of the outputs for all images (N, ...).

    Parameters
    ----------
    ours, theirs : list of numpy.ndarray
    data_set : str
        Says whether outputs are scores of classes, or faces.
    step : float, optional
        What differences are divided by.

    Returns
    -------
    dict
        `n`; `difference`, the largest, and `mean`: in steps where there is one, else of the largest magnitude of that
        output; `in_steps`; `agreement`: share of images with the same decision, of faces the lesser of the shares that
        either finds of the other's; `identical`: share of images whose outputs are the same but for float32's rounding;
        `margin`: of images with another decision the largest distance of our two highest scores, in parts of the
        median one.
    """
    differences = [
        np.abs(a - b) / (step or max(np.abs(b).max(), np.finfo(np.float32).tiny))
        for a, b in zip(ours, theirs, strict=True)
    ]
    same = np.all([each.reshape(len(each), -1).max(1) < _ROUNDING for each in differences], axis=0)
    figures = {
        "n": len(same),
        "difference": float(max(each.max() for each in differences)),
        "mean": float(max(each.mean() for each in differences)),
        "in_steps": step is not None,
        "identical": float(same.mean()),
    }
    if data_set == FACES:
        found, expected = ([detection.detect(*e) for e in zip(*both, strict=True)] for both in (ours, theirs))
        faces = detection.compare(found, expected)
        return {**figures, "agreement": min(faces["recall"], faces["precision"])}
    scores, other = (outputs[0].reshape(len(same), -1) for outputs in (ours, theirs))
    agree = scores.argmax(1) == other.argmax(1)
    margins = np.diff(np.partition(scores, -2, axis=1)[:, -2:])[:, 0]
    far = margins[~agree].max() / np.median(margins) if not agree.all() else 0.0
    return {**figures, "agreement": float(agree.mean()), "margin": float(far)}


def output_step(path: Path) -> float | None:
    """The scale of a network's output, where it is quantized."""
    graph = onnx.load(path).graph
    producers = {name: node for node in graph.node for name in node.output}
    last, scale = producers[graph.output[0].name], None
    if last.op_type == "DequantizeLinear":
        scale = next((tensor for tensor in graph.initializer if tensor.name == last.input[1]), None)
    return None if scale is None else numpy_helper.to_array(scale).item()
