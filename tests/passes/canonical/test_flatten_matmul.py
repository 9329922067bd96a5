import pytest
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import FlattenMatmul

CASES = {
    "rows": (lambda x: relax.op.matmul(x, const(5, 7)), (4, 5), ["matmul"]),
    "tokens": (lambda x: relax.op.matmul(x, const(5, 7)), (2, 3, 5), ["reshape", "matmul", "reshape"]),
    "a vector": (lambda x: relax.op.matmul(x, const(5, 7)), (5,), ["reshape", "matmul", "reshape"]),
    "a stack of one": (lambda x: relax.op.matmul(x, const(1, 1, 5, 7)), (3, 5), ["reshape", "matmul", "reshape"]),
    "a stack": (
        lambda x: relax.op.matmul(x, const(2, 5, 7)),
        (2, 3, 5),
        ["permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "a stack for each head": (
        lambda x: relax.op.matmul(x, const(4, 5, 7)),
        (2, 4, 3, 5),
        ["permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "a stack first": (
        lambda x: relax.op.matmul(const(1, 4, 7, 5), x),
        (1, 4, 5, 3),
        ["permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "a stack for each of two axes": (
        lambda x: relax.op.matmul(const(2, 1, 4, 7, 5), x),
        (2, 3, 4, 5, 6),
        ["permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "more matrices than the activation has": (lambda x: relax.op.matmul(x, const(2, 5, 7)), (1, 3, 5), ["matmul"]),
    "constant first": (
        lambda x: relax.op.matmul(const(4, 3), x),
        (2, 3, 5),
        ["permute_dims", "reshape", "matmul", "reshape", "permute_dims", "reshape"],
    ),
    "two activations": (lambda x: relax.op.matmul(x, x), (2, 5, 5), ["matmul"]),
}


@pytest.mark.parametrize("make,shape,expected", CASES.values(), ids=CASES)
def test_cases(make, shape, expected):
    assert apply(module(make, shape), FlattenMatmul()) == expected
