"""Models of one node, compiled for this machine and compared with onnx's reference evaluator."""

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.running.runtime import Model
from eq_tvm.targets import get_target


def write_node(path, operator, inputs, constants=(), *, outputs=1, opset=21, domain="", **attributes):
    """Of inputs, then constants: sequences of arrays; a constant of None is left out."""
    feeds = {f"x{i}": np.asarray(array) for i, array in enumerate(inputs)}
    fixed = {f"c{i}": np.asarray(array) for i, array in enumerate(constants) if array is not None}
    names = [*feeds, *(f"c{i}" if array is not None else "" for i, array in enumerate(constants))]
    node = helper.make_node(operator, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            if domain
            else helper.make_value_info(name, onnx.TypeProto())
            for name in node.output
        ],
        [numpy_helper.from_array(array, name) for name, array in fixed.items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model = model if domain else onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.save(model, path)
    return model, feeds


def run_node(tmp_path, operator, inputs, constants=(), **given):
    """What the node computes, compiled."""
    _, feeds = write_node(tmp_path / "node.onnx", operator, inputs, constants, **given)
    module, taken, results = import_canonical(tmp_path / "node.onnx")
    compiled = Model(pipeline.build(module, get_target("native"))[0], taken, results, None)
    return compiled.call([feeds[info.name] for info in taken])


def check_node(tmp_path, operator, inputs, constants=(), *, tolerance=1e-5, **given):
    """The results are the reference's, of the same dtypes."""
    model, feeds = write_node(tmp_path / "node.onnx", operator, inputs, constants, **given)
    with np.errstate(all="ignore"):
        expected = ReferenceEvaluator(model).run(None, feeds)
    for got, want in zip(run_node(tmp_path, operator, inputs, constants, **given), expected, strict=True):
        assert (got.shape, got.dtype) == (np.shape(want), want.dtype)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance / 10)
