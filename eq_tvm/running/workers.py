"""Threads of our own, for all that computes: those of a program may then fork at any time.

TVM gives each thread that calls a compiled network a pool of further threads. In the child of a fork these are missing,
and the thread that forked waits for them for ever: in its next call, and when the process ends. So a thread of the
program calls only where the pool is no more than itself; else one of ours does, which a child does not have. A fork
waits until the calls that run are done, so that the child finds nothing half done, and no lock taken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from eq_tvm import host

Result = TypeVar("Result")
NOTICE = 0.2  # seconds after which Ctrl-C is noticed, if it does not interrupt the wait


def call(work: Callable[[], Result], threads: int | None = None) -> Result:
    """What `work` returns, where what it computes may use so many threads.

    Ctrl-C ends it behind the next call of TVM.

    Parameters
    ----------
    work : callable
        Computes only inside of `computing`.
    threads : int, optional
        By default as `eq_tvm.host.default_threads` says when it is first asked.
    """
    if getattr(_this, "is_ours", False):
        return work()
    if threads is None and _usual_threads() == 1:
        if not getattr(_this, "is_alone", False):
            _make_pool(1)
            _this.is_alone = True
        return work()
    worker = _idle_worker() if threads is None else _Worker(threads)
    try:
        result, error = worker.do(work)
    except BaseException:  # of a signal: what the worker does is nobody's now
        worker.interrupt()
        raise
    if threads is None:
        _idle.append(worker)  # so there are as many as ever compute at a time
    else:
        worker.end()
    if error is not None:
        raise error
    return result


@contextmanager
def computing() -> Iterator[None]:
    """Around each call of TVM's: a fork waits until it is done."""
    if getattr(threading.current_thread(), "is_stopped", False):
        raise KeyboardInterrupt
    thread = threading.get_ident()
    if thread in _state.computing:
        yield
        return
    with _changed:
        while _state.forks:
            _changed.wait()
        _state.computing.add(thread)
    try:
        yield
    finally:
        _forget(thread)


class _Worker(threading.Thread):
    """Does what it is given, one after the other, with a pool of TVM's of so many threads."""

    def __init__(self, threads: int):
        super().__init__(name="eq_tvm", daemon=True)
        self._threads = threads
        self.is_stopped = False
        self._work: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.start()

    def do(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        """What it returns, or raises."""
        self._work.put(work)
        while True:
            with suppress(Empty):
                return self._done.get(timeout=NOTICE)

    def end(self) -> None:
        """When it has done its work."""
        self._work.put(None)

    def interrupt(self) -> None:
        """End it at its next call of TVM."""
        self.end()
        self.is_stopped = True
        self.join()
        _forget(self.ident or 0)

    def run(self) -> None:
        _this.is_ours = True
        made = False
        try:
            while (work := self._work.get()) is not None:
                outcome: tuple[Any, BaseException | None]
                try:
                    if not made:
                        _make_pool(self._threads)
                        made = True
                    outcome = work(), None
                except BaseException as e:
                    outcome = None, e
                self._done.put(outcome)
                del work, outcome  # which may hold a network
        except KeyboardInterrupt:  # of `interrupt`
            pass


def _idle_worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        return _Worker(_usual_threads())


def _usual_threads() -> int:
    if _state.threads is None:
        _state.threads = host.default_threads()
    return _state.threads


def _make_pool(threads: int) -> None:
    """Let TVM make this thread's pool, of so many threads.

    As many processors are named with it: without, TVM asks Linux for their number in each kernel's call. Threads are
    not bound to them: TVM would choose the same for each process, also those that this one may not use. One that waits
    looks for work a few times only: TVM's 300000 last longer than all between two kernels, and beside other load each
    look gives the processor away. (Its threads read that when they start, so it stays in place.)
    """
    import tvm  # noqa: F401  (which makes the function known)
    import tvm_ffi

    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", str(_LOOKS))
    with _making:
        before = os.environ.get("TVM_BIND_THREADS")
        os.environ.setdefault("TVM_BIND_THREADS", "0")
        try:
            tvm_ffi.get_global_func("runtime.config_threadpool")(_BIG, threads, list(map(str, range(threads))))
        finally:
            if before is None:
                del os.environ["TVM_BIND_THREADS"]


_BIG = 1  # a mode of TVM's: on big cores, where a processor has others, too
_LOOKS = 200  # with fewer, threads sleep between two kernels


def _forget(thread: int) -> None:
    with _changed:
        _state.computing.discard(thread)
        if _state.forks:
            _changed.notify_all()


class _State:
    """Of this process: threads that compute, forks that wait for them, and what `_usual_threads` has found."""

    def __init__(self) -> None:
        self.computing: set[int] = set()
        self.forks = 0
        self.threads: int | None = None


def _before_fork() -> None:
    with _changed:
        _state.forks += 1
        while _state.computing - {threading.get_ident()}:
            _changed.wait()


def _after_fork_in_parent() -> None:
    with _changed:
        _state.forks -= 1
        _changed.notify_all()


def _after_fork_in_child() -> None:
    """Only the thread that forked is there: workers are not, and locks may be held by threads that are not."""
    global _changed, _making
    _changed, _making = threading.Condition(), threading.Lock()
    _state.computing.clear()
    _state.forks = 0
    _idle.clear()


_this = threading.local()
_state = _State()
_idle: list[_Worker] = []
_changed, _making = threading.Condition(), threading.Lock()
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
