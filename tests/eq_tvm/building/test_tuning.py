"""Choosing kernels by measurement: what is remembered, and what is left to the estimate. Never how fast anything is."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import eq_tvm
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.bench import bench_layers
from eq_tvm.building import tuning
from eq_tvm.cli.report import layers_report
from eq_tvm.errors import UserError
from eq_tvm.schedules.choice.candidate import Candidate


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Two 3x3 convolutions of one shape, as ONNX."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(0, 0.1, (16, 16, 3, 3)).astype("float32"), f"w{i}") for i in range(2)]
    nodes = [
        helper.make_node("Conv", [["x", "a"][i], f"w{i}"], ["a" if i == 0 else "y"], pads=[1, 1, 1, 1])
        for i in range(2)
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def compiled(network, tmp_path, **options):
    return eq_tvm.compile(
        network,
        calibration="random",
        images=2,
        method="minmax",
        output=tmp_path / "two.eqtvm",
        tuning_file=tmp_path / "cache" / "tuning.json",
        **options,
    )


def test_tuned_kernels_are_remembered(network, tmp_path, monkeypatch):
    bundle = compiled(network, tmp_path, tune=True)
    (entries,) = json.loads((tmp_path / "cache" / "tuning.json").read_text()).values()
    assert {kernel["kernel"] for kernel in bundle.kernels} <= {entry["kernel"] for entry in entries.values()}
    assert all(entry["kernel"] == min(entry["us"], key=entry["us"].get) for entry in entries.values())

    monkeypatch.setattr(tuning, "_measure", lambda *_: pytest.fail("measured again"))
    assert compiled(network, tmp_path, tune=True).kernels == bundle.kernels
    assert compiled(network, tmp_path).kernels == bundle.kernels


def test_every_choice_gives_the_same_bits(network, tmp_path, monkeypatch):
    x = np.random.default_rng(1).normal(size=(1, 16, 8, 8)).astype("float32")
    results = []
    for number in (0, 1, -1):
        monkeypatch.setattr(tuning.Tuner, "__call__", lambda self, key, found, number=number: found[number])
        results.append(eq_tvm.load(compiled(network, tmp_path)).run(x)["y"])
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all() and np.ptp(results[0]) > 0


def test_what_is_remembered_must_still_exist(tmp_path):
    file = tmp_path / "tuning.json"
    file.write_text(json.dumps({"cpu": {"layer": {"kernel": "gone", "us": {}}, "other": {"kernel": "slow", "us": {}}}}))
    tuner = tuning.Tuner(None, "cpu", file, measure=False)
    fast, slow = (Candidate(name, name, cycles, "", 0, None, None) for name, cycles in (("fast", 1), ("slow", 2)))
    assert tuner("layer", [slow, fast]) is fast and tuner("other", [slow, fast]) is slow
    assert tuning.Tuner(None, "another cpu", file, measure=False)("other", [slow, fast]) is fast


@pytest.mark.parametrize("text", ["{", "[1]", '{"cpu": 1}', "[" * 100000])
def test_a_damaged_file_is_named(tmp_path, text):
    file = tmp_path / "tuning.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"tuning\.json .*delete it"):
        tuning.Tuner(None, "cpu", file, measure=False)


def test_who_tunes_at_the_same_time_loses_nothing(tmp_path, monkeypatch):
    """Four processes and one file: all that each has found is in it."""
    monkeypatch.setattr(tuning, "_measure", lambda candidate, target: candidate.cycles)
    file = tmp_path / "cache" / "tuning.json"
    slow, fast = (Candidate(name, name, cycles, "", 0, None, None) for name, cycles in (("slow", 2), ("fast", 1)))

    def tune(process):
        tuner = tuning.Tuner(None, "cpu", file, measure=True)
        for layer in range(25):
            tuner(f"layer {process} {layer}", [slow, fast])

    processes = [multiprocessing.get_context("fork").Process(target=tune, args=(i,)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = json.loads(file.read_text())["cpu"]
    assert found == {
        f"layer {process} {layer}": {"kernel": "fast", "us": {"slow": 2e6, "fast": 1e6}}
        for process in range(4)
        for layer in range(25)
    }
    assert [path.name for path in file.parent.iterdir()] == ["tuning.json"]


def test_a_file_that_cant_be_written_is_refused_before_anything_is_measured():
    with pytest.raises(UserError, match="can't write the tuning file"):
        tuning.Tuner(None, "cpu", Path("/proc/nowhere/tuning.json"), measure=True)


def test_no_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tuning.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    assert tuning.default_file() is None


def test_other_machines_can_not_be_tuned_for(network, tmp_path):
    with pytest.raises(UserError, match="--tune measures on this machine, but target rpi4"):
        compiled(network, tmp_path, tune=True, target="rpi4")


def test_layers(network, tmp_path):
    bundle = compiled(network, tmp_path)
    assert bundles.read(bundle.path).kernels == bundle.kernels and len(bundle.kernels) == 2
    rows = bench_layers(bundle.path, threads=1, seconds=0.01)
    convolutions = [row for row in rows if "layer" in row]
    assert [row["kernel"] for row in convolutions] == [kernel["kernel"] for kernel in bundle.kernels]
    assert all(row["gmacs"] > 0 and row["bound"] > 0 for row in convolutions)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    report = layers_report(rows)
    assert all(kernel["layer"] in report and kernel["kernel"] in report for kernel in bundle.kernels)
