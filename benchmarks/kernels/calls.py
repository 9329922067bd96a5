"""What a kernel's call costs that threads share: the same loop of 256 bytes, on one thread and shared, in turn.

Threads are made as compiled networks make them; or as TVM does by itself, where nothing says how many there are, so
that each call asks Linux for the number of processors.
"""

import argparse
import os
import threading
from statistics import median
from time import perf_counter

import numpy as np
import tvm
from tvm import s_tir, te

from eq_tvm import host
from eq_tvm.running import workers

CALLS, ROUNDS = 5000, 9


def main() -> None:
    """Print microseconds of a call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=host.cores(), metavar="N", help="default: %(default)s")
    threads = parser.parse_args().threads
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.pop(name, None)
    for count in sorted({1, threads}):
        workers.call(lambda count=count: print(f"{count} of eq_tvm: {_microseconds():.2f} us"), count)
    alone = threading.Thread(target=lambda: print(f"TVM's own: {_microseconds():.2f} us"))
    alone.start()
    alone.join()


def _microseconds() -> float:
    loops, taken = {parallel: _loop(parallel) for parallel in (True, False)}, {True: [], False: []}
    for _ in range(ROUNDS):
        for parallel, times in taken.items():
            call = loops[parallel]["main"]
            start = perf_counter()
            for _ in range(CALLS):
                call(_X, _Y)
            times.append((perf_counter() - start) / CALLS * 1e6)
    return median(taken[True]) - median(taken[False])


def _loop(parallel: bool) -> tvm.runtime.Module:
    x = te.placeholder((4, 64), "int8", "x")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i, j: -x[i, j], "y")]))
    row, column = sch.get_loops("y")
    sch.vectorize(column)
    if parallel:
        sch.parallel(row)
    return tvm.compile(sch.mod, target="llvm")


_X, _Y = (tvm.runtime.tensor(np.zeros((4, 64), "int8")) for _ in range(2))

if __name__ == "__main__":
    main()
