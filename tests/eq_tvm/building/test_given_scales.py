"""Small networks that come quantized, in the forms that tools write: integers, and what ONNX Runtime computes."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm.analysis import analyze
from eq_tvm.cli.report import compile_report
from eq_tvm.errors import UserError
from eq_tvm.exporting.export import export
from eq_tvm.importer.own_scales import has_scales, weight_scales

PAIR = {"s": np.float32(0.03), "z": np.uint8(119), "t": np.float32(0.11), "u": np.uint8(130)}
SHAPE = (1, 4, 8, 8)


def integers(*shape, seed=0, dtype="int8"):
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(dtype)


def around(layer, *between, name="w"):
    """x, quantized, into a layer of the weights `name`, and quantized again behind what stands between."""
    last = between[-1][2] if between else "y0"
    return [
        ("QuantizeLinear", "x s z", "xq", {}),
        ("DequantizeLinear", "xq s z", "xd", {}),
        (layer[0], f"xd {name} {layer[1]}".strip(), "y0", layer[2]),
        *between,
        ("QuantizeLinear", f"{last} t u", "yq", {}),
        ("DequantizeLinear", "yq t u", "y", {}),
    ]


def weights(*shape, axis=0, **more):
    scales = np.linspace(0.001, 0.004, shape[axis]).astype(np.float32)
    return {"q": integers(*shape), "ws": scales, "wz": np.zeros(shape[axis], np.int8), **PAIR, **more}


def dequantized(axis=0, name="w"):
    return ("DequantizeLinear", "q ws wz", name, {"axis": axis})


BATCH_NORM = {key: np.abs(random(6, seed=i)) + 0.5 for i, key in enumerate(("gamma", "beta", "mean", "var"))}


def four_bits(out, channels):
    packed = (integers(out, channels, 3, 3) // 16).astype(ml_dtypes.int4)
    return weights(out, channels, 3, 3, b=random(out)) | {
        "q": packed,
        "ws": np.linspace(0.01, 0.02, out).astype(np.float32),
        "wz": np.zeros(out, ml_dtypes.int4),
    }


FORMS = {
    "pairs": ([dequantized(), *around(("Conv", "b", {}))], weights(6, 4, 3, 3, b=random(6))),
    "bias of integers": (
        [
            dequantized(),
            ("DequantizeLinear", "bq bs", "b", {"axis": 0}),
            *around(("Conv", "b", {"pads": [1, 1, 1, 1]})),
        ],
        weights(
            6,
            4,
            3,
            3,
            bq=integers(6, dtype="int32") * 50,
            bs=np.linspace(0.001, 0.004, 6, dtype="float32") * np.float32(0.03),
        ),
    ),
    "batch norm": (
        [
            dequantized(),
            *around(
                ("Conv", "", {}), ("BatchNormalization", "y0 gamma beta mean var", "n", {}), ("Relu", "n", "r", {})
            ),
        ],
        weights(6, 4, 3, 3, **BATCH_NORM),
    ),
    "weights quantized in the network": (
        [
            ("QuantizeLinear", "real ws wz", "q8", {"axis": 0}),
            ("DequantizeLinear", "q8 ws wz", "w", {"axis": 0}),
            *around(("Conv", "", {})),
        ],
        {key: value for key, value in weights(6, 4, 3, 3, real=random(6, 4, 3, 3) / 5).items() if key != "q"},
    ),
    "depthwise": ([dequantized(), *around(("Conv", "", {"group": 4}))], weights(4, 1, 3, 3)),
    "transposed": (
        [dequantized(axis=1), *around(("ConvTranspose", "", {"strides": [2, 2]}))],
        weights(4, 6, 2, 2, axis=1),
    ),
    "dense": (
        [
            dequantized(),
            ("Flatten", "x", "f", {}),
            *[
                (kind, i.replace("x ", "f ", 1) if kind == "QuantizeLinear" and i.startswith("x ") else i, o, a)
                for kind, i, o, a in around(("Gemm", "b", {"transB": 1}))
            ],
        ],
        weights(5, 256, b=random(5)),
    ),
    "tokens": ([dequantized(axis=1), *around(("MatMul", "", {}))], weights(8, 10, axis=1)),
    "hard swish": (
        [
            dequantized(),
            *around(
                ("Conv", "", {}),
                ("QuantizeLinear", "y0 t u", "cq", {}),
                ("DequantizeLinear", "cq t u", "cd", {}),
                ("HardSigmoid", "cd", "g", {"alpha": 1 / 6, "beta": 0.5}),
                ("QuantizeLinear", "g gs gz", "gq", {}),
                ("DequantizeLinear", "gq gs gz", "gd", {}),
                ("Mul", "cd gd", "m", {}),
            ),
        ],
        weights(6, 4, 3, 3, gs=np.float32(1 / 255), gz=np.uint8(0)),
    ),
    "4 bits": ([dequantized(), *around(("Conv", "b", {"pads": [1, 1, 1, 1]}))], four_bits(6, 4)),
    "4 bits, many": (
        [
            dequantized(),
            ("Conv", "x k", "wider", {}),
            *[(kind, ins.replace("x s", "wider s"), out, more) for kind, ins, out, more in around(("Conv", "", {}))],
        ],
        four_bits(200, 160) | {"k": random(160, 4, 1, 1)},
    ),
}


def onnxruntime_result(path, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options).run(None, {"x": x})[0]


def opset(form):
    return 21 if form.startswith("4 bits") else 17


@pytest.mark.parametrize("form", FORMS)
def test_forms(form, tmp_path):
    nodes, constants = FORMS[form]
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], constants, opset=opset(form))
    assert has_scales(path)
    bundle = eq_tvm.compile(path, output=tmp_path / "q.eqtvm")
    assert bundle.scheme == "own" and len(bundle.calibration["float"]) == (form == "4 bits, many")
    assert form == "4 bits, many" or not [kernel for kernel in bundle.kernels if "fma" in kernel["instruction"]]
    x = random(*SHAPE, seed=7)
    expected = onnxruntime_result(path, x)
    steps = np.abs(eq_tvm.load(bundle).run(x)["y"] - expected) / PAIR["t"]
    assert steps.max() < 1.01 and (steps > 0.5).mean() < 0.01
    assert np.ptp(expected) > 20 * PAIR["t"]


def test_a_scale_for_each_channel_of_activations(tmp_path):
    """As NNCF has it before depthwise convolutions, which stay float."""
    nodes = [
        dequantized(),
        ("QuantizeLinear", "x cs cz", "xq", {"axis": 1}),
        ("DequantizeLinear", "xq cs cz", "xd", {"axis": 1}),
        ("Conv", "xd w", "c", {"group": 4}),
        ("QuantizeLinear", "c t u", "cq", {}),
        ("DequantizeLinear", "cq t u", "cd", {}),
        ("Conv", "cd w", "y", {"group": 4}),
    ]
    channels = {"cs": np.float32([0.01, 0.02, 0.03, 0.04]), "cz": np.uint8([119, 128, 100, 130])}
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], weights(4, 1, 3, 3, **channels))
    bundle = eq_tvm.compile(path, output=tmp_path / "q.eqtvm")
    assert [layer["layer"] for layer in bundle.calibration["float"]] == ["n3"] and not bundle.not_exported
    x = random(*SHAPE, seed=7)
    results = [eq_tvm.load(bundle).run(x)["y"]]
    for file in (path, export(bundle.path, tmp_path / "e.onnx")):
        results.append(onnxruntime_result(file, x))
    for result in results[1:]:
        np.testing.assert_allclose(results[0], result, atol=0.02)
    assert np.abs(results[0]).max() > 0.2


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"scheme": "int8"}, "--scheme"),
        ({"calibration": "random"}, "--calibration"),
        ({"min_cosine": 0.9}, "--min-cosine"),
        ({"max_drop": 1.0}, "--max-drop"),
        ({"refine": "blocks"}, "--refine"),
        ({"keep": {"n0": "float"}}, "--keep"),
    ],
)
def test_nothing_is_calibrated(options, flag, tmp_path):
    nodes, constants = FORMS["pairs"]
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], constants)
    with pytest.raises(UserError, match=f"q.onnx is quantized already, and keeps its own scales: leave out {flag}, or"):
        eq_tvm.compile(path, output=tmp_path / "q.eqtvm", **options)
    assert not (tmp_path / "q.eqtvm").exists()


def test_float32_simulates_it(tmp_path):
    nodes, constants = FORMS["pairs"]
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], constants)
    x = random(*SHAPE, seed=7)
    results = [
        eq_tvm.load(eq_tvm.compile(path, output=tmp_path / f"{name}.eqtvm", **options)).run(x)["y"]
        for name, options in {"own": {}, "float32": {"scheme": "float32"}}.items()
    ]
    assert np.abs(results[0] - results[1]).max() <= 1.01 * PAIR["t"]


def test_a_network_that_only_its_output_quantizes(tmp_path):
    """It is to be calibrated as any other."""
    nodes = [("Conv", "x k", "c", {}), ("QuantizeLinear", "c t u", "q", {}), ("DequantizeLinear", "q t u", "y", {})]
    path = write_model(tmp_path / "f.onnx", nodes, {"x": SHAPE}, ["y"], {"k": random(6, 4, 3, 3), **PAIR})
    assert not has_scales(path)
    bundle = eq_tvm.compile(path, calibration="random", scheme="int8", output=tmp_path / "f.eqtvm")
    assert bundle.scheme == "int8" and bundle.calibration["layers"]


def test_weights_only(tmp_path):
    """Their scales are none of the calibration's business."""
    nodes = [dequantized(), ("Conv", "x w", "y", {})]
    path = write_model(tmp_path / "f.onnx", nodes, {"x": SHAPE}, ["y"], weights(6, 4, 3, 3))
    assert not has_scales(path)
    assert eq_tvm.compile(path, calibration="random", scheme="int7", output=tmp_path / "f.eqtvm").scheme == "int7"


def test_weights_with_a_zero_point(tmp_path):
    nodes = [("DequantizeLinear", "q ws wz", "w", {}), *around(("Conv", "", {}))]
    given = {"q": integers(6, 4, 3, 3, dtype="uint8"), "ws": np.float32(0.002), "wz": np.uint8(119), **PAIR}
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], given)
    with pytest.raises(UserError, match=r"layer n3: its weights are no integers of 8 bits.*--requantize"):
        eq_tvm.compile(path, output=tmp_path / "q.eqtvm")
    bundle = eq_tvm.compile(path, requantize=True, output=tmp_path / "q.eqtvm")
    assert [layer["given"] for layer in bundle.calibration["layers"]] == [False]
    assert "new ones for the weights of 1" in compile_report(bundle, 1.0)


def test_requantize_is_for_quantized_networks(tmp_path):
    path = write_model(tmp_path / "f.onnx", [("Conv", "x k", "y", {})], {"x": SHAPE}, ["y"], {"k": random(6, 4, 3, 3)})
    with pytest.raises(UserError, match="--requantize is for networks that come quantized"):
        eq_tvm.compile(path, calibration="random", requantize=True, output=tmp_path / "f.eqtvm")


def test_it_is_not_analyzed(tmp_path):
    nodes, constants = FORMS["pairs"]
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], constants)
    with pytest.raises(UserError, match="quantized already: analyze the float32 network"):
        analyze(path)


def test_scales_of_weights(tmp_path):
    nodes, constants = FORMS["dense"]
    path = write_model(tmp_path / "q.onnx", nodes, {"x": SHAPE}, ["y"], constants)
    (scales,) = weight_scales(onnx.load(path)).values()
    np.testing.assert_array_equal(scales, constants["ws"])


def test_no_onnx_file_has_scales(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x08nonsense")
    assert not has_scales(tmp_path / "x.onnx") and not has_scales(tmp_path / "y.onnx")


def compiled_and_expected(path, nodes, constants, folder):
    write_model(path, nodes, {"x": SHAPE}, ["y"], constants)
    x = random(*SHAPE, seed=2)
    bundle = eq_tvm.compile(path, output=folder)
    return bundle, eq_tvm.load(bundle).run(x)["y"], onnxruntime_result(path, x)


@pytest.mark.parametrize("change", [{"s2": np.float32(0.06)}, {"z2": np.uint8(100)}])
@pytest.mark.parametrize("place", ["in front", "behind"])
def test_integers_that_are_dequantized_otherwise(change, place, tmp_path):
    """Than they were quantized: another number, in front of a layer and behind."""
    ends = PAIR | {"s2": PAIR["s"], "z2": PAIR["z"]} | change
    nodes = [dequantized(), *around(("Conv", "", {}))]
    if place == "in front":
        nodes[2] = ("DequantizeLinear", "xq s2 z2", "xd", {})
    else:
        nodes[-2:] = [("QuantizeLinear", "y0 s z", "yq", {}), ("DequantizeLinear", "yq s2 z2", "y", {})]
    _, result, expected = compiled_and_expected(
        tmp_path / "m.onnx", nodes, weights(6, 4, 3, 3) | ends, tmp_path / "b.eqtvm"
    )
    np.testing.assert_allclose(result, expected, atol=1e-4 if place == "behind" else 0.1101)
    assert np.mean(np.abs(result - expected) > 1e-4) < 0.02  # ties, where the layer is one of float32


def test_pairs_that_no_layer_reads(tmp_path):
    """Such networks are quantized, too: no images are asked for."""
    nodes = [*around(("Pad", "", {}), name="pads")]
    constants = PAIR | {"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1])}
    bundle, result, expected = compiled_and_expected(tmp_path / "m.onnx", nodes, constants, tmp_path / "b.eqtvm")
    assert bundle.scheme == "own" and not bundle.calibration["layers"]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_scale_of_zero(tmp_path):
    path = tmp_path / "m.onnx"
    nodes, constants = [dequantized(), *around(("Conv", "", {}))], weights(6, 4, 3, 3, s=np.float32(0))
    write_model(path, nodes, {"x": SHAPE}, ["y"], constants)
    with pytest.raises(UserError, match=r"the scale of QuantizeLinear node '.*' is 0"):
        eq_tvm.compile(path, output=tmp_path / "b.eqtvm")


def test_ties_do_not_fail_verification(tmp_path):
    """Decimal scales, so that many values lie halfway: float32 may round any of them to either side."""
    ends = {"s": np.float32(0.05), "z": np.uint8(128), "t": np.float32(0.1), "u": np.uint8(0)}
    constants = weights(6, 4, 3, 3, ws=np.full(6, 0.01, np.float32), **ends)
    nodes = [dequantized(), *around(("Conv", "", {}), ("Relu", "y0", "r", {}))]
    bundle, *_ = compiled_and_expected(tmp_path / "m.onnx", nodes, constants, tmp_path / "b.eqtvm")
    assert len(bundle.calibration["layers"]) == 1


def test_pairs_of_onnxruntimes_own_domain(tmp_path):
    """As its quantizer writes 4 bits below operator set 21."""
    standard, theirs = tmp_path / "m.onnx", tmp_path / "theirs.onnx"
    nodes, constants = FORMS["4 bits"]
    write_model(standard, nodes, {"x": SHAPE}, ["y"], constants, opset=21)
    model = onnx.load(standard)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = "com.microsoft"
    del model.opset_import[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)])
    onnx.save(model, theirs)
    x = random(*SHAPE, seed=2)
    results = [
        eq_tvm.load(eq_tvm.compile(path, output=tmp_path / path.stem)).run(x)["y"] for path in (standard, theirs)
    ]
    np.testing.assert_array_equal(*results)
