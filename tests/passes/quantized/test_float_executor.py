"""Every operator of the numpy executor against TVM."""

import numpy as np
import pytest
import tvm
from small_networks import build, random, run_all
from tvm import relax

from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.float_executor import FloatExecutor

SHAPE = (1, 4, 9, 11)


def _const(*shape):
    return relax.const(random(*shape, seed=5))


def _resize(x, method, size):
    return relax.op.image.resize2d(x, size, method=method, rounding_method="floor")


def _three_axes(x):
    return relax.op.reshape(x, (1, 4, 99))


nn = relax.op.nn
OPERATORS = {
    "conv2d": lambda x: nn.conv2d(x, _const(6, 4, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2)),
    "conv2d grouped": lambda x: nn.conv2d(x, _const(6, 2, 3, 3), padding=1, groups=2),
    "conv2d pointwise": lambda x: nn.conv2d(x, _const(6, 4, 1, 1)),
    "conv2d depthwise": lambda x: nn.conv2d(x, _const(4, 1, 3, 3), padding=(0, 0, 1, 1), strides=(2, 2), groups=4),
    "conv2d depthwise multiplier": lambda x: nn.conv2d(x, _const(8, 1, 3, 3), padding=1, groups=4),
    "conv2d 1d kernel": lambda x: nn.conv2d(x, _const(3, 4, 1, 5), padding=(0, 2)),
    "add to itself": lambda x: relax.op.add(x, x),
    "clip": lambda x: relax.op.clip(x, -0.25, 0.5),
    "max_pool2d": lambda x: nn.max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1)),
    "max_pool2d ceil": lambda x: nn.max_pool2d(x, (2, 3), (2, 3), (0, 1, 0, 1), ceil_mode=True),
    "max_pool2d dilated": lambda x: nn.max_pool2d(x, (2, 2), (1, 2), dilation=(2, 3)),
    "avg_pool2d": lambda x: nn.avg_pool2d(x, (3, 2), (2, 2), (1, 0, 1, 1)),
    "avg_pool2d with padding": lambda x: nn.avg_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=True),
    "avg_pool2d ceil, with padding": lambda x: nn.avg_pool2d(
        x, (3, 2), (2, 2), (1, 0, 1, 0), ceil_mode=True, count_include_pad=True
    ),
    "avg_pool2d ceil": lambda x: nn.avg_pool2d(x, (2, 2), (2, 2), ceil_mode=True),
    "mean": lambda x: relax.op.mean(x, [2, 3], keepdims=True),
    "mean over channels": lambda x: relax.op.mean(x, [1]),
    "pad": lambda x: nn.pad(x, [0, 0, 1, 2, 0, 1, 2, 0]),
    "pad reflect": lambda x: nn.pad(x, [0, 0, 0, 0, 1, 1, 2, 2], "reflect"),
    "pad with ones": lambda x: nn.pad(x, [0, 0, 0, 0, 1, 1, 2, 2], "constant", 1.0),
    "concat": lambda x: relax.op.concat([x, x], axis=-2),
    "concat with constant": lambda x: relax.op.concat([x, _const(1, 2, 9, 11)], axis=1),
    "reshape": lambda x: relax.op.reshape(x, (2, 2, 99)),
    "permute_dims": lambda x: relax.op.permute_dims(x, [0, 3, 1, 2]),
    "permute_dims reversed": lambda x: relax.op.permute_dims(x),
    "strided_slice": lambda x: relax.op.strided_slice(x, [2, 3], [1, 0], [9, 10], [2, 3]),
    "strided_slice backwards": lambda x: relax.op.strided_slice(x, [3], [10], [0], [-2]),
    "nearest": lambda x: _resize(x, "nearest_neighbor", (18, 22)),
    "bilinear": lambda x: _resize(x, "linear", (18, 44)),
    "softmax": lambda x: nn.softmax(x, axis=1),
    "conv1d in another layout": lambda x: nn.conv1d(
        _three_axes(x), _const(3, 99, 6), padding=1, data_layout="NWC", kernel_layout="WIO"
    ),
    "matmul": lambda x: relax.op.matmul(x, relax.op.permute_dims(x, [0, 1, 3, 2])),
    "matmul of constants": lambda x: relax.op.matmul(_const(2, 1, 4, 5, 9), x),
    "matmul of a row": lambda x: relax.op.matmul(x, _const(11)),
    "layer_norm": lambda x: nn.layer_norm(x, _const(9, 11), _const(9, 11), axes=[-2, -1], epsilon=1e-3),
    "layer_norm over channels": lambda x: nn.layer_norm(x, _const(4), _const(4), axes=[1]),
    "rms_norm": lambda x: nn.rms_norm(x, _const(11), axes=[-1], epsilon=1e-3),
    "sum": lambda x: relax.op.sum(x, [-1, 1], keepdims=True),
    "max of all": lambda x: relax.op.max(x),
    "broadcast": lambda x: relax.op.add(_const(11), x),
    "broadcast to more axes": lambda x: relax.op.multiply(x, _const(2, 1, 1, 9, 11)),
    "prelu": lambda x: nn.prelu(x, _const(4)),
    "multiply by itself": lambda x: relax.op.multiply(x, x),
    "constant": lambda x: _const(1, 3),
}


@pytest.fixture(scope="module")
def results():
    """{operator: (what the executor gives, what TVM gives)} for three images."""

    def make(emit, x):
        return [emit(expr(x), f"v{i}") for i, expr in enumerate(OPERATORS.values())]

    mod = build(make, SHAPE)
    net = read_network(mod)
    images = random(3, *SHAPE[1:])
    values = dict(FloatExecutor(mod).run(net, {0: images[:, None]}))
    expected = [np.stack(field) for field in zip(*run_all(mod, images), strict=True)]
    return {
        name: (np.broadcast_to(values[i], e.shape), e)
        for name, i, e in zip(OPERATORS, net.outputs, expected, strict=True)
    }


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(results, name):
    actual, expected = results[name]
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_operators_are_known():
    """What has a numpy form is not compiled with TVM."""
    mod = build(lambda emit, x: [emit(expr(x), "v") for expr in OPERATORS.values()], SHAPE)
    net = read_network(mod)
    ops = {name: net.nodes[i].op for name, i in zip(OPERATORS, net.outputs, strict=True)}
    islands = {name for name, op in ops.items() if op == "float"}
    assert islands == {
        "mean over channels",
        "pad reflect",
        "pad with ones",
        "concat with constant",
        *list(OPERATORS)[list(OPERATORS).index("softmax") :],
    } - {"matmul"}
    executor = FloatExecutor(mod)
    compiled = {name for name, i in zip(OPERATORS, net.outputs, strict=True) if executor.must_compile(net.nodes[i])}
    assert compiled == {
        "pad reflect",
        "pad with ones",
        "concat with constant",
        "conv1d in another layout",
        "matmul of a row",
        "prelu",
    }


def test_dense_with_bias():
    def make(emit, x):
        y = emit(relax.op.matmul(x, _const(7, 5)), "fc")
        return [emit(relax.op.add(y, _const(5)), "logits")]

    mod = build(make, (1, 7))
    images = random(3, 7)
    net = read_network(mod)
    assert [node.op for node in net.nodes] == ["input", "dense", "bias_add"]
    values = dict(FloatExecutor(mod).run(net, {0: images[:, None]}))
    np.testing.assert_allclose(values[2], np.stack(run_all(mod, images)), rtol=1e-5, atol=1e-6)


def test_integers_stay_exact():
    """On whole numbers in float32 a convolution is the integer one."""
    weight = np.random.default_rng(0).integers(-63, 64, (8, 16, 3, 3)).astype(np.int8)
    mod = build(
        lambda emit, x: [emit(nn.conv2d(x, relax.const(weight.astype(np.float32)), padding=1), "a")], (1, 16, 6, 6)
    )
    x = np.random.default_rng(1).integers(0, 128, (2, 1, 16, 6, 6)).astype(np.int8)
    (_, _), (_, result) = FloatExecutor(mod).run(read_network(mod), {0: x})
    padded = np.pad(x[:, 0].astype(np.int64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("nchwyx,ocyx->nohw", windows, weight.astype(np.int64))
    np.testing.assert_array_equal(result[:, 0], expected)


def test_same_structure_is_compiled_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(tvm, "compile", lambda *args, original=tvm.compile: compiled.append(1) or original(*args))

    def make(emit, x):
        return [emit(relax.op.tan(emit(relax.op.sin(emit(relax.op.sin(x), "a")), "b")), "c")]

    mod = build(make)
    dict(FloatExecutor(mod).run(read_network(mod), {0: random(2, 1, 3, 8, 8)}))
    assert len(compiled) == 2
