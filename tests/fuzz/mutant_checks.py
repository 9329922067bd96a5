"""What becomes of a file with something wrong in it: the same as ONNX Runtime makes of it, or one clear line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from checks import Invalid, compare, reference

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.running.runtime import Model
from eq_tvm.targets import get_target

# Words of TVM, of Python and of onnx's C++ that tell nobody what to do
INTERNAL = [
    "Check failed",
    "TVM can't compile",
    "Traceback",
    "object at 0x",
    "NoneType",
    "list index",
    "arg is an empty",
]
INTERNAL += ["InternalError", "unsupported operand", "has no attribute", "not subscriptable", "KeyError", "positional"]


def check_mutant(model: bytes, ours: bool) -> str:
    """Compile and run; with `ours` false compare with ONNX Runtime, which may crash, too.

    AssertionError for a wrong result, or a refusal in words that are not ours; UserError where it is refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant.onnx")
        path.write_bytes(model)
        if not ours:
            samples, expected = reference(path, 1)
        module, inputs, outputs = import_canonical(path)
        with pass_errors():
            compiled = Model(pipeline.build(module, get_target("native"))[0], inputs, outputs)
        if ours:
            return ""
        try:
            arrays = [samples[0][info.name] for info in inputs]
        except KeyError:
            raise Invalid("has other inputs") from None
        for info, result in zip(outputs, compiled.call(arrays), strict=True):
            if (
                info.rows is None and np.isfinite(expected[info.name]).all()
            ):  # NaN is clipped, as docs/reference/tvm-issues.md says
                compare(f"output {info.name}", result, expected[info.name])
        return ""
