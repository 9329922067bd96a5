"""What a network can be compiled to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eq_tvm import standalone
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts import linker
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.standalone import Standalone
from eq_tvm.targets import TargetSpec

if TYPE_CHECKING:
    import tvm


@dataclass(frozen=True)
class Artifact:
    """The ending of a directory's default name, and functions that check where it may be, and write it."""

    suffix: str
    check_destination: Callable[[str | Path], Path]
    write: Callable[[tvm.IRModule, Bundle, TargetSpec, Path, Check, bytes | None], Bundle | Standalone]


# Is given the library, before the bundle takes its place; gives the bundle's sample
Check = Callable[[str], dict[str, Any] | None]


def _write_bundle(
    module: tvm.IRModule, network: Bundle, spec: TargetSpec, path: Path, check: Check, exported: bytes | None
) -> Bundle:
    from eq_tvm import pipeline

    executable = pipeline.executable(module, spec)

    def write_library(file: str) -> dict[str, Any] | None:
        linker.export(executable, spec, file)
        return check(file)

    return bundles.write(network, path, write_library, exported)


def _write_standalone(
    module: tvm.IRModule, network: Bundle, spec: TargetSpec, path: Path, _check: Check, _exported: bytes | None
) -> Standalone:
    return standalone.write(module, network, spec, path)


ARTIFACTS = {
    "bundle": Artifact(".eqtvm", bundles.check_destination, _write_bundle),
    "standalone": Artifact("", standalone.check_destination, _write_standalone),
}
