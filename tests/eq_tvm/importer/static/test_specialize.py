"""Shape arithmetic, branches, loops and sequences are gone once the inputs' shapes are known."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_models import canonical, check_against_onnxruntime, operators, random, run_float, write_model

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx

INT = {"i0": np.array(0), "i1": np.array(1), "i2": np.array(2), "one": np.array([1]), "axes": np.array([0])}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def test_a_reshape_by_arithmetic_of_shapes(path):
    nodes = [
        ("Shape", "x", "s", {}),
        ("Gather", "s i0", "n", {}),
        ("Gather", "s i2", "h", {}),
        ("Mul", "h i2", "twice", {}),
        ("Unsqueeze", "n axes", "n1", {}),
        ("Unsqueeze", "twice axes", "t1", {}),
        ("Concat", "n1 t1 minus", "shape", {"axis": 0}),
        ("Reshape", "x shape", "y", {}),
    ]
    write_model(path, nodes, {"x": ("n", 4, "h", 5)}, ["y"], INT | {"minus": np.array([-1])})
    mod = import_onnx(path, {"x": (1, 4, 6, 5)})
    assert operators(mod) == ["reshape"] and [int(n) for n in mod["main"].ret_ty.shape] == [1, 12, 10]


def test_ranges_and_expanded_constants(path):
    nodes = [
        ("Shape", "x", "s", {}),
        ("Gather", "s i2", "h", {}),
        ("Range", "i0 h i1", "rows", {}),
        ("Cast", "rows", "f", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", "f one", "column", {}),
        ("Expand", "column s", "grid", {}),
        ("Add", "x grid", "y", {}),
    ]
    write_model(path, nodes, {"x": (1, 2, 3, 4)}, ["y"], INT)
    assert operators(check_against_onnxruntime(path)) == ["add"]


def test_what_is_all_constant_is_an_output_still(path):
    write_model(path, [("Shape", "x", "s", {}), ("Relu", "x", "y", {})], {"x": (1, 2, 3)}, ["y", "s"])
    model = onnx.load(path)
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    relu, shape = run_float(canonical(path), random(1, 2, 3))
    assert shape.tolist() == [1, 2, 3] and relu.shape == (1, 2, 3)


def branch(name, *nodes):
    made = [helper.make_node(kind, ins.split(), [out], **attributes) for kind, ins, out, attributes in nodes]
    return helper.make_graph(made, name, [], [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)])


def write_if(path, condition, then, other):
    graphs = {"then_branch": branch("then", *then), "else_branch": branch("else", *other)}
    nodes = [*condition, ("If", "c", "y", graphs)]
    write_model(path, nodes, {"x": (1, 2, 3)}, ["y"], INT | {"three": np.array(3), "zero": np.float32(0)})


def test_if_takes_the_branch_of_a_constant_condition(path):
    rank = [("Shape", "x", "s", {}), ("Size", "s", "rank", {}), ("Equal", "rank three", "c", {})]
    write_if(path, rank, [("Relu", "x", "t", {})], [("Squeeze", "x axes", "e", {})])
    assert operators(check_against_onnxruntime(path)) == ["nn.relu"]


def test_if_of_data_chooses_between_equal_types(path):
    data = [("ReduceSum", "x", "sum", {"keepdims": 0}), ("Greater", "sum zero", "c", {})]
    write_if(path, data, [("Relu", "x", "t", {})], [("Neg", "x", "t", {})])
    mod = canonical(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for seed in range(6):
        x = random(1, 2, 3, seed=seed)
        np.testing.assert_array_equal(run_float(mod, x)[0], session.run(None, {"x": x})[0])


def test_if_of_data_with_unlike_branches(path):
    data = [("ReduceSum", "x", "sum", {"keepdims": 0}), ("Greater", "sum zero", "c", {})]
    write_if(path, data, [("Relu", "x", "t", {})], [("Squeeze", "x axes", "t", {})])
    with pytest.raises(UserError, match=r"If \(node 'n2'\) gives tensors of different types.*--constant x=VALUE"):
        import_onnx(path)


def write_loop(path, trips):
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["cond"], ["again"]),
            helper.make_node("Add", ["v", "x"], ["w"]),
            helper.make_node("Mul", ["w", "w"], ["square"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3]),
            helper.make_tensor_value_info("square", TensorProto.FLOAT, [2, 3]),
        ],
    )
    nodes = [*trips, ("Loop", "m - x", "y all", {"body": body})]
    write_model(path, nodes, {"x": (2, 3)}, ["y", "all"], {"three": np.array(3)})


def test_loops_are_unrolled(path):
    write_loop(path, [("Identity", "three", "m", {})])
    check_against_onnxruntime(path)


def test_a_loop_that_the_data_ends(path):
    write_loop(path, [("ReduceSum", "x", "s", {"keepdims": 0}), ("Cast", "s", "m", {"to": TensorProto.INT64})])
    with pytest.raises(UserError, match=r"Loop \(node 'n2'\) does not iterate a fixed number of times"):
        import_onnx(path)


def test_sequences_become_tensors(path):
    nodes = [
        ("SplitToSequence", "x", "parts", {"axis": 1}),
        ("SequenceAt", "parts i1", "b", {}),
        ("Neg", "b", "n", {}),
        ("SequenceInsert", "parts n", "more", {}),
        ("ConcatFromSequence", "more", "y", {"axis": 2}),
    ]
    write_model(path, nodes, {"x": (2, 3, 4)}, ["y"], INT)
    check_against_onnxruntime(path)


def test_weights_in_integers_become_floats(path):
    weights = {"q": np.random.default_rng(0).integers(-99, 99, (6, 4, 3, 3), np.int8), "s": np.float32(0.01)}
    nodes = [("DequantizeLinear", "q s", "w", {}), ("Conv", "x w", "y", {})]
    write_model(path, nodes, {"x": (1, 4, 9, 9)}, ["y"], weights)
    assert operators(check_against_onnxruntime(path)) == ["nn.conv2d"]


def test_a_result_that_is_left_out(path):
    model = onnx.load(write_model(path, [("MaxPool", "x", "y", {"kernel_shape": [2, 2]})], {"x": (1, 2, 4, 4)}, ["y"]))
    model.graph.node[0].output.append("")
    onnx.save(model, path)
    check_against_onnxruntime(path)


def test_a_shape_that_the_data_decides(path):
    write_model(path, [("Unique", "x", "y", {})], {"x": (2, 3)}, ["y"])
    with pytest.raises(UserError, match=r"Unique \(node 'n0'\) gives a shape that depends on the data"):
        import_onnx(path)


def test_an_input_that_decides_a_shape(path):
    write_model(path, [("Reshape", "x s", "y", {})], {"x": (2, 6), "s": (2,)}, ["y"])
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"Reshape .*--constant s=VALUE"):
        import_onnx(path)
    mod = import_onnx(path, constants={"s": [3, 4]})
    assert list(mod["main"].attrs["input_names"]) == ["x"] and [int(n) for n in mod["main"].ret_ty.shape] == [3, 4]


@pytest.mark.parametrize(
    "constants,message",
    [({"z": 1}, "no input 'z'"), ({"s": 1.5}, "'s' is int64"), ({"s": [1, 2, 3]}, r"has the shape \(2\)")],
)
def test_constants_that_do_not_fit(path, constants, message):
    write_model(path, [("Reshape", "x s", "y", {})], {"x": (2, 6), "s": (2,)}, ["y"])
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(UserError, match=message):
        import_onnx(path, constants=constants)


def test_a_constant_for_a_sequence(path):
    write_model(path, [("SequenceLength", "x", "y", {})], {"x": (1,)}, ["y"])
    model = onnx.load(path)
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(model.graph.input[0].type))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(UserError, match="'x' is sequence; only tensors can be inputs"):
        import_onnx(path, constants={"x": [1.0]})


def test_a_constant_where_minus_one_is_dynamic(path):
    write_model(path, [("Mul", "x s", "y", {})], {"x": (1, 3), "s": (1,)}, ["y"])
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, path)
    assert list(import_onnx(path, constants={"s": [1, 2, 3]})["main"].attrs["input_names"]) == ["x"]
