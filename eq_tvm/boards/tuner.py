"""Whose measurements choose kernels: this machine's or boards', made now or remembered."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm import host
from eq_tvm.boards.places import Boards
from eq_tvm.building import tuning
from eq_tvm.building.tuning import Tuner
from eq_tvm.errors import UserError
from eq_tvm.options.declared import CompileOptions
from eq_tvm.targets import TargetSpec, has_tvm

if TYPE_CHECKING:
    import tvm

SECONDS = 40.0  # for the answer to one call: a board itself ends a kernel before


def check(options: CompileOptions, spec: TargetSpec) -> None:
    """UserError where these options do not say who can measure, or there is no such board."""
    boards = _boards(options)
    if boards.are_given and not options.tune:
        raise UserError("--rpc, --tracker, --key and --boards are for --tune: pass it, too, or leave them out")
    if boards.are_given:
        if not has_tvm({"architecture": spec.architecture, "triple": spec.triple}):
            raise UserError(f"--tune on boards needs TVM there, which has no packages for target {spec.name}")
        boards.count()
    elif options.tune and (missing := why_not_here(spec)):
        raise UserError(
            f"--tune measures on this machine, but target {spec.name} {missing}: name boards by --tracker HOST:PORT "
            "and --key, or one by --rpc HOST:PORT; or leave --tune out"
        )


def tuner_for(
    module: tvm.IRModule, spec: TargetSpec, options: CompileOptions, progress: Callable[[float, str], None]
) -> Tuner | None:
    """What chooses the kernels of a module; None where nothing but the estimate can.

    Parameters
    ----------
    module : tvm.IRModule
        Annotated, or canonical float.
    spec : TargetSpec
    options : CompileOptions
    progress : callable (done 0..1, message)
        Of measuring.
    """
    file = Path(options.tuning_file) if options.tuning_file else tuning.default_file()
    boards, target = _boards(options), spec.tvm_target()
    if not boards.are_given and not why_not_here(spec):
        return Tuner(
            target,
            processor(str(target.attrs["mcpu"])),
            file,
            options.tune,
            lambda message: progress(0.0, f"measured {message}"),
        )
    from eq_tvm.boards import tune

    tuner = Tuner(target, "", file, measure=False)
    if not boards.are_given:
        tuner.processor = tune.remembered_processor(list(tuner.known), spec)
        return tuner if tuner.processor else None
    if file:
        tuning.check_writable(file)
    connect = functools.partial(boards.connect, SECONDS)
    tune.tune(module, spec, options.optimize, tuner, connect, boards.count(), progress)
    return tuner


def why_not_here(spec: TargetSpec) -> str:
    """Why this machine can't run what is compiled for a target; empty if it can."""
    if spec.is_cross:
        return f"is for {spec.architecture}"
    missing = host.missing_features(spec.instructions)
    return f"needs {', '.join(missing)}, which this processor lacks" if missing else ""


def processor(cpu: str = "") -> str:
    """What measured times hold for: this processor, code for one as LLVM calls it, and the number of threads."""
    return f"{host.model_name()}, code for {cpu or host.llvm_cpu()[0]}, threads: {host.default_threads()}"


def _boards(options: CompileOptions) -> Boards:
    return Boards(options.rpc, options.tracker, options.key, options.boards)
