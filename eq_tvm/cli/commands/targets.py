"""`targets`: what can be compiled for."""

from __future__ import annotations

import json
from typing import Any

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.cli.declared import takes
from eq_tvm.options.declared import TargetsOptions


@app.command(epilog=examples("targets", "targets --json"))
@takes(TargetsOptions)
def targets(options: dict[str, Any], as_json: Json = False) -> None:
    """List the machines that can be compiled for."""
    from eq_tvm.cli.as_json import known_targets
    from eq_tvm.cli.report import targets_report
    from eq_tvm.targets import load_targets

    there = load_targets(options["targets_file"])
    print(json.dumps(known_targets(there)) if as_json else targets_report(there))
