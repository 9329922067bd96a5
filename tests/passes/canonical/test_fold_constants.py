import numpy as np
import pytest
from onnx_models import random
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import FoldConstants
from eq_tvm.passes.graph.rewrite import array

EXPRESSIONS = {
    "reshape": lambda: relax.op.reshape(const(6), (6, 1, 1)),
    "squeeze": lambda: relax.op.squeeze(const(6, 1, 1, 1), [3]),
    "expand_dims": lambda: relax.op.expand_dims(const(6, 1), [2]),
    "permute_dims": lambda: relax.op.permute_dims(const(1, 1, 6), [2, 0, 1]),
    "permute_dims reversed": lambda: relax.op.permute_dims(const(1, 1, 6)),
    "broadcast_to": lambda: relax.op.broadcast_to(const(6, 1, 1), (1, 6, 3, 3)),
    "arithmetic": lambda: relax.op.multiply(relax.op.add(const(6, 1, 1), const(1)), const(6, 1, 1, seed=1)),
    "where isnan": lambda: relax.op.where(relax.op.isnan(const(1)), relax.const(np.float32(np.inf)), const(1)),
    "division by zero": lambda: relax.op.divide(const(1), relax.const(np.zeros(1, "float32"))),
    "concat": lambda: relax.op.concat([const(2, 1, 1), const(4, 1, 1)], axis=0),
    "comparison": lambda: relax.op.astype(relax.op.less(const(6, 1, 1), const(1)), "float32"),
    "take": lambda: relax.op.take(
        const(9, 1, 1), relax.const(np.array([8, 0, 3, -1, 5, 12]), "int64"), axis=0, mode="wrap"
    ),
    "strided_slice": lambda: relax.op.strided_slice(const(1, 13, 1, 1), [1, -1], [1, -9], [2**40, 9], [2, 1]),
    "strided_slice backwards": lambda: relax.op.strided_slice(const(6, 1, 1), [0], [5], [-7], [-1]),
    "64 bits": lambda: relax.op.astype(relax.const(np.array([2**40]), "int64"), "float32"),
    "astype": lambda: relax.op.astype(relax.const(random(6, 1, 1).astype("float16")), "float32"),
}


@pytest.mark.parametrize("make", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_constant_expressions(make):
    assert apply(module(lambda x: relax.op.add(x, make()), (1, 6, 3, 3)), FoldConstants()) == ["add"]


def test_known_shapes():
    def make(x):
        channels = relax.op.take(relax.op.shape_to_tensor(relax.op.shape_of(x)), relax.const(1, "int64"), axis=0)
        index = relax.op.subtract(channels, relax.const(np.array([1, 6]), "int64"))
        return relax.op.take(x, index, axis=1)

    assert apply(module(make, (1, 6, 3, 3)), FoldConstants()) == ["take"]


@pytest.mark.parametrize(("axis", "count"), [(0, 3), (1, 4), (-1, 1)])
def test_quantized_constants(axis, count):
    scale = np.float32([0.5, 0.25, 2, 0.125])[:count]
    zero = np.int8([3, -2, 0, 1])[:count]
    along = (-1, 1) if axis == 0 else (-1,)
    x = np.arange(12, dtype="int8").reshape(3, 4)

    def make(pair, constant):
        return lambda _: pair(relax.const(constant), relax.const(scale), relax.const(zero), axis)

    real = (x.astype(np.float32) - zero.reshape(along)) * scale.reshape(along)
    for pair, constant, expected in [(relax.op.dequantize, x, real), (relax.op.quantize, real + 100, None)]:
        quantized = make(pair, constant)
        mod = FoldConstants()(module(lambda x, q=quantized: relax.op.add(x, relax.op.astype(q(x), "float32")), (3, 4)))
        ((_, result),) = [binding.value.args for binding in mod["main"].body.blocks[0].bindings]
        if expected is None:
            expected = np.clip(np.rint(constant / scale.reshape(along)) + zero.reshape(along), -128, 127)
        np.testing.assert_array_equal(array(result), expected)


def test_slices():
    x = np.arange(24).reshape(2, 12)
    for begin, end, step in [(0, 12, 1), (-5, 2**40, 2), (-40, -1, 3), (11, 0, -2)]:
        sliced = relax.op.strided_slice(relax.const(x), [1], [begin], [end], [step])
        extent = len(range(12)[begin:end:step])
        mod = module(lambda v, s=sliced: relax.op.add(v, relax.op.astype(s, "float32")), (2, extent))
        ((_, result),) = [binding.value.args for binding in FoldConstants()(mod)["main"].body.blocks[0].bindings]
        np.testing.assert_array_equal(array(result), x[:, begin:end:step])
