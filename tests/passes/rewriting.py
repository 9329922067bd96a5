"""Apply passes to a module made by hand, and check that it still computes the same."""

import numpy as np
import tvm
import tvm_ffi
from onnx_models import operators, random, run_float
from tvm import relax


def module(make, *shapes) -> tvm.IRModule:
    """`make(*inputs)` returns the result, an expression (or a tuple of such)."""
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(make(*inputs))
        builder.emit_func_output(result)
    return builder.get()


def const(*shape, seed=0) -> relax.Expr:
    return relax.const(random(*shape, seed=seed))


def apply(mod, *passes, tolerance=1e-5) -> list[str]:
    """Operators after the passes, which have not changed the results, and change nothing when they run again."""
    after = tvm.transform.Sequential(passes)(mod)
    assert tvm_ffi.structural_equal(after, tvm.transform.Sequential(passes)(after))
    arrays = [random(*map(int, param.ty.shape), seed=i) for i, param in enumerate(mod["main"].params)]
    for expected, result in zip(run_float(mod, *arrays), run_float(after, *arrays), strict=True):
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * max(np.abs(expected).max(), 1))
    return operators(after)
