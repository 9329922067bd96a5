"""`evaluate`: how right a network is, and how close to its float form."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples, without_compiler
from eq_tvm.cli.board_options import Key, Rpc, Tracker, board_of
from eq_tvm.cli.task_options import Labels, TaskName
from eq_tvm.errors import UserError


@app.command(
    epilog=examples(
        "evaluate net-native.eqtvm --data images.csv --reference net.onnx",
        "evaluate net.onnx --data images/ --json",
        "evaluate detector-native.eqtvm --data images/ --annotations instances.json --labels coco",
        "evaluate net-rpi4.eqtvm --data images.csv --tracker 192.168.0.2:9190 --key rpi4",
        "evaluate net-native.eqtvm --data images.csv --reference net.onnx --workers 8",
        "evaluate net-native.eqtvm --data images.csv --dask 192.168.0.2:8786",
    )
)
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="BUNDLE|MODEL")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="An .npz (images, labels), a .csv (file,label) or a directory.",
            show_default="the example's images, for a bundle of it",
        ),
    ] = None,
    preprocess: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of what the bundle holds; needed for a MODEL.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="The float32 network to compare with.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N images.")] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json|DIR", help="Boxes of a detector as COCO's json, or a directory of label images."
        ),
    ] = None,
    labels: Labels = None,
    task: TaskName = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Divide the images among N processes; results are the same.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Divide them among the workers of the Dask scheduler there."),
    ] = None,
    as_json: Json = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Measure accuracy (top-1, mAP, mIoU), and how closely a network follows its float32 reference."""
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.cli.report import evaluation_report
    from eq_tvm.evaluate import evaluate
    from eq_tvm.running.float_network import float_engine

    if float_engine() == "ONNX Runtime float32" or (data is not None and reference is None and model.is_dir()):
        without_compiler()
    if data is None:
        data, reference = _example_data(model, reference)
    with show_progress() as progress, board_of(rpc, tracker, key) as board:
        result = evaluate(
            model,
            data,
            preprocess=preprocess,
            reference=reference,
            limit=limit,
            task=task,
            annotations=annotations,
            labels=labels,
            board=board,
            workers=workers,
            dask=dask,
            progress=progress,
        )
    if reference is not None or model.is_file():
        print(f"float networks were run by {float_engine()}", file=sys.stderr)
    print(json.dumps(result) if as_json else evaluation_report(result))


def _example_data(model: Path, reference: Path | None) -> tuple[Path, Path | None]:
    """Images and float network (if it can run) for a bundle of the embedded example; other models bring their own."""
    from eq_tvm import example
    from eq_tvm.artifacts import bundle
    from eq_tvm.running.float_network import float_engine

    if not model.is_dir() or not bundle.read(model).is_example:
        raise UserError("no images: pass --data DATA (an .npz, a .csv or a directory)")
    return example.EVAL, reference or (example.MODEL if float_engine() else None)
