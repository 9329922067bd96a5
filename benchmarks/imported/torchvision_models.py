"""Compile torchvision's models with random weights, compare with PyTorch, and write docs/pytorch.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from peers import machine
from reports.accuracy_report import put_between, table_line

DOCUMENT = Path(__file__).parents[2] / "docs" / "pytorch.md"
_BEGIN = "<!-- table: python -m imported.torchvision_models --write -->"
_SIZES = {"inception_v3": 299, "detection": 320, "segmentation": 224}
_STATISTICS = 2  # forward passes that give batch norms theirs


def main() -> int:
    options = _options()
    if options.one:
        print(json.dumps(_try(options.one)))
        return 0
    import torch
    import torchvision

    found = []
    for name in options.models or _models():
        command = [sys.executable, "-m", "imported.torchvision_models", "--one", name]
        done = subprocess.run(command, capture_output=True, text=True)
        last = done.stdout.splitlines()[-1:] or [json.dumps({"error": f"ended with {done.returncode}"})]
        found.append({"name": name, **json.loads(last[0])})
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    made_with = f"`python -m imported.torchvision_models --write`; {machine.made_with()}, {versions}."
    text = f"{made_with}\n\n{_summary(found)}\n\n{_table(found)}"
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", help="by torchvision's names; all of classification, segmentation and detection without"
    )
    parser.add_argument("--write", action="store_true", help="write docs/pytorch.md")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    return parser.parse_args()


def _models() -> list[str]:
    from torchvision import models

    return [
        name for module in (models, models.segmentation, models.detection) for name in models.list_models(module=module)
    ]


def _try(name: str) -> dict[str, object]:
    """What came of a model: seconds, and its greatest difference to PyTorch, by the outputs' greatest value."""
    import torch

    import eq_tvm

    torch.manual_seed(0)
    module, example = _module(name)
    start = time.monotonic()
    try:
        with TemporaryDirectory() as folder, torch.no_grad():
            bundle = eq_tvm.compile(
                module, example=example, scheme="float32", verify=False, output=Path(folder) / "b.eqtvm"
            )
            seconds = time.monotonic() - start
            given = example[0] if isinstance(example, tuple) else example
            arrays = [each.numpy() for each in (given if isinstance(given, list) else [given])]
            results = eq_tvm.load(bundle).run(dict(zip((i.name for i in bundle.inputs), arrays, strict=True)))
            theirs = _leaves(module(*example) if isinstance(example, tuple) else module(example))
    except eq_tvm.UserError as error:
        return {"error": str(error).removeprefix(str(error).split(".onnx: ")[0] + ".onnx: ")}
    worst = max(map(_difference, list(results.values()), theirs))
    return {"seconds": round(seconds, 1), "difference": worst, "rows": [len(each) for each in theirs]}


def _module(name: str):
    """A model that was not trained, but whose batch norms have statistics, and an input."""
    import torch
    from torchvision import models

    kind = next((k for k in ("detection", "segmentation") if name in models.list_models(getattr(models, k))), None)
    module = models.get_model(name, weights=None, **({"weights_backbone": None} if kind else {}))
    size = _SIZES.get(kind or name, 224)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None  # an average over all
    if kind == "detection":
        return module.eval(), ([torch.rand(3, size, size)],)
    module.train()
    with torch.no_grad():
        for _ in range(_STATISTICS):
            module(torch.rand(2, 3, size, size))
    return module.eval(), torch.rand(1, 3, size, size)


def _leaves(result: object) -> list[np.ndarray]:
    from torch.utils import _pytree

    return [leaf.numpy() for leaf in _pytree.tree_leaves(result)]


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), 1e-30))


def _summary(found: list[dict]) -> str:
    compiled = [each for each in found if "error" not in each]
    equal = [each for each in compiled if each["difference"] < 1e-3]
    return f"**{len(found)} models: {len(compiled)} compile, {len(equal)} of them give PyTorch's results.**"


def _table(found: list[dict]) -> str:
    lines = [table_line("model", "difference", "seconds", "why not"), table_line("---", "---:", "---:", "---")]
    for each in found:
        difference = f"{each['difference']:.0e}" if "difference" in each else ""
        lines.append(table_line(each["name"], difference, str(each.get("seconds", "")), each.get("error", "")))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
