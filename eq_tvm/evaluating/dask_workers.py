"""Parts counted by the workers of a Dask scheduler, on other machines as a rule."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from eq_tvm.errors import UserError
from eq_tvm.evaluating.counting import Part, Question, counter, fingerprint
from eq_tvm.evaluating.parts import parts_of

PACKAGES = ("eq-tvm", "apache-tvm", "apache-tvm-ffi", "numpy", "pillow")
SECONDS = 10.0  # to reach the scheduler
PATIENCE = 30.0  # seconds without any worker


def count(question: Question, part: Part, address: str, tell: Callable[[int], object]) -> list[Any]:
    """What is counted of some samples, in parts and in their order: for `Counted.join`.

    Parameters
    ----------
    question : Question
        Its files are on each worker's machine, under the same paths.
    part : (int, int)
        The first sample, and the one behind the last.
    address : str
        ``HOST:PORT`` of the scheduler.
    tell : callable (samples)
        Is told how many are done.

    Raises
    ------
    UserError
        No scheduler or worker there, or workers with other versions or files, or anything wrong with a sample.
    """
    try:
        from distributed import Client
    except ImportError as e:
        raise UserError('--dask needs the package distributed: pip install "eq-tvm[farm]"') from e
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what happens is said below
    scheduler = address if "://" in address else f"tcp://{address}"
    try:
        client = Client(scheduler, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as e:
        raise UserError(f"--dask {address}: no Dask scheduler answers there; start one: dask scheduler") from e
    with client:
        workers = _workers(client)
        if not workers:
            raise UserError(f"--dask {address}: the scheduler has no workers; start some: dask worker {scheduler}")
        _check_versions(client, "onnxruntime" if question.reference or Path(question.model).is_file() else "")
        parts = parts_of(part, workers) if part[0] < part[1] else []
        question = _everywhere(question)
        futures = [client.submit(_count, question, each, pure=False) for each in parts]
        try:
            _await(client, futures, parts, address, tell)
            return [future.result() for future in futures]
        finally:
            client.cancel(futures)


def _count(question: Question, part: Part) -> Any:
    """On a worker, which loads the networks of a question once."""
    with _TURN:
        if question not in _LOADED:
            _LOADED.clear()
            _LOADED[question] = counter(question)
        return _LOADED[question](part, lambda done: None)


_TURN = threading.Lock()
_LOADED: dict[Question, Callable[..., Any]] = {}


def _everywhere(question: Question) -> Question:
    """With paths that do not depend on the working directory, and what the files there must be."""

    def absolute(path: str | Path | None) -> str | Path | None:
        return path and str(Path(path).absolute())

    question = replace(
        question,
        model=str(Path(question.model).absolute()),
        data=str(Path(question.data).absolute()),
        reference=absolute(question.reference),
        annotations=absolute(question.annotations),
        labels=absolute(question.labels) if question.labels and Path(question.labels).is_file() else question.labels,
    )
    return replace(question, fingerprint=fingerprint(question))


def _workers(client: Any) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _check_versions(client: Any, float_engine: str) -> None:
    """UserError where a worker has other packages than this machine."""
    for package in filter(None, (*PACKAGES, float_engine)):
        ours = _installed(package)
        found = client.run(importlib.metadata.version, package, on_error="return")
        for worker, theirs in found.items():
            there = "" if isinstance(theirs, importlib.metadata.PackageNotFoundError) else theirs
            if isinstance(there, str) and there != ours:  # else the worker has gone
                raise UserError(
                    f"--dask: the worker {worker} has {_said(package, there)}, this machine {_said(package, ours)}: "
                    "install the same on both, and start the worker again"
                )


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _said(package: str, version: str) -> str:
    return f"{package} {version}" if version else f"no {package}"


def _await(client: Any, futures: list[Any], parts: list[Part], address: str, tell: Callable[[int], object]) -> None:
    """Until all are done; UserError where one fails, or there is nobody left to do them."""
    seen = time.monotonic()
    waiting = dict(zip(futures, parts, strict=True))
    total = done = sum(end - start for start, end in parts)
    while waiting:
        time.sleep(0.1)
        for future in [future for future in waiting if future.done()]:
            waiting.pop(future)
            if future.status == "error":
                raise UserError(_why(future.exception())) from future.exception()
            if future.status != "finished":
                raise UserError(f"--dask {address}: the scheduler is gone")
        left = sum(end - start for start, end in waiting.values())
        if left < done:
            done = left
            tell(total - left)
        if client.status != "running":
            raise UserError(f"--dask {address}: the scheduler is gone")
        if _workers(client):
            seen = time.monotonic()
        elif time.monotonic() > seen + PATIENCE:
            raise UserError(f"--dask {address}: the scheduler has had no workers for {PATIENCE:.0f} s")


def _why(error: BaseException) -> str:
    if not isinstance(error, UserError):
        return f"--dask: a worker fails: {type(error).__name__}: {' '.join(str(error).split())}"
    return f"on a Dask worker: {error} (all workers have to see the files of this machine, under the same paths)"
