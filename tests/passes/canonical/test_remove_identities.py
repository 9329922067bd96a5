import numpy as np
import pytest
from rewriting import apply, module
from tvm import relax

from eq_tvm.passes import RemoveIdentities
from eq_tvm.passes.graph.rewrite import Graph

SHAPE = (1, 3, 5, 4)
IDENTITIES = {
    "dropout": lambda x: relax.TupleGetItem(relax.op.nn.dropout(x, 0.3), 0),
    "reshape": lambda x: relax.op.reshape(x, SHAPE),
    "broadcast_to": lambda x: relax.op.broadcast_to(x, SHAPE),
    "permute_dims": lambda x: relax.op.permute_dims(x, [0, 1, 2, 3]),
    "strided_slice": lambda x: relax.op.strided_slice(x, [2], [0], [99], [1]),
    "pad": lambda x: relax.op.nn.pad(x, [0] * 8),
    "concat": lambda x: relax.op.concat([x], axis=1),
    "astype": lambda x: relax.op.astype(x, "float32"),
    "where": lambda x: relax.op.where(relax.const(np.ones((5, 1), bool)), x, relax.const(np.float32(0))),
    "zeros that are added": lambda x: relax.op.add(relax.const(np.zeros((5, 1), "float32")), x),
    "zeros that are subtracted": lambda x: relax.op.subtract(x, relax.const(np.float32(0))),
    "where not": lambda x: relax.op.where(relax.const(np.zeros(4, bool)), relax.const(np.float32(0)), x),
}
NO_IDENTITIES = {
    "from zeros": lambda x: relax.op.subtract(relax.const(np.zeros((5, 1), "float32")), x),
    "where": lambda x: relax.op.where(relax.const(np.arange(4) < 3), x, relax.const(np.float32(0))),
    "reverse": lambda x: relax.op.strided_slice(x, [2], [4], [-99], [-1]),
    "transpose": lambda x: relax.op.permute_dims(x, [0, 1, 3, 2]),
    "transpose of a square": lambda x: relax.op.permute_dims(relax.op.strided_slice(x, [2], [0], [4]), [0, 1, 3, 2]),
    "concat": lambda x: relax.op.concat([x, x], axis=1),
    "shift": lambda x: relax.op.nn.pad(x, [0, 0, 0, 0, 1, -1, 0, 0]),
}


@pytest.mark.parametrize("make", IDENTITIES.values(), ids=IDENTITIES)
def test_identities(make):
    mod = module(lambda x: relax.op.nn.relu(make(relax.op.negative(x))), SHAPE)
    if "dropout" in str(mod):  # TVM can't compile it
        assert [str(value.op.name) for value in Graph(RemoveIdentities()(mod)).values.values()] == [
            "relax.negative",
            "relax.nn.relu",
        ]
    else:
        assert apply(mod, RemoveIdentities()) == ["negative", "nn.relu"]


@pytest.mark.parametrize("make", NO_IDENTITIES.values(), ids=NO_IDENTITIES)
def test_others_stay(make):
    mod = module(lambda x: relax.op.negative(make(x)), SHAPE)
    before = len(Graph(mod).values)
    assert len(apply(mod, RemoveIdentities())) == before


def test_at_the_output():
    assert apply(module(lambda x: relax.op.reshape(relax.op.negative(x), SHAPE), SHAPE), RemoveIdentities()) == [
        "negative"
    ]


def test_a_bias_of_zeros_stays():
    def make(x):
        return relax.op.add(
            relax.op.matmul(x, relax.const(np.ones((4, 6), "float32"))), relax.const(np.zeros(6, "float32"))
        )

    assert apply(module(make, SHAPE), RemoveIdentities()) == ["matmul", "add"]


def test_a_mask_of_zeros_goes():
    def make(x, y):
        return relax.op.add(relax.op.matmul(x, y), relax.const(np.zeros(6, "float32")))

    assert apply(module(make, SHAPE, (1, 3, 4, 6)), RemoveIdentities()) == ["matmul"]
