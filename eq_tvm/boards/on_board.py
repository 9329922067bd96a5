"""What TVM's RPC server on a board knows of eq_tvm, where that is installed there: functions that a PC calls.

`register` is an entry point (`tvm.backends` in pyproject.toml), so each `import tvm` runs it.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

from eq_tvm.boards.agreed import DESCRIBE, TIME_LAYERS, versions


def register() -> None:
    """Make the functions known to TVM."""
    from tvm_ffi import register_global_func

    register_global_func(DESCRIBE, _describe, override=True)
    register_global_func(TIME_LAYERS, _time_layers, override=True)


def _describe() -> str:
    from eq_tvm import host

    features = host.cpu_features()
    description = {
        "versions": versions(),
        "architecture": platform.machine(),
        "features": None if features is None else sorted(features),
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
