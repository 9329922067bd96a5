"""`train`: from a float network to one trained in the integers that it will compute in."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.cli.declared import takes
from eq_tvm.errors import UserError
from eq_tvm.options.training import TrainOptions

if TYPE_CHECKING:
    from eq_tvm.train.train import Trained


@app.command(
    epilog=examples(
        "train",
        "train net.onnx --images images/ --preprocess net.yaml --scheme int4 --epochs 5 --output trained.onnx",
        "train net.onnx --images labelled.csv --preprocess net.yaml --mean-bits 4 --target rpi4",
    )
)
@takes(TrainOptions)
def train(options: dict[str, Any], as_json: Json = False) -> None:
    """Train a network as the integers that it will compute in, for fewer bits than calibration can do with.

    It learns from its own float form, and needs PyTorch (the extra train) but no labels. What is written is ONNX with
    quantized weights (QDQ): compile makes a bundle of it.
    """
    from eq_tvm.cli.progress import show_progress

    _show_torch()
    from eq_tvm.train.train import train

    try:
        with show_progress() as progress:
            trained = train(**options, progress=progress)
    except KeyboardInterrupt as e:
        print(*e.args, sep="", end="\n" * bool(e.args), file=sys.stderr)
        raise
    if as_json:
        reports = [asdict(report) for report in trained.reports]
        print(json.dumps({"written": str(trained.path), "bits": trained.bits, "reports": reports}))
    else:
        print(_told(trained))


def _show_torch() -> None:
    """The command line hides PyTorch from TVM, which would import it."""
    if sys.modules.get("torch", ...) is None:
        del sys.modules["torch"]
    if find_spec("torch") is None:
        raise UserError("training needs PyTorch: pip install 'eq-tvm[train]', or torch for CPUs alone")


def _told(trained: Trained) -> str:
    """A line for each report, and what to do next."""
    lines = ["epoch    loss  agreement"]
    for report in trained.reports:
        top1 = "" if report.top1 is None else f"  top-1 {report.top1:.2%}"
        agreement = "        -" if report.agreement is None else f"  {report.agreement:7.2%}"
        lines.append(f"{report.epoch:5.2f}  {report.loss:6.4f}  {agreement}{top1}")
    counts = Counter(trained.bits.values())
    bits = ", ".join(f"{count} of {width} bits" for width, count in sorted(counts.items()))
    lines += ["", f"weights  {bits}", f"written  {trained.path}", f"next     python -m eq_tvm compile {trained.path}"]
    return "\n".join(lines)
