"""What every network has to fulfil: close to ONNX Runtime in float32, and in integers equal to the integer program."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import aarch64
import c_programs
import interpreter
import numpy as np
import onnx
import onnxruntime
from families import FAMILIES
from integer_values import Sum

from eq_tvm import host, pipeline
from eq_tvm.artifacts import linker
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.inputs.random_inputs import random_numbers
from eq_tvm.running.runtime import Model
from eq_tvm.targets import TargetSpec, get_target

EMULATED = {"rpi3": "cortex-a53", "rpi4": "cortex-a72", "rpi5": "cortex-a76", "arm-i8mm": "max", "rpi4-32": "max"}
# By multiply instruction, as far as this machine runs it by itself
X86 = {
    name: replace(get_target("x86"), name=name, cpu=family.cpu, instructions=dict.fromkeys(family.features, 32.0))
    for name, family in FAMILIES.items()
    if not family.emulated and not family.missing and not host.missing_features(family.features)
}
TARGETS = [*X86, *EMULATED]
TOLERANCE = 1e-4  # of float32, relative to an output's largest value
DEPENDENT = 0.1  # of integers behind float operators, whose last bits differ: a tie may go either way

Arrays = dict[str, np.ndarray]


class Invalid(Exception):
    """ONNX Runtime refuses the network."""


def check(model: bytes, schemes: list[str], targets: list[str], method: str = "minmax") -> None:
    """AssertionError for a wrong result, UserError for a network that is refused, Invalid where it is not one.

    Parameters
    ----------
    model : bytes
        ONNX.
    schemes : list of str
        Each of them is tried on each of the targets.
    targets : list of str
        Of `TARGETS`.
    method : str
        How scales are found.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        path.write_bytes(model)
        samples, expected = reference(path)
        module, inputs, outputs = import_canonical(path)
        with pass_errors():
            native = Model(pipeline.build(module, get_target("native"))[0], inputs, outputs)
            results = native.call([samples[0][info.name] for info in inputs])
            for info, result in zip(outputs, results, strict=True):
                compare(f"float32: output {info.name}", result, expected[info.name])
            if not schemes or not all(info.dtype == "float32" for info in inputs):
                return
            images = {
                param.name: np.stack([sample[info.name] for sample in samples]).reshape(
                    len(samples), *info.shape[info.shape[:1] == (1,) :]
                )
                for param, info in zip(module["main"].params, inputs, strict=True)
            }
            for scheme in schemes:
                annotated, _ = pipeline.calibrate(module, images, scheme=scheme, method=method)
                feeds = {name: samples[0][info.name] for name, info in zip(images, inputs, strict=True)}
                _check_integers(annotated, feeds, scheme, targets, Path(folder))


def _check_integers(annotated, feeds: Arrays, scheme: str, targets: list[str], folder: Path) -> None:
    program = interpreter.run_annotated(annotated, feeds)
    with disturbed_floats():
        other = interpreter.run_annotated(annotated, feeds)
    for target in targets:
        results = run_on(target, annotated, [*feeds.values()], folder / f"{scheme}-{target}")
        for i, (result, expected, disturbed) in enumerate(zip(results, program, other, strict=True)):
            what = f"{scheme} on {target}: output {i}"
            if np.array_equal(expected, disturbed, equal_nan=True):
                np.testing.assert_array_equal(result, expected, what, strict=True)
            else:
                compare(what, result, expected, DEPENDENT)


def reference(path: Path, count: int = 3) -> tuple[list[Arrays], Arrays]:
    """Seeded samples of the inputs, and what ONNX Runtime makes of the first."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # some fusions are wrong
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(path)
        given = {tensor.name for tensor in model.graph.initializer}
        random = np.random.default_rng(0)
        types = {v.name: v.type.tensor_type for v in model.graph.input if v.name not in given}
        dtypes = {name: str(onnx.helper.tensor_dtype_to_np_dtype(ty.elem_type)) for name, ty in types.items()}
        shapes = {name: tuple(axis.dim_value or 1 for axis in ty.shape.dim) for name, ty in types.items()}
        samples = [{name: random_numbers(random, shapes[name], dtypes[name]) for name in types} for _ in range(count)]
        names = [output.name for output in session.get_outputs()]
        return samples, dict(zip(names, session.run(None, samples[0]), strict=True))
    except Exception as error:  # it raises whatever it likes
        raise Invalid(" ".join(str(error).split())[:500]) from None


def compare(what: str, result: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Relative to the largest value; where that is not finite, neither is the result."""
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype), what
    finite = np.isfinite(expected)
    size = np.abs(expected[finite], dtype="float64").max(initial=1e-30)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(result, expected, tolerance, tolerance * float(size), err_msg=what)


def run_on(target: str, annotated, arrays: list[np.ndarray], folder: Path) -> list[np.ndarray]:
    """The outputs that a compiled module computes, emulated where the target is ARM."""
    if target in X86:
        return _run_here(X86[target], annotated, arrays)
    if target == "rpi4-32":
        library = c_programs.write(annotated, target, folder)
        return c_programs.run(library, get_target(target), arrays, cpu=EMULATED[target])[0]
    folder.mkdir()
    linker.export(pipeline.build(annotated, get_target(target))[0], get_target(target), str(folder / "network.so"))
    return aarch64.machine(EMULATED[target]).run_vm(folder / "network.so", arrays)


def _run_here(spec: TargetSpec, annotated, arrays: list[np.ndarray]) -> list[np.ndarray]:
    assert not host.missing_features(spec.instructions)
    inputs = tuple(TensorInfo(f"x{i}", array.shape, str(array.dtype)) for i, array in enumerate(arrays))
    return Model(pipeline.build(annotated, spec)[0], inputs, ()).call(arrays)


@contextmanager
def disturbed_floats() -> Iterator[None]:
    """The interpreter's float operators are a little wrong here: what changes depends on one."""
    exact = interpreter._float_operator

    def disturbed(mod, call, args):
        result = exact(mod, call, args)
        return [_disturbed(part) for part in result] if isinstance(result, list) else _disturbed(result)

    leave = Sum.leave
    with (
        mock.patch.object(interpreter, "_float_operator", disturbed),
        mock.patch.object(Sum, "leave", lambda self: _disturbed(leave(self))),  # an addition of floats
    ):
        yield


def _disturbed(array: np.ndarray) -> np.ndarray:
    return np.asarray(array * np.float32(1 + 2**-7)) if array.dtype == "float32" else array
