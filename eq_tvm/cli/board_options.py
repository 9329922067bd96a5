"""Options of those commands that run a bundle: where."""

from typing import Annotated

import typer

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
