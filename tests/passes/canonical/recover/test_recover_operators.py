import pytest
from onnx_models import operators, random
from rewriting import apply, const, module
from tvm import relax, topi

from eq_tvm.passes import RecoverOperators

SHAPE = (1, 3, 5, 4)


def te_module(*arguments):
    """The call of a loop nest, as the ONNX importer emits it."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(builder.call_te(arguments[0], x, *arguments[1:]))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.parametrize("build,operator", [(topi.maximum, "maximum"), (topi.minimum, "minimum")])
@pytest.mark.parametrize("bound", [0.25, const(1), const(3, 1, 1), const(*SHAPE)], ids=str)
def test_maximum_and_minimum(build, operator, bound):
    assert apply(te_module(build, bound), RecoverOperators()) == [operator]


@pytest.mark.parametrize(
    "before,after", [((0, 2, 0, 0), (0, 1, 0, 0)), ((0, 0, 1, 3), (0, 0, 2, 0)), ((1, 1, 1, 1),) * 2]
)
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_padding(before, after, value):
    mod = te_module(topi.nn.pad, before, after, value)
    assert apply(mod, RecoverOperators()) == ["nn.pad"]


def test_padding_by_nothing():
    assert apply(te_module(topi.nn.pad, (0,) * 4, (0,) * 4, 0.0), RecoverOperators()) == ["nn.pad"]


def maximum(x):
    """Not what its name says."""
    return topi.nn.relu(topi.add(x, 1.0))


def pad(x):
    return topi.nn.pad(topi.nn.relu(x), (0, 0, 1, 1), (0, 0, 1, 1))


@pytest.mark.parametrize(
    "function",
    [
        (maximum,),
        (pad,),
        (topi.nn.mirror_pad, (0, 0, 1, 1), (0, 0, 1, 1), "REFLECT"),
        (topi.nn.pad, (0, 0, -1, 0), (0, 0, 0, 2)),
    ],
    ids=["maximum", "pad", "reflect", "negative"],
)
def test_other_functions_stay(function):
    assert apply(te_module(*function), RecoverOperators()) == ["call_tir"]


@pytest.mark.parametrize("reduce,operator", [("sum", "add"), ("max", "maximum"), ("min", "minimum")])
def test_reduction_over_a_stack(reduce, operator):
    def make(x, y):
        return getattr(relax.op, reduce)(relax.op.stack([x, y, const(*SHAPE)], 0), axis=0)

    assert apply(module(make, SHAPE, SHAPE), RecoverOperators()) == [operator, operator]


@pytest.mark.parametrize("axis,keepdims", [(1, False), (0, True), (None, False)])
def test_other_reductions_over_a_stack_stay(axis, keepdims):
    mod = module(lambda x, y: relax.op.sum(relax.op.stack([x, y], 0), axis, keepdims), SHAPE, SHAPE)
    assert apply(mod, RecoverOperators()) == ["stack", "sum"]


def test_functions_that_nothing_calls_are_removed():
    mod = RecoverOperators()(te_module(topi.maximum, 0.0))
    assert [name.name_hint for name in mod.get_global_vars()] == ["main"]
    assert operators(mod) == ["maximum"] and random(1).shape == (1,)
