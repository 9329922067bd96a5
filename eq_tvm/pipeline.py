"""The passes from an imported module to an executable, in named phases."""

from functools import partial
from pathlib import Path

import tvm
from tvm import relax
from tvm.ir.transform import Sequential

from eq_tvm import passes
from eq_tvm.methods import DEFAULT, REFINED


def canonicalize(mod, *, dump=None):
    """Imported -> canonical.

    Each phase takes `dump`, a folder that receives the module after it, as TVMScript.
    """
    write_phase(mod, dump, "0-imported")
    mod = Sequential(passes.canonical_passes())(mod)
    write_phase(mod, dump, "1-canonical")
    return mod


CALIBRATIONS = {
    "easyquant": passes.EasyQuantCalibrate,
    "easyquant-shipped": partial(passes.EasyQuantCalibrate, **passes.EASYQUANT_SHIPPED),
    "minmax": passes.MinMaxCalibrate,
    "percentile": passes.PercentileCalibrate,
    "kl": passes.KLCalibrate,
    "mse": passes.MSECalibrate,
}


def prepare(mod, images, *, scheme="int7", method=DEFAULT, activation_range="unsigned"):
    """Canonical -> canonical, as `quantize` wants it: the first part of `calibrate`, whose parameters these are."""
    if not method.endswith(REFINED):
        return mod
    options = {"scheme": scheme, "activation_range": activation_range}
    return Sequential([passes.CenterChannels(images, **options), passes.EqualizeChannels(images, **options)])(mod)


def calibrate(
    mod, images, *, scheme="int7", method=DEFAULT, activation_range="unsigned", kept=None, progress=None, dump=None
):
    """Canonical -> annotated.

    Parameters
    ----------
    mod : tvm.IRModule
    images : dict of str to numpy.ndarray
        For each input of the network, float32 (images, ...) without the network's batch axis.
    scheme : {"int6", "int7", "int8"}
    method : str
        A key of `CALIBRATIONS`; with ``+`` behind it, channels are centered and equalized before, and weights then
        rounded for the least error of each layer.
    activation_range : {"unsigned", "symmetric"}
    kept : dict of str to {"int8", "float"}, optional
        Layers that are kept at a wider type than the scheme's.
    progress : callable (float, str) -> None, optional
    dump : path, optional

    Returns
    -------
    mod : tvm.IRModule
    record : list of dict
        What the calibration found, for each layer.
    """
    options = {"scheme": scheme, "method": method, "activation_range": activation_range}
    return quantize(prepare(mod, images, **options), images, **options, kept=kept, progress=progress, dump=dump)


def quantize(
    mod, images, *, scheme="int7", method=DEFAULT, activation_range="unsigned", kept=None, progress=None, dump=None
):
    """The rest of `calibrate`: what `prepare` made -> annotated."""
    find = CALIBRATIONS[method.removesuffix(REFINED)]
    calibration = find(
        images,
        scheme=scheme,
        activation_range=activation_range,
        kept=kept,
        refine=passes.round_weights if method.endswith(REFINED) else None,
        progress=progress or passes.no_progress,
    )
    annotated = calibration(mod)
    write_phase(annotated, dump, "2-annotated")
    return annotated, calibration.record


def lowering_phases(lower):
    """Annotated (or canonical float) -> calls to scheduled functions, as (phase, passes), with `LowerToInteger`."""
    return [
        ("3-integer", [lower]),
        (
            "4-fused",
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(["main"]),
            ],
        ),
        ("5-scheduled", [passes.ScheduleFallback()]),
    ]


def lower(mod, target, *, choose=None, optimize="speed", dump=None):
    """Annotated (or canonical float) module -> calls to scheduled functions.

    Parameters
    ----------
    mod : tvm.IRModule
    target : eq_tvm.targets.TargetSpec
    choose : callable, optional
    optimize : {"speed", "size"}
        Both pick kernels: see `LowerToInteger`.
    dump : path, optional

    Returns
    -------
    mod : tvm.IRModule
    record : list of dict
        The kernel of each convolution and dense layer.
    """
    to_integer = passes.LowerToInteger(target, choose, optimize)
    with target.tvm_target():
        for phase, phase_passes in lowering_phases(to_integer):
            mod = Sequential(phase_passes)(mod)
            write_phase(mod, dump, phase)
    return mod, to_integer.record


def build(mod, target, **options):
    """Annotated (or canonical float) module -> executable, and the record of `lower`, which takes the options."""
    mod, record = lower(mod, target, **options)
    return executable(mod, target), record


def executable(mod, target):
    """What `lower` gives -> tvm.relax.VMExecutable."""
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        return tvm.compile(mod, target=target.tvm_target())


def write_phase(mod, folder, phase):
    """Write a module into a folder, if there is one, as TVMScript."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{phase}.py").write_text(mod.script(show_meta=False), encoding="utf-8")
