"""`compile`: from a network and images to a bundle."""

from __future__ import annotations

import json
import time
from typing import Any

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.cli.declared import takes
from eq_tvm.cli.settings import FILE, named
from eq_tvm.options.declared import CompileOptions


@app.command(
    epilog=examples(
        "compile --target arm",
        "compile net.onnx --calibration images/ --preprocess net.yaml --target rpi5 --output net-rpi5.eqtvm",
        "compile net.onnx --preprocess net.yaml --save-images made/",
        "compile net.onnx --calibration random --input input=1,3,224,224",
    )
)
@takes(CompileOptions, from_file=True)
def compile(options: dict[str, Any], settings: list[str], as_json: Json = False) -> None:
    """Quantize and compile a network. The result is a bundle: a directory that run, evaluate and bench take.

    Or, with --artifact standalone, a shared object that a C program calls.

    What is not given here, eq_tvm.yaml in the working directory gives, if it is there: a line `target: rpi4` for
    --target rpi4, and so on. The summary says which options came from it.
    """
    from eq_tvm import compiler
    from eq_tvm.artifacts.bundle import Bundle
    from eq_tvm.bench import share_of_islands
    from eq_tvm.cli.as_json import compiled
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.cli.report import compile_report
    from eq_tvm.reporting.report import page_of

    start = time.monotonic()
    with named(settings), show_progress() as progress:
        written = compiler.compile(**options, progress=progress)
        seconds = time.monotonic() - start
        share = share_of_islands(written) if isinstance(written, Bundle) else None
    page = page_of(written.library.parent) if options["report"] else None
    if as_json:
        print(json.dumps(compiled(written, seconds, settings, share, page)))
    else:
        given = f"{', '.join(settings)} from {FILE}" if settings else ""
        print(compile_report(written, seconds, share, given, page))
