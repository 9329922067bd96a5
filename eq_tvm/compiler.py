"""From an ONNX file to a bundle."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.artifacts import linker
from eq_tvm.artifacts.bundle import Bundle, TensorInfo, results_by_name
from eq_tvm.boards.tuner import check as check_tuning
from eq_tvm.boards.tuner import tuner_for, why_not_here
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.building.kinds import ARTIFACTS
from eq_tvm.building.turns import one_at_a_time
from eq_tvm.building.verify import Verified, verify, verify_compiled
from eq_tvm.building.versions import versions
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, check_folder
from eq_tvm.methods import OWN
from eq_tvm.options.declared import DEFAULT_SCHEME, MIN_COSINES, CompileOptions
from eq_tvm.options.option import keywords_of
from eq_tvm.quantizing.quantization import Quantization, images_in, images_to_compare, one_sample, read_images
from eq_tvm.running.runtime import Model, load_library
from eq_tvm.running.sample import remember, sha256
from eq_tvm.targets import TargetSpec, check_llvm, get_target

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import Progress
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
    _check_max_drop(options)
    if options.requantize and how.scheme != OWN:
        raise UserError("--requantize is for networks that come quantized, with scales of their own: leave it out")
    how = replace(how, min_cosine=_min_cosine(options, how))
    spec = _target(options)
    kind = ARTIFACTS[options.artifact]
    output = kind.check_destination(options.output or f"{_name(how, options)}{kind.suffix}")
    page = _page(options, output)
    if options.dump_passes is not None:
        _make_directory(Path(options.dump_passes))
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
        module, record = quantize(
            module,
            inputs,
            how,
            options.max_drop,
            options.dump_passes,
            lambda done, message: progress(_IMPORTED + done * (_CALIBRATED - _IMPORTED), message),
        )

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


def _check_max_drop(options: CompileOptions) -> None:
    drop = options.max_drop
    if drop is not None and options.scheme == "float32":
        raise UserError("--max-drop is for quantized networks: leave it out, or --scheme float32")
    if drop is not None and not 0 <= drop <= 100:
        raise UserError(f"--max-drop is in points that the network may lose, from 0 to 100, not {drop:g}")


def _min_cosine(options: CompileOptions, how: Quantization) -> float:
    """What was asked for; by default that of the scheme, where there are images and no other bound."""
    cosine = options.min_cosine
    if cosine is None:
        return 0.0 if how.is_random or options.max_drop is not None else MIN_COSINES.get(how.scheme, 0.0)
    if how.scheme == "float32":
        raise UserError("--min-cosine is for quantized networks: leave it out, or --scheme float32")
    if options.max_drop is not None:
        raise UserError("--min-cosine and --max-drop are two ways to say how much a network may lose: leave one out")
    if not 0 <= cosine < 1:
        raise UserError(f"--min-cosine is a cosine from 0 to below 1, not {cosine:g}")
    return cosine


def quantize(
    module: tvm.IRModule,
    inputs: tuple[TensorInfo, ...],
    how: Quantization,
    max_drop: float | None,
    dump: str | Path | None,
    progress: Progress,
) -> tuple[tvm.IRModule, dict[str, Any]]:
    """The annotated module, and the bundle's record of it."""
    from eq_tvm import pipeline
    from eq_tvm.passes.graph.network import read_network
    from eq_tvm.passes.graph.spectra import layers_of_spectra
    from eq_tvm.passes.quantized.kept_layers import float_layers
    from eq_tvm.passes.quantized.quantizers import WIDE
    from eq_tvm.quantizing.best_method import calibrate
    from eq_tvm.quantizing.max_drop import keep_worst

    how = how.affordable(module, progress)
    arrays, held_out = read_images(how, inputs)
    if held_out is not None:
        held_out.samples.warn_of_raw_pixels()
    images = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
    loss, compared = None, {}
    with pass_errors():
        if max_drop is None:
            best = calibrate(module, images, images_to_compare(held_out, images), how, progress, dump)
            annotated, layers, how, compared = best.annotated, best.layers, best.how, dict(best.compared)
            kept = [{"layer": layer, "kind": kind, "reason": "asked for"} for layer, kind in how.kept.items()]
            reason = f"else an output's cosine is below {how.min_cosine}"
            kept += [{"layer": layer, "kind": WIDE, "reason": reason} for layer in how.widened(layers)]
        else:
            found = keep_worst(module, images, held_out, how, max_drop, progress)
            annotated, layers, kept, loss = found.annotated, found.layers, found.kept, found.report
            pipeline.write_phase(annotated, dump, "3-annotated")
    net = read_network(module)
    spectra = [layer for layer in layers_of_spectra(net) if layer not in how.kept]
    kept += [{"layer": layer, "kind": "float", "reason": "a logarithm follows"} for layer in spectra]
    return annotated, {
        "calibrated": not how.is_random,
        "method": how.method,
        "activation_range": how.activation_range,
        "images": images_in(arrays, held_out),
        "images_sha256": sha256(*arrays),
        "source": Path(how.calibration).name,
        "layers": [asdict(layer) for layer in layers],
        "kept": kept,
        "float": [{"layer": name, "op": operator} for name, operator in float_layers(net)],
        "loss": loss,
        "compared": compared,
    }


def take_scales(
    module: tvm.IRModule, how: Quantization, requantize: bool, dump: str | Path | None
) -> tuple[tvm.IRModule, dict[str, Any]]:
    """The annotated module of a network that came quantized, and the bundle's record of it."""
    from eq_tvm import pipeline

    with pass_errors():
        annotated, given = pipeline.take_scales(module, requantize=requantize, dump=dump)
    return annotated, {
        "calibrated": True,
        "method": OWN,
        "activation_range": OWN,
        "images": 0,
        "source": how.model.name,
        "layers": [asdict(layer) for layer in given.record],
        "kept": [],
        "float": [{"layer": name, "op": operator} for name, operator in given.left],
        "loss": None,
        "compared": {},
    }


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


def _make_directory(path: Path) -> None:
    with system_errors(f"write to the directory {path}"):
        path.mkdir(parents=True, exist_ok=True)
        check_folder(path, "modules")


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
