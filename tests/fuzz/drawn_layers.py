"""What is drawn with weights: functions of (draw, net, x) that add nodes behind a tensor x, and name their results.

x has the axes (N, C, H, W), but for `RANKLESS`.
"""

from __future__ import annotations

import math

import numpy as np
from generated import ACTIVATIONS
from hypothesis import assume
from hypothesis import strategies as st

MOST_CHANNELS = 70
_ACTIVATED = st.sampled_from([None, "Relu", *ACTIVATIONS])


def conv(draw, net, x, channels=None, same=False):
    """A convolution of any form; `same` keeps the size."""
    inputs, size = net.shapes[x][1], net.shapes[x][2:]
    groups = 1
    if draw(st.integers(0, 3)) == 0:
        groups = draw(st.sampled_from([n for n in range(1, inputs + 1) if inputs % n == 0]))
    if channels is None or channels % groups:
        channels = channels or groups * draw(st.integers(1, max(1, MOST_CHANNELS // groups)))
        groups = groups if channels % groups == 0 else 1
    kernel, strides, dilations, pads = zip(*(_window(draw, extent, same) for extent in size), strict=True)
    weight = net.random(channels, inputs // groups, *kernel, added=inputs // groups * math.prod(kernel))
    operands = [x, _computed(draw, net, weight)]
    if draw(st.booleans()):
        operands.append(0.1 * net.random(channels, added=1))
    begins, ends = zip(*pads, strict=True)
    y = net.node(
        "Conv", *operands, group=groups, strides=list(strides), dilations=list(dilations), pads=[*begins, *ends]
    )
    return net.act(y, draw(_ACTIVATED))


def conv_transpose(draw, net, x):
    inputs, size = net.shapes[x][1], net.shapes[x][2:]
    groups = draw(st.sampled_from([n for n in (1, 1, 2, inputs) if inputs % n == 0]))
    outputs = draw(st.integers(1, max(1, 24 // groups)))
    kernel = [draw(st.integers(1, 4)) for _ in size]
    strides = [draw(st.integers(1, 3)) for _ in size]
    pads = [draw(st.integers(0, (k - 1) // 2)) for k in kernel]
    more = [draw(st.integers(0, stride - 1)) for stride in strides]
    sizes = [(n - 1) * s + k - 2 * p + m for n, s, k, p, m in zip(size, strides, kernel, pads, more, strict=True)]
    assume(all(0 < n <= 40 for n in sizes))
    weight = net.random(inputs, outputs, *kernel, added=inputs // groups * math.prod(kernel))
    operands = [x, weight] + ([0.1 * net.random(outputs * groups, added=1)] if draw(st.booleans()) else [])
    y = net.node("ConvTranspose", *operands, group=groups, strides=strides, pads=pads * 2, output_padding=more)
    return net.act(y, draw(_ACTIVATED))


def residual(draw, net, x):
    y = conv(draw, net, x, net.shapes[x][1], same=True)
    if draw(st.booleans()):
        y = conv(draw, net, y, net.shapes[x][1], same=True)
    y = net.node("Add", *draw(st.permutations([x, y])))
    return net.act(y, draw(_ACTIVATED))


def dense_block(draw, net, x):
    for _ in range(draw(st.integers(1, 3))):
        x = net.concat(x, conv(draw, net, x, draw(st.integers(1, 12)), same=True))
    return x


def squeeze_excite(draw, net, x):
    return net.squeeze_excite(x, draw(st.sampled_from(["Sigmoid", "HardSigmoid"])))


def batch_norm(draw, net, x):
    channels = net.shapes[x][1]
    variance = np.abs(net.noise(channels, around=1.0)) + np.float32(0.1)
    y = net.node(
        "BatchNormalization", x, net.noise(channels, around=1.0), net.noise(channels), net.noise(channels), variance
    )
    return net.act(y, draw(_ACTIVATED))


def attention(draw, net, x):
    """Of the pixels, with residual connection; in the shape of x again."""
    batch, channels, height, width = net.shapes[x]
    pixels = height * width
    heads = draw(st.sampled_from([n for n in (1, 2, 4) if channels % n == 0]))
    assume(pixels <= 64)
    size = channels // heads
    tokens = net.node("Transpose", net.reshape(x, batch, channels, pixels), perm=[0, 2, 1])
    y = net.norm(tokens, channels) if draw(st.booleans()) else tokens
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        part = net.reshape(net.dense(y, channels, channels), batch, pixels, heads, size)
        parts.append(net.node("Transpose", part, perm=perm))
    scores = net.node("Mul", net.node("MatMul", *parts[:2]), np.float32(size**-0.5))
    y = net.node("MatMul", net.node("Softmax", scores, axis=-1), parts[2])
    y = net.reshape(net.node("Transpose", y, perm=[0, 2, 1, 3]), batch, pixels, channels)
    y = net.node("Add", tokens, net.dense(y, channels, channels))
    return net.reshape(net.node("Transpose", y, perm=[0, 2, 1]), batch, channels, height, width)


def head(draw, net, x):
    """A Gemm of any number of rows, of a tensor of any rank."""
    shape = net.shapes[x]
    assume(len(shape) > 0)
    axis = draw(st.integers(0, len(shape)))
    y = net.node("Flatten", x, axis=axis)
    rows, inputs = net.shapes[y]
    assume(inputs <= 2000 and rows <= 200)
    outputs = draw(st.integers(1, 20))
    attributes = {"transB": draw(st.integers(0, 1))}
    if draw(st.integers(0, 3)) == 0:
        attributes |= {"alpha": 0.5, "beta": 2.0}
    if draw(st.integers(0, 5)) == 0:
        y, attributes = net.node("Transpose", y, perm=[1, 0]), attributes | {"transA": 1}
    weight = net.random(*([outputs, inputs] if attributes["transB"] else [inputs, outputs]), added=inputs)
    operands = [y, _computed(draw, net, weight)]
    if draw(st.booleans()):
        bias = draw(st.sampled_from([(outputs,), (1, outputs), (1,), (rows, outputs), (rows, 1)]))
        operands.append(net.noise(*bias))
    return net.act(net.node("Gemm", *operands, **attributes), draw(st.sampled_from([None, "Relu", "Sigmoid"])))


def matmul(draw, net, x):
    """A dense layer of the last axis, of any rank."""
    assume(net.shapes[x])
    y = net.dense(x, net.shapes[x][-1], draw(st.integers(1, 20)))
    return net.act(y, draw(st.sampled_from([None, "Relu", "Gelu"])))


LAYERS = [conv, conv, conv, conv_transpose, residual, dense_block, squeeze_excite, batch_norm, attention]
RANKLESS = [head, matmul]


def _window(draw, extent, same):
    """Kernel, stride, dilation and (begin, end) of the padding of one axis."""
    if same:
        kernel, dilation = draw(st.sampled_from([1, 3, 3, 5])), draw(st.sampled_from([1, 1, 2]))
        return kernel, 1, dilation, (dilation * (kernel // 2),) * 2
    kernel, dilation = draw(st.sampled_from([1, 1, 2, 3, 3, 4, 5, 7])), draw(st.sampled_from([1, 1, 1, 2, 3]))
    begin, end = draw(st.integers(0, kernel - 1)), draw(st.integers(0, kernel - 1))
    if draw(st.booleans()):
        begin = end = kernel // 2
    assume(extent + begin + end >= dilation * (kernel - 1) + 1)
    return kernel, draw(st.sampled_from([1, 1, 2, 3])), dilation, (begin, end)


def _computed(draw, net, weight):
    """The weight, or what the file computes it from: constants alone."""
    match draw(st.integers(0, 11)):
        case 0:
            return net.node("Mul", np.float32(2) * weight, np.float32(0.5))
        case 1:
            perm = draw(st.permutations(range(weight.ndim)))
            return net.node("Transpose", weight.transpose(np.argsort(perm)).copy(), perm=[*perm])
        case 2:
            return net.node("Reshape", weight.ravel(), np.int64(weight.shape))
    return weight
