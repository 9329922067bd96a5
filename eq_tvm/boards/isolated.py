"""Work in a process of its own, so that what crashes or hangs there does no harm here."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable

from eq_tvm.errors import reason


def isolated(work: Callable[[], str], seconds: float) -> str:
    """What `work` returns in a child process; else JSON with `failed`: an error, a signal, or no end in time."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(ours)
            said = work()
        except BaseException as e:
            said = json.dumps({"failed": reason(e)})
        with os.fdopen(theirs, "wb") as pipe:
            pipe.write(said.encode())
        os._exit(0)  # not as Python ends: what the parent has open is not ours to close
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as pipe:
        answer = _read(pipe.fileno(), time.monotonic() + seconds)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answer is None:
        return json.dumps({"failed": f"it takes longer than {seconds:.0f} s"})
    if os.WIFSIGNALED(status):
        return json.dumps({"failed": f"it crashes ({signal.Signals(os.WTERMSIG(status)).name})"})
    return answer.decode()


def _read(pipe: int, end: float) -> bytes | None:
    """All that comes until the other side closes; None where it does not in time."""
    content = b""
    while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
        block = os.read(pipe, 1 << 16)
        if not block:
            return content
        content += block
    return None
