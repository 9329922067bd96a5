import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import FoldPadding
from eq_tvm.passes.graph.rewrite import Graph

SHAPE = (1, 4, 7, 6)


def pad(x, *spatial, value=0.0, channels=(0, 0), mode="constant"):
    return relax.op.nn.pad(x, [0, 0, *channels, *spatial], mode, value)


def conv(x, **attrs):
    return relax.op.nn.conv2d(x, const(6, 4, 3, 3), **attrs)


def pool(x, **attrs):
    return relax.op.nn.avg_pool2d(x, (3, 3), (2, 2), **attrs)


def max_pool(x, **attrs):
    return relax.op.nn.max_pool2d(x, (3, 3), (2, 2), **attrs)


CASES = {
    "conv": (lambda x: conv(pad(x, 0, 1, 0, 1), strides=2), ["nn.conv2d"]),
    "conv with padding": (lambda x: conv(pad(x, 2, 0, 1, 3), padding=(1, 0, 2, 1)), ["nn.conv2d"]),
    "two pads": (lambda x: conv(pad(pad(x, 1, 1, 1, 1), 0, 1, 0, 0)), ["nn.conv2d"]),
    "another value": (lambda x: conv(pad(x, 1, 1, 1, 1, value=1.0)), ["nn.pad", "nn.conv2d"]),
    "channels": (lambda x: relax.op.nn.conv2d(pad(x, 1, 1, 1, 1, channels=(1, 1)), const(2, 6, 3, 3)), None),
    "reflection": (lambda x: conv(pad(x, 1, 1, 1, 1, mode="reflect")), ["nn.pad", "nn.conv2d"]),
    "max pool": (lambda x: relax.op.nn.max_pool2d(pad(x, 1, 1, 1, 1), (3, 3)), ["nn.pad", "nn.max_pool2d"]),
    "max pool of lowest": (
        lambda x: max_pool(pad(x, 1, 1, 0, 2, value=-np.inf), padding=(1, 0, 0, 0)),
        ["nn.max_pool2d"],
    ),
    "max pool behind relu": (
        lambda x: max_pool(pad(relax.op.nn.relu(x), 1, 1, 0, 2), padding=(1, 0, 0, 0)),
        ["nn.relu", "nn.max_pool2d"],
    ),
    "max pool behind clip": (lambda x: max_pool(pad(relax.op.clip(x, 0, 6), 1, 1, 1, 1)), ["clip", "nn.max_pool2d"]),
    "max pool behind clip below 0": (
        lambda x: max_pool(pad(relax.op.clip(x, -1, 6), 1, 1, 1, 1)),
        ["clip", "nn.pad", "nn.max_pool2d"],
    ),
    "windows of padding": (lambda x: max_pool(pad(x, 3, 1, 0, 2, value=-np.inf)), ["nn.pad", "nn.max_pool2d"]),
    "mean": (lambda x: pool(pad(x, 1, 1, 0, 1)), ["nn.avg_pool2d"]),
    "mean that counts": (lambda x: pool(pad(x, 1, 1, 0, 1), padding=1, count_include_pad=True), ["nn.avg_pool2d"]),
    "mean that does not": (lambda x: pool(pad(x, 1, 1, 0, 1), padding=1), ["nn.pad", "nn.avg_pool2d"]),
    "mean rounded up": (lambda x: pool(pad(x, 1, 1, 0, 1), ceil_mode=True), ["nn.pad", "nn.avg_pool2d"]),
}


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_cases(make, expected):
    assert apply(module(make, SHAPE), FoldPadding()) == (expected or ["nn.pad", "nn.conv2d"])


def test_padding_used_elsewhere():
    def make(x):
        padded = pad(x, 1, 1, 1, 1)
        return relax.Tuple([padded, conv(padded)])

    mod = module(make, SHAPE)
    assert sorted(apply(mod, FoldPadding())) == ["nn.conv2d", "nn.pad"]


widths = st.tuples(*[st.integers(0, 3)] * 4)


@hypothesis.given(outer=widths, own=widths, stride=st.integers(1, 2), dilation=st.integers(1, 2))
@hypothesis.settings(max_examples=10)
def test_widths_add_up(outer, own, stride, dilation):
    mod = module(lambda x: conv(pad(x, *outer), padding=own, strides=stride, dilation=dilation), SHAPE)
    apply(mod, FoldPadding())
    (folded,) = Graph(FoldPadding()(mod)).values.values()
    top, bottom, left, right = outer
    assert [int(width) for width in folded.attrs.padding] == [
        own[0] + top,
        own[1] + left,
        own[2] + bottom,
        own[3] + right,
    ]
