"""Checks networks in a process of its own, which may crash or hang without ending the tests."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from typing import Any

PATIENCE = 1200  # seconds for one network, on all targets; then it hangs

# What became of a network: "ok", "wrong" (a difference), "refused" (in one line), "invalid" (ONNX Runtime refuses it),
# "traceback", "crash" or "hang"; and a text
Verdict = tuple[str, str]


class Worker:
    """Calls a function of (bytes, ...) again and again; starts anew after a crash."""

    def __init__(self, check: Callable[..., str | None]):
        self._check = check
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, *request: Any) -> Verdict:
        """What `check(*request)` comes to."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._check), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._pipe.send(request)
            if self._pipe.poll(PATIENCE):
                return self._pipe.recv()
            verdict = "hang", f"no result after {PATIENCE} s"
        except (EOFError, OSError):
            self._process.join()
            verdict = "crash", f"the process ended with {self._process.exitcode}"
        self.close()
        return verdict

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Any, check: Callable[..., str | None]) -> None:
    from checks import Invalid

    from eq_tvm.errors import UserError

    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            verdict = "ok", check(*request) or ""
        except UserError as error:
            verdict = "refused", str(error)
        except Invalid as error:
            verdict = "invalid", str(error)
        except AssertionError as error:
            verdict = "wrong", str(error)
        except BaseException:
            verdict = "traceback", traceback.format_exc()
        pipe.send(verdict)
