"""From a lowered module to a list of calls."""

import numpy as np
import pytest
import tvm
from tvm import relax, te, topi

from eq_tvm.standalone.memory import Lifetime, lifetimes
from eq_tvm.standalone.program import straight_line

SHAPE = (2, 3, 4)


def program(make, shape=SHAPE):
    """That of a module whose outputs are those that `make(builder, x)` returns."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            results = make(builder, x)
            result = builder.emit_output(relax.Tuple(results) if isinstance(results, list) else results)
        builder.emit_func_output(result)
    return straight_line(builder.get())


def test_a_reshape_takes_no_call():
    def make(builder, x):
        flat = builder.emit_te(topi.reshape, builder.emit_te(topi.exp, x), (24,))
        return builder.emit_te(topi.tanh, builder.emit_te(topi.reshape, flat, (4, 6)))

    found = program(make)
    assert found.calls == [("exp", [0, 1]), ("tanh", [1, 2])]
    assert (found.inputs, found.outputs, found.sizes) == ([0], [2], [96, 96, 96])
    assert [var.name_hint for var in found.functions.get_global_vars()] == ["exp", "tanh"]


def test_equal_constants_are_one():
    ones, twos = np.ones(SHAPE, "float32"), np.full(SHAPE, 2, "float32")
    found = program(
        lambda builder, x: [builder.emit_te(topi.add, x, relax.const(array)) for array in (ones, twos, ones.copy())]
    )
    assert [buffers[1] for _, buffers in found.calls] == [1, 3, 1]
    assert {buffer: array.max() for buffer, array in found.constants.items()} == {1: 1, 3: 2}


def test_several_results_of_one_call():
    def make(builder, x):
        both = builder.emit_te(topi.split, x, 2, 2)
        return [builder.emit(relax.TupleGetItem(both, index)) for index in (1, 0, 1)] + [x]

    found = program(make)
    assert found.calls == [("split", [0, 1, 2])] and found.outputs == [2, 1, 2, 0]
    assert found.sizes == [96, 48, 48]


def test_a_call_in_place_has_no_buffer_of_its_own():
    def make(builder, x):
        add = builder.add_func(
            te.create_prim_func(
                [
                    a := te.placeholder(SHAPE, name="a"),
                    te.compute(SHAPE, lambda *at: a[at] + 1.0, "out"),
                ]
            ).without_attr("global_symbol"),
            "add",
        )
        first = builder.emit_te(topi.exp, x)
        second = builder.emit(relax.op.call_tir_inplace(add, relax.Tuple([x, first]), 1, x.ty))
        return builder.emit_te(topi.tanh, second)

    found = program(make)
    assert found.calls == [("exp", [0, 1]), ("add", [0, 1]), ("tanh", [1, 2])]
    assert lifetimes(found)[1] == Lifetime(96, 0, 2)


def test_what_needs_the_runtime_is_refused():
    with pytest.raises(ValueError, match=r"layer sorted: relax\.sort needs TVM's runtime.*use --artifact bundle"):
        program(lambda builder, x: builder.emit(relax.op.sort(x), "sorted"))
    with pytest.raises(ValueError, match="layer x: a dynamic shape needs TVM's runtime"):
        program(lambda builder, x: builder.emit_te(topi.exp, x), (tvm.tirx.Var("n", "int64"), 3))
