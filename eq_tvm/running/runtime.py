"""Running compiled networks."""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

import numpy as np

from eq_tvm import host
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts import directory
from eq_tvm.artifacts.bundle import Bundle, TensorInfo, results_by_name
from eq_tvm.errors import UserError
from eq_tvm.inputs.checked import check_arrays, check_inputs
from eq_tvm.preprocess import Preprocess
from eq_tvm.running import workers

if TYPE_CHECKING:
    import tvm

Result = TypeVar("Result")


class Model:
    """A compiled network that is ready to run.

    Several threads may call one model: their runs take turns, as TVM's virtual machine has one state. They may also
    fork, before, after and while others run it.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        Names, shapes with the batch, dtypes; outputs that count the rows of others at the end.
    preprocess : Preprocess, optional
        What is done to pixels.
    main : tvm_ffi.Function
        The compiled function on `tvm.runtime.Tensor`: for code that measures, on one thread, which must not fork.
    """

    def __init__(
        self,
        executable: tvm.runtime.Module | tvm.runtime.Executable,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        preprocess: Preprocess | None = None,
    ):
        import tvm
        from tvm.runtime.vm import VirtualMachine

        self.inputs, self.outputs, self.preprocess = inputs, outputs, preprocess
        self._machine = VirtualMachine(executable, tvm.cpu())
        self.main = self._machine["main"]
        self._turn = threading.Lock()
        _MODELS.add(self)

    def instrument(self, note: Callable[..., None]) -> None:
        """Call `note(function, name, before, result, *args)` around everything that a run calls, from now on."""
        self._machine.set_instrument(note)

    def run(self, inputs: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network once.

        Parameters
        ----------
        inputs : np.ndarray or mapping from input names to np.ndarray
            The array alone where the network has one input. Numbers in the input's shape, with or without a batch
            axis of 1: taken as they are, in its dtype. Of a network that takes images uint8 (H, W, C), or (N, H, W, C)
            where its batch is N: pixels, which are preprocessed as the bundle says.

        Returns
        -------
        dict from output names to np.ndarray

        Raises
        ------
        UserError
            A wrong name, shape or dtype, numbers that the input's dtype can't hold, or NaN or infinity.
        """
        results = self._run(check_inputs(inputs, self.inputs, self.preprocess))
        return results_by_name(self.outputs, results)

    def call(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run the compiled function once, on the network's inputs in its order, in their shapes and dtypes.

        Raises
        ------
        UserError
            They are not that, or contain NaN or infinity.
        """
        return self._run(check_arrays(arrays, self.inputs))

    def measure(self, arrays: list[np.ndarray], seconds: float) -> list[float]:
        """Seconds of each run on what `call` takes, for so long, after a tenth of it to warm up; at least three."""
        return self._measure(check_arrays(arrays, self.inputs), seconds)

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with self._turn:
            return workers.call(lambda: self._computed(arrays))

    def _measure(self, arrays: list[np.ndarray], seconds: float) -> list[float]:
        with self._turn:
            return workers.call(lambda: self._times(arrays, seconds))

    def _computed(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        import tvm

        def compute() -> list[np.ndarray]:
            results = self.main(*map(tvm.runtime.tensor, arrays))
            results = [results] if isinstance(results, tvm.runtime.Tensor) else results
            return [result.numpy() for result in results]

        with workers.computing():  # until TVM has freed what it allocated
            return compute()

    def _times(self, arrays: list[np.ndarray], seconds: float) -> list[float]:
        import tvm

        inputs = list(map(tvm.runtime.tensor, arrays))

        def time_one() -> float:
            with workers.computing():
                start = time.perf_counter()
                self.main(*inputs)
                return time.perf_counter() - start

        end = time.perf_counter() + seconds / 10
        time_one()
        while time.perf_counter() < end:
            time_one()

        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            times.append(time_one())
        return times


class Board(Protocol):
    """Another machine that runs bundles; `eq_tvm.connect` opens a session on one."""

    def load(self, bundle: str | Path | Bundle) -> Model:
        """The network, ready to run there."""

    def use_threads(self, count: int | None) -> int:
        """Run on so many threads (None: as many as it likes), and say on how many."""

    def time_layers(self, bundle: str | Path, threads: int | None, seconds: float) -> list[dict[str, Any]]:
        """What `eq_tvm.bench.bench_layers` says there."""


def load(bundle: str | Path | Bundle, *, board: Board | None = None) -> Model:
    """Load a bundle that was compiled for this machine, or one like it.

    Parameters
    ----------
    bundle : str, Path or Bundle
    board : Board, optional
        Where to run it instead of this machine; `eq_tvm.connect` gives one.

    Raises
    ------
    UserError
        It is incomplete, altered, or for a machine that this one, or the board, is not.
    """
    if board is not None:
        return board.load(bundle)

    def load_here(bundle: Bundle) -> Model:
        check_machine(bundle, platform.machine(), host.cpu_features())
        return Model(load_library(bundle.library), bundle.inputs, bundle.outputs, bundle.preprocess)

    return in_one_piece(bundle, load_here)


def in_one_piece(bundle: str | Path | Bundle, use: Callable[[Bundle], Result]) -> Result:
    """What `use` makes of a bundle's description and shared object; again where it was replaced in between.

    Of a `Bundle`, its path is used: what is there now.
    """
    path = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    if path is None:
        raise UserError("the bundle is not written: it has no path")
    return directory.in_one_piece(path, lambda: use(bundles.read(path)))


def load_library(path: Path) -> tvm.runtime.Module:
    """Load a shared object by a name that no other had in this process: what has been loaded is found by its name.

    So a bundle that was compiled again to the same place is loaded anew. (TVM's `load_module` resolves links.)
    """
    import tvm  # noqa: F401  (knows how to read what is in it)
    import tvm_ffi

    try:
        folder = tempfile.TemporaryDirectory(prefix="eq_tvm-")
    except OSError:  # nothing can be written here, so perhaps the bundle can't be replaced either
        return tvm_ffi.load_module(str(path), keep_module_alive=False)
    with folder as name:
        link = Path(name) / path.name
        link.symlink_to(path.absolute())
        return tvm_ffi.load_module(str(link), keep_module_alive=False)


def check_machine(
    bundle: Bundle, architecture: str, features: Collection[str] | None, board: str | None = None
) -> None:
    """Raise a UserError where a machine (this one, or a board of that name) can't run what the bundle contains.

    `features` are those of `eq_tvm.host.cpu_features`.
    """
    target, machine = bundle.target, board or "this machine"
    remedy = "compile it for --target native"
    if board:
        remedy = "compile it for that board (see: python -m eq_tvm targets)"
    if target["architecture"] != architecture:
        raise UserError(
            f"the bundle {bundle.path} is for {target['name']} ({target['architecture']}), {machine} is "
            f"{architecture}: {'' if board else 'copy it to such a machine, or '}{remedy}"
        )
    if features is not None and (missing := host.missing_features(target["instructions"], features)):
        processor = f"the processor of {board}" if board else "this processor"
        raise UserError(
            f"the bundle {bundle.path} is for {target['name']}; {processor} lacks {', '.join(missing)}: {remedy}"
        )


def _take_turns_anew() -> None:
    """In the child of a fork: whose turn it was is not there."""
    for model in _MODELS:
        model._turn = threading.Lock()


_MODELS: WeakSet[Model] = WeakSet()
os.register_at_fork(after_in_child=_take_turns_anew)
