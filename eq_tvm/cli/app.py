"""What all commands share: the program that they belong to, and what their help and options have in common."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

app = typer.Typer(
    help="Quantize a trained convolutional network to INT7 or INT8 and compile it for x86 and ARM.",
    epilog="Start with: [b]python -m eq_tvm compile[/b], which compiles an embedded example for this machine.",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def examples(*commands: str) -> str:
    """What help shows below: lines to type."""
    return "\n\n".join(["Examples:", *(f"  python -m eq_tvm {command}" for command in commands)])


def without_compiler() -> None:
    """Let TVM load its runtime only: half the memory, and a faster start."""
    if "tvm" not in sys.modules:
        os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")
