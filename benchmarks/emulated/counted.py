"""What runs in the emulated Python: an engine, with marks around the inferences that are counted.

``python counted.py ENGINE MODEL INFERENCES MAPS``; what is mapped where goes to the file MAPS.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

from peers.engines import ENGINES, load

WARM_UP = 1  # the first run allocates memory
MARK, START, STOP = 4242, 1, 2  # as in blockcount.c


def main(engine: str, model: str, inferences: str, maps: str) -> None:
    run = load(ENGINES[engine], Path(model), 1).run
    for _ in range(WARM_UP):
        run()
    Path(maps).write_text(Path("/proc/self/maps").read_text())
    mark = ctypes.CDLL(None).syscall
    gc.disable()
    mark(MARK, START)
    for _ in range(int(inferences)):
        run()
    mark(MARK, STOP)
    os._exit(0)  # what engines do at the end of the process is their affair: ncnn may crash


if __name__ == "__main__":
    main(*sys.argv[1:])
