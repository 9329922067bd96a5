"""What training minimizes: the distance from the float network's outputs, or from labels as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_TEMPERATURE = 2.0


def distillation(outputs: Sequence[Tensor], taught: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
    """The loss of a batch.

    Scores (N, classes) by the relative entropy of softened probabilities (Hinton et al., arXiv 1503.02531), at a
    temperature of 2; any other output by its mean square error, in parts of the teacher's mean square.

    Parameters
    ----------
    outputs, taught : sequence of Tensor
        Of the quantized network, and of the float network for the same images.
    labels : Tensor (N,), optional
        The cross-entropy of the first output is added.
    """
    losses = [_distance(output, target) for output, target in zip(outputs, taught, strict=True)]
    if labels is not None:
        losses.append(F.cross_entropy(outputs[0], labels))
    return torch.stack(losses).sum()


def _distance(output: Tensor, target: Tensor) -> Tensor:
    if output.ndim != 2:
        return F.mse_loss(output, target) / target.square().mean().clamp_min(1e-12)
    entropy = F.kl_div(
        F.log_softmax(output / _TEMPERATURE, 1),
        F.log_softmax(target / _TEMPERATURE, 1),
        reduction="batchmean",
        log_target=True,
    )
    return entropy * _TEMPERATURE**2
