"""Boards: other machines that run bundles, through TVM's RPC server there.

The calls go to TVM's own functions on the board. Where eq_tvm is installed there too, the board also tells its versions
and its processor, and times layers: see `eq_tvm.boards.on_board`.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm import host
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.boards import connection
from eq_tvm.boards.agreed import DESCRIBE, TIME_KERNEL, TIME_LAYERS, versions
from eq_tvm.errors import UserError, counted
from eq_tvm.files.regular_file import read_text
from eq_tvm.running.runtime import Board, Model, check_machine, in_one_piece

if TYPE_CHECKING:
    import socket

    import tvm

RELAY = Path(__file__).with_name("relay.py")
SECONDS = 60.0  # for the answer to one call: a run, or a part of a measurement


def connect(
    rpc: str | None = None, *, tracker: str | None = None, key: str | None = None, seconds: float = SECONDS
) -> Session:
    """Open a session on a board that runs TVM's RPC server.

    Parameters
    ----------
    rpc : str, optional
        ``HOST:PORT`` of the board's server.
    tracker : str, optional
        Instead of `rpc`, ``HOST:PORT`` of an RPC tracker, which knows boards by their `key`.
    key : str, optional
        With `tracker`, the kind of board; with `rpc`, the key that its server was started with, if any.
    seconds : float
        How long to wait for the answer to one call.

    Returns
    -------
    Session
        To be closed: ``with connect("raspberrypi.local:9090") as board: ...``.

    Raises
    ------
    UserError
        No such board, or it does not answer, or it has other versions of TVM.
    """
    if rpc and tracker:
        raise UserError("--rpc and --tracker exclude each other: a board's address, or that of a tracker of boards")
    if rpc:
        address, match = connection.Address.parse("--rpc", rpc), key or ""
    elif tracker and key:
        address, match = connection.request_server(connection.Address.parse("--tracker", tracker), key)
    elif tracker:
        raise UserError("--tracker needs --key: the kind of board, as its server was started with (such as rpi4)")
    else:
        raise UserError("--key goes with --tracker HOST:PORT, or with --rpc HOST:PORT")
    return Session(address, connection.connect_server(address, match), seconds)


@dataclass(frozen=True)
class Timing:
    """How long a kernel takes, and the hash of its result; or why it has `failed`: it crashes, or takes too long."""

    seconds: float = 0.0
    sha256: str = ""
    failed: str = ""


class Session(Board):
    """An open session on a board; `connect` makes one. Closes with the context, or by `close`."""

    def __init__(self, address: connection.Address, link: socket.socket, seconds: float):
        import tvm_ffi
        from tvm.rpc.client import RPCSession

        self.name = str(address)
        self._turn = threading.RLock()
        self._loaded = 0
        self._lost = ""
        self._session: Any = None
        self._time_kernel: Any = None
        self._reason: int | None
        self._reason, theirs = os.pipe()
        descriptors = (link.fileno(), theirs)
        try:
            for descriptor in descriptors:
                os.set_inheritable(descriptor, True)
            with self._calling("starting a session"):
                start = tvm_ffi.get_global_func("rpc.CreatePipeClient")
                program = (sys.executable, "-I", "-S", str(RELAY))
                self._session = RPCSession(start(*program, *map(str, descriptors), str(seconds)))
            self._description = self._describe()
            self._check_versions()
        except BaseException:
            self.close()
            raise
        finally:
            link.close()
            os.close(theirs)

    def load(self, bundle: str | Path | Bundle) -> RemoteModel:
        """Send a bundle to the board and load it there.

        Raises
        ------
        UserError
            The bundle is damaged, or for another machine, or the board fails.
        """
        return in_one_piece(bundle, self._load)

    def _load(self, bundle: Bundle) -> RemoteModel:
        if self._description:
            architecture, features = self._description["architecture"], self._description["features"]
            check_machine(bundle, architecture, features, f"the board {self.name}")
        elif host.needs_permission(bundle.target["instructions"]):
            raise UserError(
                f"the board {self.name} has no eq_tvm to ask Linux for AMX, which the bundle {bundle.path} needs: "
                "install it there, or compile for another target"
            )
        with self._calling(f"loading {bundle.path}, which needs {bundle.target['name']} and {_pinned(versions())}"):
            self._loaded += 1
            name = f"model{self._loaded}.so"  # what is loaded must not be written over
            self._session.upload(str(bundle.library), name)
            return RemoteModel(self, bundle, name, self._session.load_module(name), self._session.cpu())

    def use_threads(self, count: int | None) -> int:
        """Let the board's TVM use so many threads (None: as its server was started) and return how many it does."""
        with self._calling("setting the number of threads"):
            named, pool = (self._session.get_function(name) for name in ("ffi.Array", "runtime.NumThreads"))
            processors = map(str, range(count or pool()))  # without, TVM asks for their number in each kernel's call
            self._session.get_function("runtime.config_threadpool")(1, count or 0, named(*processors))
            there = pool()
        if count not in (None, there):
            raise UserError(
                f"the board {self.name} has {counted(there, 'thread')}, not {count}: pass --threads {there} or less, "
                f"or start its server with TVM_NUM_THREADS={count}"
            )
        return there

    def time_layers(self, bundle: str | Path, threads: int | None, seconds: float) -> list[dict[str, Any]]:
        """What `eq_tvm.bench.bench_layers` says on the board."""
        if not self._description:
            raise UserError(f"--layers: the board {self.name} has no eq_tvm to time layers; install it there, too")
        if seconds > SECONDS / 2:
            raise UserError(f"--layers on a board takes --seconds up to {SECONDS / 2:.0f}, not {seconds}")

        def send(description: Bundle) -> tuple[str, str]:
            text = read_text(Path(bundle) / bundles.DESCRIPTION)
            return self._load(description).library, text

        library, text = in_one_piece(bundle, send)
        with self._calling("timing layers"):
            return json.loads(self._session.get_function(TIME_LAYERS)(library, text, threads or 0, seconds))

    @property
    def description(self) -> dict[str, Any]:
        """What it says of itself: `architecture`, `features`, `processor`, `threads`, `eq_tvm`; empty without eq_tvm.

        `features` may be None: see `eq_tvm.host.cpu_features`.
        """
        return dict(self._description or {})

    def time_kernel(self, library: bytes, arrays: bytes, constants: int) -> Timing:
        """What `eq_tvm.building.kernel_timing.time_kernel` finds on the board.

        Parameters
        ----------
        library : bytes
            A shared object whose function `main` is the kernel.
        arrays : bytes
            Its arguments in their order, as an .npz.
        constants : int
            How many of them are constants.
        """
        with self._calling("measuring a kernel"):
            if self._time_kernel is None:
                self._time_kernel = self._session.get_function(TIME_KERNEL)
            for name, content in (("kernel.so", library), ("kernel.npz", arrays)):
                self._session.upload(bytearray(content), name)
            return Timing(**json.loads(self._time_kernel("kernel.so", "kernel.npz", constants)))

    def close(self) -> None:
        """End the session; the board's server is free for the next one."""
        if self._session is not None:
            self._session._sess["CloseRPCConnection"]()
            self._session = None
        if self._reason is not None:
            os.close(self._reason)
            self._reason = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(self) -> dict[str, Any] | None:
        """None where eq_tvm is not installed on the board."""
        with self._calling("asking for its versions"):
            try:
                describe = self._session.get_function(DESCRIBE)
            except AttributeError:
                return None
            return json.loads(describe())

    def _check_versions(self) -> None:
        wanted = versions()
        there = self._description["versions"] if self._description else wanted
        for package, version in wanted.items():
            if there.get(package) != version:
                raise UserError(
                    f"the board {self.name} has {package} {there.get(package)}, this machine {version}: "
                    f"run there: pip install {_pinned(wanted)}, and restart its RPC server"
                )

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Turn what calls to the board raise into a UserError. Threads take turns."""
        try:
            with self._turn:
                yield
        except UserError:
            raise
        except Exception as e:
            raise UserError(f"the board {self.name} {self._failure(str(e))} (while {doing})") from e

    def _failure(self, message: str) -> str:
        """What happened, from TVM's error and what the relay says, once, when it ends."""
        _, marker, error = message.partition("Error caught from RPC call:")
        if not self._lost and not marker and self._reason is not None and select.select([self._reason], [], [], 1.0)[0]:
            self._lost = os.read(self._reason, 1000).decode() or "closed"
        if not self._lost:
            return f"fails: {' '.join((error or message).split())}"
        if self._lost == "silent":
            return "did not answer in time: restart its RPC server"
        if self._lost == "endless":
            return "sends without end: is this TVM's RPC server?"
        why = self._lost.removeprefix("closed").strip()
        return f"closed the connection{why and f' ({why})'}: look at the output of its RPC server, and restart it"


class RemoteModel(Model):
    """A network that a board runs; otherwise as `eq_tvm.running.runtime.Model`."""

    def __init__(
        self, board: Session, bundle: Bundle, library: str, module: tvm.runtime.Module, device: tvm.runtime.Device
    ):
        from tvm.runtime.vm import VirtualMachine

        self.inputs, self.outputs, self.preprocess = bundle.inputs, bundle.outputs, bundle.preprocess
        self.library = library  # its name on the board
        self._board, self._device = board, device
        self._machine = VirtualMachine(module, device)

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with self._board._calling("running the network"):
            self._set_inputs(arrays)
            self._machine.invoke_stateful("main")
            results = self._machine.get_outputs("main")
            return [result.numpy() for result in (results if isinstance(results, tuple) else [results])]

    def _measure(self, arrays: list[np.ndarray], seconds: float) -> list[float]:
        """By the board's clock."""
        with self._board._calling("timing the network"):
            self._set_inputs(arrays)
            self._time(1, seconds / 10)  # warm up
            return self._time(3, seconds)

    def _set_inputs(self, arrays: list[np.ndarray]) -> None:
        import tvm

        self._machine.set_input("main", *(tvm.runtime.tensor(array, self._device) for array in arrays))

    def _time(self, runs: int, seconds: float) -> list[float]:
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < runs or time.perf_counter() < end:
            # In parts of half a second, so that a board that is gone is noticed.
            repeat = max(1, min(10000, int(min(0.5, seconds) / min(times)))) if times else 1
            timer = self._machine.time_evaluator("invoke_stateful", self._device, number=1, repeat=repeat)
            times += timer("main").results
        return times


def _pinned(packages: dict[str, str]) -> str:
    return " ".join(f"{package}=={version}" for package, version in packages.items())
