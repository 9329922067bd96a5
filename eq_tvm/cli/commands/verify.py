"""`verify`: is a bundle what was compiled?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples


@app.command(epilog=examples("verify net-native.eqtvm"))
def verify(bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")], as_json: Json = False) -> None:
    """Check that a bundle is whole, prove anew that its sums fit, and run it on the noise that it remembers."""
    from eq_tvm.running.check_bundle import check_bundle

    checked = {}
    for what, found in check_bundle(bundle):
        checked[what] = found
        if not as_json:
            print(f"{what:12} {found}", flush=True)
    if as_json:
        print(json.dumps(checked))
