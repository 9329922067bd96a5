"""Types by cost: what targets make of them."""

import shutil

import numpy as np
import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm import compiler
from eq_tvm.errors import UserError
from eq_tvm.quantizing import goal
from eq_tvm.running.float_network import load_float


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Layers of 3x3, which Winograd makes cheap at INT7, one of 1x1 and a depthwise one; a tensor that two read."""
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    nodes = [
        ("Conv", "x a", "t0", {"pads": [1] * 4}),
        ("Relu", "t0", "t1", {}),
        ("Conv", "t1 b", "t2", {"pads": [1] * 4}),
        ("Relu", "t2", "t3", {}),
        ("Conv", "t3 c", "t4", {"pads": [1] * 4, "group": 32}),
        ("Relu", "t4", "t5", {}),
        ("Conv", "t5 d", "t6", {}),
        ("Add", "t6 t3", "t7", {}),
        ("GlobalAveragePool", "t7", "t8", {}),
        ("Flatten", "t8", "y", {}),
    ]
    weights = {"a": random(32, 3, 3, 3), "b": random(32, 32, 3, 3), "c": random(32, 1, 3, 3), "d": random(32, 32, 1, 1)}
    write_model(path, nodes, {"x": (1, 3, 24, 24)}, ["y"], weights)
    np.savez(path.with_name("x.npz"), x=random(30, 3, 24, 24, seed=4))
    return path


def compiled(network, tmp_path, target, **options):
    """At INT7, INT8 or by cost; with the same images and method."""
    given = {"calibration": network.with_name("x.npz"), "images": 10, "method": "mse+", "min_cosine": 0.0}
    if "max_drop" in options:
        del given["min_cosine"]
    name = "-".join(map(str, options.values()))
    return eq_tvm.compile(network, target=target, output=tmp_path / f"{target}-{name}", **given, **options)


def layer_types(bundle):
    return {row["layer"]: row["type"] for row in bundle.calibration["types"]["layers"]}


def kept(bundle):
    return {row["layer"]: row["kind"] for row in bundle.calibration["kept"]}


def test_int8_where_it_costs_nothing(network, tmp_path):
    auto, int8 = (compiled(network, tmp_path, "x86-vnni", scheme=scheme) for scheme in (None, "int8"))
    cycles = auto.calibration["types"]["cycles"]
    assert auto.scheme == "int8" and auto.library.read_bytes() == int8.library.read_bytes()
    assert cycles["chosen"] == cycles["int8"] <= 1.01 * cycles["int7"]


@pytest.mark.parametrize("options", [{}, {"sensitivity": "nuclear"}, {"search": "greedy"}], ids=str)
def test_what_little_time_buys(network, tmp_path, monkeypatch, options):
    monkeypatch.setattr(goal, "SLACK", 1.05)
    auto = compiled(network, tmp_path, "x86", scheme="auto", **options)
    types = auto.calibration["types"]
    cycles, of_layers = types["cycles"], layer_types(auto)
    assert 1.05 * cycles["int7"] < cycles["int8"]
    assert cycles["int7"] <= cycles["chosen"] <= 1.05 * cycles["int7"]
    assert len(set(of_layers.values())) > 1
    assert dict.fromkeys(of_layers, auto.scheme) | kept(auto) == of_layers
    assert kept(auto) and {row["reason"] for row in auto.calibration["kept"]} == {"by cost"}
    front = types["front"]
    assert front == sorted(front) and [e for _, e in front] == sorted((e for _, e in front), reverse=True)
    if options.get("search") != "greedy":
        assert [cycles["chosen"], types["error"]] in [pytest.approx(each) for each in front]
    chosen = {kernel["layer"]: kernel["cycles"] for kernel in auto.kernels}
    assert {row["layer"]: row["cycles"] for row in types["layers"] if row["layer"] in chosen} == pytest.approx(chosen)


def test_the_more_time_the_more_exact(network, tmp_path):
    """Down to INT6, which is faster than INT7."""
    found = [compiled(network, tmp_path, "x86", speed=speed).calibration["types"] for speed in (1.03, 1.1, 1.16)]
    errors = [types["error"] for types in found]
    assert errors == sorted(errors) and len(set(errors)) == 3
    for types, speed in zip(found, (1.03, 1.1, 1.16), strict=True):
        assert types["cycles"]["int8"] / types["cycles"]["chosen"] >= speed * (1 - 1e-9)
    with pytest.raises(UserError, match=r"--speed 9 is out of reach: on x86 .* than 1\.\d\d times as fast as INT8"):
        compiled(network, tmp_path, "x86", speed=9.0)
    everywhere = compiled(network, tmp_path, "x86", speed=1.0)
    assert everywhere.scheme == "int8" and not kept(everywhere)


@pytest.mark.parametrize("speed", [1.05, 1.1, 1.15])
def test_the_predicted_error_is_that_of_other_images(network, tmp_path, speed):
    """The last one has layers of INT6, whose errors are larger than all of INT7's."""
    bundle, reference = compiled(network, tmp_path, "x86", speed=speed), load_float(network)
    model, errors = eq_tvm.load(bundle), []
    for image in random(64, 3, 24, 24, seed=5):
        expected, result = (net.run({"x": image[None]})["y"] for net in (reference, model))
        errors.append(np.square(expected - result).sum() / np.square(expected).sum())
    assert bundle.calibration["types"]["error"] == pytest.approx(np.mean(errors), rel=0.3)


def test_milliseconds(network, tmp_path, monkeypatch):
    """By the clock of a board, or by what INT7 takes here."""
    whole = compiled(network, tmp_path, "rpi3", within_ms=1e3)
    cycles = whole.calibration["types"]["cycles"]
    assert whole.scheme == "int8" and whole.target["ghz"] == 1.2
    least = 1e3 * min(cycles.values()) / 1.2e9
    with pytest.raises(UserError, match=r"--within-ms 0\.001 .* to take less than (\d\.\d+) ms on one core") as refused:
        compiled(network, tmp_path, "rpi3", within_ms=1e-3)
    assert float(str(refused.value).split(" less than ")[1].split()[0]) <= 1.01 * least
    monkeypatch.setattr(compiler, "_seconds", lambda *_, **__: 2e-3)
    x86 = compiled(network, tmp_path, "x86", within_ms=2.1).calibration["types"]["cycles"]
    assert x86["int7"] < x86["chosen"] <= 1.05 * x86["int7"]
    monkeypatch.undo()
    assert compiled(network, tmp_path, "x86", within_ms=500.0).scheme == "int8"


def test_what_is_said_to_be_in_reach_can_be_asked_for():
    totals = {"int7": 100.0, "int8": 119.69}
    for wish, word in (({"speed": 9.0}, "than"), ({"milliseconds": 1e-6, "frequency": 1e8}, "less than")):
        name = next(iter(wish))
        said = float(goal.Goal(**wish).out_of_reach(95.04, totals, "x86").split(f" {word} ")[-1].split()[0])
        assert goal.Goal(**wish | {name: said}).cycles(totals) == pytest.approx(95.04, rel=0.01)
        assert goal.Goal(**wish | {name: said}).cycles(totals) >= 95.04


def test_the_fastest_that_loses_little_enough(network, tmp_path):
    """The fastest at all where it may lose everything, INT8 where nothing."""
    most = compiled(network, tmp_path, "x86", max_drop=100.0).calibration
    assert most["types"]["cycles"]["chosen"] == pytest.approx(min(cycles for cycles, _ in most["types"]["front"]))
    none = compiled(network, tmp_path, "x86", max_drop=0.0)
    assert none.calibration["loss"]["drop"] <= 0
    assert none.calibration["types"]["cycles"]["chosen"] >= most["types"]["cycles"]["chosen"]
    vnni = compiled(network, tmp_path, "x86-vnni", max_drop=100.0)
    assert vnni.scheme == "int8" and not kept(vnni)


def test_layers_that_somebody_named_stay(network, tmp_path):
    bundle = compiled(network, tmp_path, "x86", keep={"n2": "float"}, speed=1.05)
    assert kept(bundle)["n2"] == "float" and "n2" not in layer_types(bundle)


def test_noise_says_nothing_of_errors(network, tmp_path):
    bundle = eq_tvm.compile(network, target="x86", calibration="random", output=tmp_path / "b")
    assert bundle.scheme == "int7" and "front" not in bundle.calibration["types"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scheme": "int8", "speed": 1.2}, "--speed is for --scheme auto, which decides types"),
        ({"scheme": "float32", "within_ms": 1.2}, "--within-ms is for --scheme auto"),
        ({"scheme": "int7", "search": "greedy"}, "--search, as --sensitivity, is for --scheme auto"),
        ({"speed": 1.2, "within_ms": 3.0}, "--speed and --within-ms are two ways"),
        ({"speed": 1.2, "max_drop": 1.0}, "--speed and --max-drop are two ways"),
        ({"speed": 0.0}, "--speed must be a positive number, not 0"),
        ({"within_ms": float("inf")}, "--within-ms must be a positive number, not inf"),
        ({"target": "android-arm64", "within_ms": 3.0}, "--within-ms needs the clock of target android-arm64: ghz"),
        ({"search": "dijkstra"}, "--search must be one of knapsack, greedy, not dijkstra"),
    ],
)
def test_options_that_contradict_each_other(network, options, said):
    given = {"target": "x86"} | options
    if given["target"] == "android-arm64" and shutil.which("aarch64-linux-android24-clang") is None:
        said = "linker|cross|NDK|--within-ms"
    with pytest.raises(UserError, match=said):
        eq_tvm.compile(network, calibration=network.with_name("x.npz"), **given)


def test_analyze_has_no_target(network):
    with pytest.raises(UserError, match="--scheme auto is what a target makes of it: analyze int7 or int8"):
        eq_tvm.analysis.analyze(network, calibration=network.with_name("x.npz"), scheme="auto")
