"""The command line: `python -m eq_tvm`.

Here lives what only the command line does: its commands, how declared options become theirs, reading the files that
they are given for a run, and what they print. The work is in the modules that a command imports when it runs, so that
`--help` needs neither NumPy nor TVM. Nothing outside imports from here.
"""

from __future__ import annotations


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: see `eq_tvm.cli.program.main`."""
    from eq_tvm.cli import program  # not before the supervisor has forked

    return program.main(arguments)
