import hypothesis
import pytest
from hypothesis import strategies as st
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import ExpandTransposed

MOVES = ["reshape", "permute_dims", "reshape"]


def transposed(weights, **attrs):
    return lambda x: relax.op.nn.conv2d_transpose(x, const(*weights), **attrs)


CASES = {
    "kernel as large as the stride": (transposed((4, 32, 2, 2), strides=2), ["nn.conv2d", *MOVES]),
    "many channels": (transposed((4, 32, 4, 4), strides=2, padding=1), [*["nn.conv2d"] * 4, "concat", *MOVES]),
    "few channels": (transposed((4, 3, 9, 9), strides=3, padding=4), ["nn.conv2d", *MOVES, "strided_slice"]),
    "odd": (transposed((4, 3, 3, 3), strides=2, padding=1), ["nn.conv2d", *MOVES, "strided_slice"]),
    "one row": (transposed((4, 3, 1, 4), strides=(1, 2), padding=(0, 1)), ["nn.conv2d", *MOVES]),
    "stride of 1": (transposed((4, 3, 3, 3), padding=1), ["nn.conv2d"]),
    "nothing in a phase": (transposed((4, 3, 1, 1), strides=2), ["nn.conv2d", *MOVES, "strided_slice"]),
    "grouped": (transposed((4, 3, 2, 2), strides=2, groups=2), [*["nn.conv2d"] * 4, "concat", *MOVES]),
}


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_cases(make, expected):
    assert apply(module(make, (2, 4, 5, 6)), ExpandTransposed()) == expected


def test_phases_that_read_padding_alone():
    make = transposed((4, 3, 1, 2), strides=(1, 2), padding=(0, 5, 0, 0), dilation=(1, 5), output_padding=(0, 1))
    assert "nn.conv2d" in apply(module(make, (1, 4, 2, 1)), ExpandTransposed())


def test_weights_that_are_no_constant_stay():
    def make(x, w):
        return relax.op.nn.conv2d_transpose(x, w, strides=2)

    assert apply(module(make, (1, 4, 5, 6), (4, 3, 2, 2)), ExpandTransposed()) == ["nn.conv2d_transpose"]


@st.composite
def axis(draw):
    stride, kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    reach = dilation * (kernel - 1)
    before, after = draw(st.integers(0, min(3, reach))), draw(st.integers(0, min(3, reach)))
    return stride, kernel, dilation, before, after, draw(st.integers(0, stride - 1)), draw(st.integers(1, 6))


@hypothesis.settings(deadline=None, max_examples=15)
@hypothesis.given(axis(), axis(), st.sampled_from([(1, 3), (1, 40), (4, 1), (2, 5)]))
def test_any_geometry(down, across, how):
    groups, outputs = how
    strides, kernel, dilation, before, after, extra, size = zip(down, across, strict=True)
    attrs = {"strides": strides, "padding": (*before, *after), "dilation": dilation, "output_padding": extra}
    rows = [
        (n - 1) * s - b - a + d * (k - 1) + 1 + e
        for n, s, b, a, d, k, e in zip(size, strides, before, after, dilation, kernel, extra, strict=True)
    ]
    hypothesis.assume(min(rows) > 0)
    make = transposed((4, outputs, *kernel), **attrs, groups=groups)
    operators = apply(module(make, (1, 4, *size)), ExpandTransposed(), tolerance=1e-4)
    assert "nn.conv2d_transpose" not in operators
