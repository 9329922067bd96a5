"""The scale of attention goes into the dense layer that makes queries."""

import pytest
from rewriting import apply, const, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.fold_attention_scale import FoldAttentionScale

SCALE = relax.const(0.25)


def _heads(x):
    """Queries, keys and values (heads, rows, length) of one dense layer."""
    made = op.add(op.matmul(x, const(6, 24)), const(24, seed=1))
    split = op.permute_dims(op.reshape(made, (5, 3, 2, 4)), [1, 2, 0, 3])
    return [op.reshape(op.strided_slice(split, [0], [i], [i + 1]), (2, 5, 4)) for i in range(3)]


def _turned(keys):
    return op.permute_dims(keys, [0, 2, 1])


def _in_queries(x):
    queries, keys, values = _heads(x)
    return op.matmul(op.matmul(op.multiply(queries, SCALE), _turned(keys)), values)


def _in_keys(x):
    queries, keys, values = _heads(x)
    return op.matmul(op.matmul(queries, _turned(op.multiply(SCALE, keys))), values)


def _in_scores(x):
    queries, keys, values = _heads(x)
    return op.matmul(op.divide(op.matmul(queries, _turned(keys)), relax.const(4.0)), values)


@pytest.mark.parametrize("form", [_in_queries, _in_keys, _in_scores])
def test_forms(form):
    found = apply(module(form, (5, 6)), FoldAttentionScale())
    assert not {"multiply", "divide"}.intersection(found)


@pytest.mark.parametrize("form", [op.multiply, op.divide])
def test_temperatures_of_heads_go_in_front(form):
    """Swin V2's and XCiT's, of normalized queries."""

    def make(x):
        queries, keys, values = _heads(x)
        scores = op.matmul(op.sin(queries), _turned(keys))
        return op.matmul(form(scores, relax.const([[[2.0]], [[3]]])), values)

    found = apply(module(make, (5, 6)), FoldAttentionScale())
    assert found.index(form.__name__) < found.index("matmul", found.index("sin"))


def test_factors_of_keys_stay_behind():
    def make(x):
        queries, keys, values = _heads(x)
        return op.matmul(op.multiply(op.matmul(queries, _turned(keys)), const(2, 1, 5)), values)

    found = apply(module(make, (5, 6)), FoldAttentionScale())
    assert found.index("multiply") > found.index("matmul", found.index("strided_slice"))


def test_what_others_read_stays():
    def make(x):
        queries, keys, _ = _heads(x)
        return op.matmul(op.multiply(queries, SCALE), op.matmul(_turned(keys), queries))

    assert "multiply" in apply(module(make, (5, 6)), FoldAttentionScale())


def test_what_leaves_the_network_stays():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((5, 6), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            made = builder.emit(op.matmul(x, const(6, 8)))
            scaled = builder.emit(op.multiply(builder.emit(op.reshape(made, (5, 2, 4))), SCALE))
            results = [builder.emit_output(scaled), builder.emit_output(made)]
        builder.emit_func_output(relax.Tuple(results))
    assert "multiply" in apply(builder.get(), FoldAttentionScale())
