"""Networks in float16 compute in float32, between inputs and outputs of the file's types."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import canonical, operators, random, run_float, write_model


@pytest.mark.parametrize("inputs_too", [True, False])
def test_half(tmp_path, inputs_too):
    weights = {"w": random(6, 4, 3, 3).astype(np.float16), "b": random(6).astype(np.float16)}
    nodes = [("Conv", "h w b", "c", {}), ("Relu", "c", "r", {})]
    before = [("Identity", "x", "h", {})] if inputs_too else [("Cast", "x", "h", {"to": onnx.TensorProto.FLOAT16})]
    after = [("Identity", "r", "y", {})] if inputs_too else [("Cast", "r", "y", {"to": onnx.TensorProto.FLOAT})]
    path = write_model(tmp_path / "m.onnx", [*before, *nodes, *after], {"x": (1, 4, 8, 8)}, ["y"], weights)
    if inputs_too:
        model = onnx.load(path)
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        onnx.save(model, path)
    x = random(1, 4, 8, 8).astype(np.float16 if inputs_too else np.float32)
    mod = canonical(path)
    (result,) = run_float(mod, x)
    (reference,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert result.dtype == reference.dtype and "nn.conv2d" in operators(mod)
    np.testing.assert_allclose(result, reference, atol=0.02)
    types = {str(value.ty.dtype) for binding in mod["main"].body.blocks for value in [b.var for b in binding.bindings]}
    assert types <= {"float32", str(result.dtype)}
