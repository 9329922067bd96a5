"""analyze, --keep, --min-cosine and --max-drop, as people use them: on made networks, the example and real ones."""

import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx_models import write_model

from eq_tvm.artifacts import bundle as bundles

CLASSES, CHANNEL, COUNT = 4, 2, 60


def write_networks():
    """net.onnx (convolutions n0 and n2, dense layer n6), fitted to images of noisy patterns, and broken.onnx.

    The latter computes the same, but n2 reads one channel that is 1000 times smaller, with weights 1000 times as large.

    Returns
    -------
    The images (float32 inputs) and their classes.
    """
    random = np.random.default_rng(5)
    labels = np.arange(COUNT) % CLASSES
    images = random.standard_normal((CLASSES, 3, 8, 8))[labels] + 0.3 * random.standard_normal((COUNT, 3, 8, 8))
    images = images.astype(np.float32)
    weights = {"wa": random.standard_normal((8, 3, 3, 3)), "wb": random.standard_normal((8, 8, 3, 3))}
    nodes = [
        ("Conv", "x wa", "a", {"pads": [1] * 4}),
        ("Relu", "a", "ra", {}),
        ("Conv", "ra wb", "b", {"pads": [1] * 4}),
        ("Relu", "b", "rb", {}),
        ("GlobalAveragePool", "rb", "p", {}),
        ("Flatten", "p", "f", {}),
    ]
    session = onnxruntime.InferenceSession(str(write(nodes, "f", weights)), providers=["CPUExecutionProvider"])
    features = np.concatenate([session.run(None, {"x": image[None]})[0] for image in images])
    weights["wc"] = np.linalg.lstsq(features, np.eye(CLASSES)[labels])[0]
    nodes += [("MatMul", "f wc", "scores", {})]
    write(nodes, "scores", weights)
    weights["wa"][CHANNEL] /= 1000
    weights["wb"][:, CHANNEL] *= 1000
    write(nodes, "scores", weights, "broken.onnx")
    return images, labels


def write(nodes, output, weights, path="net.onnx"):
    weights = {name: weight.astype(np.float32) for name, weight in weights.items()}
    return write_model(path, nodes, {"x": [1, 3, 8, 8]}, [output], weights)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with both networks, and the images with and without labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    images, labels = write_networks()
    np.savez("images.npz", images=images)
    np.savez("labelled.npz", images=images, labels=labels)
    return tmp_path


def common(images="images.npz"):
    return ("--calibration", images, "--method", "minmax", "--images", 20)


def test_the_broken_layer_comes_first(cli, folder):
    code, out, err = cli("analyze", "broken.onnx", *common())
    assert code == 0, err
    worst = out.splitlines()[3]
    assert re.match(r"n2 +conv2d +9\d\.\d%", worst)
    assert re.search(
        r"weights: one input channel dominates \(\d{3,4} times\): keep float, or try --method minmax\+$", worst
    )
    code, out, err = cli("analyze", "net.onnx", *common(), "--json", "--output", "analysis.json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((folder / "analysis.json").read_text())
    assert {row["layer"] for row in found["layers"]} == {"n0", "n2", "n4", "n6"}
    shares = [row["share"] for row in found["layers"]]
    assert shares == sorted(shares, reverse=True)
    assert (found["method"], found["images"], found["analyzed"]) == ("minmax", 20, 40)
    assert json.loads(cli("analyze", "net.onnx", *common()[:-1], 55, "--json")[1])["analyzed"] == 0  # 5 are left
    assert not any("dominates" in row["hint"] for row in found["layers"])


def test_equalization_repairs_it(cli):
    images, count = common()[:2], common()[4:]
    before, after = (
        json.loads(cli("analyze", "broken.onnx", *images, *count, "--method", method, "--json")[1])
        for method in ("minmax", "minmax+")
    )
    assert after["sqnr_db"] > before["sqnr_db"] + 10


def test_analyze_with_kept_layers(cli):
    code, out, err = cli("analyze", "broken.onnx", *common(), "--keep", "n2=float", "--keep", "n6=int8")
    assert code == 0, err
    assert "kept wider: n2 float, n6 int8" in out and not re.search("^n2 ", out, re.M)


@pytest.mark.parametrize(("images", "measure"), [("images.npz", "agreement"), ("labelled.npz", "top-1")])
def test_max_drop_keeps_the_broken_layer(cli, folder, images, measure):
    code, out, err = cli(
        "compile", "broken.onnx", *common(images), "--scheme", "int7", "--max-drop", 0, "--output", "b"
    )
    assert code == 0, err
    record = bundles.read("b").calibration
    ((layer, kind, reason),) = [row.values() for row in record["kept"]]
    assert (layer, kind) == ("n2", "float") and re.fullmatch(r"9\d% of the output's error at INT7", reason)
    assert record["loss"] == {
        "bound": 0,
        "drop": 0,
        "drop_before": record["loss"]["drop_before"],
        "measure": measure,
        "float32": 100,
        "agreement": 100,
        "images": 40,
    }
    assert record["loss"]["drop_before"] > 10
    assert re.search(r"^kept wider +n2 float \(9\d% of the output's error at INT7\)$", out, re.M)
    loss = rf"^loss +0\.00 points of {measure} on 40 other images of {images}; \d\d\.\d\d before"
    assert re.search(loss, out, re.M)
    assert [row["layer"] for row in record["layers"]] == ["n0", "n6"]

    evaluate = "--data", images, "--reference", "broken.onnx", "--json"
    assert json.loads(cli("evaluate", "b", *evaluate)[1])["agreement"] == 1
    code, out, err = cli("analyze", "b")
    assert code == 0, err
    assert f"kept float: n2 ({reason})" in out and re.search("^n0 +conv2d +int7", out, re.M)
    assert json.loads(cli("analyze", "b", "--json")[1])["kept"] == record["kept"]


def test_max_drop_without_need(cli):
    code, out, err = cli("compile", "net.onnx", *common(), "--scheme", "int8", "--max-drop", 0, "--output", "b")
    assert code == 0, err
    assert bundles.read("b").calibration["kept"] == [] and "kept wider" not in out and "0.00 points of agreement" in out


def test_the_loss_is_that_of_the_bundle(cli, folder):
    """Measured by simulation, before anything is compiled."""
    assert cli("compile", "broken.onnx", *common(), "--max-drop", 99, "--output", "b")[0] == 0
    images = np.load("images.npz")["images"]
    found = np.linspace(0, len(images) - 1, 20).round().astype(int)
    np.savez("rest.npz", images=np.delete(images, found, axis=0))
    result = json.loads(cli("evaluate", "b", "--data", "rest.npz", "--reference", "broken.onnx", "--json")[1])
    loss = bundles.read("b").calibration["loss"]
    assert result["n"] == loss["images"] == 40
    assert 0 < 100 * (1 - result["agreement"]) == pytest.approx(loss["drop"], abs=100 / 40 + 1e-6)


def test_keep(cli):
    kept = ("--scheme", "int7", "--keep", "n2=float", "--keep", "n6=int8")
    code, out, err = cli("compile", "broken.onnx", *common(), *kept, "--output", "b")
    assert code == 0, err
    record = bundles.read("b").calibration
    assert record["kept"] == [
        {"layer": "n2", "kind": "float", "reason": "asked for"},
        {"layer": "n6", "kind": "int8", "reason": "asked for"},
    ]
    assert {row["layer"]: row["scheme"] for row in record["layers"]} == {"n0": "int7", "n6": "int8"}
    assert "kept wider   n2 float (asked for); n6 int8 (asked for)" in out


def test_min_cosine_widens_activations(cli):
    schemes, reached, images = {}, [], ("--data", "images.npz", "--reference", "net.onnx", "--json")
    for cosine in (0, 0.99999999):
        code, out, err = cli(
            "compile", "net.onnx", *common(), "--scheme", "int7", "--min-cosine", cosine, "--output", "b"
        )
        assert code == 0, err
        record = bundles.read("b").calibration
        schemes[cosine] = {row["scheme"] for row in record["layers"]}
        assert {each["kind"] for each in record["kept"]} == schemes[cosine] - {"int7"}
        reached.append(json.loads(cli("evaluate", "b", *images)[1])["cosine"])
    assert schemes == {0: {"int7"}, 0.99999999: {"w8a12"}}
    assert "kept wider   n0 w8a12 (else an output's cosine is below 0.99999999)" in out
    assert reached[0] < reached[1] > 0.99


def test_names_stay_as_the_file_has_them(cli):
    """With dots, as exporters make them; equalization makes new modules."""
    model = onnx.load("net.onnx")
    for node in model.graph.node:
        node.name = f"blocks.1/{node.name}.0"
    onnx.save(model, "net.onnx")
    options = ("net.onnx", *common()[:2], "--method", "minmax+", "--keep", "blocks.1/n2.0=int8")
    found = json.loads(cli("analyze", *options, "--json")[1])
    assert {(row["layer"], row["scheme"]) for row in found["layers"]} == {
        ("blocks.1/n0.0", "int7"),
        ("blocks.1/n2.0", "int8"),
        ("blocks.1/n4.0", "int7"),
        ("blocks.1/n6.0", "int7"),
    }
    code, _, err = cli("compile", *options, "--output", "b")
    assert code == 0, err
    bundle = bundles.read("b")
    assert [kernel["layer"] for kernel in bundle.kernels] == [row["layer"] for row in bundle.calibration["layers"]]


def test_bad_options(refused):
    for command in ("compile", "analyze"):
        model = (command, "net.onnx", *common())
        refused("no layer 'n3' to keep at int8; of 4 there are n", *model, "--keep", "n3=int8")
        refused(
            "layer 'n2' can be kept at int4, int5, int6, int7, w8a7, w4a8, w7a8, int8, w8a12 or float, not at 'int9'",
            *model,
            "--keep",
            "n2=int9",
        )
        refused("--keep must look like LAYER=int8, LAYER=w8a12 or LAYER=float, not n2", *model, "--keep", "n2")
    compile_ = ("compile", "net.onnx", *common())
    refused("--keep is for layers of quantized networks", *compile_, "--scheme", "float32", "--keep", "n2=float")
    refused("--max-drop is for quantized networks", *compile_, "--scheme", "float32", "--max-drop", 1)
    refused("--min-cosine is for quantized networks", *compile_, "--scheme", "float32", "--min-cosine", 0.9)
    refused("--min-cosine and --max-drop are two ways", *compile_, "--max-drop", 1, "--min-cosine", 0.9)
    for cosine in (-0.1, 1, "nan"):
        refused(f"--min-cosine is a cosine from 0 to below 1, not {cosine}", *compile_, "--min-cosine", cosine)
    for points in (-1, "inf", "nan"):
        refused(
            f"--max-drop is in points that the network may lose, from 0 to 100, not {points}",
            *compile_,
            "--max-drop",
            points,
        )
    refused(
        "there are none left: pass more images, and not noise, or find scales on fewer of them",
        *compile_[:-1],
        60,
        "--max-drop",
        1,
    )
    refused(
        "--max-drop measures on calibration images that find no scales: pass typical ones",
        "compile",
        "net.onnx",
        "--calibration",
        "random",
        "--max-drop",
        1,
    )
    refused("pass typical ones by --calibration DATA", "compile", "net.onnx", "--max-drop", 1)
    refused("--method fdda is for quantized networks", "compile", "net.onnx", "--scheme", "float32", "--method", "fdda")
    refused("--scheme float32 quantizes nothing", "analyze", "net.onnx", *common(), "--scheme", "float32")
    refused(
        "none for the analysis.json does not exist", "analyze", "net.onnx", *common(), "--output", "none/analysis.json"
    )


def test_a_bundle_can_not_be_analyzed_anew(cli, refused):
    assert cli("compile", "net.onnx", *common(), "--output", "b")[0] == 0
    refused("b is a bundle, which holds no float network", "analyze", "b", *common())


def test_the_example(cli):
    code, out, err = cli("analyze", "--images", 4, "--method", "minmax")
    assert code == 0, err
    assert out.startswith("digits, int7, minmax on 4 images of digits_calibration.npz, analyzed on 50 others: cosine")


def test_a_broken_layer_in_a_real_network(cli, shared_data):
    """One channel between two convolutions of ResNet-20 1000 times smaller, and its weights behind so much larger."""
    path = shared_data.models["resnet20_cifar10"]
    model = onnx.load(path)
    convolutions = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    first, second = (convolutions[f"/layer2/layer2.1/conv{i}/Conv"] for i in (1, 2))
    for name, place, factor in [
        (first.input[1], (3,), 1e-3),
        (first.input[2], (3,), 1e-3),
        (second.input[1], (slice(None), 3), 1e3),
    ]:
        array = numpy_helper.to_array(weights[name]).copy()
        array[place] *= np.float32(factor)
        weights[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, "broken.onnx")
    options = (
        "--calibration",
        shared_data.path / "cifar10" / "calib.npz",
        "--method",
        "minmax",
        "--scheme",
        "int8",
        "--preprocess",
        path.with_suffix(".preprocess.yaml"),
    )
    worst = json.loads(cli("analyze", "broken.onnx", *options, "--json")[1])["layers"][0]
    assert worst["layer"] == second.name and worst["share"] > 0.9
    assert worst["hint"].startswith("weights: one input channel dominates")
    code, _, err = cli("compile", "broken.onnx", *options, "--max-drop", 1, "--output", "b")
    assert code == 0, err
    record = bundles.read("b").calibration
    assert [(row["layer"], row["kind"]) for row in record["kept"]] == [(second.name, "float")]
    assert record["loss"]["measure"] == "top-1" and record["loss"]["images"] == 450
    assert record["loss"]["drop"] <= 1 and record["loss"]["drop_before"] > 5
