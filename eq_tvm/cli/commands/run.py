"""`run`: what a bundle makes of images or tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples, without_compiler
from eq_tvm.cli.board_options import Key, Rpc, Tracker, board_of
from eq_tvm.cli.task_options import Labels, TaskName
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, write_whole


@app.command(
    epilog=examples(
        "run net-native.eqtvm --input cat.jpg dog.jpg --labels imagenet",
        "run detector-native.eqtvm --input street.jpg --labels coco --draw found.png",
        "run net-native.eqtvm --input x.npz --output y.npz",
        "run net-rpi4.eqtvm --input cat.jpg --rpc raspberrypi.local:9090",
    )
)
def run(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    more: Annotated[list[Path] | None, typer.Argument(hidden=True, metavar="FILE")] = None,
    input: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="Images, or tensors as .npy or .npz (arrays named as the inputs)."),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.npz", help="Write all outputs there.")] = None,
    top: Annotated[int, typer.Option(metavar="N", help="How many of the highest scores to print.")] = 5,
    labels: Labels = None,
    draw: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw what is found on the image: boxes, masks, classes.")
    ] = None,
    task: TaskName = None,
    above: Annotated[
        float | None, typer.Option(metavar="SCORE", show_default="0.25", help="Show boxes with a score above this.")
    ] = None,
    as_json: Json = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Run a bundle on images or tensors and print the highest scores."""
    import numpy as np

    from eq_tvm.artifacts.bundle import read
    from eq_tvm.cli.as_json import top_scores
    from eq_tvm.cli.inputs import read_inputs
    from eq_tvm.cli.report import top_report
    from eq_tvm.data import write_arrays
    from eq_tvm.inputs.input_form import InputForm
    from eq_tvm.running.runtime import load

    files = [*(input or []), *(more or [])]
    if not files:
        read(bundle)  # which says what is wrong with that
        raise UserError("nothing to run on: pass --input FILE...")
    if output is not None and output.suffix != ".npz":
        raise UserError(f"--output must end with .npz, not {output}")
    if output is not None:
        check_destination(output, inputs=files)
    without_compiler()
    if above is not None and not 0 <= above <= 1:
        raise UserError(f"--above is a score from 0 to 1, not {above:g}")
    shown = None
    if any(each is not None for each in (labels, draw, task, above)):
        from eq_tvm.cli.shown import Shown
        from eq_tvm.tasks.seen import ABOVE

        above = ABOVE if above is None else above
        shown = Shown(files, draw=draw, labels=labels, task=task, above=above, top=top)
    results, scores = [], []
    with board_of(rpc, tracker, key) as board:
        model = load(bundle, board=board)
        for name, inputs in read_inputs(files, model.inputs, model.preprocess):
            results.append(model.run(inputs))
            form = InputForm(model.inputs[0], model.preprocess)
            text = shown.text(name, results[-1], form) if shown else top_report(name, results[-1], top)
            if as_json:
                scores.append(top_scores(name, results[-1], top))
            else:
                print(text)
    if output is not None:
        joined = results[0]
        if len(results) > 1:
            joined = {key: np.concatenate([np.atleast_1d(result[key]) for result in results]) for key in joined}
        with system_errors(f"write {output}"):
            write_whole(output, lambda file: write_arrays(file, joined))
    if as_json:
        print(json.dumps(scores))
