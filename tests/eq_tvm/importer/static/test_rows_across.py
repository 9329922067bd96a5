"""What reads across rows of which the data choose the number, against ONNX Runtime: any number of them, none, and all.

Scores above a half are found in one or two vectors; what is written here goes on with them.
"""

import itertools

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import write_model

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.errors import UserError
from eq_tvm.running.runtime import Model
from eq_tvm.targets import get_target

I = np.int64  # noqa: E741
CONSTANTS = {
    **{f"i{n}": I(n) for n in range(3)},
    **{f"v{n}": I([n]) for n in (-1, 0, 1, 2, 3, 4)},
    "half": np.float32(0.5),
    "one": np.float32(1),
    "zero": np.float32(0),
    "two": np.float32(2),
    "as_index": I([-1, 1, 1, 1]),
    "pooled": I([2, 2, 2]),
    "two_boxes": np.ones((2, 4), "float32"),
    "last": I([2**63 - 1]),
    "doubles": np.arange(36, dtype="float32").reshape(9, 4),
    "zeros": np.zeros((9, 4), "float32"),
    "limit": I([2**63 - 1]),
    "overlap": np.float32([0.3]),
    "weights": np.arange(12, dtype="float32").reshape(3, 4),
    "bias": np.arange(3, dtype="float32"),
    "pads": I([0, 1, 0, 2]),
    "most": np.float32(0.75),
    "column": I([-1, 1]),
    "flat": I([-1, 3]),
    "v300": I([300]),
    "pixels": np.arange(128, dtype="float32").reshape(1, 2, 8, 8) % 17,
    "head": np.linspace(-1, 1, 48, dtype="float32").reshape(8, 6),
    "none": np.zeros(0, np.int64),
    "corners": (np.arange(36) * 7 % 5 + np.tile([0, 0, 4, 4], 9)).reshape(9, 4).astype("float32"),
}


def found(data, rows, values="doubles"):
    """Of the places in a vector above a half: `{rows}at` (n), `{rows}scores` (n), `{rows}boxes` (n, 4)."""
    return [
        ("Greater", f"{data} half", f"{rows}is", {}),
        ("NonZero", f"{rows}is", f"{rows}found", {}),
        ("Squeeze", f"{rows}found v0", f"{rows}at", {}),
        ("Gather", f"{data} {rows}at", f"{rows}scores", {}),
        ("Gather", f"{values} {rows}at", f"{rows}boxes", {}),
    ]


def best(rows, most, k):
    """The best of these scores, at most so many."""
    return [
        ("Shape", f"{rows}scores", f"{k}s", {}),
        ("Concat", f"{most} {k}s", f"{k}both", {"axis": 0}),
        ("ReduceMin", f"{k}both", f"{k}least", {"keepdims": 0}),
        ("Reshape", f"{k}least v1", f"{k}k", {}),
        ("TopK", f"{rows}scores {k}k", f"{k}top {k}places", {}),
    ]


A, B = found("a", "a"), found("b", "b")
TAILS = {
    **{
        kind: [*A, (kind, "aboxes", "y", {"axes": [0], "keepdims": 0}), (kind, "ascores", "z", {"keepdims": 1})]
        for kind in ("ReduceL1", "ReduceL2", "ReduceMean", "ReduceProd", "ReduceSumSquare")
    },
    "ReduceSum": [
        *A,
        ("ReduceSum", "aboxes v0", "y", {"keepdims": 1}),
        ("ReduceSum", "aat", "s", {}),
        ("Cast", "s", "z", {"to": 1}),
    ],
    "best three": [*A, *best("a", "v3", "t"), ("Neg", "ttop", "y", {}), ("Gather", "aboxes tplaces", "z", {"axis": 0})],
    "all in order": [
        *A,
        *best("a", "v4", "t"),
        ("Shape", "ascores", "n", {}),
        ("TopK", "ascores n", "y p", {"largest": 0}),
    ],
    "joined": [
        *A,
        *B,
        ("Concat", "aboxes bboxes zeros aboxes", "y", {"axis": 0}),
        ("Concat", "ascores bscores", "z", {"axis": 0}),
    ],
    "joined to what is there": [*A, ("Concat", "doubles zeros aboxes", "y", {"axis": 0})],
    "best of each, joined": [
        *A,
        *B,
        *best("a", "v3", "t"),
        *best("b", "v2", "u"),
        ("Concat", "ttop utop", "scores", {"axis": 0}),
        ("Gather", "aboxes tplaces", "p", {}),
        ("Gather", "bboxes uplaces", "q", {}),
        ("Concat", "p q", "boxes", {"axis": 0}),
        ("Unsqueeze", "scores v1", "c", {}),
        ("Mul", "boxes c", "y", {}),
        ("Shape", "scores", "n", {}),
        ("TopK", "scores n", "z places", {}),
    ],
    "placed": [
        *A,
        ("Unsqueeze", "aat v1", "c", {}),
        ("Shape", "aboxes", "s", {}),
        ("Expand", "c s", "places", {}),
        ("Neg", "aboxes", "n", {}),
        ("ScatterElements", "zeros places n", "y", {"axis": 0}),
    ],
    "placed among rows": [
        *A,
        ("Greater", "ascores most", "high", {}),
        ("NonZero", "high", "h", {}),
        ("Squeeze", "h v0", "hv", {}),
        ("Reshape", "h column", "places", {}),
        ("Gather", "ascores hv", "v", {}),
        ("Unsqueeze", "v v1", "new", {}),
        ("Unsqueeze", "ascores v1", "old", {}),
        ("Neg", "new", "minus", {}),
        ("ScatterElements", "old places minus", "y", {"axis": 0}),
    ],
    "classes of rows": [
        *A,
        ("Unsqueeze", "aboxes v2", "u", {}),
        ("Concat", "u u u", "three", {"axis": 2}),
        ("Reshape", "three flat", "y", {}),
        ("Flatten", "three", "f", {"axis": 2}),
        ("ReduceSum", "f v1", "z", {"keepdims": 0}),
    ],
    "numbered": [
        *A,
        ("Shape", "aat", "s", {}),
        ("Squeeze", "s v0", "n", {}),
        ("Range", "i0 n i1", "r", {}),
        ("Mul", "r i2", "m", {}),
        ("Cast", "m", "f", {"to": 1}),
        ("Add", "f ascores", "y", {}),
        ("ConstantOfShape", "s", "c", {"value": numpy_helper.from_array(np.float32([2]))}),
        ("Sub", "c ascores", "z", {}),
    ],
    "a shape, then rows": [
        *A,
        ("Shape", "aat", "s", {}),
        ("ConstantOfShape", "s", "c", {"value": numpy_helper.from_array(I([2]))}),
        ("Concat", "s c", "t", {"axis": 0}),
        ("Cast", "t", "y", {"to": 1}),
    ],
    "as many of the first": [
        *A,
        ("Shape", "aat", "s", {}),
        ("Slice", "doubles v0 s v0", "y", {}),
        ("Slice", "aboxes v0 s v0", "all", {}),
        ("Slice", "all v0 last v0", "every", {}),
        ("Sub", "every aboxes", "z", {}),
    ],
    "dense": [*A, ("Gemm", "aboxes weights bias", "y", {"transB": 1}), ("Pad", "aboxes pads", "z", {})],
    "divided": [
        *A,
        ("Add", "aat i1", "d", {}),
        ("Div", "aat d", "q", {}),
        ("Mod", "d d", "m", {}),
        ("Add", "q m", "s", {}),
        ("Cast", "s", "y", {"to": 1}),
    ],
    "numbers that bounds decide": [
        *A,
        ("Shape", "aboxes", "s", {}),
        ("Equal", "s v-1", "e", {}),
        ("Where", "e v1 s", "t", {}),
        ("Expand", "one t", "y", {}),
    ],
}


def load(path):
    module, inputs, outputs = import_canonical(path)
    return Model(pipeline.build(module, get_target("native"))[0], inputs, outputs, None)


def write(path, nodes, opset=17):
    names = [name for node in nodes for name in node[2].split()]
    graphs = [value for node in nodes for value in node[3].values() if hasattr(value, "node")]
    read = {name for node in nodes for name in node[1].split()}
    read |= {name for graph in graphs for node in graph.node for name in node.input}
    shapes = {name: [9] for name in ("a", "b") if name in read}
    constants = {name: value for name, value in CONSTANTS.items() if name in read}
    return write_model(path, nodes, shapes, [n for n in ("y", "z") if n in names], constants, opset=opset)


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(model, session, given):
    given = {each.name: given[each.name] for each in session.get_inputs()}
    for (name, got), want in zip(model.run(given).items(), session.run(None, given), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype), name
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def scores(kept, seed):
    """Nine numbers, of which those above a half are kept; some are equal."""
    rng = np.random.default_rng(seed)
    high = (rng.integers(5, 9, 9) / 8).astype("float32")
    return np.where(kept, high, high / 4).astype("float32")


@pytest.mark.parametrize("tail", TAILS)
def test_any_number_of_rows(tail, tmp_path):
    path = write(tmp_path / "net.onnx", TAILS[tail])
    model, session = load(path), session_of(path)
    some = st.lists(st.booleans(), min_size=9, max_size=9)
    # ONNX Runtime refuses to reduce nothing along all axes
    kept = some.filter(any) if tail.startswith("Reduce") else some

    @settings(max_examples=12, deadline=None)
    @given(kept, some, st.integers(0, 99))
    def check(one, other, seed):
        compare(model, session, {"a": scores(one, seed), "b": scores(other, seed + 1)})

    check()
    for every in (True, False)[: 1 + (kept is some)]:
        compare(model, session, {"a": scores([every] * 9, 0), "b": scores([every] * 9, 1)})


def branch(nodes, output, dtype=TensorProto.INT64):
    """A subgraph of nodes as `write_model` takes them."""
    made = [helper.make_node(kind, ins.split(), outs.split(), **given) for kind, ins, outs, given in nodes]
    return helper.make_graph(made, "branch", [], [helper.make_tensor_value_info(output, dtype, None)])


def suppressed(boxes, scores, kinds):
    """torchvision's batched_nms: `keep` of these rows, 0 of them where there are none."""
    apart = [
        ("ReduceMax", boxes, "largest", {"keepdims": 0}),
        ("Add", "largest one", "step", {}),
        ("Cast", kinds, "kind", {"to": 1}),
        ("Mul", "kind step", "offset", {}),
        ("Slice", "offset v0 last v0", "offsets", {}),
        ("Unsqueeze", "offsets v1", "shift", {}),
        ("Add", f"{boxes} shift", "shifted", {}),
        ("Unsqueeze", "shifted v0", "nms_boxes", {}),
        ("Unsqueeze", f"{scores} v0", "scores2", {}),
        ("Unsqueeze", "scores2 v0", "nms_scores", {}),
        ("NonMaxSuppression", "nms_boxes nms_scores limit overlap", "chosen", {}),
        ("Gather", "chosen v2", "box", {"axis": 1}),
        ("Squeeze", "box v1", "kept", {}),
    ]
    branches = {"then_branch": branch([("Identity", "none", "nothing", {})], "nothing")}
    return [
        ("Shape", boxes, "extents", {}),
        ("ReduceProd", "extents", "numel", {"keepdims": 0}),
        ("Equal", "numel i0", "is_empty", {}),
        ("If", "is_empty", "keep", branches | {"else_branch": branch(apart, "kept")}),
    ]


def one_class(data, rows, label):
    kind = {"value": numpy_helper.from_array(I([label]))}
    picked = [("Gather", f"{rows}boxes {rows}tplaces", f"{rows}b", {}), ("Shape", f"{rows}ttop", f"{rows}n", {})]
    return [
        *found(data, rows, "corners"),
        *best(rows, "v4", f"{rows}t"),
        *picked,
        ("ConstantOfShape", f"{rows}n", f"{rows}k", kind),
    ]


SSD = [
    *one_class("a", "a", 1),
    *one_class("b", "b", 2),
    ("Concat", "ab bb", "boxes", {"axis": 0}),
    ("Concat", "attop bttop", "scores", {"axis": 0}),
    ("Concat", "ak bk", "labels", {"axis": 0}),
    *suppressed("boxes", "scores", "labels"),
    ("Slice", "keep v0 v300 v0", "first", {}),
    ("Gather", "boxes first", "y", {}),
    ("Gather", "labels first", "l", {}),
    ("Cast", "l", "f", {"to": 1}),
    ("Gather", "scores first", "s", {}),
    ("Add", "f s", "z", {}),
]


def level(number, into, output):
    """Regions of the boxes on one level, put to where those are among all."""
    n = f"l{number}"
    return [
        ("Equal", f"level i{number}", f"{n}is", {}),
        ("NonZero", f"{n}is", f"{n}n", {}),
        ("Squeeze", f"{n}n v0", f"{n}at", {}),
        ("Gather", f"regions {n}at", f"{n}boxes", {}),
        ("Gather", f"images {n}at", f"{n}images", {}),
        (
            "RoiAlign",
            f"pixels {n}boxes {n}images",
            f"{n}r",
            {"output_height": 2, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 1.0 / (1 + number)},
        ),
        ("Reshape", f"{n}at as_index", f"{n}p", {}),
        ("Shape", f"{n}r", f"{n}s", {}),
        ("Expand", f"{n}p {n}s", f"{n}e", {}),
        ("ScatterElements", f"{into} {n}e {n}r", output, {"axis": 0}),
    ]


RPN = [
    *found("a", "a", "corners"),
    ("Gather", "aboxes i2", "right", {"axis": 1}),
    ("Gather", "aboxes i0", "left", {"axis": 1}),
    ("Sub", "right left", "width", {}),
    ("GreaterOrEqual", "width two", "wide", {}),
    ("NonZero", "wide", "w", {}),
    ("Squeeze", "w v0", "at", {}),
    ("Gather", "aboxes at", "boxes", {}),
    ("Gather", "ascores at", "scores", {}),
    ("Mod", "at i2", "parity", {}),
    *suppressed("boxes", "scores", "parity"),
    ("Slice", "keep v0 v4 v0", "first", {}),
    ("Gather", "boxes first", "regions", {}),
    ("ReduceProd", "regions", "size", {"axes": [1], "keepdims": 0}),
    ("Sqrt", "size", "root", {}),
    ("Log", "root", "log", {}),
    ("Floor", "log", "floor", {}),
    ("Clip", "floor zero one", "clipped", {}),
    ("Cast", "clipped", "level", {"to": 7}),
    ("Shape", "level", "n", {}),
    ("ConstantOfShape", "n", "images", {"value": numpy_helper.from_array(I([0]))}),
    ("Concat", "n pooled", "all", {"axis": 0}),
    ("ConstantOfShape", "all", "empty", {}),
    *level(0, "empty", "half_of"),
    *level(1, "half_of", "together"),
    ("Flatten", "together", "flattened", {}),
    ("Gemm", "flattened head", "dense", {}),
    ("Squeeze", "n v0", "number", {}),
    ("Unsqueeze", "number v0", "number1", {}),
    ("Concat", "number1 v2 v3", "t", {"axis": 0}),
    ("Reshape", "dense t", "classes", {}),
    ("Softmax", "classes", "y", {"axis": -1}),
    ("Reshape", "classes flat", "z", {}),
]


@pytest.mark.parametrize("head,opset", [(SSD, 17), (RPN, 17), (SSD, 13), (SSD, 20)])
def test_detector(head, opset, tmp_path):
    path = write(tmp_path / "net.onnx", head, opset)
    model, session = load(path), session_of(path)
    for kept, seed in itertools.product(["none", "one", "some", "all"], range(5)):
        flags = {"none": np.zeros(9), "one": np.arange(9) == seed, "all": np.ones(9)}
        flags["some"] = np.random.default_rng(seed).integers(0, 2, 9)
        distinct = np.random.default_rng(seed).permutation(9) / 100
        given = {name: (scores(flags[kept] > 0, seed) + distinct).astype("float32") for name in ("a", "b")}
        compare(model, session, given)


@pytest.mark.parametrize("opset", [11, 13])
def test_old_operator_sets(opset, tmp_path):
    """Which are specialized twice; before 12 there is no least integer, before 16 no shape of GreaterOrEqual."""
    squeeze, unsqueeze = (
        (lambda ins, outs, axis, kind=kind: (kind, ins, outs, {"axes": [axis]}))
        if opset < 13
        else (lambda ins, outs, axis, kind=kind: (kind, f"{ins} v{axis}", outs, {}))
        for kind in ("Squeeze", "Unsqueeze")
    )
    nodes = [
        ("Greater", "a half", "is", {}),
        ("NonZero", "is", "found", {}),
        squeeze("found", "at", 0),
        ("Gather", "a at", "ascores", {}),
        ("Gather", "doubles at", "aboxes", {}),
        ("Shape", "ascores", "n", {}),
        ("Concat", "v4 n", "both", {"axis": 0}),
        ("ReduceMin", "both", "least", {"keepdims": 1}),
        ("TopK", "ascores least", "y places", {}),
        ("Gather", "aboxes places", "boxes", {}),
        ("ReduceMax", "boxes", "largest", {"keepdims": 0}),
        ("GreaterOrEqual", "y most", "high", {}) if opset > 11 else ("Greater", "y most", "high", {}),
        ("NonZero", "high", "h", {}),
        squeeze("h", "best", 0),
        ("Gather", "y best", "these", {}),
        unsqueeze("these", "column", 1),
        ("Mul", "column largest", "offset", {}),
        ("Concat", "offset column", "z", {"axis": 0}),
    ]
    constants = ("half", "doubles", "v0", "v1", "v4", "most")
    weights = {name: CONSTANTS[name] for name in constants if opset > 11 or name not in ("v0", "v1")}
    path = write_model(tmp_path / "net.onnx", nodes, {"a": [9]}, ["y", "z"], weights, opset=opset)
    model, session = load(path), session_of(path)
    for seed in range(4):
        kept = np.random.default_rng(seed).random(9) < 0.2 + seed / 3
        compare(model, session, {"a": scores(kept, seed)})
    assert all(info.name.endswith(":count") for info in model.outputs[2:])


@pytest.mark.parametrize("swapped", [False, True])
def test_branches_with_rows(swapped, tmp_path):
    """Some rows or others; two rows of a constant or all that there are."""
    taken = [
        [("Neg", "aboxes", "one", {})],
        [("Identity", "bboxes", "other", {})],
        [("Identity", "two_boxes", "few", {})],
    ]
    first, second, third = (
        branch(nodes, name, TensorProto.FLOAT) for nodes, name in zip(taken, ("one", "other", "few"), strict=True)
    )
    nodes = [
        *A,
        *B,
        ("Size", "ascores", "n", {}),
        ("Less", "n i2", "c", {}),
        ("If", "c", "y", {"then_branch": second if swapped else first, "else_branch": first if swapped else second}),
        ("If", "c", "z", {"then_branch": third if swapped else second, "else_branch": second if swapped else third}),
    ]
    path = write(tmp_path / "net.onnx", nodes)
    model, session = load(path), session_of(path)
    for seed in range(6):
        kept = np.random.default_rng(seed).random((2, 9)) < seed / 5
        compare(model, session, {"a": scores(kept[0], seed), "b": scores(kept[1], seed)})


def test_branches_of_other_widths_are_refused(tmp_path):
    wide = branch([("Identity", "aboxes", "one", {})], "one", TensorProto.FLOAT)
    narrow = branch([("Identity", "ascores", "other", {})], "other", TensorProto.FLOAT)
    nodes = [*A, ("Size", "ascores", "n", {}), ("Equal", "n i0", "c", {})]
    path = write(tmp_path / "net.onnx", [*nodes, ("If", "c", "y", {"then_branch": wide, "else_branch": narrow})])
    with pytest.raises(UserError, match=r"If \(node 'n7'\) gives tensors of different types"):
        import_canonical(path)


def test_loop_over_rows_is_refused(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Gather", ["ascores", "i"], ["s"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
        ],
    )
    nodes = [*A, ("Size", "ascores", "n", {}), ("Loop", "n -", "y", {"body": body})]
    path = write(tmp_path / "net.onnx", nodes)
    with pytest.raises(UserError, match=r"Loop .node 'n6'.* only such loops can be compiled"):
        import_canonical(path)
