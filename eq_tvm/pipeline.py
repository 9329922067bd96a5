"""The pipeline: all passes from an imported module to scheduled functions, in named phases, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.transform import Sequential

from eq_tvm import passes
from eq_tvm.errors import system_errors
from eq_tvm.files.whole_file import write_whole
from eq_tvm.methods import BLOCKS, DEFAULT, LAYERS, REFINED, ROWS
from eq_tvm.passes.graph.legalize import legalizations
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.targets import TargetSpec

Pass = Any  # tvm.transform.Pass, which has no types

CALIBRATIONS: dict[str, Callable[..., Any]] = {
    "easyquant": passes.EasyQuantCalibrate,
    "easyquant-shipped": partial(passes.EasyQuantCalibrate, **passes.EASYQUANT_SHIPPED),
    "minmax": passes.MinMaxCalibrate,
    "percentile": passes.PercentileCalibrate,
    "kl": passes.KLCalibrate,
    "mse": passes.MSECalibrate,
    "lapq": passes.LAPQCalibrate,
    "vit": passes.ViTCalibrate,
}

REFINEMENTS: dict[str, Callable[..., Any]] = {
    LAYERS: passes.round_weights,
    BLOCKS: passes.reconstruct_blocks,
    ROWS: passes.even_rows,
}


@dataclass(frozen=True)
class Settings:
    """What the passes want to know.

    Attributes
    ----------
    images : dict of str to numpy.ndarray
        For each input of the network, float32 (images, ...) without the network's batch axis.
    scheme : {"int6", "int7", "int8", "w8a12"}
    method : str
        A key of `CALIBRATIONS`; with ``+`` behind it, channels are centered and equalized before, and weights then
        rounded for the least error of each layer.
    activation_range : {"unsigned", "symmetric"}
    kept : dict of str to {"int8", "w8a12", "float"}
        Layers that are kept at a wider type than the scheme's.
    refine : {"layers", "blocks", "rows"}
        How such a method rounds weights: by the error of each layer, or of each block. "rows", which is for plain
        methods, too, makes a network as fast as the first does, and is all but nothing to wait for: `passes.even_rows`.
    min_cosine : float
        How near to float32 each output has to stay: see `passes.MSECalibrate`.
    requantize : bool
        See `passes.TakeScales`.
    progress : callable (float, str) -> None
        Of the calibration.
    target : eq_tvm.targets.TargetSpec
    choose : callable, optional
    optimize : {"speed", "size"}
        Both pick kernels: see `LowerToInteger`.
    """

    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    scheme: str = "int7"
    method: str = DEFAULT
    activation_range: str = "unsigned"
    kept: Mapping[str, str] = field(default_factory=dict)
    refine: str = LAYERS
    min_cosine: float = 0.0
    requantize: bool = False
    progress: passes.Progress = passes.no_progress
    target: TargetSpec | None = None
    choose: Callable[..., Any] | None = None
    optimize: str = "speed"

    @property
    def refined(self) -> bool:
        """Whether the method is one with ``+``."""
        return self.method.endswith(REFINED)

    @property
    def calibration(self) -> Callable[..., Any]:
        """The pass that finds scales."""
        return CALIBRATIONS[self.method.removesuffix(REFINED)]

    @property
    def machine(self) -> Machine:
        """The target's processor; ValueError where there is no target."""
        if self.target is None:
            raise ValueError("a target is needed to choose kernels")
        return self.target.machine

    @property
    def quantization(self) -> dict[str, Any]:
        """What all passes that see images take."""
        return {"images": self.images, "scheme": self.scheme, "activation_range": self.activation_range}


_PREPARED = 0.25  # of the time that calibration takes

# Each phase with its passes, which are made when the phase begins.
PIPELINE: dict[str, Callable[[Settings], list[Pass]]] = {
    # imported -> canonical: batch norms, biases and padding folded, operators recovered from loop nests
    "1-canonical": lambda how: passes.canonical_passes(),
    # canonical -> canonical: what float operators read apart, ranges that one scale serves better, the same function
    "2-prepared": lambda how: [
        passes.DuplicateFunctions(),
        *(
            [
                passes.CenterSources(**how.quantization, progress=passes.part_of(how.progress, 0.0, 0.05)),
                passes.CenterChannels(**how.quantization, progress=passes.part_of(how.progress, 0.05, 0.1)),
                passes.EqualizeHeads(**how.quantization, progress=passes.part_of(how.progress, 0.1, 0.13)),
                passes.EqualizeChannels(**how.quantization, progress=passes.part_of(how.progress, 0.13, _PREPARED)),
            ]
            if how.refined
            else []
        ),
    ],
    # canonical -> annotated: scales, then weights rounded for what layers compute, in quantize/dequantize pairs
    "3-annotated": lambda how: [
        how.calibration(
            **how.quantization,
            kept=how.kept,
            min_cosine=how.min_cosine,
            refine=REFINEMENTS[how.refine] if how.refined or how.refine == ROWS else None,
            progress=passes.part_of(how.progress, _PREPARED if how.refined else 0.0, 1.0),
        ),
    ],
    # canonical -> annotated of a network that has scales of its own
    "3-given": lambda how: [
        passes.LiftDequantize(),
        relax.transform.EliminateCommonSubexpr(),
        passes.UnifyScales(),
        passes.NarrowRanges(),
        passes.StoreSigned(),
        passes.TakeScales(requantize=how.requantize),
    ],
    # annotated, or canonical float -> integer: calls to scheduled kernels, float operators between them
    "4-integer": lambda how: [
        passes.OrderChannels(how.machine),
        passes.LowerToInteger(how.machine, how.choose, how.optimize),
    ],
    # what is still a float operator becomes loop nests, fused
    "5-fused": lambda how: [
        relax.transform.LegalizeOps(legalizations()),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(["main"]),
    ],
    # these get a schedule, too, and one thread what is done before others start
    "6-scheduled": lambda how: [passes.ScheduleFallback(), passes.SerializeShortLoops()],
}
LOWERING = ("4-integer", "5-fused", "6-scheduled")


def canonicalize(mod: tvm.IRModule, *, dump: str | Path | None = None) -> tvm.IRModule:
    """Imported -> canonical.

    As all functions here, with `dump`, a folder that receives the module after each phase, as TVMScript.
    """
    write_phase(mod, dump, "0-imported")
    return _run(mod, ["1-canonical"], Settings(), dump)[0]


def prepare(
    mod: tvm.IRModule, images: Mapping[str, np.ndarray], *, dump: str | Path | None = None, **how: Any
) -> tvm.IRModule:
    """Canonical -> canonical, as `quantize` wants it: the first part of `calibrate`, which has the same parameters."""
    return _run(mod, ["2-prepared"], _settings(images, **how), dump)[0]


def quantize(
    mod: tvm.IRModule, images: Mapping[str, np.ndarray], *, dump: str | Path | None = None, **how: Any
) -> tuple[tvm.IRModule, list[passes.LayerRecord]]:
    """What `prepare` made -> annotated: the rest of `calibrate`."""
    mod, (calibration,) = _run(mod, ["3-annotated"], _settings(images, **how), dump)
    return mod, calibration.record


def calibrate(
    mod: tvm.IRModule, images: Mapping[str, np.ndarray], *, dump: str | Path | None = None, **how: Any
) -> tuple[tvm.IRModule, list[passes.LayerRecord]]:
    """Canonical -> annotated.

    Parameters
    ----------
    mod : tvm.IRModule
    images : dict of str to numpy.ndarray
        For each input of the network, float32 (images, ...) without the network's batch axis.
    dump : path, optional
    scheme, method, activation_range, kept, refine, min_cosine, progress
        See `Settings`.

    Returns
    -------
    mod : tvm.IRModule
    record : list of LayerRecord
        What the calibration found, for each layer.
    """
    return quantize(prepare(mod, images, dump=dump, **how), images, dump=dump, **how)


def take_scales(
    mod: tvm.IRModule, *, requantize: bool = False, dump: str | Path | None = None
) -> tuple[tvm.IRModule, passes.TakeScales]:
    """Canonical -> annotated, of a network that came quantized; and the pass, with what it records."""
    mod, (*_, given) = _run(mod, ["3-given"], Settings(requantize=requantize), dump)
    return mod, given


def lower(
    mod: tvm.IRModule,
    target: TargetSpec,
    *,
    choose: Callable[..., Any] | None = None,
    optimize: str = "speed",
    dump: str | Path | None = None,
) -> tuple[tvm.IRModule, list[dict[str, Any]]]:
    """Annotated (or canonical float) module -> calls to scheduled functions.

    Parameters
    ----------
    mod : tvm.IRModule
    target, choose, optimize
        See `Settings`.
    dump : path, optional

    Returns
    -------
    mod : tvm.IRModule
    record : list of dict
        The kernel of each convolution and dense layer.
    """
    with target.tvm_target(), tvm.transform.PassContext(config={"relax.FuseOps.max_depth": _FUSED}):
        mod, (_, to_integer, *_) = _run(mod, LOWERING, Settings(target=target, choose=choose, optimize=optimize), dump)
    return mod, to_integer.record


_FUSED = 64  # operators in a function at most: scheduling takes their number squared


def build(mod: tvm.IRModule, target: TargetSpec, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Annotated (or canonical float) module -> executable, and the record of `lower`, which takes the options."""
    mod, record = lower(mod, target, **options)
    return executable(mod, target), record


def executable(mod: tvm.IRModule, target: TargetSpec) -> Any:
    """What `lower` gives -> tvm.relax.VMExecutable."""
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        return tvm.compile(Sequential([passes.ViewOutputs()])(mod), target=target.tvm_target())


def write_phase(mod: tvm.IRModule, folder: str | Path | None, phase: str) -> None:
    """Write a module into a folder, if there is one, as TVMScript."""
    if folder is not None:
        script = mod.script(show_meta=False).encode()
        with system_errors(f"write to the directory {folder}"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            write_whole(Path(folder) / f"{phase}.py", lambda file: file.write(script))


def _settings(
    images: Mapping[str, np.ndarray],
    kept: Mapping[str, str] | None = None,
    progress: passes.Progress | None = None,
    **how: Any,
) -> Settings:
    return Settings(images, kept=kept or {}, progress=progress or passes.no_progress, **how)


def _run(
    mod: tvm.IRModule, phases: tuple[str, ...] | list[str], how: Settings, dump: str | Path | None
) -> tuple[tvm.IRModule, list[Pass]]:
    """Run some phases; the module, and the passes that ran, for what they recorded."""
    ran: list[Pass] = []
    for phase in phases:
        made = PIPELINE[phase](how)
        if made:
            mod = Sequential(made)(mod)
            write_phase(mod, dump, phase)
        ran += made
    return mod, ran
