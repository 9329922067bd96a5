"""`verify`: a bundle that is whole passes; one that says something else of itself does not, though its hashes fit."""

import hashlib
import json
import shutil

import pytest

import eq_tvm
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.cli import main
from eq_tvm.errors import UserError
from eq_tvm.running.check_bundle import check_bundle


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return {
        target: eq_tvm.compile(
            target=target, scheme="int8", images=8, output=tmp_path_factory.mktemp("bundles") / f"{target}.eqtvm"
        ).path
        for target in ("native", "rpi4")
    }


@pytest.fixture
def bundle(compiled, tmp_path):
    return shutil.copytree(compiled["native"], tmp_path / "b.eqtvm")


def rewrite(path, change=lambda description: None, **files):
    """Change the description, and perhaps files, as somebody would who can compute hashes, too."""
    description = json.loads((path / "bundle.json").read_text())
    change(description)
    for name, content in files.items():
        (path / name.replace("_", ".")).write_bytes(content)
    names = [name for name in description["files"] if name != "bundle.json"]
    description["files"] = {name: {"sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()} for name in names}
    text = json.dumps(description, sort_keys=True).encode()
    description["files"]["bundle.json"] = {"sha256": hashlib.sha256(text).hexdigest()}
    (path / "bundle.json").write_text(json.dumps(description))


def test_whole_ones(compiled, capsys):
    assert main(["verify", str(compiled["native"])]) == 0
    said = capsys.readouterr().out
    assert "no accumulator of 15 layers overflows" in said and "what it did when it was compiled, bit for" in said
    assert dict(check_bundle(compiled["rpi4"]))["sample"].startswith("its network, compiled for this machine, computes")


def test_materials(compiled):
    bundle = bundles.read(compiled["native"])
    assert {"python", "eq-tvm", "apache-tvm", "numpy", "onnx", "llvm", "linker"} <= bundle.versions.keys()
    assert len(bundle.calibration["images_sha256"]) == len(bundle.model_sha256) == 64
    assert bundle.versions["llvm"].isdecimal() and bundle.versions["linker"][0].isalpha()


def test_targets_compute_the_same(compiled):
    native, foreign = (bundles.read(path).sample for path in compiled.values())
    assert native == foreign


def test_an_altered_network(bundle):
    with (bundle / "network.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"was altered: network\.onnx has another SHA-256"):
        list(check_bundle(bundle))


def test_a_file_too_many(bundle):
    (bundle / "more").touch()
    with pytest.raises(UserError, match="has a file that is not noted: more"):
        list(check_bundle(bundle))


def test_the_shared_object_of_another_network(bundle, tmp_path):
    path = eq_tvm.compile(scheme="int7", images=8, output=tmp_path / "other.eqtvm").path
    rewrite(bundle, model_so=(path / "model.so").read_bytes())
    with pytest.raises(UserError, match=r"lacks \d+ of the \d+ constants that its network has"):
        list(check_bundle(bundle))


def test_other_kernels(bundle):
    rewrite(bundle, lambda description: description["kernels"].pop())
    with pytest.raises(UserError, match=r"notes other kernels|none of the kernels that the bundle notes"):
        list(check_bundle(bundle))


def test_another_result(bundle):
    def change(description):
        output = description["sample"]["outputs"]["logits"]
        output["sha256"] = "0" * 64
        output["values"][3] += 1

    rewrite(bundle, change)
    with pytest.raises(UserError, match=r"output 'logits' is .* where it was"):
        list(check_bundle(bundle))


def test_a_float_network_rounds_in_its_way(tmp_path):
    path = eq_tvm.compile(scheme="float32", output=tmp_path / "f.eqtvm").path
    found = dict(check_bundle(path))
    assert found["proofs"] == "nothing in it is quantized" and "bit for bit" in found["sample"]

    def change(description):
        description["sample"]["outputs"]["logits"]["sha256"] = "0" * 64

    rewrite(path, change)
    assert "but for the rounding of floats" in dict(check_bundle(path))["sample"]
