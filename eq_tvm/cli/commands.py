"""The command line. Each command reads its options and prints; the work is in the modules that it imports for it."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eq_tvm.cli.board_options import Key, Rpc, Tracker
from eq_tvm.cli.declared import changed, takes
from eq_tvm.cli.settings import FILE, named
from eq_tvm.cli.task_options import Labels, TaskName
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, write_whole
from eq_tvm.options.declared import CompileOptions, QuantizeOptions, TargetsOptions

if TYPE_CHECKING:
    from eq_tvm.running.runtime import Board

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]

app = typer.Typer(
    help="Quantize a trained convolutional network to INT7 or INT8 and compile it for x86 and ARM.",
    epilog="Start with: [b]python -m eq_tvm compile[/b], which compiles an embedded example for this machine.",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def examples(*commands: str) -> str:
    """What help shows below: lines to type."""
    return "\n\n".join(["Examples:", *(f"  python -m eq_tvm {command}" for command in commands)])


@app.command(
    epilog=examples(
        "compile --target arm",
        "compile net.onnx --calibration images/ --preprocess net.yaml --target rpi5 --output net-rpi5.eqtvm",
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
    from eq_tvm.cli.as_json import compiled
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.cli.report import compile_report

    start = time.monotonic()
    with named(settings), show_progress() as progress:
        written = compiler.compile(**options, progress=progress)
    seconds = time.monotonic() - start
    if as_json:
        print(json.dumps(compiled(written, seconds, settings)))
    else:
        print(compile_report(written, seconds, f"{', '.join(settings)} from {FILE}" if settings else ""))


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
        check_destination(output)
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
    above: Annotated[float, typer.Option(metavar="SCORE", help="Show boxes with a score above this.")] = 0.25,
    as_json: Json = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Run a bundle on images or tensors and print the highest scores."""
    import numpy as np

    from eq_tvm.cli.as_json import top_scores
    from eq_tvm.cli.inputs import read_inputs
    from eq_tvm.cli.report import top_report
    from eq_tvm.data import write_arrays
    from eq_tvm.inputs.input_form import InputForm
    from eq_tvm.running.runtime import load

    files = [*(input or []), *(more or [])]
    if not files:
        raise UserError("nothing to run on: pass --input FILE...")
    if output is not None and output.suffix != ".npz":
        raise UserError(f"--output must end with .npz, not {output}")
    if output is not None:
        check_destination(output)
    _without_compiler()
    shown = None
    if labels is not None or draw is not None or task is not None:
        from eq_tvm.cli.shown import Shown

        shown = Shown(files, draw=draw, labels=labels, task=task, above=above, top=top)
    results, scores = [], []
    with _board(rpc, tracker, key) as board:
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
        joined = {key: np.concatenate([np.atleast_1d(result[key]) for result in results]) for key in results[0]}
        with system_errors(f"write {output}"):
            write_whole(output, lambda file: write_arrays(file, joined))
    if as_json:
        print(json.dumps(scores))


@app.command(
    epilog=examples(
        "evaluate net-native.eqtvm --data images.csv --reference net.onnx",
        "evaluate net.onnx --data images/ --json",
        "evaluate detector-native.eqtvm --data images/ --annotations instances.json --labels coco",
        "evaluate net-rpi4.eqtvm --data images.csv --tracker 192.168.0.2:9190 --key rpi4",
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
        _without_compiler()
    if data is None:
        data, reference = _example_data(model, reference)
    with show_progress() as progress, _board(rpc, tracker, key) as board:
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
            progress=progress,
        )
    if reference is not None or model.is_file():
        print(f"float networks were run by {float_engine()}", file=sys.stderr)
    print(json.dumps(result) if as_json else evaluation_report(result))


@app.command(epilog=examples("bench net-native.eqtvm --threads 1", "bench net-rpi4.eqtvm --rpc raspberrypi.local:9090"))
def bench(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads to run on.", show_default="all physical cores")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="How long to measure.")] = 3.0,
    layers: Annotated[bool, typer.Option("--layers", help="Print where the time goes, layer by layer.")] = False,
    as_json: Json = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Time a bundle on this machine or a board, on random input."""
    from eq_tvm.bench import bench, bench_layers
    from eq_tvm.cli.report import layers_report

    if not layers:  # which compiles, to find out what the processor can do
        _without_compiler()
    with _board(rpc, tracker, key) as board:
        if layers:
            rows = bench_layers(bundle, threads=threads, seconds=seconds, board=board)
            print(json.dumps(rows) if as_json else layers_report(rows))
            return
        result = bench(bundle, threads=threads, seconds=seconds, board=board)
    text = "median {median_ms:.3f} ms, fastest {min_ms:.3f} ms ({runs} runs, threads: {threads})"
    print(json.dumps(result) if as_json else text.format(**result))


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


@app.command(epilog=examples("targets", "targets --json"))
@takes(TargetsOptions)
def targets(options: dict[str, Any], as_json: Json = False) -> None:
    """List the machines that can be compiled for."""
    from eq_tvm.cli.as_json import known_targets
    from eq_tvm.cli.report import targets_report
    from eq_tvm.targets import load_targets

    there = load_targets(options["targets_file"])
    print(json.dumps(known_targets(there)) if as_json else targets_report(there))


def _without_compiler() -> None:
    """Let TVM load its runtime only: half the memory, and a faster start."""
    if "tvm" not in sys.modules:
        os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")


def _board(rpc: str | None, tracker: str | None, key: str | None) -> AbstractContextManager[Board | None]:
    """A context with the board that the options name, or None for this machine."""
    from eq_tvm.boards.session import connect

    return connect(rpc, tracker=tracker, key=key) if rpc or tracker or key else nullcontext()


def _example_data(model: Path, reference: Path | None) -> tuple[Path, Path | None]:
    """Images and float network (if it can run) for a bundle of the embedded example; other models bring their own."""
    from eq_tvm import example
    from eq_tvm.artifacts import bundle
    from eq_tvm.running.float_network import float_engine

    if not model.is_dir() or not bundle.read(model).is_example:
        raise UserError("no images: pass --data DATA (an .npz, a .csv or a directory)")
    return example.EVAL, reference or (example.MODEL if float_engine() else None)
