"""From an ONNX file to a bundle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm import host, linker
from eq_tvm.artifacts import ARTIFACTS
from eq_tvm.bundle import Bundle, TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess
from eq_tvm.quantization import Quantization, check_choice, read_images
from eq_tvm.targets import TargetSpec, get_target

if TYPE_CHECKING:
    import tvm

    from eq_tvm.runtime import Model
    from eq_tvm.standalone import Standalone
    from eq_tvm.tuning import Tuner

Progress = Callable[[float, str], None]

OPTIMIZE = ("speed", "size")


def compile(
    model: str | Path | None = None,
    *,
    target: str = "native",
    calibration: str | Path | None = None,
    preprocess: Preprocess | str | Path | None = None,
    scheme: str = "int7",
    method: str | None = None,
    activation_range: str = "unsigned",
    images: int | None = None,
    keep: Mapping[str, str] | None = None,
    max_drop: float | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    output: str | Path | None = None,
    dump_passes: str | Path | None = None,
    targets_file: str | Path | None = None,
    tune: bool = False,
    tuning_file: str | Path | None = None,
    artifact: str = "bundle",
    optimize: str = "speed",
    progress: Progress | None = None,
) -> Bundle | Standalone:
    """Quantize a network and compile it to a bundle, or to a standalone library.

    Parameters
    ----------
    model : path of an ONNX file, optional
        By default the embedded example, with its own calibration images and preprocessing.
    target : str
        A name in ``targets.yaml``, or in `targets_file`.
    calibration : str or Path
        Images to find the scales with: what `eq_tvm.data.read` takes, or ``random``, which gives a bundle that is good
        for timing only. Required for all schemes but float32.
    preprocess : Preprocess or path of a YAML file, optional
        From pixels to the input; kept in the bundle.
    scheme : {"int6", "int7", "int8", "float32"}
    method : str, optional
        How scales are found, one of `eq_tvm.methods.METHODS`: by default `DEFAULT` there, or minmax where the images
        are random, as no search helps there.
    activation_range : {"unsigned", "symmetric"}
        Whether tensors that can't be negative use the whole range (in INT6 [0, 63], INT7 [0, 127], INT8 [0, 255]).
    images : int, optional
        How many calibration images to use, evenly spaced over those there are: by default 50, or 4 random ones.
    keep : mapping from layers to {"int8", "float"}, optional
        Layers, named as `eq_tvm.analysis.analyze` names them, that are kept at a wider type than the scheme's.
    max_drop : float, optional
        Keep as few layers wider as it takes to lose no more points than that: of top-1 accuracy where the calibration
        images have labels, else of agreement with the float network; on those images that find no scales.
    input_shapes : mapping from input names to shapes, optional
        For inputs whose shape is dynamic; a dynamic batch alone becomes 1 by itself.
    output : str or Path, optional
        The directory to write; by default ``<model>-<target>.eqtvm`` in the working directory for a bundle, and
        ``<model>-<target>`` for a standalone library.
    dump_passes : str or Path, optional
        A directory to write the module to after each phase.
    targets_file : str or Path, optional
        Instead of the ``targets.yaml`` that comes with eq_tvm.
    tune : bool
        Measure the kernels that come into question for each layer on this machine, instead of estimating their speed.
    tuning_file : str or Path, optional
        Remembers what was measured, and is used by later compilations. By default in the user's cache directory.
    artifact : {"bundle", "standalone"}
        What to write: a bundle for `eq_tvm.load`, or a shared object with a C header that needs no TVM.
    optimize : {"speed", "size"}
        ``size`` leaves out kernels that enlarge the weights.
    progress : callable (done 0..1, message), optional

    Returns
    -------
    Bundle or Standalone
        What was written; its `path` is the directory.

    Raises
    ------
    UserError
        Anything wrong with what was passed; nothing is written then.
    """
    progress = progress or (lambda done, message: None)
    start = time.monotonic()
    check_choice("--artifact", artifact, tuple(ARTIFACTS))
    check_choice("--optimize", optimize, OPTIMIZE)
    how = Quantization.checked(
        model,
        calibration=calibration,
        preprocess=preprocess,
        scheme=scheme,
        method=method,
        activation_range=activation_range,
        images=images,
        kept=keep,
    )
    model, preprocess = how.model, how.preprocess
    if max_drop is not None and scheme == "float32":
        raise UserError("--max-drop is for quantized networks: leave it out, or --scheme float32")
    if max_drop is not None and not max_drop >= 0:
        raise UserError(f"--max-drop is in points that the network may lose, 0 or more, not {max_drop:g}")
    spec = get_target(target, targets_file)
    linker.check(spec)
    if tune and (missing := _why_not_here(spec)):
        raise UserError(f"--tune measures on this machine, but target {target} {missing}; leave --tune out")
    kind = ARTIFACTS[artifact]
    output = kind.check_destination(output or f"{model.stem}-{target}{kind.suffix}")
    if dump_passes is not None:
        _make_directory(Path(dump_passes))

    progress(0.0, f"importing {model.name}")
    module, inputs, outputs = import_canonical(model, input_shapes, dump_passes)
    from eq_tvm import pipeline

    record = None
    if scheme != "float32":
        module, record = _quantize(
            module,
            inputs,
            how,
            max_drop,
            dump_passes,
            lambda done, message: progress(_IMPORTED + done * (_CALIBRATED - _IMPORTED), message),
        )
    progress(_CALIBRATED, f"choosing kernels for {target}")
    choose = _tuner(spec, tune, tuning_file, lambda message: progress(_CALIBRATED, f"measured {message}"))
    with pass_errors():
        module, kernels = pipeline.lower(module, spec, choose=choose, optimize=optimize, dump=dump_passes)
        network = Bundle(
            model=model.stem,
            model_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
            inputs=inputs,
            outputs=outputs,
            preprocess=preprocess,
            scheme=scheme,
            calibration=record,
            target=asdict(spec) | {"architecture": spec.architecture, "tvm": str(spec.tvm_target())},
            versions=_versions(),
            kernels=kernels,
            optimize=optimize,
        )
        progress(_LOWERED, f"compiling for {target}")
        written = kind.write(module, network, spec, output)
    progress(1.0, f"done in {time.monotonic() - start:.0f} s")
    return written


def compile_float(model: str | Path, preprocess: Preprocess | None = None) -> Model:
    """Compile a network in float32 for this machine, in memory: the reference that quantized ones are compared with."""
    from eq_tvm import pipeline
    from eq_tvm.runtime import Model

    spec = get_target("native")
    linker.check(spec)
    module, inputs, outputs = import_canonical(Path(model))
    with pass_errors():
        return Model(pipeline.build(module, spec)[0], inputs, outputs, preprocess)


def _quantize(
    module: tvm.IRModule,
    inputs: tuple[TensorInfo, ...],
    how: Quantization,
    max_drop: float | None,
    dump: str | Path | None,
    progress: Progress,
) -> tuple[tvm.IRModule, dict[str, Any]]:
    """The annotated module, and the bundle's record of it."""
    from eq_tvm import pipeline
    from eq_tvm.max_drop import keep_worst

    arrays, held_out = read_images(how, inputs)
    images = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
    loss = None
    with pass_errors():
        if max_drop is None:
            annotated, layers = pipeline.calibrate(
                module, images, method=how.method, **how.options, kept=how.kept, progress=progress, dump=dump
            )
            kept = [{"layer": layer, "kind": kind, "reason": "asked for"} for layer, kind in how.kept.items()]
        else:
            found = keep_worst(module, images, held_out, how, max_drop, progress)
            annotated, layers, kept, loss = found.annotated, found.layers, found.kept, found.report
            pipeline.write_phase(annotated, dump, "3-annotated")
    return annotated, {
        "calibrated": not how.is_random,
        "method": how.method,
        "activation_range": how.activation_range,
        "images": len(arrays[0]),
        "source": Path(how.calibration).name,
        "layers": layers,
        "kept": kept,
        "loss": loss,
    }


def _why_not_here(spec: TargetSpec) -> str:
    """Why this machine can't run what is compiled for a target; empty if it can."""
    if spec.is_cross:
        return f"is for {spec.architecture}"
    missing = host.missing_features(spec.instructions)
    return f"needs {', '.join(missing)}, which this processor lacks" if missing else ""


def _tuner(spec: TargetSpec, tune: bool, file: str | Path | None, progress: Callable[[str], None]) -> Tuner | None:
    from eq_tvm import tuning

    if _why_not_here(spec):
        return None
    target = spec.tvm_target()
    processor = f"{host.model_name()}, code for {target.attrs['mcpu']}, threads: {host.default_threads()}"
    return tuning.Tuner(target, processor, Path(file) if file else tuning.default_file(), tune, progress)


# Where the phases end on the progress bar.
_IMPORTED, _CALIBRATED, _LOWERED = 0.02, 0.7, 0.8


def import_canonical(
    model: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, dump: str | Path | None = None
) -> tuple[tvm.IRModule, tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The canonical module, and its inputs and outputs by the names in the ONNX file."""
    from tvm import ir

    from eq_tvm import pipeline
    from eq_tvm.importer import import_onnx

    imported = import_onnx(model, shapes)
    names = imported["main"].attrs
    with pass_errors():
        module = pipeline.canonicalize(imported, dump=dump)
    _check_weights(module)
    function = module["main"]
    results = function.ret_ty.fields if isinstance(function.ret_ty, ir.TupleType) else [function.ret_ty]
    inputs = tuple(_info(n, p.ty) for n, p in zip(names["input_names"], function.params, strict=True))
    outputs = tuple(_info(n, ty) for n, ty in zip(names["output_names"], results, strict=True))
    return module, inputs, outputs


def _info(name: str, ty: Any) -> TensorInfo:
    return TensorInfo(str(name), tuple(int(size) for size in ty.shape), str(ty.dtype))


def _check_weights(module: tvm.IRModule) -> None:
    from eq_tvm.passes.graph.rewrite import Graph, array, operator_name

    for var, value in Graph(module).values.items():
        if operator_name(value) in ("relax.nn.conv2d", "relax.matmul", "relax.add", "relax.multiply"):
            constants = [array(arg) for arg in value.args]
            if not all(np.isfinite(c).all() for c in constants if c is not None):
                raise UserError(f"layer {var.name} has NaN or infinity in its weights")


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"can't write to the directory {path}: {e.strerror}") from e


@contextmanager
def pass_errors() -> Iterator[None]:
    """Passes know no `UserError`: what they find wrong with a network they raise as ValueError."""
    try:
        yield
    except ValueError as e:
        raise UserError(" ".join(str(e).split())) from e


def _versions() -> dict[str, str]:
    packages = ("eq-tvm", "apache-tvm", "apache-tvm-ffi", "numpy", "onnx")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
