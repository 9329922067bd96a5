"""Write the bundle of the network in conftest.py."""

from dataclasses import asdict, replace
from pathlib import Path

import tvm

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import Bundle, TensorInfo
from eq_tvm.preprocess import Preprocess
from eq_tvm.targets import get_target

SHAPE = (1, 3, 6, 4)


def write_tiny(path: Path, executable: tvm.runtime.Executable, target: str = "native", **changes) -> Bundle:
    spec = get_target(target)
    bundle = Bundle(
        model="tiny",
        model_sha256="",
        inputs=(TensorInfo("x", SHAPE, "float32"),),
        outputs=(TensorInfo("mean", (1, 3), "float32"), TensorInfo("y", SHAPE, "float32")),
        preprocess=Preprocess("RGB", (100.0,) * 3, (10.0,) * 3),
        scheme="float32",
        calibration=None,
        target=asdict(spec) | {"architecture": spec.architecture, "tvm": str(spec.tvm_target())},
        versions={},
        kernels=[],
    )
    return bundles.write(replace(bundle, **changes), path, executable.export_library)
