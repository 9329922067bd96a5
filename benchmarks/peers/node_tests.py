"""ONNX's node tests: one small model per case, with inputs and outputs."""

from __future__ import annotations

import re
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx

LARGEST_ERROR = 0.05  # of a quantized network, relative


class Outcome(NamedTuple):
    """What became of a test: ``state`` is passed, refused, wrong, crashed, or skipped (nothing to quantize)."""

    name: str
    scheme: str
    state: str
    message: str = ""


@cache
def _all() -> tuple[Any, ...]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(collect_testcases())


def node_tests(pattern: str = "") -> list[Any]:
    """onnx's test cases whose names contain a text."""
    return [case for case in _all() if pattern in case.name]


def names_of_operators() -> dict[str, str]:
    """For each test the operator that it tests; those of an operator's function body count to it."""
    single = {case.name: case.model.graph.node[0].op_type for case in _all() if len(case.model.graph.node) == 1}
    return {
        case.name: single.get(re.sub("_expanded.*", "", case.name))
        or next(n.op_type for n in reversed(case.model.graph.node))
        for case in _all()
    }


def run_case(case: Any, scheme: str) -> Outcome:
    """Compile a test's model for this machine, and run it on the test's inputs."""
    from eq_tvm.errors import UserError

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(case.model, path)
        try:
            return Outcome(case.name, scheme, *_result(case, scheme, path))
        except UserError as error:
            state = "refused" if scheme == "float32" else "skipped"
            return Outcome(case.name, scheme, state, str(error).replace(str(path), "net.onnx"))
        except AssertionError as error:
            return Outcome(case.name, scheme, "wrong", " ".join(str(error).split())[:300])
        except Exception as error:
            return Outcome(
                case.name, scheme, "crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )


def _result(case: Any, scheme: str, path: Path) -> tuple[str, str]:
    from eq_tvm import pipeline
    from eq_tvm.artifacts.bundle import results_by_name
    from eq_tvm.building.canonical import pass_errors
    from eq_tvm.running.runtime import Model
    from eq_tvm.targets import get_target

    names = [value.name for value in case.model.graph.input]
    feed = dict(zip(names, map(_array, case.data_sets[0][0]), strict=False))
    fixed = names[1:] if scheme != "float32" else []
    module, inputs, outputs = _imported(path, case, feed, fixed)
    if scheme != "float32":
        if not _is_quantizable(module):
            return "skipped", "nothing to quantize"
        images = {info.name: feed[info.name][None] for info in inputs}
        images = {name: array[0] if array.shape[1:2] == (1,) else array for name, array in images.items()}
        module, _ = pipeline.calibrate(module, images, scheme=scheme, method="minmax")
    with pass_errors():
        model = Model(pipeline.build(module, get_target("native"))[0], inputs, outputs, None)
    results = [value.name for value in case.model.graph.output]
    for given, wanted in case.data_sets:
        arrays = dict(zip(names, map(_array, given), strict=False))
        got = model.call([arrays[info.name] for info in inputs])
        named = results_by_name(outputs, got)
        for name, value in zip(results, wanted, strict=True):
            _compare(name, named[name], _array(value), case, scheme)
    return "passed", ""


def _array(value: Any) -> Any:
    """Some tests hold tensors of types that numpy lacks as protobufs."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value if isinstance(value, list | None) else np.asarray(value)


def _imported(path: Path, case: Any, feed: dict[str, Any], fixed: list[str]) -> Any:
    """As a user does it: with --input for dynamic shapes, and --constant for inputs that the messages name."""
    from eq_tvm.building.canonical import import_canonical
    from eq_tvm.errors import UserError

    constants = {name: feed[name] for name in fixed}
    dynamic = [
        value.name
        for value in case.model.graph.input
        if not all(axis.dim_value for axis in value.type.tensor_type.shape.dim) and value.name not in constants
    ]
    while True:
        try:
            shapes = {name: np.shape(feed[name]) for name in dynamic if name not in constants}
            return import_canonical(path, shapes, constants=constants)
        except UserError as error:
            asked = [name for name in re.findall(r"--constant (\S+)=", str(error)) if name not in constants]
            if not asked or asked[0] not in feed:
                raise
            constants |= {name: feed[name] for name in asked}


def _is_quantizable(module: Any) -> bool:
    from eq_tvm.passes.graph.network import QUANTIZED_OPS, read_network

    return any(node.op in QUANTIZED_OPS for node in read_network(module).nodes)


def _compare(name: str, got: np.ndarray, wanted: np.ndarray, case: Any, scheme: str) -> None:
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), (
        f"{name}: {got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}"
    )
    if scheme == "float32" and wanted.dtype.kind in "iub":
        np.testing.assert_array_equal(got, wanted)
        return
    if scheme == "float32":
        rounding = 2 * float(ml_dtypes.finfo(wanted.dtype).eps)
        kinds = [array.astype(np.float64) for array in (got, wanted)]
        np.testing.assert_allclose(*kinds, rtol=max(case.rtol, rounding), atol=max(case.atol, 1e-6))
        return
    one, two = got.astype(np.float64), wanted.astype(np.float64)
    error = np.linalg.norm(one - two) / (np.linalg.norm(two) or 1)
    assert error <= LARGEST_ERROR, f"{name}: relative error {error:.3f}"
