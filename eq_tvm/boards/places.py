"""Which boards are meant: what `--rpc`, `--tracker`, `--key` and `--boards` say."""

from __future__ import annotations

from dataclasses import dataclass

from eq_tvm.boards import connection
from eq_tvm.boards.session import SECONDS, Session, connect
from eq_tvm.errors import UserError


@dataclass(frozen=True)
class Boards:
    """One board, or some of those that a tracker knows.

    Attributes
    ----------
    rpc, tracker, key : str, optional
        As `eq_tvm.connect` takes them.
    most : int, optional
        How many to use at most; by default all that are free.
    """

    rpc: str | None = None
    tracker: str | None = None
    key: str | None = None
    most: int | None = None

    @property
    def are_given(self) -> bool:
        """Whether any of the options is there."""
        return any(option is not None for option in (self.rpc, self.tracker, self.key, self.most))

    def count(self) -> int:
        """How many there are to use now.

        Raises
        ------
        UserError
            None, or the options contradict each other.
        """
        if self.most is not None and self.most < 1:
            raise UserError(f"--boards must be at least 1, not {self.most}")
        if self.most is not None and not self.tracker:
            raise UserError("--boards goes with --tracker HOST:PORT and --key: how many of its boards to use")
        if not self.tracker or self.rpc or not self.key:
            with self.connect():
                return 1
        free = connection.free_boards(connection.Address.parse("--tracker", self.tracker), self.key)
        return min(free, self.most or free)

    def connect(self, seconds: float = SECONDS) -> Session:
        """Open a session on one that is free."""
        return connect(self.rpc, tracker=self.tracker, key=self.key, seconds=seconds)
