"""Parts counted by processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from eq_tvm import host
from eq_tvm.errors import UserError
from eq_tvm.evaluating.counting import Part, Question
from eq_tvm.evaluating.parts import parts_of

TRIES = 3  # processes that may end with a part


def count(question: Question, part: Part, workers: int, tell: Callable[[int], object]) -> list[Any]:
    """What is counted of some samples, in parts and in their order: for `Counted.join`.

    Parameters
    ----------
    question : Question
        Each process loads its networks once.
    part : (int, int)
        The first sample, and the one behind the last.
    workers : int
        How many processes. They divide the threads; what one that ends leaves undone, another does.
    tell : callable (samples)
        Is told how many are done.

    Raises
    ------
    UserError
        Anything wrong with a sample, or several processes end with the same part.
    """
    parts = parts_of(part, workers) if part[0] < part[1] else []
    results: list[Any] = [None] * len(parts)
    waiting, tries = list(range(len(parts))), Counter[int]()
    done: dict[int, int] = {}  # samples of each part
    with ExitStack() as stack:

        def started() -> _Process:
            return stack.enter_context(_Process(question, workers))

        processes = [started() for _ in range(min(workers, len(parts)))]
        while any(result is None for result in results):
            for process in processes:
                if process.part is None and waiting:
                    process.give(waiting[0], parts[waiting.pop(0)])
            processes = [process for process in processes if process.part is not None]
            ready = wait([process.answers for process in processes])
            for process in [each for each in processes if each.answers in ready]:
                index = process.part
                assert index is not None
                try:
                    kind, said = process.answers.recv()
                except (EOFError, ConnectionResetError):
                    tries[index] += 1
                    if tries[index] == TRIES:
                        raise UserError(
                            f"--workers: {TRIES} processes ended at the samples {parts[index]} ({process.fate()}): "
                            "is there memory for so many? Pass fewer"
                        ) from None
                    processes.remove(process)
                    waiting.insert(0, index)
                    processes.append(started())
                    continue
                if kind == "wrong":
                    raise UserError(said)
                done[index] = said if kind == "at" else parts[index][1] - parts[index][0]
                if kind == "counted":
                    results[index], process.part = said, None
                tell(sum(done.values()))
    return results


class _Process:
    """A process that counts parts; the context ends it."""

    def __init__(self, question: Question, workers: int):
        self.part: int | None = None  # the number of that which it does
        source, calls = os.pipe()
        answers, sink = os.pipe()
        self._calls, self.answers = Connection(calls, readable=False), Connection(answers, writable=False)
        threads = max(1, host.default_threads() // workers)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "eq_tvm.evaluating.worker", str(source), str(sink)],
            pass_fds=(source, sink),
            stdin=subprocess.DEVNULL,
            env=os.environ | {"TVM_NUM_THREADS": str(threads)},
        )
        os.close(source)
        os.close(sink)
        self._send(question)

    def give(self, number: int, part: Part) -> None:
        """Let it do a part."""
        self.part = number
        self._send(part)

    def fate(self) -> str:
        """How it ended."""
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _send(self, message: Any) -> None:
        with suppress(BrokenPipeError):  # it has ended, which its answers will tell
            self._calls.send(message)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._calls.close()
        self.answers.close()
