"""What TVM 0.9 and 0.16 saved computes what their executors computed."""

import shutil

import numpy as np
import pytest
from onnx_models import random
from relay_runs import DATA, kinds, run

from eq_tvm.errors import UserError
from eq_tvm.importer.own_scales import has_scales
from eq_tvm.importer.relay import read_relay
from eq_tvm.importer.relay.node_graph import read_module

VERSIONS = ["0.9", "0.16"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["params-{}.relay.json", "bound-{}.relay.txt", "fused-{}.relay.txt"])
def test_floats(version, name):
    """Parameters in a file beside; constants in metadata; operators fused, in NCHW4c."""
    saved = np.load(DATA / f"float-{version}.npz")
    model = read_relay(DATA / name.format(version))
    assert [value.name for value in model.graph.input] == ["x"]
    np.testing.assert_allclose(run(model, saved["x"])[0], saved["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version,form", [("0.9", "json"), ("0.16", "json"), ("0.16", "txt")])
def test_integers(version, form, tmp_path):
    """Pairs as ONNX Runtime's quantizer writes them; a tie may go the other way, which is one step."""
    saved = np.load(DATA / f"quantized-{version}.npz")
    model = read_relay(DATA / f"quantized-{version}.relay.{form}")
    assert np.abs(run(model, saved["x"])[0] - saved["y"]).max() <= 0.09 * 1.001
    assert {"DequantizeLinear", "Conv", "Gemm", "QuantizeLinear"} <= set(kinds(model))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert has_scales(tmp_path / "net.onnx")


def test_parameters_without_values_are_inputs(tmp_path):
    shutil.copy(DATA / "params-0.16.relay.json", tmp_path / "net.relay.json")
    model = read_relay(tmp_path / "net.relay.json")
    assert [value.name for value in model.graph.input] == "x w1 b1 w2 gamma beta mean var w3".split()
    saved = np.load(DATA / "float-0.16.npz")
    for name in ("net.params", "net.relay.params"):
        shutil.copy(DATA / "params-0.16.params", tmp_path / name)
        bound = read_relay(tmp_path / "net.relay.json")
        np.testing.assert_allclose(run(bound, saved["x"])[0], saved["y"], rtol=1e-5, atol=1e-6)
        (tmp_path / name).unlink()
    shutil.copy(DATA / "params-0.16.params", tmp_path / "weights")
    assert len(read_relay(tmp_path / "net.relay.json", tmp_path / "weights").graph.input) == 1


def test_version_is_told():
    assert read_module((DATA / "params-0.9.relay.json").read_text()).version == "0.9.dev0"


def test_names_that_text_begins_with_a_letter(tmp_path):
    (tmp_path / "net.relay").write_text(
        "def @main(%x: Tensor[(5, 8), float32], %v_3: Tensor[(5, 8), float32]) { %v_3 }"
    )
    params = (DATA / "params-0.16.params").read_bytes()
    (tmp_path / "net.params").write_bytes(params.replace(b"w3", b"_3", 1))
    assert [value.name for value in read_relay(tmp_path / "net.relay").graph.input] == ["x"]


def test_parameter_of_another_type(tmp_path):
    (tmp_path / "net.relay").write_text("def @main(%x: Tensor[(2), float32], %w3: Tensor[(2), int8]) { %x }")
    shutil.copy(DATA / "params-0.16.params", tmp_path / "net.params")
    with pytest.raises(UserError, match=r"'w3' is float32 \(5, 8\) in the file of parameters, and int8 \(2,\) in"):
        read_relay(tmp_path / "net.relay")


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_json(tmp_path, version):
    text = (DATA / f"quantized-{version}.relay.json").read_text()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "net.json").write_text(text[: int(share * len(text))])
        with pytest.raises(UserError, match="not valid JSON, or truncated"):
            read_relay(tmp_path / "net.json")


@pytest.mark.parametrize("step", range(0, 60, 7))
def test_damaged_json_is_an_error_of_one_line_or_read(tmp_path, step):
    """One node after the other is of no use: never another exception."""
    text = (DATA / "quantized-0.16.relay.json").read_text()
    lines = text.splitlines()
    for index in range(2 + step, len(lines) - 1, 60):
        (tmp_path / "net.json").write_text("\n".join([*lines[:index], '{"type_key":"Nothing"},', *lines[index + 1 :]]))
        try:
            read_relay(tmp_path / "net.json")
        except UserError as error:
            assert "\n" not in str(error) and str(error).startswith(str(tmp_path / "net.json"))


def test_random_feeds_give_finite_results():
    model = read_relay(DATA / "bound-0.9.relay.txt")
    assert np.isfinite(run(model, random(1, 4, 8, 8))[0]).all()
