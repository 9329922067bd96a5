"""What is drawn without weights: functions of (draw, net, x), as in `drawn_layers.py`.

`MOVES` want the axes (N, C, H, W), `ANY_RANK` none.
"""

from __future__ import annotations

import math

import numpy as np
from generated import ACTIVATIONS
from hypothesis import assume
from hypothesis import strategies as st

_FUNCTIONS = {
    "LeakyRelu": {"alpha": 0.2},
    "Elu": {"alpha": 0.7},
    "Selu": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
    "Abs": {},
    "Neg": {},
    "Sin": {},
    "Cos": {},
    "Sinh": {},
    "Cosh": {},
    "Atan": {},
    "Exp": {},
    "Erf": {},
    "ThresholdedRelu": {"alpha": 0.3},
    "Celu": {"alpha": 0.8},
}
_STEEP = {"Sinh", "Cosh", "Exp"}


def activation(draw, net, x):
    kinds = [kind for kind in ACTIVATIONS if kind != "PRelu" or len(net.shapes[x]) == 4]
    kind = draw(st.sampled_from(kinds + list(_FUNCTIONS)))
    if kind in _STEEP:  # of small numbers: beside large ones, sums lose what is small in any order of their own
        x = net.node("Tanh", x)
    return net.node(kind, x, **_FUNCTIONS[kind]) if kind in _FUNCTIONS else net.act(x, kind)


def clips(draw, net, x):
    """Bounds of any order of signs; Relu before it, whose result is read elsewhere, too."""
    bounds = [draw(st.sampled_from(["", -1.0, 0.0, 0.25])), draw(st.sampled_from(["", 0.5, 1.0, 6.0]))]
    bounds = [bound if bound == "" else np.float32(bound) for bound in bounds]
    if draw(st.booleans()):
        first = net.node("Relu", x)
        return [first, net.node("Clip", first, *bounds)]
    return net.node("Clip", x, *bounds)


def pool(draw, net, x):
    size = net.shapes[x][2:]
    kernel = [draw(st.integers(1, min(n + 1, 5))) for n in size]
    strides = [draw(st.integers(1, 3)) for _ in size]
    pads = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    assume(all(n + a + b >= k for n, k, a, b in zip(size, kernel, pads[:2], pads[2:], strict=True)))
    options = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        return net.node("MaxPool", x, **options)
    return net.node("AveragePool", x, count_include_pad=draw(st.integers(0, 1)), **options)


def global_pool(draw, net, x):
    kind = draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool", "ReduceMean"]))
    return net.node(kind, x, **({"axes": [2, 3], "keepdims": draw(st.integers(0, 1))} if kind == "ReduceMean" else {}))


def resize(draw, net, x):
    *outer, height, width = net.shapes[x]
    mode = draw(st.sampled_from(["nearest", "nearest", "linear", "linear", "cubic"]))
    options = {
        "mode": mode,
        "coordinate_transformation_mode": draw(
            st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
        ),
    }
    if mode == "nearest":
        options["nearest_mode"] = draw(st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]))
    if draw(st.booleans()):
        scales = [draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0])) for _ in "hw"]
        sizes = [n * scale for n, scale in zip((height, width), scales, strict=True)]
        assume(all(1 <= size <= 40 for size in sizes))
        # where it is no whole number of rows, what it means for them to align is refused
        assume(options["coordinate_transformation_mode"] != "align_corners" or all(size % 1 == 0 for size in sizes))
        return net.node("Resize", x, "", np.float32([1, 1, *scales]), **options)
    sizes = [draw(st.integers(1, 24)) for _ in "hw"]
    return net.node("Resize", x, "", "", np.int64([*outer, *sizes]), **options)


def blocks(draw, net, x):
    _, channels, height, width = net.shapes[x]
    if channels % 4 == 0 and draw(st.booleans()):
        return net.node("DepthToSpace", x, blocksize=2, mode=draw(st.sampled_from(["DCR", "CRD"])))
    assume(height % 2 == width % 2 == 0 and channels <= 16)
    return net.node("SpaceToDepth", x, blocksize=2)


def pad(draw, net, x):
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge"]))
    most = [3 if mode != "reflect" else min(n - 1, 3) for n in net.shapes[x][2:]] * 2
    widths = [draw(st.integers(0, n)) for n in most]
    more = [np.float32(draw(st.sampled_from([0.0, 0.5])))] if mode == "constant" and draw(st.booleans()) else []
    return net.node("Pad", x, np.int64([0, 0, *widths[:2], 0, 0, *widths[2:]]), *more, mode=mode)


def lrn(draw, net, x):
    return net.node("LRN", x, size=draw(st.sampled_from([1, 3, 5])), alpha=0.01)


def deeper(draw, net, x):
    """A constant with an axis more than an image."""
    shape = draw(st.sampled_from([(1, 1, 1, 1, 1), (2, *[1] * 4), (2, 1, net.shapes[x][1], 1, 1)]))
    kind = draw(st.sampled_from(["Add", "Mul"]))
    return net.node(kind, *draw(st.permutations([x, net.constant(net.noise(*shape, around=1.0))])))


def slice_(draw, net, x):
    shape = net.shapes[x]
    assume(shape)
    axis = draw(st.integers(0, len(shape) - 1))
    start = draw(st.integers(0, shape[axis] - 1))
    end = draw(st.integers(start + 1, shape[axis] + 1))
    step = draw(st.sampled_from([1, 1, 2, 3]))
    if draw(st.integers(0, 4)) == 0:
        return net.node(
            "Slice", x, np.int64([-1]), np.int64([-(2**31)]), np.int64([axis - len(shape)]), np.int64([-step])
        )
    return net.node("Slice", x, np.int64([start]), np.int64([end]), np.int64([axis]), np.int64([step]))


def gather(draw, net, x):
    shape = net.shapes[x]
    assume(shape)
    axis = draw(st.integers(0, len(shape) - 1))
    picked = st.integers(-shape[axis], shape[axis] - 1)
    if draw(st.integers(0, 4)) == 0:
        return net.node("Gather", x, np.int64(draw(picked)), axis=axis)
    return net.node("Gather", x, np.int64(draw(st.lists(picked, min_size=1, max_size=8))), axis=axis)


def split(draw, net, x):
    shape = net.shapes[x]
    axes = [axis for axis, extent in enumerate(shape) if extent > 1]
    assume(axes)
    axis = draw(st.sampled_from(axes))
    first = draw(st.integers(1, shape[axis] - 1))
    return net.node("Split", x, np.int64([first, shape[axis] - first]), outputs=2, axis=axis)


def transpose(draw, net, x):
    return net.node("Transpose", x, perm=[*draw(st.permutations(range(len(net.shapes[x]))))])


def reshape(draw, net, x):
    shape = net.shapes[x]
    total = math.prod(shape)
    first = draw(st.sampled_from([n for n in range(1, min(total, 100) + 1) if total % n == 0]))
    second = draw(st.sampled_from([n for n in range(1, 20) if (total // first) % n == 0]))
    shapes = [(first, -1), (1, first, second, -1), (shape[0] if shape else 1, -1), (-1,), (first, second, -1)]
    return net.reshape(x, *draw(st.sampled_from(shapes)))


def reduce_(draw, net, x):
    shape = net.shapes[x]
    assume(shape)
    axis = st.integers(-len(shape), len(shape) - 1)
    axes = draw(st.lists(axis, min_size=1, max_size=2, unique_by=lambda each: each % len(shape)))
    kind = draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"]))
    return net.node(kind, x, axes=axes, keepdims=draw(st.integers(0, 1)))


def softmax(draw, net, x):
    assume(net.shapes[x])
    axis = draw(st.integers(-len(net.shapes[x]), len(net.shapes[x]) - 1))
    return net.node(draw(st.sampled_from(["Softmax", "LogSoftmax"])), x, axis=axis)


def arithmetic(draw, net, x):
    """With a constant that is broadcast, on either side; of Div never 0."""
    shape = list(net.shapes[x])
    kept = draw(st.integers(0, len(shape)))
    other = [1 if draw(st.booleans()) else extent for extent in shape[kept:]]
    constant = np.abs(net.noise(*other, around=1.5)) + np.float32(0.5)
    kind = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
    operands = [x, net.constant(constant)]
    return net.node(kind, *(operands if kind == "Div" else draw(st.permutations(operands))))


def doubled(draw, net, x):
    for _ in range(draw(st.integers(1, 4))):
        x = net.node("Add", x, x)
    return x


def concat(draw, net, x):
    """With another tensor that fits."""
    shape, pairs = net.shapes[x], []
    for name, other in net.shapes.items():
        if len(other) == len(shape):
            differ = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
            pairs += [(name, axis) for axis in range(len(shape)) if set(differ) <= {axis}]
    assume(pairs)
    name, axis = draw(st.sampled_from(pairs))
    return net.node("Concat", *draw(st.permutations([x, name])), axis=axis)


def combine(draw, net, x):
    """With another tensor of the same shape, or one that is broadcast."""
    shape = net.shapes[x]
    others = [name for name, other in net.shapes.items() if _fits(shape, other)]
    kind = draw(st.sampled_from(["Add", "Add", "Mul", "Sub", "Max", "Min"]))
    return net.node(kind, *draw(st.permutations([x, draw(st.sampled_from(others))])))


MOVES = [pool, pool, global_pool, resize, blocks, pad, lrn, deeper]
ANY_RANK = [activation, activation, clips, slice_, gather, split, transpose, reshape, reduce_, softmax]
ANY_RANK += [arithmetic, doubled, concat, combine, combine]


def _fits(shape, other):
    try:
        return np.broadcast_shapes(shape, other) == shape
    except ValueError:
        return False
