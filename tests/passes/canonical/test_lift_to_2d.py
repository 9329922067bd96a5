import pytest
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import LiftTo2D

CASES = {
    "conv": lambda x: relax.op.nn.conv1d(x, const(6, 2, 3), strides=2, padding=(2, 1), dilation=2, groups=2),
    "transposed": lambda x: relax.op.nn.conv1d_transpose(x, const(4, 3, 5), strides=3, padding=2, output_padding=1),
    "max pool": lambda x: relax.op.nn.max_pool1d(x, 3, 2, (1, 0), ceil_mode=True),
    "average pool": lambda x: relax.op.nn.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_cases(make):
    first, _, last = apply(module(make, (2, 4, 11)), LiftTo2D())
    assert (first, last) == ("reshape", "reshape")
