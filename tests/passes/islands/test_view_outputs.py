"""Outputs that are reshapes: views of memory that is nobody else's."""

import numpy as np
import tvm
from onnx_models import random
from rewriting import const, module
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.targets import get_target


def test_a_result_of_the_network_s_own_is_not_copied():
    executable = _built(lambda x: relax.op.reshape(relax.op.nn.softmax(x), (2, 3, 8)), (6, 8))
    assert "reshape" not in _kernels(executable)
    run, (first, second) = relax.VirtualMachine(executable, tvm.cpu())["main"], (random(6, 8), random(6, 8, seed=1))
    results = [run(tvm.runtime.tensor(x)).numpy() for x in (first, second)]
    for x, result in zip((first, second), results, strict=True):
        exponentials = np.exp(x - x.max(1, keepdims=True))
        np.testing.assert_allclose(result.reshape(6, 8), exponentials / exponentials.sum(1, keepdims=True), rtol=1e-5)


def test_a_product():
    executable = _built(lambda x: relax.op.reshape(relax.op.matmul(x, const(8, 5)), (2, 3, 5)), (6, 8))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(random(6, 8))).numpy()
    assert result.shape == (2, 3, 5) and "reshape" not in _kernels(executable)


def test_an_input_is_copied():
    executable = _built(lambda x: relax.op.reshape(x, (2, 3, 8)), (6, 8))
    x = tvm.runtime.tensor(random(6, 8))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](x)
    x.copyfrom(np.zeros((6, 8), "float32"))
    np.testing.assert_array_equal(result.numpy().reshape(6, 8), random(6, 8))


def _built(make, *shapes):
    return pipeline.build(pipeline.canonicalize(module(make, *shapes)), get_target("native"))[0]


def _kernels(executable) -> str:
    """What is called, in the virtual machine's words, but for views."""
    return executable.as_text().replace("vm.builtin.reshape", "")
