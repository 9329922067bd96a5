"""Small ONNX models, and whether what the importer and the passes make of them computes what ONNX Runtime computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from eq_tvm.importer import import_onnx
from eq_tvm.passes import canonical_passes
from eq_tvm.passes.graph.rewrite import Graph, operator_name


def write_model(path, nodes, inputs, outputs, weights=None, *, opset=17, types=None) -> Path:
    """Write an ONNX file.

    nodes: (operator, inputs, outputs, attributes) with names separated by spaces (`-` is left out); they are
    called n0, n1, ...
    inputs: dict of name to shape; outputs: names; weights: dict of name to array; types: of inputs that are no
    float32, by their names.
    """
    types = types or {}
    made = [
        helper.make_node(
            kind, *([i.strip("-") for i in io.split()] for io in (ins, outs)), name=f"n{index}", **attributes
        )
        for index, (kind, ins, outs, attributes) in enumerate(nodes)
    ]
    values = [
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape) for name, shape in inputs.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(made, "test", values, results, initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return Path(path)


def write_classifier(path, name, shape, classes, output="scores", **attributes) -> Path:
    """Write an ONNX file of one convolution, and the mean over space."""
    nodes = [
        ("Conv", f"{name} w", "c", attributes),
        ("GlobalAveragePool", "c", "p", {}),
        ("Flatten", "p", output, {}),
    ]
    return write_model(path, nodes, {name: shape}, [output], {"w": random(classes, shape[1], 3, 3)})


def canonical(path, shapes=None) -> tvm.IRModule:
    return tvm.transform.Sequential(canonical_passes())(import_onnx(path, shapes))


def operators(mod) -> list[str]:
    """Names of the operators of `main`, without "relax."."""
    names = (operator_name(value) for value in Graph(mod).values.values())
    return [name.removeprefix("relax.") for name in names if name]


def run_float(mod, *arrays, optimize=False) -> list[np.ndarray]:
    """The module's results; LLVM's optimizations take four times as long as the rest and pay off in real networks."""
    target = tvm.target.Target({"kind": "llvm", "opt-level": 3 if optimize else 0})
    function = relax.VirtualMachine(tvm.compile(mod, target), tvm.cpu())["main"]
    result = function(*map(tvm.runtime.tensor, arrays))
    return [result.numpy()] if hasattr(result, "numpy") else [r.numpy() for r in result]


def random(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def check_against_onnxruntime(path, *, tolerance=1e-5, optimize=False) -> tvm.IRModule:
    """The canonical form of the model computes what ONNX Runtime does, relative to the largest value."""
    mod = canonical(path)
    arrays = [random(*map(int, param.ty.shape), seed=i) for i, param in enumerate(mod["main"].params)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # some fusions are wrong
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, dict(zip(mod["main"].attrs["input_names"], arrays, strict=True)))
    for result, reference in zip(run_float(mod, *arrays, optimize=optimize), expected, strict=True):
        assert result.shape == reference.shape
        np.testing.assert_allclose(result, reference, rtol=tolerance, atol=tolerance * max(np.abs(reference).max(), 1))
    return mod
