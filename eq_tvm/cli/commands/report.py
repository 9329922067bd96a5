"""`report`: a page that shows a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.errors import UserError
from eq_tvm.files.whole_file import check_destination


@app.command(
    epilog=examples(
        "report net-native.eqtvm",
        "report net-native-int7.eqtvm net-native-int8.eqtvm --bench -o both.html",
        "report net-native.eqtvm --data images.csv --reference net.onnx",
    )
)
def report(
    bundle: Annotated[list[Path], typer.Argument(metavar="BUNDLE [BUNDLE]", help="One, or two side by side.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.html", show_default="BUNDLE.html")
    ] = None,
    bench: Annotated[bool, typer.Option("--bench", help="Time the network and its layers on this machine.")] = False,
    data: Annotated[Path | None, typer.Option(metavar="DATA", help="Images to evaluate it on.")] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="With --data: the float32 network to compare with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page that shows a network: its layers, their weights, kernels and losses. It needs no connection."""
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.reporting.report import write_report

    if reference is not None and data is None:
        raise UserError("--reference goes with --data DATA: images to compare on")
    output = check_destination(output or Path(f"{bundle[0].name.removesuffix('.eqtvm')}.html"))
    with show_progress() as progress:
        measured = []
        for i, path in enumerate(bundle):
            measured.append(_measured(path, bench, data, reference))
            progress((i + 1) / len(bundle), path.name)
    write_report(bundle, output, measured)
    print(json.dumps({"written": str(output)}) if as_json else f"written: {output}")


def _measured(path: Path, bench: bool, data: Path | None, reference: Path | None) -> dict[str, Any]:
    from eq_tvm.bench import bench as bench_whole
    from eq_tvm.bench import bench_layers
    from eq_tvm.evaluate import evaluate

    found: dict[str, Any] = {}
    if bench:
        found |= {"bench": bench_whole(path), "layers": bench_layers(path)}
    if data is not None:
        found["evaluated"] = evaluate(path, data, reference=reference)
    return found
