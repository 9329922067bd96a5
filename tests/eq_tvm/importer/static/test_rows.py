"""Results with as many rows as the data choose, against ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import write_model

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.errors import UserError
from eq_tvm.running.runtime import Model
from eq_tvm.targets import get_target

I = np.int64  # noqa: E741
CONSTANTS = {
    **{f"i{n}": I(n) for n in range(4)},
    **{f"v{n}": I([n]) for n in (-1, 0, 1, 2, 3, 4, 12)},
    "v01": I([0, 1]),
    "v02": I([0, 2]),
    "scalar1": np.int64(1),
    "flat": I([-1, 4]),
    "pairs": I([-1, 8]),
    "same": I([0, 4]),
    "ones": I([1, 1]),
    "minus": I([-1]),
    "limit": I([5]),
    "overlap": np.float32([0.4]),
    "threshold": np.float32([0.3]),
    "half": np.float32(0.5),
    "v24": I([24]),
    "most": np.float32(0.8),
    "kernel": np.arange(16, dtype="float32").reshape(4, 1, 2, 2),
    "four": np.float32(4),
    "factors": np.arange(8, dtype="float32").reshape(4, 2),
}
SUPPRESS = ("NonMaxSuppression", "boxes scores limit overlap threshold", "rows", {})
BOX = [SUPPRESS, ("Gather", "rows i2", "at", {"axis": 1}), ("Squeeze", "boxes v0", "all", {})]
BOXES = [*BOX, ("Gather", "all at", "chosen", {})]
FOUND = [("Greater", "scores half", "is", {}), ("NonZero", "is", "found", {})]
SHAPE = [*BOXES, ("Shape", "at", "s", {})]

TAILS = {
    "rows": [SUPPRESS, ("Identity", "rows", "i", {}), ("Cast", "i", "y", {"to": 1})],
    "boxes": [*BOXES, ("Mul", "chosen half", "y", {})],
    "two outputs": [*BOXES, ("Neg", "chosen", "y", {}), ("Cast", "at", "z", {"to": 1})],
    "first three": [*BOXES, ("Slice", "chosen v0 v3 v0", "y", {})],
    "first of two columns": [*BOXES, ("Slice", "chosen v1 v3 v1", "y", {})],
    "as a batch": [*BOXES, ("Unsqueeze", "chosen v0", "u", {}), ("Transpose", "u", "y", {"perm": [2, 0, 1]})],
    "as a batch, by an axis in no list": [*BOXES, ("Unsqueeze", "chosen scalar1", "u", {}), ("Neg", "u", "y", {})],
    "columns": [*BOXES, ("Split", "chosen", "a b c d", {"axis": 1}), ("Concat", "d a", "y", {"axis": -1})],
    "class and box": [
        *BOXES,
        ("Gather", "rows v1", "class", {"axis": 1}),
        ("Cast", "class", "as_float", {"to": 1}),
        ("Concat", "chosen as_float", "y", {"axis": 1}),
    ],
    "best of each": [
        *BOXES,
        ("ReduceMax", "chosen", "m", {"axes": [1], "keepdims": 0}),
        ("ArgMax", "chosen", "k", {"axis": 1}),
        ("Cast", "k", "f", {"to": 1}),
        ("Unsqueeze", "m v1", "n", {}),
        ("Add", "n f", "y", {}),
    ],
    "dense": [*BOXES, ("MatMul", "chosen factors", "d", {}), ("Softmax", "d", "y", {"axis": -1})],
    "reshaped": [*BOXES, ("Unsqueeze", "chosen v1", "u", {}), ("Reshape", "u flat", "y", {})],
    "reshaped as it is": [*BOXES, ("Reshape", "chosen same", "y", {})],
    "reshaped by its shape": [
        *SHAPE,
        ("Concat", "s v4 v1", "t", {"axis": 0}),
        ("Reshape", "chosen t", "y", {}),
    ],
    "shape in parts": [
        *SHAPE,
        ("Gather", "s v0", "n", {}),
        ("Cast", "n", "m", {"to": 7}),
        ("Concat", "v2 m v2", "t", {"axis": 0}),
        ("Expand", "half t", "e", {}),
        ("ReduceSum", "e v0", "y", {}),
    ],
    "images": [
        *BOX,
        ("Gather", "all at", "corners", {}),
        ("Gather", "rows i0", "image", {"axis": 1}),
        ("Unsqueeze", "boxes v0", "boxes4", {}),
        ("RoiAlign", "boxes4 corners image", "regions", {"output_height": 4, "output_width": 4}),
        ("Conv", "regions kernel", "c", {}),
        ("MaxPool", "c", "p", {"kernel_shape": [2, 2]}),
        ("GlobalAveragePool", "p", "g", {}),
        ("Flatten", "g", "y", {}),
    ],
    "filled": [
        *SHAPE,
        ("ConstantOfShape", "s", "o", {}),
        ("Unsqueeze", "o v1", "p", {}),
        ("Concat", "chosen p", "y", {"axis": 1}),
    ],
    "what is found": [*FOUND, ("Cast", "found", "y", {"to": 1})],
    "a mask twice": [
        *FOUND,
        ("NonZero", "is", "again", {}),
        ("Transpose", "found", "t", {}),
        ("Transpose", "again", "u", {}),
        ("GatherND", "scores t", "v", {}),
        ("GatherND", "scores u", "w", {}),
        ("Mul", "v w", "y", {}),
    ],
    "a mask of what a mask leaves": [
        ("Reshape", "scores v24", "all", {}),
        ("Greater", "all half", "is", {}),
        ("NonZero", "is", "found", {}),
        ("Transpose", "found", "t", {}),
        ("GatherND", "all t", "v", {}),
        ("Less", "v most", "low", {}),
        ("NonZero", "low", "again", {}),
        ("Squeeze", "again v0", "at", {}),
        ("Gather", "v at", "w", {}),
        ("Gather", "found at", "f", {"axis": 1}),
        ("Cast", "f", "g", {"to": 1}),
        ("Add", "w g", "y", {}),
    ],
    "suppression of what a mask leaves": [
        ("ReduceMax", "scores", "best", {"axes": [0, 1], "keepdims": 0}),
        ("ArgMax", "scores", "class", {"axis": 1, "keepdims": 0}),
        ("Greater", "best threshold", "is", {}),
        ("NonZero", "is", "n", {}),
        ("Transpose", "n", "t", {}),
        ("GatherND", "best t", "s", {}),
        ("Squeeze", "boxes v0", "b", {}),
        ("GatherND", "b t", "c", {}),
        ("Squeeze", "class v0", "d", {}),
        ("GatherND", "d t", "e", {}),
        ("Cast", "e", "kind", {"to": 1}),
        ("Unsqueeze", "kind v1", "column", {}),
        ("Mul", "column four", "offset", {}),
        ("Add", "c offset", "apart", {}),
        ("Unsqueeze", "apart v0", "these", {}),
        ("Unsqueeze", "s v01", "scored", {}),
        ("NonMaxSuppression", "these scored limit overlap", "rows", {}),
        ("Gather", "rows i2", "at", {"axis": 1}),
        ("Slice", "at v0 v3 v0", "top", {}),
        ("Concat", "c column", "together", {"axis": 1}),
        ("Gather", "together top", "y", {}),
        ("Gather", "s top", "z", {}),
    ],
    "from behind": [
        *BOXES,
        ("Sub", "at i3", "before", {}),
        ("Max", "before minus", "b", {}),
        ("Gather", "chosen b", "y", {}),
    ],
    "all in one": [*BOXES, ("Reshape", "chosen v-1", "y", {})],
    "one behind the other": [
        *BOXES,
        ("Neg", "chosen", "n", {}),
        ("Slice", "chosen v0 v3 v0", "few", {}),
        ("Concat", "n all few chosen", "y", {"axis": 0}),
        ("Concat", "few few", "z", {"axis": 0}),
    ],
    "first all, then some": [*BOXES, ("Concat", "all chosen", "y", {"axis": 0})],
    "numbers": [
        *SHAPE,
        ("Mul", "s v2", "m", {}),
        ("Size", "chosen", "n", {}),
        ("Expand", "s v2", "e", {}),
        ("Gather", "all s", "g", {}),
        ("Add", "m n", "a", {}),
        ("Sub", "a e", "b", {}),
        ("Cast", "b", "y", {"to": 1}),
        ("Add", "g half", "z", {}),
    ],
    "its values": [*FOUND, ("Transpose", "found", "t", {}), ("GatherND", "scores t", "y", {})],
    "kept": [
        ("ReduceMax", "scores", "m", {"axes": [0, 1], "keepdims": 0}),
        ("Greater", "m half", "is", {}),
        ("Compress", "boxes is", "y", {"axis": 1}),
    ],
}


def load(path):
    module, inputs, outputs = import_canonical(path)
    return Model(pipeline.build(module, get_target("native"))[0], inputs, outputs, None)


def write(tmp_path, nodes, opset=17):
    outputs = [name for name in ("y", "z") if any(name in node[2].split() for node in nodes)]
    read = {name for node in nodes for name in node[1].split()}
    constants = {name: value for name, value in CONSTANTS.items() if name in read}
    shapes = {"boxes": [1, 12, 4], "scores": [1, 2, 12]}
    return write_model(tmp_path / "net.onnx", nodes, shapes, outputs, constants, opset=opset)


def feeds(seed):
    rng = np.random.default_rng(seed)
    return {"boxes": rng.random((1, 12, 4), np.float32), "scores": rng.random((1, 2, 12), np.float32)}


@pytest.mark.parametrize("tail", TAILS)
def test_tail(tail, tmp_path):
    check(write(tmp_path, TAILS[tail]))


def check(path):
    """Compile, and compare with ONNX Runtime where there are many rows, few and none."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    model = load(path)
    for given in (feeds(0), feeds(1), {name: np.zeros_like(array) for name, array in feeds(0).items()}):
        results = model.run(given)
        for (name, got), want in zip(results.items(), session.run(None, given), strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype), name
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_shape_as_an_output(tmp_path):
    path = write(tmp_path, [*SHAPE, ("Identity", "s", "y", {})])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, path)
    check(path)


@pytest.mark.parametrize("opset", [10, 11])
def test_old_operator_sets(opset, tmp_path):
    nodes = [
        SUPPRESS,
        ("Gather", "rows i2", "at", {"axis": 1}),
        ("Squeeze", "boxes", "all", {"axes": [0]}),
        ("Gather", "all at", "chosen", {}),
        ("Shape", "at", "s", {}),
        ("ConstantOfShape", "s", "o", {}),
        ("Unsqueeze", "o", "p", {"axes": [1]}),
        ("Concat", "chosen p", "joined", {"axis": 1}),
        ("Greater", "joined half", "high", {}),
        ("Cast", "high", "number", {"to": 1}),
        ("ReduceMax", "number", "any", {"axes": [1], "keepdims": 0}),
        ("NonZero", "any", "found", {}),
        ("Squeeze", "found", "place", {"axes": [0]}),
        ("Gather", "joined place", "these", {}),
        ("Gather", "number place", "scored", {}),
        ("ReduceSum", "scored", "sums", {"axes": [1], "keepdims": 0}),
        ("Split", "these", "b c", {"axis": 1, "split": [4, 1]}),
        ("Unsqueeze", "b", "b3", {"axes": [0]}),
        ("Unsqueeze", "sums", "s3", {"axes": [0, 1]}),
        ("NonMaxSuppression", "b3 s3 limit overlap", "last", {}),
        ("Gather", "last i2", "l", {"axis": 1}),
        ("Gather", "these l", "y", {}),
    ]
    path = write(tmp_path, nodes, opset)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(load(path).run(feeds(0))["y"], session.run(None, feeds(0))[0])


@pytest.mark.parametrize(
    "nodes,node",
    [
        ([*BOXES, ("ReduceLogSumExp", "chosen", "y", {"axes": [0]})], "n4"),
        ([*BOXES, ("Gather", "chosen i0", "y", {})], "n4"),
        ([*BOXES, ("Softmax", "chosen", "y", {"axis": 0})], "n4"),
        ([*BOXES, ("Reshape", "chosen pairs", "y", {})], "n4"),
        ([*BOXES, ("TopK", "chosen v2", "y k", {"axis": 0})], "n4"),
        ([*BOXES, ("CumSum", "chosen v0", "y", {})], "n4"),
        ([*BOXES, ("Slice", "chosen v1 v3 v0", "y", {})], "n4"),
        ([*BOXES, ("Transpose", "chosen", "t", {}), ("MatMul", "t chosen", "y", {})], "n5"),
        ([*SHAPE, ("Gather", "chosen s", "y", {})], "n5"),
        ([*SHAPE, ("Concat", "v1 s", "t", {"axis": 0}), ("Reshape", "half t", "y", {})], "n6"),
        ([*BOXES, *FOUND, ("Add", "at found", "y", {})], "n6"),
    ],
)
def test_what_reads_across_rows_is_refused(nodes, node, tmp_path):
    path = write(tmp_path, nodes)
    with pytest.raises(UserError, match=rf"node '{node}'\) can't be computed row by row, where the number"):
        import_canonical(path)


def test_limit_that_is_an_input_is_asked_for(tmp_path):
    path = write(tmp_path, [SUPPRESS, ("Identity", "rows", "y", {})])
    model = onnx.load(path)
    (limit,) = (tensor for tensor in model.graph.initializer if tensor.name == "limit")
    model.graph.initializer.remove(limit)
    model.graph.input.append(onnx.helper.make_tensor_value_info("limit", onnx.TensorProto.INT64, [1]))
    onnx.save(model, path)
    with pytest.raises(UserError, match="--constant limit=VALUE"):
        import_canonical(path)
    assert import_canonical(path, constants={"limit": 5})[2][0].rows.count == "rows:count"
