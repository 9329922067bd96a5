"""The command line. Each command reads its options and prints; the work is in the modules that it imports for it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from eq_tvm import host
from eq_tvm.errors import UserError
from eq_tvm.options import ActivationRange, Data, Images, Keep, Key, Method, Model, Pixels, Rpc, Shapes, Tracker

app = typer.Typer(
    help="Quantize a trained convolutional network to INT7 or INT8 and compile it for x86 and ARM.",
    epilog="Start with: [b]python -m eq_tvm compile[/b], which compiles an embedded example for this machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for what the user can put right, 130 after Ctrl-C."""
    os.environ.setdefault("TVM_NUM_THREADS", str(host.default_threads()))
    arguments = sys.argv[1:] if arguments is None else arguments
    interrupted = _note_interrupts()
    try:
        return app(arguments or ["--help"], prog_name="python -m eq_tvm", standalone_mode=False) or 0
    except UserError as e:
        message = str(e)
    except typer.TyperException as e:
        message = e.format_message()
    except Exception:
        if interrupted:
            return 130
        raise
    if interrupted:
        return 130  # the call to a board that it ended, for one, fails with a UserError
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2


def _note_interrupts() -> list[int]:
    """Ctrl-C inside a pass comes back from TVM as a RuntimeError: the list given then tells what it was."""
    interrupted = []

    def interrupt(number, frame):
        interrupted.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    return interrupted


def _examples(*commands: str) -> str:
    return "\n\n".join(["Examples:", *(f"  python -m eq_tvm {command}" for command in commands)])


@app.command(
    epilog=_examples(
        "compile --target arm",
        "compile net.onnx --calibration images/ --preprocess net.yaml --target rpi5 --output net-rpi5.eqtvm",
        "compile net.onnx --calibration random --input input=1,3,224,224",
    )
)
def compile(
    model: Model = None,
    target: Annotated[str, typer.Option(metavar="NAME", help="For which machine (see: targets).")] = "native",
    calibration: Data = None,
    preprocess: Pixels = None,
    scheme: Annotated[str, typer.Option(metavar="int6|int7|int8|float32", help="What the layers compute in.")] = "int7",
    method: Method = None,
    activation_range: ActivationRange = "unsigned",
    images: Images = None,
    keep: Keep = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Keep the worst layers wider until the network loses no more, in points of top-1 accuracy or, without "
            "labels, of agreement with float32, on the calibration images that find no scales.",
        ),
    ] = None,
    input: Shapes = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The directory to write.", show_default="MODEL-TARGET.eqtvm")
    ] = None,
    artifact: Annotated[
        str,
        typer.Option(
            metavar="bundle|standalone", help="What to write; standalone: a shared object and a C header, without TVM."
        ),
    ] = "bundle",
    optimize: Annotated[
        str, typer.Option(metavar="speed|size", help="size leaves out kernels that enlarge the weights.")
    ] = "speed",
    dump_passes: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the module after each phase there.")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Targets of your own, in the form of targets.yaml.")
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose kernels by measuring them here: takes minutes, and is remembered.")
    ] = False,
    tuning_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What --tune has measured; used without it, too.",
            show_default="~/.cache/eq_tvm/tuning.json",
        ),
    ] = None,
) -> None:
    """Quantize and compile a network. The result is a bundle: a directory that run, evaluate and bench take.

    Or, with --artifact standalone, a shared object that a C program calls.
    """
    from eq_tvm import compiler
    from eq_tvm.progress import show_progress
    from eq_tvm.report import compile_report

    start = time.monotonic()
    with show_progress() as progress:
        written = compiler.compile(
            model,
            target=target,
            calibration=calibration,
            preprocess=preprocess,
            scheme=scheme,
            method=method,
            activation_range=activation_range,
            images=images,
            keep=dict(map(_kept_layer, keep or [])),
            max_drop=max_drop,
            input_shapes=dict(map(_named_shape, input or [])),
            output=output,
            dump_passes=dump_passes,
            targets_file=targets,
            tune=tune,
            tuning_file=tuning_file,
            artifact=artifact,
            optimize=optimize,
            progress=progress,
        )
    print(compile_report(written, seconds=time.monotonic() - start))


@app.command(
    epilog=_examples(
        "analyze net.onnx --calibration images/ --preprocess net.yaml --method minmax",
        "analyze net-native.eqtvm",
    )
)
def analyze(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL.onnx|BUNDLE", show_default="an embedded example")
    ] = None,
    calibration: Data = None,
    preprocess: Pixels = None,
    scheme: Annotated[str, typer.Option(metavar="int6|int7|int8", help="What the layers compute in.")] = "int7",
    method: Method = None,
    activation_range: ActivationRange = "unsigned",
    images: Images = None,
    keep: Keep = None,
    input: Shapes = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write everything there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Quantize a network and print which layers lose most, and what to do about it. Of a bundle: what it remembers."""
    from eq_tvm import report

    if output is not None and not output.parent.is_dir():
        raise UserError(f"can't write {output}: there is no directory {output.parent}")
    if model is not None and model.is_dir():
        from eq_tvm import bundle as bundles

        if calibration is not None:
            raise UserError(f"{model} is a bundle, which holds no float network: analyze its MODEL.onnx instead")
        bundle = bundles.read(model)
        result, text = (
            {"model": bundle.model, "scheme": bundle.scheme} | (bundle.calibration or {}),
            (report.bundle_layers_report(bundle)),
        )
    else:
        from eq_tvm import analysis
        from eq_tvm.progress import show_progress

        with show_progress() as progress:
            result = analysis.analyze(
                model,
                calibration=calibration,
                preprocess=preprocess,
                scheme=scheme,
                method=method,
                activation_range=activation_range,
                images=images,
                keep=dict(map(_kept_layer, keep or [])),
                input_shapes=dict(map(_named_shape, input or [])),
                progress=progress,
            )
        text = report.analysis_report(result)
    if output is not None:
        _write(output, lambda file: file.write(json.dumps(result, indent=1).encode()))
    print(json.dumps(result) if as_json else text)


@app.command(
    epilog=_examples(
        "run net-native.eqtvm --input cat.jpg dog.jpg",
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
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Run a bundle on images or tensors and print the highest scores."""
    import numpy as np

    from eq_tvm.inputs import read_inputs
    from eq_tvm.report import top_report
    from eq_tvm.runtime import load

    files = [*(input or []), *(more or [])]
    if not files:
        raise UserError("nothing to run on: pass --input FILE...")
    if output is not None and output.suffix != ".npz":
        raise UserError(f"--output must end with .npz, not {output}")
    _without_compiler()
    results = []
    with _board(rpc, tracker, key) as board:
        model = load(bundle, board=board)
        for file in files:
            for name, inputs in read_inputs(file, model.inputs, model.preprocess):
                results.append(model.run(inputs))
                print(top_report(name, results[-1], top))
    if output is not None:
        arrays = {key: np.concatenate([result[key] for result in results]) for key in results[0]}
        _write(output, lambda file: np.savez(file, **arrays))


@app.command(
    epilog=_examples(
        "evaluate net-native.eqtvm --data images.csv --reference net.onnx",
        "evaluate net.onnx --data images/ --json",
        "evaluate net-rpi4.eqtvm --data images.csv --tracker 192.168.0.2:9190 --key rpi4",
    )
)
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="BUNDLE|MODEL.onnx")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="An .npz (images, labels), a .csv (file,label) or a directory.",
            show_default="the example's images, for a bundle of it",
        ),
    ] = None,
    preprocess: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of what the bundle holds; needed for MODEL.onnx.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx", help="The float32 network to compare with.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Measure top-1 accuracy, and how closely a network follows its float32 reference."""
    from eq_tvm.evaluate import evaluate, float_engine
    from eq_tvm.progress import show_progress
    from eq_tvm.report import evaluation_report

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
            board=board,
            progress=progress,
        )
    if reference is not None or model.is_file():
        print(f"float networks were run by {float_engine()}", file=sys.stderr)
    print(json.dumps(result) if as_json else evaluation_report(result))


@app.command(
    epilog=_examples("bench net-native.eqtvm --threads 1", "bench net-rpi4.eqtvm --rpc raspberrypi.local:9090")
)
def bench(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads to run on.", show_default="all physical cores")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="How long to measure.")] = 3.0,
    layers: Annotated[bool, typer.Option("--layers", help="Print where the time goes, layer by layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
) -> None:
    """Time a bundle on this machine or a board, on random input."""
    from eq_tvm.bench import bench, bench_layers
    from eq_tvm.report import layers_report

    if not layers:  # which compiles, to find out what the processor can do
        _without_compiler()
    with _board(rpc, tracker, key) as board:
        result = (bench_layers if layers else bench)(bundle, threads=threads, seconds=seconds, board=board)
    if layers:
        print(json.dumps(result) if as_json else layers_report(result))
        return
    text = "median {median_ms:.3f} ms, fastest {min_ms:.3f} ms ({runs} runs, threads: {threads})"
    print(json.dumps(result) if as_json else text.format(**result))


@app.command()
def targets(
    file: Annotated[
        Path | None, typer.Option("--targets", metavar="FILE", help="Your own file instead of targets.yaml.")
    ] = None,
) -> None:
    """List the machines that can be compiled for."""
    from eq_tvm.report import targets_report
    from eq_tvm.targets import load_targets

    print(targets_report(load_targets(file)))


def _without_compiler() -> None:
    """Let TVM load its runtime only: half the memory, and a faster start."""
    if "tvm" not in sys.modules:
        os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")


def _board(rpc: str | None, tracker: str | None, key: str | None):
    """A context with the board that the options name, or None for this machine."""
    from eq_tvm.boards import connect

    return connect(rpc, tracker=tracker, key=key) if rpc or tracker or key else nullcontext()


def _named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise UserError(f"--input must look like NAME=1,3,224,224, not {text}")
    return name, shape


def _kept_layer(text: str) -> tuple[str, str]:
    layer, _, kind = text.rpartition("=")
    if not layer:
        raise UserError(f"--keep must look like LAYER=int8 or LAYER=float, not {text}")
    return layer, kind


def _example_data(model: Path, reference: Path | None) -> tuple[Path, Path | None]:
    """Images and float network (if it can run) for a bundle of the embedded example; other models bring their own."""
    from eq_tvm import bundle, example
    from eq_tvm.evaluate import float_engine

    if not model.is_dir() or not bundle.read(model).is_example:
        raise UserError("no images: pass --data DATA (an .npz, a .csv or a directory)")
    return example.EVAL, reference or (example.MODEL if float_engine() else None)


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a temporary file beside it and rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except OSError as e:
        raise UserError(f"can't write {path}: {e.strerror}") from e
    finally:
        temporary.unlink(missing_ok=True)
