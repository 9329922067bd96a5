"""`export`: a quantized network as standard ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples


@app.command(epilog=examples("export net-native.eqtvm net.qdq.onnx", "export net-native.eqtvm aimet.encodings"))
def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    output: Annotated[Path | None, typer.Argument(metavar="FILE", show_default="MODEL.qdq.onnx")] = None,
    as_json: Json = False,
) -> None:
    """Write the quantized network of a bundle as standard ONNX (QDQ), for ONNX Runtime and others.

    FILE.encodings: for AIMET, with the float network beside it.
    """
    from eq_tvm.exporting.export import export

    written = export(bundle, output)
    print(json.dumps({"written": str(written)}) if as_json else f"written: {written}")
