"""Quantizers of the integer program as PyTorch computes and differentiates them: the plain baseline, LSQ.

Learned Step Size Quantization (Esser et al., arXiv 1902.08153): scales are learned with the weights. The gradient of
rounding is taken as 1 inside of the range, that of the scale follows equation 3.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eq_tvm.errors import first_line


class LSQ(nn.Module):
    """Numbers rounded to `scale` times the integers in [lo, hi], half to even.

    Parameters
    ----------
    scale : Tensor
        float32, of a shape that numbers are divided by: one number, or one for each output channel. Its logarithm is
        what is learned, so that it stays positive, and steps are in parts of it.
    lo, hi : int
    """

    def __init__(self, scale: Tensor, lo: int, hi: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(scale.log())
        self.lo, self.hi = lo, hi

    @property
    def scale(self) -> Tensor:
        """As the integer program has it, float32."""
        return self.log_scale.exp()

    def forward(self, x: Tensor, least: Tensor | None = None) -> Tensor:
        """Quantized and dequantized; scales are `least` at least."""
        return rounded(x, self.scale if least is None else torch.maximum(self.scale, least), self.lo, self.hi)


def rounded(x: Tensor, scale: Tensor, lo: int, hi: int) -> Tensor:
    """`scale` times `clip(rint(x / scale), lo, hi)`, with LSQ's gradients of both."""
    return _Rounded.apply(x, scale, lo, hi)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, lo: int, hi: int) -> Tensor:
        ends = torch.tensor(float(lo)), torch.tensor(float(hi))
        ctx.order, ctx.shape = _in_memory(x) if scale.ndim == 0 else None, scale.shape
        scale = _matrix(scale.detach())
        result, steps = _fused(_forward, x)(_flat(x.detach(), ctx.order), scale, *ends)
        ctx.save_for_backward(steps, scale, *ends)
        return _unflat(result, ctx.order, x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        steps, scale, *ends = ctx.saved_tensors
        of_x, of_scale = _fused(_backward, steps)(_flat(gradients[0], ctx.order), steps, scale, *ends)
        return _unflat(of_x, ctx.order, gradients[0].shape), of_scale.reshape(ctx.shape), None, None


def _forward(x: Tensor, scale: Tensor, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    steps = x / scale
    return steps.round().clamp(lo, hi) * scale, steps


def _backward(gradient: Tensor, steps: Tensor, scale: Tensor, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    inside = gradient * ((steps >= lo) & (steps <= hi))
    of_scale = gradient * steps.round().clamp(lo, hi) - inside * steps
    return inside, of_scale.sum() if scale.ndim == 0 else of_scale.sum_to_size(scale.shape)


def _fused(function: Callable[..., Any], x: Tensor) -> Callable[..., Any]:
    """One loop over memory instead of eight, where that is worth a compiler's run, and there is one."""
    return _compiled(function) if x.numel() >= _LARGE and not _unable else function


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    fused = torch.compile(function, dynamic=True)

    def compute(*tensors: Tensor) -> Any:
        try:
            return fused(*tensors)
        except (RuntimeError, OSError, ImportError) as e:  # if not of the compiler, the function says it again
            inner = getattr(e, "inner_exception", e)
            _unable.append(f"{type(inner).__name__}: {first_line(inner)}")
            warnings.warn(
                f"training takes longer, as PyTorch can't compile parts of it ({_unable[0]}): it needs g++ and "
                "Python's headers (Debian packages g++ and python3-dev)",
                stacklevel=2,
            )
            return function(*tensors)

    return compute


_unable: list[str] = []  # why nothing is compiled
_LARGE = 2**16


class _Order(NamedTuple):
    """How elements follow each other in memory."""

    shape: torch.Size
    axes: tuple[int, ...]  # from the slowest to the fastest


def _in_memory(x: Tensor) -> _Order:
    channels_last = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return _Order(x.shape, (0, 2, 3, 1) if channels_last else tuple(range(x.ndim)))


def _flat(x: Tensor, order: _Order | None) -> Tensor:
    """A vector, or a matrix where each channel has its scale: PyTorch compiles for each number of axes anew."""
    return _matrix(x) if order is None else x.permute(order.axes).reshape(-1)


def _unflat(x: Tensor, order: _Order | None, shape: torch.Size) -> Tensor:
    if order is None:
        return x.reshape(shape)
    back = sorted(range(len(order.axes)), key=order.axes.__getitem__)
    return x.reshape([order.shape[axis] for axis in order.axes]).permute(back)


def _matrix(x: Tensor) -> Tensor:
    return x.flatten(1) if x.ndim > 2 else x


def integers(x: Tensor, scale: Tensor, lo: int, hi: int) -> Tensor:
    """What `rounded` multiplies by the scale."""
    return (x / scale).round().clamp(lo, hi)
