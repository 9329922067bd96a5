"""``python -m eq_tvm``"""

import sys

# `python -m` looks for modules in the working directory first, where a csv.py of the user's would be taken for Python's
if (
    __name__ == "__main__"
    and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False))
    and not __file__.startswith(f"{sys.path[0]}/eq_tvm/")
):
    del sys.path[0]

import io
import os
from types import ModuleType

from eq_tvm.cli.supervisor import finished, supervise
from eq_tvm.errors import reason


def run() -> None:
    """Run the command line in a child process, and end with its exit code."""
    supervise()
    try:
        code = _run()
    finally:
        finished()
    if code > 128:
        # Interrupted while an extension module ran Python code, as TVM's do when they are loaded, Python would remember
        # that and end by the signal, whatever became of the exception.
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    hidden: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    hidden.setdefault("torch", None)  # TVM imports it wherever it is, which takes longer than all else that it does
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks; as stderr does
    try:
        from eq_tvm.cli import main

        code = main()
    except KeyboardInterrupt:  # before `main` is there to see it
        code = 130
    except ImportError as e:  # not even the command line can be loaded
        if (e.name or "").startswith("eq_tvm"):
            raise
        print(f"error: can't load what eq_tvm needs: {reason(e)}; pip install . in a clone of it", file=sys.stderr)
        code = 2
    return _flushed(code)


def _flushed(code: int) -> int:
    """The exit code, with what was printed so far written: here it can be said that it can't."""
    try:
        print(end="", flush=True)  # which does nothing where there is no standard output
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again, and says so
        if not code and not isinstance(e, BrokenPipeError):  # whoever read it wants no more, as `head` does
            print(f"error: can't write to the standard output: {reason(e)}", file=sys.stderr)
            return 2
    return code


if __name__ == "__main__":
    run()
