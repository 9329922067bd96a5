"""TVM's RPC servers and trackers as processes of their own, and things that only listen as if they were some."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tvm import rpc
from tvm.rpc import base

NO_TORCH = Path(__file__).with_name("no_torch")  # boards have none; here TVM would import it, in each process
START = 300  # seconds, on a loaded machine under qemu


class Server:
    """`python -m tvm.exec.MODULE` on a free port of this machine, until the context ends."""

    def __init__(
        self,
        module: str,
        log: Path,
        *arguments: str,
        python: Sequence[str] = (sys.executable,),
        environment: dict[str, str] | None = None,
    ):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        ports = ("--port", str(self.port), "--port-end", str(self.port + 1))
        command = [*python, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1", *ports, *arguments]
        variables = {"TVM_USE_RUNTIME_LIB": "1", "TVM_NUM_THREADS": "1", "PYTHONPATH": str(NO_TORCH)}
        environment = os.environ | variables | (environment or {})
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        end = time.monotonic() + START
        while "bind to" not in (text := log.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > end:
                self.signal(signal.SIGKILL)
                raise RuntimeError(f"{' '.join(command)} does not start:\n{text}")
            time.sleep(0.05)

    def wait_for_board(self, count: int = 1, free: bool = False) -> None:
        """Of a tracker: until servers, which listen a little earlier, have told of themselves, or are all free."""
        session = rpc.connect_tracker("127.0.0.1", self.port)
        end = time.monotonic() + START
        while (_free(session.summary()) if free else len(session.summary()["server_info"])) < count:
            if time.monotonic() > end:
                raise RuntimeError("no server comes to the tracker")
            time.sleep(0.05)
        session.close()

    def signal(self, number: int) -> None:
        """To all its processes: the server, the one that listens, and those that serve."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


def _free(summary: dict) -> int:
    return sum(queue["free"] for queue in summary["queue_info"].values())


class Listener:
    """Accepts connections on a free port and lets `answer(connection)` deal with each."""

    def __init__(self, answer: Callable[[socket.socket], object] = lambda connection: None):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self._connections: list[socket.socket] = []  # kept open
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                self._connections.append(connection)
                self._answer(connection)
        except OSError:
            pass  # closed

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for connection in (self._socket, *self._connections):
            connection.close()


def welcome(connection: socket.socket) -> None:
    """Say to a client what a server says, and then nothing more."""
    _, length = struct.unpack("<ii", base.recvall(connection, 8))
    base.recvall(connection, length)
    connection.sendall(struct.pack("<ii", base.RPC_CODE_SUCCESS, 7) + b"server:")


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
