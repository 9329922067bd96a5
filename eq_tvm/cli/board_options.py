"""Options of those commands that run a bundle: where."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eq_tvm.running.runtime import Board

Rpc = Annotated[
    str | None,
    typer.Option(
        "--rpc",
        metavar="HOST:PORT",
        help="Run on a board, where TVM's RPC server listens there. It has no password: reach it through ssh -L, as "
        "docs/raspberry-pi.md shows, or in a network that you trust.",
    ),
]
Tracker = Annotated[
    str | None,
    typer.Option(
        "--tracker",
        metavar="HOST:PORT",
        help="Run on a board that TVM's RPC tracker there knows: in a network that you trust.",
    ),
]
Key = Annotated[
    str | None, typer.Option("--key", metavar="NAME", help="With --tracker: the kind of board, such as rpi4.")
]
Most = Annotated[
    int | None,
    typer.Option("--boards", metavar="N", help="With --tracker: on so many boards, at the same time."),
]


def board_of(rpc: str | None, tracker: str | None, key: str | None) -> AbstractContextManager[Board | None]:
    """A context with the board that the options name, or None for this machine."""
    from eq_tvm.boards.session import connect

    return connect(rpc, tracker=tracker, key=key) if rpc or tracker or key else nullcontext()
