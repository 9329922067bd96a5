"""Boards that share out work: what one of them leaves undone, another does."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from eq_tvm.errors import UserError

if TYPE_CHECKING:
    from eq_tvm.boards.session import Session

Work = TypeVar("Work")
Result = TypeVar("Result")

FAILURES = 3  # in a row, after which a board is left out; and of boards, after which a job is
PAUSE = 3.0  # seconds until a board that is gone is looked for again
ENDING = 10.0  # seconds that boards have to end what they do


class Unfit(UserError):
    """Why a board can't do such work at all."""


@dataclass
class Job(Generic[Work]):
    """A piece of work.

    Attributes
    ----------
    group : str
        One board does all jobs of a group, as long as there is other work for the others: boards are not quite alike.
    work : object
    failed_on : list of str
        Boards that could not end it.
    """

    group: str
    work: Work
    failed_on: list[str] = field(default_factory=list)


class Farm(Generic[Work, Result]):
    """Lets boards do jobs.

    Parameters
    ----------
    jobs : sequence of Job
    do : callable (board, work) -> result
        Called by several threads, one for each board. UserError: the board is gone or fails, and another will do it.
    connect : callable () -> Session
        To a board that is free.
    count : int
        How many boards to use.
    check : callable (board)
        Raises `Unfit`, as `do` may.

    Attributes
    ----------
    lost : dict of str to str
        Boards that are gone or left out, and why.
    """

    def __init__(
        self,
        jobs: Sequence[Job[Work]],
        do: Callable[[Session, Work], Result],
        connect: Callable[[], Session],
        count: int,
        check: Callable[[Session], None],
    ):
        self._do, self._connect, self._check = do, connect, check
        self._waiting = list(jobs)
        self._ended: list[tuple[Job[Work], Result | None]] = []
        self._owner: dict[str, str] = {}  # of groups
        self._doing: dict[str, Job[Work]] = {}
        self._serving: set[str] = set()  # boards that do jobs, or wait for some
        self._failures: Counter[str] = Counter()
        self._unfit: set[str] = set()
        self._changed = threading.Condition()
        self._over = False
        self._fault: BaseException | None = None
        self._active = count  # threads that may still do something
        self._count = count
        self.lost: dict[str, str] = {}

    def results(self) -> Generator[tuple[Job[Work], Result | None], None, None]:
        """Each job with its result as soon as that is there; None where several boards in turn could not end it.

        Raises
        ------
        UserError
            No board is left.
        """
        jobs = len(self._waiting)
        threads = [threading.Thread(target=self._serve, name="board", daemon=True) for _ in range(self._count)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(jobs):
                yield self._next_result()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            for thread in threads:
                thread.join(ENDING / len(threads))

    @property
    def at_work(self) -> int:
        """How many boards are doing something."""
        return len(self._doing)

    def _next_result(self) -> tuple[Job[Work], Result | None]:
        with self._changed:
            while not self._ended:
                if self._fault is not None:
                    raise self._fault
                if not self._active:
                    raise UserError(f"no board is left: {self.reasons()}")
                self._changed.wait(0.2)  # so that Ctrl-C is noticed
            return self._ended.pop(0)

    def reasons(self) -> str:
        """Which boards were lost, and why, in one line."""
        return "; ".join(f"{board}: {why}" for board, why in self.lost.items())

    def _serve(self) -> None:
        """Of one thread: use a board, then the next if that is gone."""
        try:
            while not self._over:
                try:
                    board = self._connect()
                except UserError as e:
                    if not self._wait_for_board(str(e)):
                        return
                    continue
                with board:
                    if not self._use(board):
                        return
        except BaseException as e:  # a fault of ours
            self._fault = e
        finally:
            self._end_one()

    def _use(self, board: Session) -> bool:
        """Whether this thread is to look for a board again."""
        try:
            if board.name in self._unfit:
                raise Unfit(self.lost[board.name])
            self._check(board)
            with self._changed:
                self.lost.pop(board.name, None)
                self._serving.add(board.name)
            while job := self._next_job(board.name):
                try:
                    self._end(board.name, job, self._do(board, job.work))
                except UserError as e:
                    self._give_back(board.name, job, str(e))
                    if isinstance(e, Unfit):
                        raise
                    return True
        except Unfit as e:
            self._leave_out(board.name, str(e))
            self._hold()
        return False

    def _next_job(self, board: str) -> Job[Work] | None:
        """None where all is done."""
        with self._changed:
            while not self._over:
                if job := self._suitable(board):
                    self._waiting.remove(job)
                    self._owner.setdefault(job.group, board)
                    self._doing[board] = job
                    return job
                if not self._waiting and not self._doing:
                    return None
                self._changed.wait(PAUSE)
            return None

    def _suitable(self, board: str) -> Job[Work] | None:
        """Of a group of its own, else of one that nobody has, else of one of the others.

        What it could not end is for other boards, unless none of those that are there could either.
        """

        def is_for_it(job: Job[Work]) -> bool:
            return board not in job.failed_on or self._serving <= set(job.failed_on)

        def rank(job: Job[Work]) -> int:
            owner = self._owner.get(job.group)
            return 0 if owner == board else 1 if owner is None else 2

        return min(filter(is_for_it, self._waiting), key=rank, default=None)

    def _end(self, board: str, job: Job[Work], result: Result | None) -> None:
        with self._changed:
            self._failures[board] = 0
            self._doing.pop(board, None)
            self._ended.append((job, result))
            self._changed.notify_all()

    def _give_back(self, board: str, job: Job[Work], why: str) -> None:
        with self._changed:
            self._doing.pop(board, None)
            self._serving.discard(board)  # until there is a new session
            job.failed_on.append(board)
            self._failures[board] += 1
            self.lost[board] = why
            if self._failures[board] >= FAILURES:
                self._unfit.add(board)
            for group in [group for group, owner in self._owner.items() if owner == board]:
                del self._owner[group]
            if len(job.failed_on) >= FAILURES:
                self._ended.append((job, None))
            else:
                self._waiting.insert(0, job)
            self._changed.notify_all()

    def _leave_out(self, board: str, why: str) -> None:
        with self._changed:
            self._unfit.add(board)
            self._serving.discard(board)
            self.lost[board] = why

    def _hold(self) -> None:
        """Keep the session with a board that is left out, so that the tracker does not give it to us again."""
        self._end_one()
        with self._changed:
            while not self._over:
                self._changed.wait(PAUSE)
            self._active += 1  # for `_serve`, which takes one more away

    def _wait_for_board(self, why: str) -> bool:
        """Whether to look for one again: as long as others are at work."""
        with self._changed:
            if not self._doing or self._over:
                if not self.lost:
                    self.lost["no board"] = why
                return False
            self._changed.wait(PAUSE)
            return not self._over

    def _end_one(self) -> None:
        with self._changed:
            self._active -= 1
            self._changed.notify_all()
