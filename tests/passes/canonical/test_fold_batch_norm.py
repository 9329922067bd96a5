import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from onnx_models import random, run_float
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import FoldBatchNorm, batch_statistics
from eq_tvm.passes.graph.rewrite import Graph, array, operator_name, shape

SHAPE = (1, 4, 7, 6)


def conv(x, out=6, groups=1, seed=0):
    return relax.op.nn.conv2d(x, const(out, 4 // groups, 3, 3, seed=seed), padding=1, groups=groups)


def batch_norm(x, channels=6, seed=10, **options):
    gamma, beta, mean = (const(channels, seed=seed + i) for i in range(3))
    variance = relax.const(np.abs(random(channels, seed=seed + 3)) + 0.1)
    options = {"training": False} | options
    return relax.TupleGetItem(relax.op.nn.batch_norm(x, gamma, beta, mean, variance, 1, 1e-3, **options), 0)


def bias(x, channels=6):
    return relax.op.add(x, const(1, channels, 1, 1, seed=3))


CASES = {
    "conv": (lambda x: batch_norm(conv(x)), ["nn.conv2d", "add"]),
    "conv with bias": (lambda x: batch_norm(bias(conv(x))), ["nn.conv2d", "add"]),
    "grouped": (lambda x: batch_norm(conv(x, groups=2)), ["nn.conv2d", "add"]),
    "depthwise": (lambda x: batch_norm(bias(conv(x, 4, 4), 4), 4), ["nn.conv2d", "add"]),
    "depthwise with multiplier": (lambda x: batch_norm(conv(x, 8, 4), 8), ["nn.conv2d", "add"]),
    "two in a row": (lambda x: batch_norm(batch_norm(conv(x)), seed=20), ["nn.conv2d", "add"]),
    "no scale, no center": (lambda x: batch_norm(conv(x), scale=False, center=False), ["nn.conv2d", "add"]),
    "scale and shift": (lambda x: bias(relax.op.multiply(conv(x), const(6, 1, 1, seed=5))), ["nn.conv2d", "add"]),
    "shift first": (lambda x: relax.op.add(const(6, 1, 1), relax.op.multiply(const(1), conv(x))), ["nn.conv2d", "add"]),
    "subtract and divide": (
        lambda x: relax.op.divide(relax.op.subtract(bias(conv(x)), const(6, 1, 1)), const(1, 6, 1, 1)),
        ["nn.conv2d", "add"],
    ),
    "two biases": (lambda x: bias(bias(conv(x))), ["nn.conv2d", "add"]),
    "not per channel": (lambda x: relax.op.add(conv(x), const(7, 6)), ["nn.conv2d", "add"]),
    "before a conv": (lambda x: conv(batch_norm(x, 4)), ["multiply", "add", "nn.conv2d"]),
    "relu between": (lambda x: batch_norm(relax.op.nn.relu(conv(x))), ["nn.conv2d", "nn.relu", "multiply", "add"]),
    "conv of data": (lambda x: batch_norm(relax.op.nn.conv2d(x, x), 1), ["nn.conv2d", "multiply", "add"]),
    "alone": (lambda x: batch_norm(x, 4), ["multiply", "add"]),
}


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_convolutions(make, expected):
    assert apply(module(make, SHAPE), FoldBatchNorm(), tolerance=2e-5) == expected


def test_convolution_with_several_users_is_not_changed():
    def make(x):
        y = conv(x)
        return relax.Tuple([relax.op.nn.relu(y), batch_norm(y)])

    made = apply(module(make, SHAPE), FoldBatchNorm())
    assert sorted(made) == ["add", "multiply", "nn.conv2d", "nn.relu"]


def test_biased_convolution_with_several_users_is_not_changed():
    def make(x):
        y = bias(conv(x))
        return relax.Tuple([y, batch_norm(y)])

    made = apply(module(make, SHAPE), FoldBatchNorm())
    assert sorted(made) == ["add", "add", "multiply", "nn.conv2d"]


DENSE = {
    "bias of one row": lambda x: relax.op.add(relax.op.matmul(x, const(12, 5)), const(1, 5)),
    "scalar bias": lambda x: relax.op.add(const(1), relax.op.matmul(x, const(12, 5))),
    "batch norm": lambda x: batch_norm(relax.op.matmul(x, const(12, 6))),
    "scaled input": lambda x: relax.op.add(
        relax.op.matmul(relax.op.multiply(x, relax.const(np.float32(0.5))), const(12, 5)), const(5)
    ),
}


@pytest.mark.parametrize("make", DENSE.values(), ids=DENSE)
def test_dense(make):
    mod = module(make, (1, 12))
    assert apply(mod, FoldBatchNorm()) == ["matmul", "add"]
    *_, matmul, add = Graph(FoldBatchNorm()(mod)).values.values()
    assert shape(add.args[1]) == shape(matmul.args[1])[1:]


def test_a_scale_between_two_layers_goes_into_one_of_them():
    """The weights of the first could take it, and so could those of the second."""

    def make(x):
        scaled = relax.op.multiply(relax.op.matmul(x, const(12, 6)), relax.const(np.float32(0.5)))
        return relax.op.matmul(scaled, const(6, 5))

    assert apply(module(make, (2, 12)), FoldBatchNorm())[0] == "matmul"


def test_matmul_of_higher_rank_stays():
    mod = module(lambda x: relax.op.multiply(relax.op.matmul(x, const(12, 5)), const(3, 1, seed=1)), (1, 3, 12))
    assert apply(mod, FoldBatchNorm()) == ["matmul", "multiply"]


def test_form_of_weights_and_bias():
    """The bias is (1, C, 1, 1), weights and bias are what float64 gives, and the convolution keeps its name."""
    mod = module(lambda x: batch_norm(bias(conv(x))), SHAPE)
    before, after = Graph(mod), Graph(FoldBatchNorm()(mod))
    (name, folded), (_, add) = [(var.name, value) for var, value in after.values.items()]
    assert name == next(iter(before.values)).name
    assert shape(add.args[1]) == (1, 6, 1, 1)
    (norm,) = [value for value in before.values.values() if operator_name(value) == "relax.nn.batch_norm"]
    gamma, beta, mean, variance = (array(arg).astype("float64") for arg in norm.args[1:5])
    scale = gamma / np.sqrt(variance + norm.attrs.epsilon)
    weights = (random(6, 4, 3, 3).astype("float64") * scale[:, None, None, None]).astype("float32")
    np.testing.assert_array_equal(array(folded.args[1]), weights)
    shift = beta + (random(6, seed=3) - mean) * scale
    np.testing.assert_allclose(array(add.args[1]).ravel(), shift, rtol=1e-6)


@hypothesis.given(
    groups=st.sampled_from([1, 2, 4]),
    steps=st.lists(st.sampled_from(["bias", "multiply", "subtract", "batch_norm", "relu"]), max_size=5),
)
@hypothesis.settings(max_examples=15)
def test_chains(groups, steps):
    def make(x):
        y = conv(x, 8, groups)
        for seed, step in enumerate(steps):
            if step == "batch_norm":
                y = batch_norm(y, 8, seed)
            elif step == "relu":
                y = relax.op.nn.relu(y)
            else:
                y = getattr(relax.op, "add" if step == "bias" else step)(y, const(8, 1, 1, seed=seed))
        return y

    made = apply(module(make, SHAPE), FoldBatchNorm(), tolerance=1e-4)
    assert "nn.batch_norm" not in made
    assert "relu" in steps or len(made) <= 2


def test_negative_variance_names_the_layer():
    def make(x):
        variance = relax.const(np.float32([1, 1, 1, 1, 1, -1]))
        y = relax.op.nn.batch_norm(conv(x), const(6), const(6), const(6), variance, axis=1, training=False)
        return relax.TupleGetItem(y, 0)

    with pytest.raises(ValueError, match="batch norm 'gv': variance"):
        FoldBatchNorm()(module(make, SHAPE))


def test_weights_beyond_float32_name_the_layer():
    def make(x):
        return relax.op.multiply(conv(x), relax.const(np.full((6, 1, 1), 3e38, "float32")))

    with pytest.raises(ValueError, match="layer 'lv'"):
        FoldBatchNorm()(module(make, SHAPE))


def test_batch_norm_in_training_mode_stays():
    mod = module(lambda x: batch_norm(conv(x), training=True), SHAPE)
    assert apply(mod, FoldBatchNorm()) == ["nn.conv2d", "nn.batch_norm"]


@pytest.mark.parametrize("shifted", [False, True])
def test_a_batch_norm_in_front_of_a_dense_layer(shifted):
    def make(x):
        y = relax.op.multiply(relax.op.nn.relu(x), const(1, 6, seed=1))
        y = relax.op.add(y, const(1, 6, seed=2)) if shifted else y
        return relax.op.add(relax.op.matmul(y, const(6, 5)), const(5, seed=3))

    assert apply(module(make, (3, 6)), FoldBatchNorm(), tolerance=1e-4) == ["nn.relu", "matmul", "add"]


def test_what_others_read_is_not_folded_into_a_dense_layer():
    def make(x):
        y = relax.op.multiply(relax.op.nn.relu(x), const(1, 6, seed=1))
        return relax.Tuple([relax.op.matmul(y, const(6, 5)), y])

    assert apply(module(make, (3, 6)), FoldBatchNorm()) == ["nn.relu", "multiply", "matmul"]


def standardized(channels=6, seed=10):
    """A batch norm whose mean and variance are those of what it reads, with the statistics that it then makes."""
    x = random(64, 4, 9, 9) * np.float32(2) + np.float32(0.5)
    weight = random(channels, 4, 1, 1, seed=1)
    y = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x)
    numbers = [random(channels, seed=seed), random(channels, seed=seed + 1), y.mean((0, 2, 3)), y.var((0, 2, 3))]
    options = {"training": False, "axis": 1, "epsilon": 1e-3}
    return x, weight, lambda e: relax.TupleGetItem(relax.op.nn.batch_norm(e, *map(relax.const, numbers), **options), 0)


@pytest.mark.parametrize("scaled", [False, True], ids=["alone", "scaled and shifted behind"])
def test_statistics_are_those_of_the_result(scaled):
    """Of a batch norm that saw these very images."""
    x, weight, norm = standardized()

    def make(e):
        y = norm(relax.op.nn.conv2d(e, relax.const(weight)))
        return relax.op.add(relax.op.multiply(y, const(1, 6, 1, 1, seed=7)), const(1, 6, 1, 1, seed=8)) if scaled else y

    mod = FoldBatchNorm()(module(make, (1, 4, 9, 9)))
    ((name, found),) = batch_statistics(mod).items()
    assert name == list(Graph(mod).values)[-1].name or operator_name(list(Graph(mod).values.values())[-1]) is None
    results = np.concatenate([run_float(mod, image[None])[0] for image in x])
    np.testing.assert_allclose(found.mean, results.mean((0, 2, 3)), atol=1e-3)
    np.testing.assert_allclose(found.deviation, results.std((0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("case", ["before a conv", "relu between", "alone"])
def test_statistics_of_a_batch_norm_elsewhere(case):
    mod = FoldBatchNorm()(module(CASES[case][0], SHAPE))
    ((name, found),) = batch_statistics(mod).items()
    (add,) = [var for var, value in Graph(mod).values.items() if operator_name(value) == "relax.add"][-1:]
    assert name == add.name and len(found.mean) == shape(add)[1]


def test_no_statistics_without_batch_norms():
    assert not batch_statistics(FoldBatchNorm()(module(lambda x: bias(conv(x)), SHAPE)))
