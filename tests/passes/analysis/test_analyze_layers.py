"""What the analysis says of networks whose losses are known."""

import numpy as np
import pytest
from small_networks import LAYERS, bindings, build, conv, network, pairs, random, relu, run_all
from tvm import relax

from eq_tvm.passes import EasyQuantCalibrate, MinMaxCalibrate, analyze_layers, compare_outputs
from eq_tvm.passes.quantized import problem


def images(count=16):
    return {"x": random(count, 3, 8, 8, seed=7)}


def analyze(make, calibration=MinMaxCalibrate, inputs=None, **options):
    mod, inputs = build(make), inputs or images()
    annotated = calibration(inputs, **options)(mod)
    found = analyze_layers(mod, annotated, inputs, **options)
    return annotated, found, {row["layer"]: row for row in found["layers"]}


def relative_error(mod, annotated):
    """Mean over the images of the square of the output's error, in parts of the output's."""
    x = images()["x"]
    expected, results = (np.array(run_all(m, x)).reshape(len(x), -1) for m in (mod, annotated))
    return float(np.mean(np.square(results - expected).sum(axis=1) / np.square(expected).sum(axis=1)))


def test_every_layer_is_there_in_order():
    _, found, rows = analyze(network)
    assert list(rows) == LAYERS
    assert {name: row["op"] for name, row in rows.items()} == {
        "a": "conv2d",
        "bb": "conv2d",
        "c": "conv2d",
        "add": "add",
        "d": "conv2d",
        "mean": "mean",
        "fc": "dense",
    }
    assert [i["tensor"] for i in rows["add"]["inputs"]] == ["ra"]  # the other operand stays an accumulator
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert all(0.9 < row["cosine_alone"] <= 1 and 0.9 < row["cosine"] <= 1 for row in rows.values())
    assert 10 < found["sqnr_db"] < 50 and 0.99 < found["cosine"] < 1


def test_the_first_layer_has_no_errors_of_others():
    rows = analyze(network)[2]
    assert rows["a"]["sqnr_db"] == pytest.approx(rows["a"]["sqnr_alone_db"], abs=1e-3)
    assert rows["fc"]["sqnr_db"] < rows["fc"]["sqnr_alone_db"] - 3


@pytest.mark.parametrize("layer", [name for name in LAYERS if name not in ("add", "mean")])
def test_the_output_error_is_that_of_a_network_with_one_quantized_layer(layer):
    """But for sums, whose result is quantized, too, and for averages, which stay float without any layer."""
    row, mod = analyze(network)[2][layer], build(network)
    alone = MinMaxCalibrate(images(), kept={name: "float" for name in LAYERS if name != layer})(mod)
    # float layers read the dequantized activations of others
    assert row["output_error"] == pytest.approx(relative_error(mod, alone), rel=0.05)


def test_errors_add_up():
    annotated, _, rows = analyze(network)
    total = relative_error(build(network), annotated)
    assert sum(row["output_error"] for row in rows.values()) == pytest.approx(total, rel=0.7)


def test_the_walk_in_chunks_changes_nothing(monkeypatch):
    in_chunks = analyze(network)[1]
    monkeypatch.setattr(problem, "_CHUNK", 1000)
    at_once = analyze(network)[1]
    assert flat(in_chunks) == pytest.approx(flat(at_once), rel=1e-4)  # exact products have units that depend on it


def flat(value):
    if isinstance(value, dict):
        return [v for item in value.values() for v in flat(item)]
    if isinstance(value, list):
        return [v for item in value for v in flat(item)]
    return [value] if isinstance(value, int | float) else []


def test_what_is_read_and_its_scales():
    annotated, _, rows = analyze(network, EasyQuantCalibrate)
    start = pairs(MinMaxCalibrate(images())(build(network)))
    (read,) = rows["c"]["inputs"]
    assert (read["tensor"], read["low"], read["high"]) == ("rb", 0, 127)
    assert read["scale"] == pytest.approx(pairs(annotated)["rb"][3]) and read["scale_max_abs"] == start["rb"][3]
    assert rows["d"]["weights"]["limit"] == 63
    weight = bindings(annotated)["d_weight_dq"].args[0].value.numpy()
    assert rows["d"]["weights"]["saturated"] == np.mean(np.abs(weight) == 63)
    assert rows["d"]["weights"]["zeroed"] == np.mean(weight == 0)


def test_saturation():
    """A quarter of the inputs is far outside of what calibration saw."""
    mod = build(lambda emit, x: [conv(emit, x, "a")])
    x = np.float32(np.random.default_rng(0).choice([0.1, -0.1, 0.2, 5], (8, 3, 8, 8)))
    annotated = MinMaxCalibrate({"x": np.clip(x, -0.3, 0.3)})(mod)
    (row,) = analyze_layers(mod, annotated, {"x": x})["layers"]
    assert row["inputs"][0]["saturated"] == np.mean(x > 1)
    assert row["inputs"][0]["scale"] / row["inputs"][0]["scale_max_abs"] == pytest.approx(0.3 / 5)
    (other,) = analyze_layers(mod, annotated, {"x": x}, calibrated_on={"x": np.clip(x, -0.3, 0.3)})["layers"]
    assert other["inputs"][0]["scale_max_abs"] == pytest.approx(other["inputs"][0]["scale"])
    assert row["sqnr_inputs_db"] < 5 and row["sqnr_weights_db"] > 20


def test_dead_channels_are_counted():
    weight = random(8, 3, 3, 3, seed=5)
    weight[[1, 6]] = 0
    weight[2] *= 1e-6  # less than half a step of what the largest channel needs
    bias = np.zeros((1, 8, 1, 1), np.float32)
    bias[0, 4] = -1000  # the relu lets nothing through

    def make(emit, x):
        a = emit(relax.op.nn.conv2d(x, relax.const(weight), padding=1), "a")
        return [conv(emit, relu(emit, emit(relax.op.add(a, relax.const(bias)), "sum"), "ra"), "bb")]

    row = analyze(make)[2]["a"]
    assert (row["channels"], row["dead_channels_float"], row["dead_channels"]) == (8, 3, 4)


@pytest.mark.parametrize("layer", ["bb", "c"])
def test_one_weight_a_thousand_times_the_others(layer):
    """In each output channel, for an input channel where there is hardly anything."""

    def make(emit, x):
        for name in ("a", "bb", "c"):
            weight = random(6, int(x.ty.shape[1]), 3, 3, seed=len(name) + ord(name[0]))
            following = {"a": "bb", "bb": "c"}.get(name)
            if following == layer:
                weight[2] *= 1e-4
            if name == layer:
                weight[:, 2, 1, 1] = 1000
            x = relu(emit, conv(emit, x, name, weight=weight, bias=False), f"r{name}")
        return [x]

    found = analyze(make)[1]["layers"]
    worst = max(found, key=lambda row: row["share"])
    assert worst["layer"] == layer and worst["share"] > 0.9
    assert worst["sqnr_weights_db"] < 3 and worst["weights"]["channel_ratio"] > 100 and worst["weights"]["zeroed"] > 0.9


def test_kept_layers():
    kept = {"c": "int8", "d": "float"}
    rows, narrow = (analyze(network, kept=k)[2] for k in (kept, {}))
    assert "d" not in rows and {name: row["scheme"] for name, row in rows.items()}["c"] == "int8"
    assert rows["c"]["sqnr_alone_db"] > narrow["c"]["sqnr_alone_db"] + 4


def test_nothing_is_quantized():
    _, found, rows = analyze(network, kept=dict.fromkeys(LAYERS, "float"))
    assert not rows and found["sqnr_db"] is None and found["cosine"] == pytest.approx(1)


def test_several_outputs_and_one_of_them_early():
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        pool = emit(relax.op.nn.max_pool2d(a, (2, 2), (2, 2)), "pool")
        return [conv(emit, pool, "c"), pool, a]

    mod, inputs = build(make), images(11)
    annotated = MinMaxCalibrate(inputs)(mod)
    rows = {row["layer"]: row for row in analyze_layers(mod, annotated, inputs)["layers"]}
    assert rows["c"]["output_error"] > 0 and rows["a"]["output_error"] > 0
    batches = [{"x": inputs["x"][:8]}, {"x": inputs["x"][8:]}]
    expected, results = run_all(mod, inputs["x"]), run_all(annotated, inputs["x"])
    compared = list(compare_outputs(mod, annotated, batches))
    assert [len(pairs) for pairs in compared] == [3, 3]
    for i, start in ((0, 0), (1, 8)):
        for k in range(3):
            for j, (original, simulated) in enumerate(zip(*compared[i][k], strict=True)):
                np.testing.assert_allclose(original, expected[start + j][k], rtol=1e-4, atol=1e-4)
                np.testing.assert_allclose(simulated, results[start + j][k], atol=0.02 * np.abs(simulated).max())
