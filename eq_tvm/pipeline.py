"""The passes from an imported module to an executable, in named phases."""

import contextlib
from pathlib import Path

import tvm
from tvm import relax
from tvm.ir.transform import Sequential

from eq_tvm import passes


def canonicalize(mod):
    """Imported -> canonical."""
    return Sequential(passes.canonical_passes())(mod)


CALIBRATIONS = {
    "minmax": passes.MinMaxCalibrate,
    "easyquant": passes.EasyQuantCalibrate,
}


def calibrate(mod, images, *, scheme="int7", method="easyquant", activation_range="unsigned", progress=None):
    """Canonical -> annotated.

    Parameters
    ----------
    mod : tvm.IRModule
    images : dict of str to numpy.ndarray
        For each input of the network, float32 (images, ...) without the network's batch axis.
    scheme : {"int7", "int8"}
    method : str
        A key of `CALIBRATIONS`.
    activation_range : {"unsigned", "symmetric"}
    progress : callable (float, str) -> None, optional

    Returns
    -------
    mod : tvm.IRModule
    record : list of dict
        What the calibration found, for each layer.
    """
    calibration = CALIBRATIONS[method](images, scheme=scheme, activation_range=activation_range, progress=progress)
    return calibration(mod), calibration.record


def lowering_phases(features):
    """Annotated (or canonical float) -> calls to scheduled functions, as (phase, passes)."""
    return [
        ("integer", [passes.LowerToInteger(features)]),
        ("fused", [
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(["main"]),
        ]),
        ("scheduled", [passes.ScheduleFallback()]),
    ]


def build(mod, target, *, dump=None):
    """Annotated (or canonical float) module -> executable.

    Parameters
    ----------
    mod : tvm.IRModule
    target : eq_tvm.targets.TargetSpec
    dump : str or pathlib.Path, optional
        Folder that receives the module after each phase, as TVMScript.

    Returns
    -------
    tvm.relax.VMExecutable
    """
    tvm_target = target.tvm_target()
    _dump(mod, dump, 0, "annotated")
    with tvm_target:
        for number, (phase, phase_passes) in enumerate(lowering_phases(target.instructions), 1):
            mod = Sequential(phase_passes)(mod)
            _dump(mod, dump, number, phase)
    return tvm.compile(mod, target=tvm_target)


def _dump(mod, folder, number, phase):
    if folder is None:
        return
    with contextlib.suppress(FileExistsError):
        Path(folder).mkdir(parents=True)
    (Path(folder) / f"{number}-{phase}.py").write_text(mod.script(show_meta=False))
