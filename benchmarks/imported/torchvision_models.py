"""Import torchvision's models with random weights, compare with PyTorch, and write docs/formats/pytorch.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from peers import machine
from reports.accuracy_report import put_between, table_line

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats" / "pytorch.md"
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

    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(_in_another_process, options.models or _models()))
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    made_with = f"`python -m imported.torchvision_models --write`; {machine.made_with()}, {versions}."
    text = f"{made_with}\n\n{_summary(found)}\n\n{_table(found)}"
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _in_another_process(name: str) -> dict[str, object]:
    command = [sys.executable, "-m", "imported.torchvision_models", "--one", name]
    done = subprocess.run(command, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1:] or [json.dumps({"error": f"ended with {done.returncode}"})]
    found = {"name": name, **json.loads(last[0])}
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", help="by torchvision's names; all of classification, segmentation and detection without"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--write", action="store_true", help="write docs/formats/pytorch.md")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    return parser.parse_args()


def _models() -> list[str]:
    from torchvision import models

    return [
        name for module in (models, models.segmentation, models.detection) for name in models.list_models(module=module)
    ]


def _try(name: str) -> dict[str, object]:
    """What came of a model: seconds to import it, and its greatest difference to PyTorch, by the greatest output."""
    import torch

    import eq_tvm
    from eq_tvm.building.canonical import import_canonical
    from eq_tvm.building.verify import verify
    from eq_tvm.importer.formats import file_of

    torch.manual_seed(0)
    module, example = _module(name)
    given = example[0] if isinstance(example, tuple) else example
    arrays = [each.numpy() for each in (given if isinstance(given, list) else [given])]
    start = time.monotonic()
    try:
        path = file_of(module, example)
        canonical, inputs, outputs = import_canonical(path)
        seconds = time.monotonic() - start
        images = {info.name: array for info, array in zip(inputs, arrays, strict=True)}
        verified = verify(path, canonical, outputs, images, None, None, always=True)
    except eq_tvm.UserError as error:
        return {"error": str(error).rpartition(".onnx: ")[2]}
    if verified.expected is None:
        return {"error": verified.said}
    if isinstance(example, tuple):  # detectors: their scores are next to the same, and so in any order
        return {"seconds": round(seconds, 1)}
    with torch.no_grad():
        theirs = _leaves(module(example))
    ours = list(verified.expected.values())
    return {"seconds": round(seconds, 1), "difference": max(map(_difference, ours, theirs))}


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
    imported = sum("error" not in each for each in found)
    return f"**{len(found)} models: {imported} are imported.**"


def _table(found: list[dict]) -> str:
    lines = [table_line("model", "difference", "seconds", "why not"), table_line("---", "---:", "---:", "---")]
    for each in found:
        difference = f"{each['difference']:.0e}" if "difference" in each else ""
        lines.append(table_line(each["name"], difference, str(each.get("seconds", "")), each.get("error", "")))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
