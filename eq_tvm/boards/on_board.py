"""What TVM's RPC server on a board knows of eq_tvm, where that is installed there: functions that a PC calls.

`register` is an entry point (`tvm.backends` in pyproject.toml), so each `import tvm` runs it.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path

from eq_tvm.boards.agreed import DESCRIBE, KERNEL_SECONDS, TIME_KERNEL, TIME_LAYERS, versions


def register() -> None:
    """Make the functions known to TVM."""
    from tvm_ffi import register_global_func

    register_global_func(DESCRIBE, _describe, override=True)
    register_global_func(TIME_LAYERS, _time_layers, override=True)
    register_global_func(TIME_KERNEL, _time_kernel, override=True)


def _describe() -> str:
    from eq_tvm import host

    features = host.cpu_features()
    description = {
        "versions": versions(),
        "architecture": platform.machine(),
        "features": None if features is None else sorted(features),
        "processor": host.model_name(),
        "threads": host.default_threads(),
        "eq_tvm": importlib.metadata.version("eq-tvm"),
    }
    return json.dumps(description)


def _time_layers(library: str, description: str, threads: int, seconds: float) -> str:
    """`eq_tvm.bench.bench_layers` of a shared object sent in this session and what belongs in its bundle.json.

    0 threads: as many as by default.
    """
    import tvm_ffi

    from eq_tvm.artifacts import bundle as bundles
    from eq_tvm.bench import bench_layers

    path = tvm_ffi.get_global_func("tvm.rpc.server.workpath")
    folder = Path(path(f"{library}.eqtvm"))
    folder.mkdir()
    (folder / bundles.LIBRARY).symlink_to(path(library))
    (folder / bundles.DESCRIPTION).write_text(description, encoding="utf-8")
    return json.dumps(bench_layers(folder, threads=threads or None, seconds=seconds))


def _time_kernel(library: str, arrays: str, constants: int) -> str:
    """`eq_tvm.building.kernel_timing.time_kernel` of files sent in this session, as JSON: `seconds` and `sha256`.

    Or `failed`: what became of the process of its own in which it runs.
    """
    import numpy as np
    import tvm_ffi

    from eq_tvm.boards.isolated import isolated
    from eq_tvm.building.kernel_timing import time_kernel
    from eq_tvm.running import workers

    path = tvm_ffi.get_global_func("tvm.rpc.server.workpath")

    def work() -> str:
        with np.load(path(arrays), allow_pickle=False) as archive:
            given = [archive[name] for name in archive.files]
        run = tvm_ffi.load_module(path(library))["main"]
        seconds, digest = workers.call(lambda: time_kernel(run, given, constants))
        return json.dumps({"seconds": seconds, "sha256": digest})

    return isolated(work, KERNEL_SECONDS)
