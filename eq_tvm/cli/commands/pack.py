"""`pack`: all that a board needs, in one archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples


@app.command(epilog=examples("pack net-rpi4.eqtvm", "pack net-rpi4.eqtvm --output board.tar.gz"))
def pack(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.tar.gz", show_default="NAME.tar.gz")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one archive with all that a board needs: the bundle, eq_tvm's wheel, and how to install it."""
    from eq_tvm.deploying.pack import pack

    written = pack(bundle, output)
    size = written.stat().st_size
    print(json.dumps({"file": str(written), "bytes": size}) if as_json else f"written: {written} ({size:,} bytes)")
