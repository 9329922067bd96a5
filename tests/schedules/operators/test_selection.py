"""Kernels whose rows the data choose, against ONNX Runtime and numpy."""

import aarch64 as emulation
import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from eq_tvm.schedules.operators.selection import Suppression, nonzero, suppression
from eq_tvm.schedules.operators.sorting import top_k


def run(function, operands, *results):
    compiled = tvm.compile(function.with_attr("global_symbol", "run"), "llvm")
    made = [tvm.runtime.tensor(np.full(shape, 77, "int64")) for shape in results]
    compiled(*map(tvm.runtime.tensor, operands), *made)
    return [tensor.numpy() for tensor in made]


def expected(plan, boxes, scores):
    constants = [
        helper.make_tensor("limit", onnx.TensorProto.INT64, [1], [plan.limit]),
        helper.make_tensor("overlap", onnx.TensorProto.FLOAT, [1], [plan.overlap]),
    ]
    names = ["boxes", "scores", "limit", "overlap"]
    if plan.threshold is not None:
        constants.append(helper.make_tensor("threshold", onnx.TensorProto.FLOAT, [1], [plan.threshold]))
        names.append("threshold")
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
        for name, array in (("boxes", boxes), ("scores", scores))
    ]
    node = helper.make_node("NonMaxSuppression", names, ["rows"], center_point_box=int(plan.from_center))
    rows = helper.make_tensor_value_info("rows", onnx.TensorProto.INT64, ["n", 3])
    model = helper.make_model(
        helper.make_graph([node], "nms", values, [rows], constants),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=8,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"boxes": boxes, "scores": scores})[0]


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Suppression,
        batch=st.integers(1, 2),
        classes=st.integers(1, 3),
        boxes=st.integers(1, 20),
        limit=st.integers(1, 25),
        overlap=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        threshold=st.sampled_from([None, 0.0, 0.4]),
        from_center=st.booleans(),
    ),
    st.integers(0, 1000),
)
def test_suppression(plan, seed):
    rng = np.random.default_rng(seed)
    boxes = rng.integers(0, 9, (plan.batch, plan.boxes, 4)).astype("float32")  # boxes without area, equal boxes
    scores = rng.integers(-2, 9, (plan.batch, plan.classes, plan.boxes)).astype("float32") / 8  # equal scores
    rows, (count,) = run(suppression(plan), [boxes, scores], (plan.most, 3), (1,))
    np.testing.assert_array_equal(rows[:count], expected(plan, boxes, scores))
    assert not rows[count:].any()


@pytest.mark.parametrize("shape", [(7,), (1,), (2, 3), (1, 3, 1, 2)])
@pytest.mark.parametrize("dtype", ["float32", "bool", "int64", "uint8"])
def test_nonzero(shape, dtype):
    data = np.random.default_rng(3).integers(0, 2, shape).astype(dtype)
    found, (count,) = run(nonzero(shape, dtype), [data.reshape(-1)], (len(shape), data.size), (1,))
    np.testing.assert_array_equal(found[:, :count], np.stack(np.nonzero(data)))
    assert not found[:, count:].any()


def test_on_a_board(aarch64, tmp_path):
    rng = np.random.default_rng(5)
    plan = Suppression(1, 2, 30, limit=7, overlap=0.25, threshold=0.1)
    boxes = rng.integers(0, 9, (1, 30, 4)).astype("float32")
    scores = rng.integers(-2, 9, (1, 2, 30)).astype("float32") / 8
    data = rng.integers(0, 2, 40).astype("int8")
    jobs = {
        "suppress": (suppression(plan), [boxes, scores], [(plan.most, 3), (1,)]),
        "find": (nonzero((5, 8), "int8"), [data], [(2, 40), (1,)]),
        "sort": (top_k(3, 40, 1, 9, "float32", True), [np.resize(scores, (3, 40, 1))], [(3, 9, 1), (3, 9, 1)]),
    }
    module = tvm.IRModule({name: function.with_attr("global_symbol", name) for name, (function, *_) in jobs.items()})
    here = tvm.compile(module, "llvm")
    library = emulation.export(tvm.tirx.build(module, emulation.target()), tmp_path / "kernels.so")
    calls = []
    for name, (function, operands, shapes) in jobs.items():
        kinds = [str(buffer.dtype) for buffer in function.params[len(operands) :]]
        calls.append((library, name, [*operands, *map(np.zeros, shapes, kinds)]))
    for (_, name, arguments), there in zip(calls, aarch64.run_prim_funcs(calls), strict=True):
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        here[name](*tensors)
        for tensor, array in zip(tensors, there, strict=True):
            np.testing.assert_array_equal(tensor.numpy(), array, name)
