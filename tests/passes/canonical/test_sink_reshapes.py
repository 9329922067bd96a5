import pytest
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import SinkReshapes
from eq_tvm.passes.graph.rewrite import Graph, operator_name, shape

relu, add, multiply = relax.op.nn.relu, relax.op.add, relax.op.multiply
turn = [0, 2, 3, 1]


def conv(x, out=6):
    return relax.op.nn.conv2d(x, const(out, 4, 1, 1, seed=out))


def rows(x):
    return relax.op.reshape(x, (6, 20))


def turned(x):
    return relax.op.permute_dims(x, turn)


def joined(x, *outs):
    return relax.op.concat([conv(x, out) for out in outs], 1)


CASES = {
    "reshape": (lambda x: relu(rows(x)), ["nn.relu", "reshape"]),
    "several": (lambda x: relax.op.clip(relu(turned(rows4(x))), 0, 1), ["nn.relu", "clip", "reshape", "permute_dims"]),
    "number": (lambda x: multiply(relax.const(2.0), rows(x)), ["multiply", "reshape"]),
    "constant for each channel": (lambda x: add(turned(x), const(4)), ["add", "permute_dims"]),
    "constant for each element": (lambda x: add(rows(x), const(6, 20)), ["add", "reshape"]),
    "constant that would grow": (lambda x: add(rows(x), const(6, 1)), ["reshape", "add"]),
    "two moved alike": (lambda x: add(turned(x), turned(relu(x))), ["nn.relu", "add", "permute_dims"]),
    "two moved otherwise": (
        lambda x: add(rows(x), rows(turned(x))),
        ["reshape", "permute_dims", "reshape", "add"],
    ),
    "slice": (
        lambda x: add(relax.op.strided_slice(x, [2], [1], [6], [1]), const(4, 1, 1)),
        ["add", "strided_slice"],
    ),
    "slice that leaves little": (
        lambda x: add(relax.op.strided_slice(x, [2], [1], [5], [2]), const(4, 1, 1)),
        ["strided_slice", "add"],
    ),
    "slice of what the constant varies along": (
        lambda x: add(relax.op.strided_slice(x, [2], [1], [6], [1]), const(5, 1)),
        ["strided_slice", "add"],
    ),
    "prelu": (lambda x: relax.op.nn.prelu(turned(x), const(4), 3), ["nn.prelu", "permute_dims"]),
    "transposes": (lambda x: relu(relax.op.permute_dims(turned(x), [0, 3, 1, 2])), ["nn.relu"]),
    "mean of a row": (
        lambda x: relax.op.mean(relax.op.reshape(conv1(x), (1, 4, 30)), [2]),
        ["reshape", "nn.relu", "mean", "reshape"],
    ),
    "row that several read": (
        lambda x: gated(row(x)),
        ["reshape", "nn.relu", "sigmoid", "multiply", "reshape"],
    ),
    "columns that several read": (
        lambda x: gated(rows(x)),
        ["reshape", "sigmoid", "multiply"],
    ),
    "row around itself": (
        lambda x: around(row(x)),
        ["reshape", "nn.relu", "strided_slice", "strided_slice", "concat", "reshape"],
    ),
    "row beside something else": (
        lambda x: relax.op.concat([row(x), relax.op.reshape(x, (1, 4, 30))], 2),
        ["reshape", "nn.relu", "reshape", "reshape", "concat"],
    ),
    "concat of layers": (
        lambda x: add(relu(joined(x, 5, 3)), const(8, 1, 1)),
        ["nn.conv2d", "nn.relu", "add", "nn.conv2d", "nn.relu", "add", "concat"],
    ),
    "concat of others": (lambda x: relu(relax.op.concat([conv(x), x], 1)), ["nn.conv2d", "concat", "nn.relu"]),
}


def rows4(x):
    return relax.op.reshape(x, (4, 6, 5, 1))


def conv1(x):
    return relu(relax.op.reshape(x, (1, 4, 1, 30)))


def row(x):
    return relax.op.reshape(conv1(x), (1, 4, 30))


def gated(x):
    return multiply(x, relax.op.sigmoid(x))


def around(x):
    return relax.op.concat(
        [relax.op.strided_slice(x, [-1], [28], [30], [1]), x, relax.op.strided_slice(x, [2], [0], [2])], 2
    )


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_cases(make, expected):
    assert sorted(apply(module(make, (1, 4, 6, 5)), SinkReshapes())) == sorted(expected)


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_moves_come_last(make, expected):
    """Where there is something to be moved, nothing element-wise is behind it."""
    operators = apply(module(make, (1, 4, 6, 5)), SinkReshapes())
    assert operators[-1] == expected[-1]


def test_a_tensor_that_others_read_stays():
    def make(x):
        y = rows(x)
        return relax.Tuple([y, relu(y)])

    assert apply(module(make, (1, 4, 6, 5)), SinkReshapes()) == ["reshape", "nn.relu"]


def test_a_sum_goes_beside_its_dense_layer():
    def make(x, y):
        layer = relax.op.add(relax.op.matmul(x, const(6, 8)), const(8, seed=1))
        return relax.op.add(y, relax.op.reshape(layer, (1, 5, 8)))

    found = apply(module(make, (5, 6), (1, 5, 8)), SinkReshapes())
    assert found == ["matmul", "add", "reshape", "add", "reshape"]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [[1], [1, 2]])
def test_means_over_tokens_are_those_of_an_image(axes, keepdims):
    def make(x):
        layer = relax.op.matmul(x, const(6, 8))
        shaped = relax.op.reshape(layer, (1, 12, 8) if axes == [1] else (1, 3, 4, 8))
        return relax.op.mean(shaped, axes, keepdims=keepdims)

    mod = SinkReshapes()(module(make, (12, 6)))
    (mean,) = [value for value in Graph(mod).values.values() if operator_name(value) == "relax.mean"]
    assert [int(axis) for axis in mean.attrs.axis] == [2, 3]
    assert shape(mean) == (1, 8, 1, 1)
    apply(module(make, (12, 6)), SinkReshapes())


@pytest.mark.parametrize("axis", [2, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_means_over_height_or_width_are_poolings(axis, keepdims):
    mod = module(lambda x: relax.op.mean(conv(x), [axis], keepdims=keepdims), (1, 4, 5, 4))
    assert "mean" not in apply(mod, SinkReshapes())


def test_means_of_what_no_layer_feeds_stay():
    assert apply(module(lambda x: relax.op.mean(relu(x), [1]), (1, 12, 8)), SinkReshapes()) == ["nn.relu", "mean"]
