"""Choosing kernels by measuring them on boards."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eq_tvm import host, passes
from eq_tvm.artifacts import linker
from eq_tvm.boards.farm import Farm, Job, Unfit
from eq_tvm.boards.session import Session, Timing
from eq_tvm.building.kernel_timing import arguments_of, time_kernel
from eq_tvm.building.tuning import Tuner, microseconds, tried
from eq_tvm.errors import UserError, counted
from eq_tvm.running import workers
from eq_tvm.targets import TargetSpec, get_target

if TYPE_CHECKING:
    import tvm

    from eq_tvm.schedules.choice.candidate import Candidate

Layers = Mapping[str, Sequence["Candidate"]]  # by what layers have in common that can use the same kernels


def tune(
    module: tvm.IRModule,
    spec: TargetSpec,
    optimize: str,
    tuner: Tuner,
    connect: Callable[[], Session],
    count: int,
    progress: Callable[[float, str], None],
) -> None:
    """Measure the kernels of a network on boards, and let `tuner` remember them.

    Parameters
    ----------
    module : tvm.IRModule
        Annotated, or canonical float.
    spec : TargetSpec
    optimize : {"speed", "size"}
    tuner : Tuner
        It gets the boards' `processor`.
    connect : callable () -> Session
        To a free board.
    count : int
        How many boards to use.
    progress : callable (done 0..1, message)

    Raises
    ------
    UserError
        No board is left. What was measured before is remembered.
    """
    layers = candidates_of(module, spec, optimize)
    tuner.processor = _first_kind(connect, count, spec)
    found = {key: tuner.times(key) for key in layers}
    jobs = [
        Job(key, _Kernel(key, candidate))
        for key, candidates in layers.items()
        for candidate in tried(candidates)
        if candidate.name not in found[key]
    ]
    left = {key: sum(job.group == key for job in jobs) for key in layers}
    check = functools.partial(_check, spec=spec, processor=tuner.processor)
    farm = Farm(jobs, _Measuring(spec, _native_layers(module, layers, optimize)), connect, count, check)
    start = time.monotonic()
    with _kept(tuner, found, left, len(jobs)), closing(farm.results()) as results:
        for done, (job, answer) in enumerate(results, 1):
            name = job.work.candidate.name
            if answer is None or answer.failed:
                why = farm.reasons() if answer is None else answer.failed
                warnings.warn(f"{job.group}: the kernel {name} is left out, as {why}", stacklevel=2)
                found[job.group][name] = None
            else:
                found[job.group][name] = microseconds(answer.seconds)
            left[job.group] -= 1
            if not left[job.group]:
                tuner.remember(job.group, found[job.group])
            remaining = (time.monotonic() - start) * (len(jobs) - done) / done
            progress(
                done / len(jobs),
                f"measured {done} of {counted(len(jobs), 'kernel')}, boards at work: {farm.at_work}, "
                f"about {remaining:.0f} s left",
            )
    if farm.lost:
        warnings.warn(f"boards that were left out: {farm.reasons()}", stacklevel=2)


def processor_of(board: Session, spec: TargetSpec) -> str:
    """What times of a board hold for: its processor, code for one as LLVM calls it, and the number of threads."""
    return f"{spec.name} on {board.description['processor']}{_code(spec)}{board.description['threads']}"


def remembered_processor(processors: Sequence[str], spec: TargetSpec) -> str:
    """Which of those in a tuning file are boards of this target; empty if none is, or several are."""
    found = [name for name in processors if name.startswith(f"{spec.name} on ") and _code(spec) in name]
    return found[0] if len(found) == 1 else ""


def candidates_of(module: tvm.IRModule, spec: TargetSpec, optimize: str) -> dict[str, Sequence[Candidate]]:
    """Of each kind of layer the kernels there are, in the network's order."""
    found: dict[str, Sequence[Candidate]] = {}

    def choose(key: str, candidates: Sequence[Candidate]) -> Candidate:
        found.setdefault(key, candidates)
        return min(candidates, key=lambda candidate: candidate.cycles)

    from tvm.ir.transform import Sequential

    with spec.tvm_target():
        Sequential([passes.OrderChannels(spec.machine), passes.LowerToInteger(spec.machine, choose, optimize)])(module)
    return found


@dataclass(frozen=True)
class _Kernel:
    key: str
    candidate: Candidate


class _Measuring:
    """Compiles a kernel, times it on a board, and compares what that computes with what this machine does."""

    def __init__(self, spec: TargetSpec, native: Layers):
        self._spec, self._native = spec, native
        self._expected: dict[str, str | None] = {}
        self._turn = threading.Lock()  # TVM's compiler is not for several threads at a time

    def __call__(self, board: Session, kernel: _Kernel) -> Timing:
        with self._turn:
            library, arrays, constants, exact = self._compiled(kernel.candidate)
            expected = self._result_here(kernel.key) if exact else None
        answer = board.time_kernel(library, arrays, constants)
        if expected and answer.sha256 not in ("", expected):
            raise Unfit(
                f"{kernel.candidate.name} computes something else there than on this machine ({kernel.key}): "
                "look after the board, and report it if another one does so, too"
            )
        return answer

    def _compiled(self, candidate: Candidate) -> tuple[bytes, bytes, int, bool]:
        """A shared object, its arguments as an .npz, how many constants these have, and whether it is exact."""
        function = candidate.make()
        arrays, constants = arguments_of(candidate, function.params)
        packed = io.BytesIO()
        np.savez(packed, *arrays)
        executable = _compile(function, self._spec)
        with tempfile.TemporaryDirectory(prefix="eq_tvm-") as folder:
            file = Path(folder) / "kernel.so"
            linker.export(executable, self._spec, str(file))
            library = file.read_bytes()
        exact = candidate.source is not None and candidate.source.dtype != "float32"
        return library, packed.getvalue(), constants, exact

    def _result_here(self, key: str) -> str | None:
        """The SHA-256 of what any kernel of a layer computes; None where this machine has none."""
        if key not in self._expected:
            self._expected[key] = None
            if candidates := self._native.get(key):
                best = min(candidates, key=lambda candidate: candidate.cycles)
                function = best.make()
                run = _compile(function, get_target("native"))
                arguments = arguments_of(best, function.params)
                self._expected[key] = workers.call(lambda: time_kernel(run, *arguments))[1]
        return self._expected[key]


def _compile(function: tvm.tirx.PrimFunc, spec: TargetSpec) -> tvm.runtime.Executable:
    import tvm

    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        return tvm.compile(function, target=spec.tvm_target())


def _native_layers(module: tvm.IRModule, layers: Layers, optimize: str) -> Layers:
    """The same layers with this machine's kernels; none where it has none, or makes other layers of the network."""
    try:
        found = candidates_of(module, get_target("native"), optimize)
    except UserError:
        return {}
    return found if list(found) == list(layers) else {}


def _first_kind(connect: Callable[[], Session], count: int, spec: TargetSpec) -> str:
    """The processor of the first board that can run a target's kernels."""
    refused: list[str] = []
    with ExitStack() as stack:
        for _ in range(count):
            board = stack.enter_context(connect())
            try:
                _check(board, spec)
                return processor_of(board, spec)
            except Unfit as e:
                refused.append(f"{board.name}: {e}")
    raise UserError(f"no board can be used: {'; '.join(refused)}")


def _check(board: Session, spec: TargetSpec, processor: str | None = None) -> None:
    """Raise `Unfit` where a board can't run a target's kernels, or is of another kind than the first."""
    there = board.description
    if not there:
        raise Unfit("it has no eq_tvm to measure kernels: install it there, too")
    if there.get("eq_tvm") != (ours := importlib.metadata.version("eq-tvm")):
        raise Unfit(f"it has eq_tvm {there.get('eq_tvm')}, this machine {ours}: install that there")
    if there["architecture"] != spec.architecture:
        raise Unfit(f"it is {there['architecture']}, target {spec.name} is {spec.architecture}")
    if there["features"] is not None and (missing := host.missing_features(spec.instructions, there["features"])):
        raise Unfit(f"it lacks {', '.join(missing)}, which target {spec.name} needs")
    if processor and processor_of(board, spec) != processor:
        raise Unfit(f"it is of another kind ({processor_of(board, spec)}) than the first board ({processor})")


@contextmanager
def _kept(
    tuner: Tuner, found: Mapping[str, dict[str, float | None]], left: Mapping[str, int], jobs: int
) -> Iterator[None]:
    """Remember layers that are measured in part, too, and say so, where tuning ends early."""
    try:
        yield
    except BaseException as e:
        for key, times in found.items():
            if left[key] and times:
                tuner.remember(key, times, complete=False)
        if isinstance(e, UserError):
            kept = f"{jobs - sum(left.values())} of {jobs} kernels are measured"
            where = f" and kept in {tuner.file}: the same command goes on from there" if tuner.file else ""
            raise UserError(f"{e} ({kept}{where})") from e
        raise


def _code(spec: TargetSpec) -> str:
    return f", code for {spec.tvm_target().attrs['mcpu']}, threads: "
