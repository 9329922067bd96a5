"""Transposed convolutions as convolutions: one for each phase of the stride, whose results are interleaved."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape

_LANES = 16  # output channels that a convolution pays for at least, about


@relax_pass
class ExpandTransposed:
    """Replace ``conv2d_transpose`` with constant weights by convolutions and an interleaving of their results.

    Along one axis, with the stride s, result q s + r (its *phase* is r) is the sum of x[q + t] w[k] over the taps k
    with r + padding - k dilation = t s: a convolution for each r, at the resolution of the input (Shi et al., Is the
    deconvolution layer the same as a convolutional layer?, arXiv 1609.07009). The phases are channels of one tensor; a
    reshape, a transpose and a reshape bring them to their places.

    Phases with other taps than the others have convolutions of their own; or, where these would have few channels, all
    are one convolution whose window has room for the taps of each, some of them zero.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _expand)


@dataclass(frozen=True)
class _Window:
    """What a phase reads along an axis: x[q + first + i step] for the i-th of `taps`, places in the kernel or -1."""

    first: int
    step: int
    taps: tuple[int, ...]

    @property
    def last(self) -> int:
        return self.first + self.step * (len(self.taps) - 1)


@dataclass(frozen=True)
class _Axis:
    """An axis of the transposed convolution, with a window for each phase."""

    size: int
    out: int
    windows: tuple[_Window, ...]

    @property
    def phases(self) -> int:
        return len(self.windows)

    @property
    def rows(self) -> int:
        """Results of a phase; those of the last ones may be one too many."""
        return -(-self.out // self.phases)

    def joined(self) -> "_Axis":
        """With one window for all phases."""
        first, last = min(w.first for w in self.windows), max(w.last for w in self.windows)
        step = math.gcd(*(w.step for w in self.windows), *(w.first - first for w in self.windows)) or 1
        windows = []
        for window in self.windows:
            taps = [-1] * ((last - first) // step + 1)
            for i, tap in enumerate(window.taps):
                taps[(window.first + i * window.step - first) // step] = tap
            windows.append(_Window(first, step, tuple(taps)))
        return _Axis(self.size, self.out, tuple(windows))

    def padding(self, window: _Window) -> tuple[int, int]:
        """What is padded in front and behind for one window; negative where it leaves a part out."""
        return -window.first, self.rows - 1 + window.last - (self.size - 1)


def _expand(_graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.nn.conv2d_transpose":
        return None
    weights, attrs = array(value.args[1]), value.attrs
    if weights is None or weights.dtype != np.float32 or (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "IOHW"):
        return None
    groups = int(attrs.groups)
    kernels = _oihw(weights, groups)
    axes = [_axis(value, axis) for axis in range(2)]
    joined = [axis.joined() for axis in axes]
    phases, (whole, *_) = list(product(*(axis.windows for axis in axes))), list(product(*(a.windows for a in joined)))
    if groups == 1 and _cost([whole], len(phases) * len(kernels)) <= _cost(phases, len(kernels)):
        stacked = [_taps(kernels, *windows) for windows in product(*(axis.windows for axis in joined))]
        result = _convolution(value.args[0], np.concatenate(stacked), axes, whole, 1)
    else:
        results = [_convolution(value.args[0], _taps(kernels, *phase), axes, phase, groups) for phase in phases]
        result = results[0] if len(results) == 1 else relax.op.concat(results, axis=1)
    return {var: _interleaved(result, axes, shape(value))}


def _axis(call: relax.Call, axis: int) -> _Axis:
    """Along axis 0 (height) or 1 (width)."""
    attrs, kernel = call.attrs, shape(call.args[1])[2 + axis]
    stride, dilation, padding = (int(values[axis]) for values in (attrs.strides, attrs.dilation, attrs.padding))
    size, out = shape(call.args[0])[2 + axis], shape(call)[2 + axis]
    windows = []
    for phase in range(stride):
        places = sorted((phase + padding - k * dilation, k) for k in range(kernel))
        found = [(place // stride, k) for place, k in places if place % stride == 0]
        found = [(first, k) for first, k in found if -(-out // stride) > -first and first < size]  # others read padding
        taps = tuple(k for _, k in found) or (-1,)
        windows.append(_Window(found[0][0] if found else 0, found[1][0] - found[0][0] if len(found) > 1 else 1, taps))
    return _Axis(size, out, tuple(windows))


def _oihw(weights: np.ndarray, groups: int) -> np.ndarray:
    """(I, O / groups, KH, KW) as (O, I / groups, KH, KW)."""
    inputs, outputs, *kernel = weights.shape
    by_group = weights.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    return by_group.reshape(groups * outputs, inputs // groups, *kernel)


def _taps(kernels: np.ndarray, down: _Window, across: _Window) -> np.ndarray:
    """The kernel of a phase, with zeros where there is no tap."""
    padded = np.pad(kernels, [(0, 0), (0, 0), (0, 1), (0, 1)])  # a tap of -1 reads the last
    return padded[:, :, list(down.taps)][:, :, :, list(across.taps)]


def _cost(windows: list[tuple[_Window, ...]], channels: int) -> int:
    """Products of a place, about, of a convolution with so many output channels for each pair of windows."""
    return sum(len(down.taps) * len(across.taps) for down, across in windows) * -(-channels // _LANES)


def _convolution(
    data: relax.Expr, kernels: np.ndarray, axes: list[_Axis], windows: tuple[_Window, ...], groups: int
) -> relax.Expr:
    """One with (N, O, rows, rows) results."""
    (top, bottom), (left, right) = (axis.padding(window) for axis, window in zip(axes, windows, strict=True))
    begin, end = [max(0, -top), max(0, -left)], [axes[0].size, axes[1].size]
    end = [size + min(0, behind) for size, behind in zip(end, (bottom, right), strict=True)]
    if begin != [0, 0] or end != [axes[0].size, axes[1].size]:
        data = relax.op.strided_slice(data, [2, 3], begin, end, [1, 1])
    padding = [max(0, width) for width in (top, left, bottom, right)]
    dilation = [window.step for window in windows]
    return relax.op.nn.conv2d(data, relax.const(kernels), 1, padding, dilation, groups)


def _interleaved(phases: relax.Expr, axes: list[_Axis], result: tuple[int, ...]) -> relax.Expr:
    """(N, phases * O, H, W), the channels in the order of phases, as (N, O, H * phases, W * phases), cut to size."""
    (batch, channels, *_), (down, across) = result, (axis.phases for axis in axes)
    rows, columns = (axis.rows for axis in axes)
    if (down, across) != (1, 1):
        phases = relax.op.reshape(phases, (batch, down, across, channels, rows, columns))
        phases = relax.op.permute_dims(phases, (0, 3, 4, 1, 5, 2))
        phases = relax.op.reshape(phases, (batch, channels, rows * down, columns * across))
    if (rows * down, columns * across) == result[2:]:
        return phases
    return relax.op.strided_slice(phases, [2, 3], [0, 0], list(result[2:]), [1, 1])
