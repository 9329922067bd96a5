"""Types by cost: what targets make of them."""

import numpy as np
import pytest
from onnx_models import random, write_model

import eq_tvm


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


def compiled(network, tmp_path, target, scheme):
    options = {"calibration": network.with_name("x.npz"), "images": 10, "method": "mse+", "min_cosine": 0.0}
    return eq_tvm.compile(network, scheme=scheme, target=target, output=tmp_path / f"{target}-{scheme}", **options)


def test_int8_where_it_costs_nothing(network, tmp_path):
    auto, int8 = (compiled(network, tmp_path, "x86-vnni", scheme) for scheme in ("auto", "int8"))
    cycles = auto.calibration["types"]["cycles"]
    assert auto.scheme == "int8" and auto.library.read_bytes() == int8.library.read_bytes()
    assert cycles["chosen"] == cycles["int8"] <= 1.01 * cycles["int7"]


def test_what_little_time_buys(network, tmp_path, monkeypatch):
    from eq_tvm.quantizing import by_cost

    most = compiled(network, tmp_path, "x86", "auto").calibration["types"]["cycles"]
    slack = (1 + most["int8"] / most["int7"]) / 2
    assert most["int8"] > most["chosen"] and slack > 1.01
    monkeypatch.setattr(by_cost, "SLACK", slack)
    auto = compiled(network, tmp_path, "x86", "auto")
    types = auto.calibration["types"]
    cycles, kept = types["cycles"], [each["layer"] for each in auto.calibration["kept"]]
    assert auto.scheme == "int7" and kept and all(each["kind"] == "int8" for each in auto.calibration["kept"])
    assert cycles["int7"] <= cycles["chosen"] <= slack * cycles["int7"] < cycles["int8"]
    front = types["front"]
    assert front == sorted(front) and [e for _, e in front] == sorted((e for _, e in front), reverse=True)
    assert [cycles["chosen"], types["error"]] in [pytest.approx(each) for each in front]
    named = {kernel["layer"]: kernel["cycles"] for kernel in auto.kernels}
    alone = {k["layer"]: k["cycles"] for k in compiled(network, tmp_path, "x86", "int7").kernels}
    assert sum(named.values()) <= slack * cycles["int7"] and any(named[k] > alone[k] for k in kept if k in named)


def test_layers_that_somebody_named_stay(network, tmp_path):
    kept = {"n1": "float"}
    bundle = eq_tvm.compile(
        network,
        scheme="auto",
        target="x86-vnni",
        calibration=network.with_name("x.npz"),
        method="minmax",
        keep={"n2": "float"},
        output=tmp_path / "b",
    )
    assert kept and [(each["layer"], each["kind"]) for each in bundle.calibration["kept"]] == [("n2", "float")]
