"""`report`: a page that shows a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.errors import UserError
from eq_tvm.files.whole_file import check_destination


@app.command(
    epilog=examples(
        "report net-native.eqtvm",
        "report net-native-int7.eqtvm net-native-int8.eqtvm --bench -o both.html",
        "report net-native.eqtvm --bench --data images.csv --reference net.onnx",
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
        Path | None,
        typer.Option(metavar="MODEL", help="The float32 network to compare with, on --data and by --bench."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page that shows a network: its layers, their weights, kernels and losses. It needs no connection."""
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.reporting.measured import measured
    from eq_tvm.reporting.report import page_of, write_report

    if reference is not None and data is None and not bench:
        raise UserError("--reference goes with --data DATA, images to compare on, or with --bench, to time it as well")
    output = check_destination(output or page_of(bundle[0].name), endings=(".html", ".htm"))
    with show_progress() as progress:
        found = []
        for i, path in enumerate(bundle):
            found.append(measured(path, bench, data, reference, output))
            progress((i + 1) / len(bundle), path.name)
    write_report(bundle, output, found)
    print(json.dumps({"written": str(output)}) if as_json else f"written: {output}")
