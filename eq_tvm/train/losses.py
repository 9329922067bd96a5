"""What training minimizes: the distance from the float network's outputs, or from labels as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_TEMPERATURE = 6.0  # high, as a network says little else about images that it is sure of: those it was trained on


def distillation(
    outputs: Sequence[Tensor], taught: Sequence[Tensor], kinds: Sequence[str], labels: Tensor | None = None
) -> Tensor:
    """The loss of a batch.

    Scores (N, classes), or their softmax, by the relative entropy of softened probabilities (Hinton et al., arXiv
    1503.02531), at a temperature of 6; any other output by its mean square error, in parts of the teacher's mean
    square.

    Parameters
    ----------
    outputs, taught : sequence of Tensor
        Of the quantized network, and of the float network for the same images.
    kinds : sequence of str
        What each output is, a key of `DISTANCES`: see `TrainedNetwork.kinds`.
    labels : Tensor (N,), optional
        The cross-entropy of the first output is added, which must be scores or probabilities.
    """
    losses = [DISTANCES[kind](*both) for kind, *both in zip(kinds, outputs, taught, strict=True)]
    if labels is not None:
        scores = _logarithm(outputs[0]) if kinds[0] == PROBABILITIES else outputs[0]
        losses.append(F.cross_entropy(scores, labels))
    return torch.stack(losses).sum()


def sampled(outputs: Sequence[Tensor], kinds: Sequence[str]) -> Tensor:
    """The loss with targets that are drawn from what the network says itself, for each image by itself.

    Its gradient is 0 on average, and has the second derivative of `distillation` at the float network (as far as that
    comes from the outputs) as covariance, in parts of the images of the batch: Martens, arXiv 1412.1193, section 9.

    Parameters
    ----------
    outputs : sequence of Tensor (N, ...)
    kinds : sequence of str
    """
    return torch.stack([_SAMPLED[kind](output) for kind, output in zip(kinds, outputs, strict=True)]).sum()


def _sampled_classes(output: Tensor) -> Tensor:
    softened = output / _TEMPERATURE
    classes = torch.multinomial(softened.detach().softmax(1), 1)[:, 0]
    return F.cross_entropy(softened, classes) * _TEMPERATURE


def _sampled_numbers(output: Tensor) -> Tensor:
    fixed = output.detach()
    each = 2 / (fixed[0].numel() * fixed.square().mean().clamp_min(1e-12))
    return (output * torch.randn_like(fixed)).sum() * each.sqrt() / len(output)


def _entropy(output: Tensor, target: Tensor) -> Tensor:
    entropy = F.kl_div(
        F.log_softmax(output / _TEMPERATURE, 1),
        F.log_softmax(target / _TEMPERATURE, 1),
        reduction="batchmean",
        log_target=True,
    )
    return entropy * _TEMPERATURE**2


def _square(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target) / target.square().mean().clamp_min(1e-12)


def _logarithm(probabilities: Tensor) -> Tensor:
    """Scores that have them as softmax."""
    return probabilities.clamp_min(1e-12).log()


SCORES, PROBABILITIES, NUMBERS = "scores", "probabilities", "numbers"
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    SCORES: _entropy,
    PROBABILITIES: lambda output, target: _entropy(_logarithm(output), _logarithm(target)),
    NUMBERS: _square,
}
_SAMPLED: dict[str, Callable[[Tensor], Tensor]] = {
    SCORES: _sampled_classes,
    PROBABILITIES: lambda output: _sampled_classes(_logarithm(output)),
    NUMBERS: _sampled_numbers,
}
