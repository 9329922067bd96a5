import numpy as np
import pytest
import tvm
from onnx_models import random
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import LiftTo2D, batch_statistics
from eq_tvm.passes.canonical.canonical_passes import canonical_passes
from eq_tvm.passes.graph.network import read_network

CASES = {
    "conv": lambda x: relax.op.nn.conv1d(x, const(6, 2, 3), strides=2, padding=(2, 1), dilation=2, groups=2),
    "transposed": lambda x: relax.op.nn.conv1d_transpose(x, const(4, 3, 5), strides=3, padding=2, output_padding=1),
    "max pool": lambda x: relax.op.nn.max_pool1d(x, 3, 2, (1, 0), ceil_mode=True),
    "average pool": lambda x: relax.op.nn.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_cases(make):
    first, _, last = apply(module(make, (2, 4, 11)), LiftTo2D())
    assert (first, last) == ("reshape", "reshape")


@pytest.mark.parametrize("bias", [False, True])
def test_batch_norms_keep_their_statistics(bias):
    """They are lifted with the convolution in front, whose bias they then become."""
    gamma, beta, mean, variance = (np.abs(random(6, seed=seed)) + np.float32(0.5) for seed in range(4))

    def make(x):
        y = relax.op.nn.conv1d(x, const(6, 4, 3), padding=1)
        y = relax.op.add(y, const(1, 6, 1)) if bias else y
        norm = relax.op.nn.batch_norm(y, *map(relax.const, (gamma, beta, mean, variance)), axis=1, training=False)
        return relax.op.nn.relu(relax.TupleGetItem(norm, 0))

    mod = module(make, (2, 4, 11))
    apply(mod, LiftTo2D())
    canonical = tvm.ir.transform.Sequential(canonical_passes())(mod)
    (found,) = batch_statistics(canonical).values()
    np.testing.assert_allclose(found.mean, beta)
    assert [node.op for node in read_network(canonical).nodes if node.op not in ("input", "reshape")] == [
        "conv2d",
        "bias_add",
        "relu",
    ]
