"""Importing ONNX files: names, shapes, and one clear line for everything that can't be imported."""

import numpy as np
import onnx
import pytest
from onnx_models import canonical, check_against_onnxruntime, operators, random, run_float, write_model

from eq_tvm.errors import UserError, first_line
from eq_tvm.importer import import_onnx
from eq_tvm.passes.graph.rewrite import Graph, array, operator_name, shape

IMAGE = {"x": (1, 4, 9, 10)}
CONV = [("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}), ("Relu", "c", "y", {})]
WEIGHTS = {"w": random(6, 4, 3, 3), "b": random(6, seed=1)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def names(mod):
    return [var.name for var in Graph(mod).values]


def test_inputs_outputs_and_weights(path):
    write_model(path, [*CONV, ("Neg", "x", "z/0", {})], {"x": (1, 4, 5, 5)}, ["z/0", "y"], WEIGHTS)
    mod = import_onnx(path)
    (function,) = mod.functions.values()
    assert [param.name for param in function.params] == list(function.attrs["input_names"]) == ["x"]
    assert list(function.attrs["output_names"]) == ["z/0", "y"]
    (conv,) = [value for value in Graph(mod).values.values() if operator_name(value) == "relax.nn.conv2d"]
    np.testing.assert_array_equal(array(conv.args[1]), WEIGHTS["w"])
    assert [result.shape for result in run_float(mod, random(1, 4, 5, 5))] == [(1, 4, 5, 5), (1, 6, 5, 5)]


def test_odd_input_names_are_kept(path):
    write_model(path, [("Relu", "in.0:0", "1", {})], {"in.0:0": (1, 3)}, ["1"])
    mod = check_against_onnxruntime(path)
    assert list(mod["main"].attrs["input_names"]) == ["in.0:0"]


def test_variables_are_named_after_the_nodes(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    assert names(import_onnx(path)) == ["n0", "n0.reshape", "n0.add", "n1"]


def test_nodes_without_name_are_called_by_their_output(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, path)
    assert names(import_onnx(path)) == ["c", "c.reshape", "c.add", "y"]


def test_names_are_unique(path):
    nodes = [*CONV[:1], ("Conv", "c v", "d", {}), ("Relu", "d", "y", {})]
    write_model(path, nodes, IMAGE, ["y"], WEIGHTS | {"v": random(2, 6, 1, 1)})
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = "same"
    onnx.save(model, path)
    assert names(import_onnx(path)) == ["same", "same.reshape", "same.add", "same_1", "same_2"]


def test_layers_of_a_real_network_have_the_names_in_the_file(shared_data):
    file = shared_data.models["resnet20_cifar10"]
    convolutions = [node.name for node in onnx.load(file).graph.node if node.op_type in ("Conv", "Gemm")]
    mod = import_onnx(file)
    layers = ("relax.nn.conv2d", "relax.matmul")
    assert [var.name for var, value in Graph(mod).values.items() if operator_name(value) in layers] == convolutions


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
def test_operator_sets(path, opset):
    head = [("GlobalAveragePool", "y", "p", {}), ("Flatten", "p", "f", {}), ("Gemm", "f m n", "g", {"transB": 1})]
    write_model(path, [*CONV, *head], IMAGE, ["g"], WEIGHTS | {"m": random(3, 6), "n": random(3)}, opset=opset)
    made = operators(check_against_onnxruntime(path))
    assert made == ["nn.conv2d", "add", "nn.relu", "mean", "reshape", "matmul", "add"]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel,stride", [(3, 1), (3, 2), (2, 2), (2, 1), (3, 3)])
def test_automatic_padding(path, mode, kernel, stride):
    window = {"auto_pad": mode, "strides": [stride] * 2}
    pool = window | {"kernel_shape": [kernel] * 2}
    nodes = [("Conv", "x w", "c", window), ("MaxPool", "x", "m", pool), ("AveragePool", "x", "a", pool)]
    write_model(path, nodes, IMAGE, ["c", "m", "a"], {"w": random(6, 4, kernel, kernel)})
    assert sorted(operators(check_against_onnxruntime(path))) == ["nn.avg_pool2d", "nn.conv2d", "nn.max_pool2d"]


def test_symbolic_batch_becomes_one(path):
    write_model(path, CONV, {"x": ("batch", 4, 9, 10)}, ["y"], WEIGHTS)
    assert shape(import_onnx(path)["main"].params[0]) == (1, 4, 9, 10)


@pytest.mark.parametrize("declared", [("N", 4, "H", "W"), (1, 4, 224, 224)])
def test_shapes_replace_the_declared_ones(path, declared):
    write_model(path, CONV, {"x": declared}, ["y"], WEIGHTS)
    mod = import_onnx(path, {"x": (1, 4, 7, 5)})
    assert shape(list(Graph(mod).values)[-1]) == (1, 6, 7, 5)


def test_local_functions_are_inlined(path):
    write_model(path, [("Relu", "x", "y", {})], {"x": (1, 3)}, ["y"])
    model = onnx.load(path)
    model.graph.node[0].CopyFrom(onnx.helper.make_node("Twice", ["x"], ["y"], domain="local"))
    body = [onnx.helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("local", "Twice", ["a"], ["b"], body, opsets))
    model.opset_import.append(onnx.helper.make_opsetid("local", 1))
    onnx.save(model, path)
    assert operators(check_against_onnxruntime(path)) == ["add"]


def error_of(path, shapes=None):
    with pytest.raises(UserError) as raised:
        import_onnx(path, shapes)
    message = str(raised.value)
    assert str(path) in message and "\n" not in message
    return message


def test_more_weights_than_a_protobuf_has_room_for(tmp_path, monkeypatch):
    write_model(tmp_path / "m.onnx", [("Mul", "x w", "y", {})], {"x": [1, 9]}, ["y"], {"w": random(1, 9)})
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", 30)
    assert error_of(tmp_path / "m.onnx").endswith("the weights take 0.0 GB; at most 2 GB can be compiled")


def test_missing_file(path):
    assert "no such ONNX file" in error_of(path)


@pytest.mark.parametrize("content", [b"hello\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_not_onnx(path, content):
    path.write_bytes(content)
    assert "not an ONNX file" in error_of(path)


def test_truncated_and_empty(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    path.write_bytes(path.read_bytes()[:-30])
    assert "truncated" in error_of(path)
    path.write_bytes(b"")
    assert "empty" in error_of(path)


@pytest.mark.parametrize("count", [0, 7, 1000])
def test_constants_that_hold_too_little_or_too_much(path, count):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = bytes(4 * count)
    onnx.save(model, path)
    needed = f"constant 'w' has {4 * count} bytes, which do not fill its shape (6, 4, 3, 3), but 864 do"
    assert needed in error_of(path)


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool"])
def test_types_that_do_not_fit(path, dtype):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    onnx.save(model, path)
    assert "shapes or types do not fit: Conv (node 'n0')" in error_of(path)


def test_checker_failure(path):
    write_model(path, [("Relu", "nowhere", "y", {})], IMAGE, ["y"])
    assert "not a valid ONNX model" in (message := error_of(path)) and "nowhere" in message


def test_weights_that_old_versions_have_as_inputs_may_be_missing_there(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS, opset=8)
    model = onnx.load(path)
    model.ir_version = 3
    onnx.save(model, path)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(path)
    check_against_onnxruntime(path)


def test_missing_external_data(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    import_onnx(path)
    (path.parent / "weights.bin").unlink()
    assert "weights.bin" in error_of(path)


def test_dynamic_shape(path):
    write_model(path, CONV, {"x": ("N", 4, "H", "W")}, ["y"], WEIGHTS)
    message = error_of(path)
    assert "(N,4,H,W)" in message and "--input x=1,4,224,224" in message


def test_shape_missing(path):
    write_model(path, CONV, {"x": None}, ["y"], WEIGHTS)
    assert "--input x=" in error_of(path)


def test_unknown_input_name(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    message = error_of(path, {"data": (1, 4, 9, 9)})
    assert "'data'" in message and "inputs are x" in message


@pytest.mark.parametrize("given", [(4, 9, 9), (1, 4, -1, 9)])
def test_shape_that_does_not_fit_the_input(path, given):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    assert "does not fit" in error_of(path, {"x": given})


def test_shape_that_does_not_fit_the_weights(path):
    write_model(path, CONV, IMAGE, ["y"], WEIGHTS)
    assert "'n0'" in error_of(path, {"x": (1, 3, 9, 9)})


def test_image_smaller_than_the_kernel(path):
    write_model(path, [("Conv", "x w", "y", {})], {"x": (1, 4, 2, 2)}, ["y"], {"w": WEIGHTS["w"]})
    assert "Conv (node 'n0') has a kernel that is larger than what it reads" in error_of(path)


def change_type(path, kind):
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = getattr(onnx.TensorProto, kind)
    onnx.save(model, path)


@pytest.mark.parametrize("kind", ["FLOAT16", "UINT8", "DOUBLE", "INT64"])
def test_inputs_keep_their_types(path, kind):
    write_model(path, [("Mul", "x x", "y", {})], {"x": (1, 3)}, ["y"])
    change_type(path, kind)
    (param,) = import_onnx(path)["main"].params
    dtype = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, kind))
    array = np.array([[1, 2, 3]], dtype)
    (result,) = run_float(canonical(path), array)
    assert str(param.ty.dtype) == str(result.dtype) == str(dtype) and result.tolist() == [[1, 4, 9]]


@pytest.mark.parametrize("kind", ["INT4", "STRING", "COMPLEX64"])
def test_types_that_nobody_feeds(path, kind):
    write_model(path, [("Identity", "x", "y", {})], {"x": (1, 3)}, ["y"])
    change_type(path, kind)
    message = error_of(path)
    assert f"'x' is {kind.lower()}" in message and "float16" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("as_node", [False, True])
def test_weights_must_be_finite(path, bad, as_node):
    weights = WEIGHTS | {"w": np.where(WEIGHTS["w"] > 2, np.float32(bad), WEIGHTS["w"])}
    nodes = CONV
    if as_node:
        nodes = [("Constant", "", "w", {"value": onnx.numpy_helper.from_array(weights.pop("w"))}), *CONV]
    write_model(path, nodes, IMAGE, ["y"], weights)
    message = error_of(path)
    assert "NaN or infinity" in message and "'w'" in message and f"'n{int(as_node)}'" in message


def test_infinite_bounds_are_fine(path):
    bounds = {"lo": np.float32(-np.inf), "hi": np.float32(1)}
    write_model(path, [("Clip", "x lo hi", "y", {})], {"x": (1, 9)}, ["y"], bounds)
    check_against_onnxruntime(path)


def test_operators_that_can_not_be_imported(path):
    write_model(path, [("Relu", "x", "r", {}), ("Det", "r", "y", {})], {"x": (1, 3, 3)}, ["y"])
    assert "operator Det (node 'n1')" in error_of(path)


def test_node_that_can_not_be_imported(path, capfd):
    write_model(path, [("Einsum", "x x", "y", {"equation": "nchw,nchw->"})], IMAGE, ["y"])
    model = onnx.load(path)
    model.graph.node[0].attribute[0].s = b"nchw,nc...w->n"
    onnx.save(model, path)
    assert "Einsum (node 'n0')" in error_of(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "value"), [("group", -1), ("group", 0), ("strides", [0, 1]), ("dilations", [1, -(2**62)])]
)
def test_windows_that_count_nothing(path, name, value):
    write_model(path, [("Conv", "x w b", "y", {name: value})], IMAGE, ["y"], WEIGHTS)
    assert "Conv (node 'n0')" in error_of(path)


def test_what_tvm_refuses_is_said_without_its_expressions():
    said = first_line(ValueError("Check failed: groups > 0 (-1 vs. 0) : The number of groups must be positive\nback"))
    assert said == "The number of groups must be positive"


def test_nodes_in_any_order(path):
    nodes = [("Conv", "x w b", "c", {}), ("Relu", "c", "r", {}), ("Add", "r c", "y", {})]
    write_model(path, list(reversed(nodes)), IMAGE, ["y"], WEIGHTS)
    check_against_onnxruntime(path)


def test_a_cycle(path):
    write_model(path, [("Add", "x b", "a", {}), ("Add", "x a", "b", {})], {"x": (1, 3)}, ["b"])
    assert "not a valid ONNX model" in error_of(path)


def test_shapes_that_depend_on_the_data(path):
    write_model(path, [("Unique", "x", "y", {})], {"x": (1, 3)}, ["y"])
    assert "depends on the data" in error_of(path)
