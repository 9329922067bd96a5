"""``python -m eq_tvm``"""

import os
import sys

from eq_tvm.cli import main


def run() -> None:
    """Run the command line, and end with its exit code."""
    code = main()
    if code == 130:
        # Interrupted while an extension module ran Python code, as TVM's do when they are loaded, Python would remember
        # that and end by the signal, whatever became of the exception.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
