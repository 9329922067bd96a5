"""`analyze`: which layers lose accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.cli.declared import changed, takes
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, write_whole
from eq_tvm.options.declared import QuantizeOptions


@app.command(
    epilog=examples(
        "analyze net.onnx --calibration images/ --preprocess net.yaml --method minmax",
        "analyze net-native.eqtvm",
    )
)
@takes(QuantizeOptions, model="MODEL|BUNDLE")
def analyze(
    options: dict[str, Any],
    output: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write everything there.")] = None,
    as_json: Json = False,
) -> None:
    """Quantize a network and print which layers lose most, and what to do about it. Of a bundle: what it remembers."""
    from eq_tvm.cli import report

    if output is not None:
        check_destination(output, endings=(".json",))
    model = options["model"]
    if model is not None and model.is_dir():
        from eq_tvm.artifacts import bundle as bundles

        if given := changed(QuantizeOptions, options):
            raise UserError(
                f"{model} is a bundle, which holds no float network: analyze its MODEL instead, or leave {given[0]} out"
            )
        bundle = bundles.read(model)
        result = {"model": bundle.model, "scheme": bundle.scheme} | (bundle.calibration or {})
        text = report.bundle_layers_report(bundle)
    else:
        from eq_tvm import analysis
        from eq_tvm.cli.progress import show_progress

        with show_progress() as progress:
            result = analysis.analyze(**options, progress=progress)
        text = report.analysis_report(result)
    if output is not None:
        with system_errors(f"write {output}"):
            write_whole(output, lambda file: file.write(json.dumps(result, indent=1).encode()))
    print(json.dumps(result) if as_json else text)
