"""QuantizeLinear and DequantizeLinear, against ONNX's reference evaluator."""

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import canonical, random, run_float
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.targets import get_target


def check(path, nodes, shape, constants, opset=21, build=False):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, path / "m.onnx")
    x = 100 * random(*shape)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    module = canonical(path / "m.onnx")
    if build:
        main = relax.VirtualMachine(pipeline.build(module, get_target("native"))[0], tvm.cpu())["main"]
        result = main(tvm.runtime.tensor(x)).numpy()
    else:
        (result,) = run_float(module, x)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("axis,blocks", [(0, (2, 6)), (1, (4, 2)), (-1, (4, 2))])
def test_blocks(tmp_path, dtype, axis, blocks):
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, blocks).astype(np.float32)
    zero = rng.integers(0, 9, blocks).astype(dtype)
    options = {"axis": axis, "block_size": 2 if axis == 0 else 3}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **options),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **options),
    ]
    check(tmp_path, nodes, (4, 6), {"s": scale, "z": zero})


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("zero", [0, 5])
def test_pairs_of_the_model_as_they_are_compiled(tmp_path, dtype, zero):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    scale = np.float32(2 if dtype.endswith("int8") else 1 / 64)
    check(tmp_path, nodes, (3, 5), {"s": scale, "z": np.array(zero, dtype)}, build=True)


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E5M2"])
def test_floats_of_8_bits(tmp_path, kind):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=TensorProto.DataType.Value(kind), axis=0),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], axis=0),
    ]
    check(tmp_path, nodes, (3, 5), {"s": np.float32([0.5, 1.5, 2])})
