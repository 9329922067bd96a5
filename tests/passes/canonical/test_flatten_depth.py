import pytest
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import FlattenDepth, NormalizeShapes, SinkReshapes

CASES = {
    "all taps": ((6, 4, 3, 2, 3), {"strides": (2, 1, 2), "padding": (1, 0, 1, 2, 1, 0), "dilation": (2, 1, 1)}),
    "groups": ((6, 2, 2, 3, 3), {"groups": 2, "padding": (0, 1, 1, 0, 1, 1)}),
    "depthwise": ((4, 1, 3, 3, 3), {"groups": 4, "padding": 1}),
    "one tap": ((6, 4, 1, 3, 3), {"padding": (0, 1, 1)}),
    "no depth left": ((6, 4, 5, 3, 3), {"padding": (0, 1, 1)}),
    "no depth left, groups": ((6, 2, 3, 3, 3), {"groups": 2, "dilation": (2, 1, 1)}),
}


@pytest.mark.parametrize(("weights", "how"), CASES.values(), ids=CASES)
def test_cases(weights, how):
    left = apply(module(lambda x: relax.op.nn.conv3d(x, const(*weights), **how), (2, 4, 5, 7, 8)), FlattenDepth())
    assert left.count("nn.conv2d") == 1 and "nn.conv3d" not in left


def test_layers_in_a_row_have_nothing_between_them():
    def network(x):
        x = relax.op.nn.relu(relax.op.nn.conv3d(x, const(6, 4, 1, 3, 3)))
        return relax.op.nn.conv3d(x, const(5, 6, 1, 3, 3))

    left = apply(module(network, (2, 4, 3, 9, 8)), FlattenDepth(), NormalizeShapes(), SinkReshapes(), NormalizeShapes())
    first = left.index("nn.conv2d")
    assert left[first : first + 3] == ["nn.conv2d", "nn.relu", "nn.conv2d"]
