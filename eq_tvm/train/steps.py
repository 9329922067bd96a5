"""Gradient descent on batches of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from eq_tvm.errors import UserError
from eq_tvm.train.images import TrainingImages
from eq_tvm.train.losses import distillation
from eq_tvm.train.network import TrainedNetwork

# What the learning rate is multiplied by, for parameters whose names hold these words: those of logarithms and odds
# are in other units than weights.
_RATES = {"log_alpha": 150.0, "log_": 10.0}
_WARM, _FIRST = 0.05, 0.005  # of the steps as many with a growing rate, which begins as in that part of all
_BATCH = 256  # images that are only looked at, at a time

_MOST_LOG = 80.0  # of a scale: beyond 87 float32 has 0 or infinity
_LOWER = "take a lower --learning-rate"

Penalty = Callable[[], Tensor]


def descend(
    network: TrainedNetwork,
    teacher: TrainedNetwork,
    batches: Iterator[tuple[list[Tensor], Tensor | None]],
    steps: int,
    rate: float,
    penalty: Penalty | None = None,
) -> Iterator[float]:
    """Train by Adam, with a learning rate that falls to 0 as a cosine; yields the loss of each step.

    Parameters
    ----------
    network, teacher : TrainedNetwork
        What is trained, and the float network that it learns from.
    batches : iterator of (inputs, labels or None)
    steps : int
    rate : float
        The learning rate of weights, on average: each layer's is in parts of how large its weights are, since a step
        of Adam is as long whatever it changes. Scales and gates have greater ones.
    penalty : callable, optional
        What is added to the loss.

    Raises
    ------
    UserError
        The loss, a weight or a scale is not finite any more.
    """
    optimizer = torch.optim.Adam(_groups(network, rate))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _course(step / max(steps, 1)))
    for _, (inputs, labels) in zip(range(steps), batches, strict=False):
        network.train()  # who reads the losses may have judged it in between
        with torch.no_grad():
            taught = teacher(*inputs)
        loss = distillation(network(*inputs), taught, network.kinds, labels)
        if not loss.isfinite():
            raise UserError(f"training diverges: its loss is {loss.item()}; {_LOWER} than {rate:g}")
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty()).backward()
        optimizer.step()
        schedule.step()
        if not _is_sound(network):  # the next step would say so, but a file may be written before it
            raise UserError(f"training diverges: weights or scales are not finite; {_LOWER} than {rate:g}")
        yield loss.item()


def decisions(network: TrainedNetwork, images: TrainingImages) -> Tensor:
    """(N, vectors) what the first output decides, for each of the images that are not trained on.

    As `evaluate` counts it: the place of the highest score in each vector along the last axis. A single number decides
    nothing: (N, 0).
    """
    network.eval()
    with torch.no_grad():
        return torch.cat([_decided(network(*inputs)[0]) for inputs in images.held(_BATCH)])


def _is_sound(network: TrainedNetwork) -> bool:
    """Whether all that is learned is finite, scales as well: what is learned is their logarithm."""
    return all(
        bool((value.abs() < (_MOST_LOG if "log_scale" in name else torch.inf)).all())
        for name, value in network.named_parameters()
    )


def _decided(output: Tensor) -> Tensor:
    if output[0].numel() == 1:
        return output.new_empty((len(output), 0))
    axis = max(i for i, size in enumerate(output.shape) if size > 1 and i)
    return output.argmax(axis).reshape(len(output), -1)


def _groups(network: TrainedNetwork, rate: float) -> list[dict[str, object]]:
    sizes = {i: weight.detach().square().mean().sqrt() for i, weight in network.weights.items()}
    typical = torch.stack(list(sizes.values())).median().clamp_min(1e-12)
    return [
        {"params": [parameter], "lr": rate * _factor(name, {i: float(size / typical) for i, size in sizes.items()})}
        for name, parameter in network.named_parameters()
    ]


def _factor(name: str, sizes: dict[str, float]) -> float:
    """Of a parameter's learning rate, by its name."""
    kind, _, layer = name.partition(".")
    if kind in ("weights", "biases"):
        return sizes[layer]
    return next((factor for word, factor in _RATES.items() if word in name), 1.0)


def _course(done: float) -> float:
    """The learning rate, in parts of its greatest, when that part of the steps is done."""
    return min(1.0, (done + _FIRST) / _WARM) * 0.5 * (1 + math.cos(math.pi * done))
