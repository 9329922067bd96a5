"""From an ONNX file to a bundle."""

from __future__ import annotations

import hashlib
import math
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.artifacts import linker
from eq_tvm.artifacts.bundle import Bundle, TensorInfo, results_by_name
from eq_tvm.boards.tuner import check as check_tuning
from eq_tvm.boards.tuner import tuner_for, why_not_here
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.building.kinds import ARTIFACTS
from eq_tvm.building.recorded import quantize, take_scales
from eq_tvm.building.turns import one_at_a_time
from eq_tvm.building.verify import Verified, verify, verify_compiled
from eq_tvm.building.versions import versions
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, make_folder
from eq_tvm.inputs.random_inputs import random_inputs
from eq_tvm.methods import OWN
from eq_tvm.options.declared import (
    AUTO,
    DEFAULT_SCHEME,
    MIN_COSINES,
    SEARCHES,
    SENSITIVITIES,
    CompileOptions,
)
from eq_tvm.options.option import keywords_of
from eq_tvm.quantizing.goal import Goal
from eq_tvm.quantizing.images import one_sample
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.running import workers
from eq_tvm.running.runtime import Model, load_library
from eq_tvm.running.sample import remember
from eq_tvm.targets import TargetSpec, check_llvm, get_target

if TYPE_CHECKING:
    import tvm

    from eq_tvm.standalone import Standalone


@keywords_of(CompileOptions)
@one_at_a_time
def compile(options: CompileOptions) -> Bundle | Standalone:
    """Quantize a network and compile it to a bundle, or to a standalone library.

    `progress` is called with what is done (0 to 1) and a message. `example` is what a torch.nn.Module takes: a tensor,
    or a tuple. Threads that compile take turns.

    Returns
    -------
    Bundle or Standalone
        What was written; its `path` is the directory.

    Raises
    ------
    UserError
        Anything wrong with what was passed; nothing is written then.
    """
    start = time.monotonic()
    how = Quantization.checked(options)
    _check_max_drop(options, how)
    if options.requantize and how.scheme != OWN:
        raise UserError("--requantize is for networks that come quantized, with scales of their own: leave it out")
    how = replace(how, min_cosine=_min_cosine(options, how))
    spec = _target(options)
    goal = _goal(options, how, spec)
    kind = ARTIFACTS[options.artifact]
    output = kind.check_destination(options.output or f"{_name(how, options)}{kind.suffix}")
    page = _page(options, output)
    _check_folders(options, output)
    _check_space(how.model)

    from eq_tvm import passes, pipeline

    progress = options.progress or passes.no_progress
    progress(0.0, f"importing {how.model.name}")
    module, inputs, outputs = import_canonical(how.model, options.input_shapes, options.dump_passes, options.constants)
    verified, sample = Verified("not verified"), {}
    if options.verify is not False:
        sample = one_sample(how, inputs)
        verified = verify(
            how.model, module, outputs, sample, options.input_shapes, options.constants, always=bool(options.verify)
        )
        progress(_IMPORTED, verified.said)
    record = None
    if how.scheme == OWN:
        module, record = take_scales(module, how, options.requantize, options.dump_passes)
    elif how.scheme != "float32":
        module, record, scheme = quantize(
            module,
            inputs,
            how,
            spec,
            options.optimize,
            goal,
            options.max_drop,
            options.dump_passes,
            lambda done, message: progress(_IMPORTED + done * (_CALIBRATED - _IMPORTED), message),
        )
        how = replace(how, scheme=scheme)

    def check(library: str) -> dict[str, Any] | None:
        if options.verify is False:
            return None
        if why_not_here(spec):
            executable = pipeline.build(annotated, get_target("native"))[0]
            return remember(Model(executable, inputs, outputs))
        model = Model(load_library(Path(library)), inputs, outputs)
        if how.scheme == "float32" and verified.expected is not None:
            results = model.call([sample[info.name] for info in inputs])
            verify_compiled(how.model, results_by_name(outputs, results), outputs, verified)
        return remember(model)

    annotated = module
    exported, why_not = _exported(module, how, inputs, outputs)
    progress(_CALIBRATED, f"choosing kernels for {options.target}")
    with pass_errors():
        choose = tuner_for(module, spec, options, passes.part_of(progress, _CALIBRATED, _TUNED))
        module, kernels = pipeline.lower(
            module, spec, choose=choose, optimize=options.optimize, dump=options.dump_passes
        )
        network = Bundle(
            model=how.model.stem,
            model_sha256=hashlib.sha256(how.model.read_bytes()).hexdigest(),
            inputs=inputs,
            outputs=outputs,
            preprocess=how.preprocess,
            scheme=how.scheme,
            calibration=record,
            target=asdict(spec) | {"architecture": spec.architecture, "tvm": str(spec.tvm_target())},
            versions=versions(spec),
            kernels=kernels,
            islands=passes.float_calls(module),
            optimize=options.optimize,
            not_exported=why_not,
            model_file=how.model.name if isinstance(options.model, str | Path) else "",
            constants={name: np.asarray(value).tolist() for name, value in (options.constants or {}).items()},
        )
        progress(_LOWERED, f"compiling for {options.target}")
        written = kind.write(module, network, spec, output, check, exported)
    if page is not None:
        from eq_tvm.reporting.report import write_report

        write_report([output], page)
    progress(1.0, f"done in {time.monotonic() - start:.0f} s")
    return written


def _page(options: CompileOptions, output: Path) -> Path | None:
    """Where the report goes, if one is wanted and can be written there."""
    if not options.report:
        return None
    if options.artifact != "bundle":
        raise UserError("--report shows bundles: leave it out, or --artifact standalone")
    from eq_tvm.reporting.report import page_of

    return check_destination(page_of(output))


def _check_folders(options: CompileOptions, output: Path) -> None:
    """UserError where what is written beside the output would be lost with it, or spoil it."""
    for flag, folder in (("--dump-passes", options.dump_passes), ("--save-images", options.save_images)):
        if folder is not None and output.resolve() in (path := Path(folder).resolve(), *path.parents):
            raise UserError(f"{flag} {folder} is inside of the output {output}: choose another directory")
    if options.dump_passes is not None:
        make_folder(Path(options.dump_passes), "modules", "--dump-passes")


def _name(how: Quantization, options: CompileOptions) -> str:
    """Of what is written by default: with the scheme, where that is not the usual one."""
    scheme = "" if how.scheme in (DEFAULT_SCHEME, OWN) else f"-{how.scheme}"
    return f"{how.model.stem}-{options.target}{scheme}"


def _target(options: CompileOptions) -> TargetSpec:
    """The target, where these options can be compiled for it here."""
    spec = get_target(options.target, options.targets_file)
    linker.check(spec)
    check_llvm(spec)
    check_tuning(options, spec)
    return spec


def _goal(options: CompileOptions, how: Quantization, spec: TargetSpec) -> Goal:
    """What types by cost are to reach; UserError where nothing is decided by cost, or not so."""
    times = {"--speed": options.speed, "--within-ms": options.within_ms}
    given = [flag for flag, value in times.items() if value is not None]
    for flag in given:
        if not 0 < (value := times[flag] or 0.0) < math.inf:
            raise UserError(f"{flag} must be a positive number, not {value:g}")
    if how.scheme != AUTO:
        searched = (options.search, options.sensitivity) != (SEARCHES[0], SENSITIVITIES[0])
        if flags := given + ["--search, as --sensitivity,"] * searched:
            raise UserError(f"{flags[0]} is for --scheme auto, which decides types of layers: leave out one of them")
        return Goal()
    given += ["--max-drop"] * (options.max_drop is not None)
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are two ways to say what types are to reach: leave one out")
    time = None
    if options.within_ms and not why_not_here(spec):
        time = partial(_seconds, spec=spec)
    elif options.within_ms and not spec.ghz:
        raise UserError(f"--within-ms needs the clock of target {spec.name}: ghz in the file of --targets, or --speed")
    return Goal(
        speed=options.speed,
        milliseconds=options.within_ms,
        frequency=1e9 * (spec.ghz or 0.0),
        time=time,
        is_open=options.max_drop is not None,
        search=options.search,
        sensitivity=options.sensitivity,
    )


def _seconds(annotated: tvm.IRModule, inputs: tuple[TensorInfo, ...], spec: TargetSpec) -> float:
    """What a run takes here, on one core."""
    from eq_tvm import pipeline

    executable = pipeline.build(annotated, spec)[0]
    model = Model(executable, inputs, ())
    return statistics.median(workers.call(lambda: model.measure(random_inputs(inputs), _TIMED), 1))


_TIMED = 1.0  # seconds


def _check_max_drop(options: CompileOptions, how: Quantization) -> None:
    drop = options.max_drop
    if drop is not None and options.scheme == "float32":
        raise UserError("--max-drop is for quantized networks: leave it out, or --scheme float32")
    if drop is not None and not 0 <= drop <= 100:
        raise UserError(f"--max-drop is in points that the network may lose, from 0 to 100, not {drop:g}")
    if drop is not None and (how.is_random or how.is_synthetic):
        raise UserError(
            "--max-drop measures on calibration images that find no scales: pass typical ones by --calibration DATA"
        )


def _min_cosine(options: CompileOptions, how: Quantization) -> float | None:
    """What was asked for; by default that of the scheme, where there are images and no other bound."""
    cosine = options.min_cosine
    if cosine is None:
        if how.scheme == AUTO and not how.is_random and options.max_drop is None:
            return None
        return 0.0 if how.is_random or options.max_drop is not None else MIN_COSINES.get(how.scheme, 0.0)
    if how.scheme == "float32":
        raise UserError("--min-cosine is for quantized networks: leave it out, or --scheme float32")
    if options.max_drop is not None:
        raise UserError("--min-cosine and --max-drop are two ways to say how much a network may lose: leave one out")
    if not 0 <= cosine < 1:
        raise UserError(f"--min-cosine is a cosine from 0 to below 1, not {cosine:g}")
    return cosine


def _exported(
    module: tvm.IRModule, how: Quantization, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
) -> tuple[bytes | None, str]:
    """The quantized network as an ONNX file has it, or why there is none."""
    from eq_tvm.exporting.qdq import to_onnx

    if how.scheme == "float32":
        return None, "nothing in it is quantized"
    try:
        return to_onnx(module, how.model.stem, inputs, outputs).SerializeToString(), ""
    except UserError as e:
        return None, str(e)


# Where the phases end on the progress bar.
_IMPORTED, _CALIBRATED, _TUNED, _LOWERED = 0.02, 0.7, 0.78, 0.8


def _check_space(model: Path) -> None:
    """UserError where object files, about as large as the network, don't fit: LLVM would end the process."""
    needed = model.stat().st_size + (4 << 20)
    with system_errors("compile without temporary files"):
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} has {free / 1e6:.1f} MB left, but compiling takes about {needed / 1e6:.1f} MB of temporary "
            "files: set TMPDIR to another directory"
        )
