"""The commands, one in a file. Each reads its options and prints; the work is in the modules that it imports for it.

A command adds itself to `eq_tvm.cli.app` where it is imported; `NAMES` has them in the order in which help shows them.
"""

from __future__ import annotations

from importlib import import_module

from eq_tvm.cli.app import app

__all__ = ["NAMES", "app"]

NAMES = (
    *("compile", "run", "evaluate", "bench"),
    *("analyze", "report", "compare", "verify"),
    *("pack", "deploy", "export", "train"),
    *("targets", "doctor"),
)

for _name in NAMES:
    import_module(f"{__name__}.{_name}")
