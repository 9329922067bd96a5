"""Real networks, compiled by the user's path, are as accurate as `conformance.yaml` asks."""

from pathlib import Path

import pytest
import yaml
from covering import usual

from eq_tvm import compiler
from eq_tvm.evaluate import evaluate

ENTRIES = yaml.safe_load(Path(__file__).with_name("conformance.yaml").read_text(encoding="utf-8"))
SETS = {"squeezenet1_1": ("imagenet/calib_labels.csv", "imagenet/eval_labels.csv")}
CIFAR10 = "cifar10/calib.npz", "cifar10/eval.npz"


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, marks=usual(not entry.get("exhaustive"))) for entry in ENTRIES],
    ids=lambda entry: "-".join(map(str, [entry["network"], entry["scheme"], *entry.get("options", {}).values()])),
)
def test_conformance(entry, shared_data, tmp_path):
    model = shared_data.models[entry["network"]]
    calibration, images = (shared_data.path / file for file in SETS.get(entry["network"], CIFAR10))
    bundle = compiler.compile(
        model,
        calibration=calibration,
        preprocess=model.with_suffix(".preprocess.yaml"),
        scheme=entry["scheme"],
        images=entry.get("calibration", 50),
        output=tmp_path / "network.eqtvm",
        **entry.get("options", {}),
    )
    reached = evaluate(bundle.path, images, reference=model, limit=entry["images"])
    for measure in ("agreement", "top1"):
        assert 100 * reached[measure] >= entry[measure], reached
