"""The canonicalization passes together, from ONNX files to the canonical form."""

import numpy as np
import onnx
import pytest
import tvm
import tvm_ffi
from onnx_models import canonical, check_against_onnxruntime, operators, random, write_model
from tvm.relax.frontend.onnx import from_onnx

from eq_tvm.passes import canonical_passes
from eq_tvm.passes.graph.rewrite import Graph, array, operator_name, shape

REAL_NETWORKS = [
    "mobilenet_v1_075",
    "mobilenet_v2_cifar10",
    "mobilenetv2_tiny_cifar10",
    "resnet20_cifar10",
    "resnet56_cifar10",
    "squeezenet1_1",
    "ultraface_rfb_320",
    "vgg16_block3_cifar10",
]
CANONICAL = {
    "add",
    "clip",
    "concat",
    "matmul",
    "mean",
    "nn.avg_pool2d",
    "nn.conv2d",
    "nn.max_pool2d",
    "nn.pad",
    "nn.relu",
    "permute_dims",
    "reshape",
    "strided_slice",
}


@pytest.mark.parametrize("name", REAL_NETWORKS)
def test_real_networks_have_the_canonical_form(shared_data, name):
    mod = canonical(shared_data.models[name])
    islands = {"nn.softmax"} if name.startswith("ultraface") else set()
    assert set(operators(mod)) - CANONICAL == islands
    assert [function.name_hint for function in mod.get_global_vars()] == ["main"]
    assert len(mod["main"].params) == 1 and len(mod["main"].body.blocks) == 1
    check_layers(mod)


def check_layers(mod):
    """Constant weights; each bias behind its layer, in one shape; no other constants in additions."""
    graph = Graph(mod)
    for value in graph.values.values():
        if operator_name(value) == "relax.nn.conv2d":
            assert array(value.args[1]) is not None and len(value.attrs.padding) == 4
        elif operator_name(value) == "relax.matmul":
            assert array(value.args[1]).ndim == len(shape(value)) == 2
        elif operator_name(value) == "relax.add" and array(value.args[1]) is None:
            assert shape(value.args[0]) == shape(value.args[1]) and array(value.args[0]) is None
        elif operator_name(value) == "relax.add":
            layer = graph.sole_call(value.args[0], "relax.nn.conv2d", "relax.matmul")
            channels = shape(layer)[1]
            assert shape(value.args[1]) == ((channels,) if len(shape(layer)) == 2 else (1, channels, 1, 1))


@pytest.mark.parametrize("name", REAL_NETWORKS)
def test_a_second_run_changes_nothing(shared_data, name):
    mod = canonical(shared_data.models[name])
    assert tvm_ffi.structural_equal(mod, tvm.transform.Sequential(canonical_passes())(mod))


SMALLER_IMAGES = {"mobilenet_v1_075": 32, "mobilenet_v2_cifar10": 32, "squeezenet1_1": 64}  # TVM's schedules are slow


@pytest.mark.parametrize("name", REAL_NETWORKS)
def test_real_networks_compute_the_same(shared_data, name, tmp_path):
    file = shared_data.models[name]
    if name in SMALLER_IMAGES:
        model = onnx.load(file)
        for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            axis.dim_value = SMALLER_IMAGES[name]
        del model.graph.value_info[:]
        file = tmp_path / file.name
        onnx.save(model, file)
    check_against_onnxruntime(file, optimize=True)


def int64(*values):
    return np.array(values, "int64")


X = (1, 4, 8, 8)
CONV = ("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]})
WEIGHTS = {"w": random(6, 4, 3, 3), "b": random(6, seed=1), "v": random(4, 6, 1, 1), "zero": np.float32(0)}
WEIGHTS |= {"six": np.float32(6), "gamma": random(6, seed=2), "beta": random(6, seed=3), "mean": random(6, seed=4)}
WEIGHTS |= {"var": np.abs(random(6, seed=5)) + 0.1, "scale": random(6, 1, 1, seed=6)}
WEIGHTS |= {"fc": random(5, 6), "fcb": random(5), "shape1": int64(1, 2, 3, 8, 8), "shape2": int64(1, 6, 8, 8)}
WEIGHTS |= {"axes": int64(2, 3), "pads": int64(0, 0, 1, 0, 0, 0, 0, 1), "to": int64(2**62), "from": int64(0)}
WEIGHTS |= {"rows": int64(2), "columns": int64(3), "two": int64(2), "widen": int64(0, 1, 0, 0, 0, 1, 0, 0)}
NORM = "c gamma beta mean var"
GEMM = {"transB": 1, "alpha": 0.5, "beta": 2.0}
NETWORKS = {
    "batch norm, relu": (
        [CONV, ("BatchNormalization", NORM, "d", {}), ("Relu", "d", "y", {})],
        ["nn.conv2d", "add", "nn.relu"],
    ),
    "scale and shift as Keras writes them": (
        [CONV, ("Mul", "c scale", "d", {}), ("Add", "scale d", "e", {}), ("Clip", "e zero six", "y", {})],
        ["nn.conv2d", "add", "clip"],
    ),
    "relu6 of maxima and minima": (
        [CONV, ("Max", "c zero", "d", {}), ("Min", "d six", "y", {})],
        ["nn.conv2d", "add", "clip"],
    ),
    "residual": (
        [CONV, ("Relu", "c", "d", {}), ("Conv", "d v", "e", {}), ("Add", "e x", "f", {}), ("Relu", "f", "y", {})],
        ["nn.conv2d", "add", "nn.relu", "nn.conv2d", "add", "nn.relu"],
    ),
    "sum": (
        [CONV, ("Conv", "c v", "e", {}), ("Sum", "e x", "f", {}), ("Relu", "f", "y", {})],
        ["nn.conv2d", "add", "nn.conv2d", "add", "nn.relu"],
    ),
    "padding before a convolution": (
        [("Pad", "x pads", "d", {}), ("Conv", "d w b", "y", {})],
        ["nn.conv2d", "add"],
    ),
    "subsampled, widened shortcut": (
        [
            ("Slice", "x from to rows two", "c", {}),
            ("Slice", "c from to columns two", "d", {}),
            ("Pad", "d widen", "y", {}),
        ],
        ["strided_slice", "nn.pad"],
    ),
    "head": (
        [
            CONV,
            ("GlobalAveragePool", "c", "d", {}),
            ("Dropout", "d", "e", {}),
            ("Flatten", "e", "f", {}),
            ("Gemm", "f fc fcb", "g", GEMM),
            ("Identity", "g", "y", {}),
        ],
        ["nn.conv2d", "add", "mean", "reshape", "matmul", "add"],
    ),
    "global pools": (
        [
            ("ReduceMean", "x", "c", {"axes": [-1, -2], "keepdims": 0}),
            ("GlobalMaxPool", "x", "d", {}),
            ("Squeeze", "d axes", "e", {}),
            ("Add", "c e", "y", {}),
        ],
        ["mean", "nn.max_pool2d", "add", "reshape"],
    ),
    "channel shuffle": (
        [
            CONV,
            ("Reshape", "c shape1", "d", {}),
            ("Transpose", "d", "e", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", "e shape2", "y", {}),
        ],
        ["nn.conv2d", "add", "reshape", "permute_dims", "reshape"],
    ),
    "split and concat": (
        [("Split", "x", "c d", {"axis": 1}), ("Relu", "c", "e", {}), ("Concat", "d e", "y", {"axis": 1})],
        ["strided_slice", "strided_slice", "nn.relu", "concat"],
    ),
    "gate": (
        [CONV, ("GlobalAveragePool", "c", "d", {}), ("HardSigmoid", "d", "e", {}), ("Mul", "c e", "y", {})],
        ["nn.conv2d", "add", "mean", "multiply", "add", "clip", "multiply"],
    ),
    "hard swish": ([CONV, ("HardSwish", "c", "y", {})], ["nn.conv2d", "add", "add", "clip", "divide", "multiply"]),
    "silu": ([CONV, ("Sigmoid", "c", "d", {}), ("Mul", "c d", "y", {})], ["nn.conv2d", "add", "sigmoid", "multiply"]),
}


@pytest.mark.parametrize("nodes,expected", NETWORKS.values(), ids=NETWORKS)
def test_small_networks(tmp_path, nodes, expected):
    used = {name for _, inputs, _, _ in nodes for name in inputs.split()}
    weights = {name: value for name, value in WEIGHTS.items() if name in used}
    path = write_model(tmp_path / "model.onnx", nodes, {"x": X}, ["y"], weights)
    mod = check_against_onnxruntime(path)
    assert sorted(operators(mod)) == sorted(expected)
    assert tvm_ffi.structural_equal(mod, tvm.transform.Sequential(canonical_passes())(mod))


def test_one_dimensional_convolution(tmp_path):
    nodes = [("Conv", "x w", "c", {}), ("BatchNormalization", NORM, "y", {})]
    weights = {name: WEIGHTS[name] for name in NORM.split()[1:]} | {"w": random(6, 4, 3)}
    path = write_model(tmp_path / "model.onnx", nodes, {"x": (1, 4, 9)}, ["y"], weights)
    assert operators(check_against_onnxruntime(path)) == ["reshape", "nn.conv2d", "add", "reshape"]


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("counts", [0, 1])
@pytest.mark.parametrize("kernel,stride,pads", [(3, 2, [0, 0, 1, 1]), (2, 2, [0, 0, 0, 0]), (3, 2, [1, 1, 1, 1])])
def test_pools(tmp_path, ceil, counts, kernel, stride, pads):
    window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads, "ceil_mode": ceil}
    nodes = [("MaxPool", "x", "y", window), ("AveragePool", "x", "z", window | {"count_include_pad": counts})]
    path = write_model(tmp_path / "model.onnx", nodes, {"x": (1, 4, 7, 8)}, ["y", "z"], opset=19)
    assert operators(check_against_onnxruntime(path)) == ["nn.max_pool2d", "nn.avg_pool2d"]


def test_modules_of_the_plain_onnx_importer(shared_data):
    """The passes are of use without eq_tvm's importer."""
    plain = from_onnx(onnx.load(shared_data.models["mobilenet_v2_cifar10"]))
    mod = tvm.transform.Sequential(canonical_passes())(plain)
    assert set(operators(mod)) <= CANONICAL
    check_layers(mod)
