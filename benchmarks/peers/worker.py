"""A process for each engine: what it reads from its environment stays its own, and so do its threads.

The child reads lines ``run N`` and answers with a JSON list of N times in seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

THREAD_VARIABLES = ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(Exception):
    """An engine failed; the message is one line."""


class Worker:
    """The parent's side. Use as a context manager: the child ends with it.

    Attributes
    ----------
    ran_as : str
        With which instructions the engine says it runs.
    """

    def __init__(self, engine: str, model: Path, threads: int, environment: Mapping[str, str]):
        self._errors = tempfile.TemporaryFile(mode="w+")
        self._process = subprocess.Popen(
            [sys.executable, __file__, engine, str(model), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **environment, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
        )
        try:
            self.ran_as: str = self._answer()
        except BaseException:
            self.close()
            raise

    def run(self, count: int) -> list[float]:
        """Run the network `count` times; the seconds that each took."""
        try:
            print("run", count, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _answer(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        raise WorkerError(lines[-1] if lines else f"ended with code {code}")


def main(engine: str, model: str, threads: str) -> None:
    """The child's side."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    from peers.engines import ENGINES, load

    loaded = load(ENGINES[engine], Path(model), int(threads))
    print(json.dumps(loaded.ran_as), file=answers, flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line.split()[1])):
            start = time.perf_counter()
            loaded.run()
            times.append(time.perf_counter() - start)
        print(json.dumps(times), file=answers, flush=True)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main(*sys.argv[1:])
