"""From an ONNX file to the canonical module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.artifacts.bundle import Counted, TensorInfo
from eq_tvm.errors import UserError, first_line

if TYPE_CHECKING:
    import tvm


def import_canonical(
    model: Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    dump: str | Path | None = None,
    constants: Mapping[str, Any] | None = None,
) -> tuple[tvm.IRModule, tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The canonical module, and its inputs and outputs by the names in the ONNX file.

    Outputs that count the rows of others follow those of the file.
    """
    from tvm import ir

    from eq_tvm import pipeline
    from eq_tvm.importer import import_onnx

    imported = import_onnx(model, shapes, constants)
    names = imported["main"].attrs
    with pass_errors():
        module = pipeline.canonicalize(imported, dump=dump)
    _check_weights(module)
    function = module["main"]
    results = function.ret_ty.fields if isinstance(function.ret_ty, ir.TupleType) else [function.ret_ty]
    inputs = tuple(_info(n, p.ty) for n, p in zip(names["input_names"], function.params, strict=True))
    rows = {str(name): Counted(int(axis), str(count)) for name, (axis, count) in names["output_rows"].items()}
    outputs = tuple(_info(n, ty, rows.get(n)) for n, ty in zip(names["output_names"], results, strict=True))
    return module, inputs, outputs


def _info(name: str, ty: Any, rows: Counted | None = None) -> TensorInfo:
    return TensorInfo(str(name), tuple(int(size) for size in ty.shape), str(ty.dtype), rows)


def _check_weights(module: tvm.IRModule) -> None:
    from eq_tvm.passes.graph.rewrite import Graph, array, operator_name

    for var, value in Graph(module).values.items():
        if operator_name(value) in ("relax.nn.conv2d", "relax.matmul"):
            constants = [array(arg) for arg in value.args]
            if not all(np.isfinite(c).all() for c in constants if c is not None):
                raise UserError(f"layer {var.name} has NaN or infinity in its weights")


@contextmanager
def pass_errors() -> Iterator[None]:
    """Say in one line what passes find wrong with a network, and what TVM can't compile.

    Passes know no `UserError`: they raise ValueError.
    """
    from tvm import error, s_tir

    try:
        yield
    except ValueError as e:
        raise UserError(" ".join(str(e).split())) from e
    except (error.InternalError, error.OpError, error.DiagnosticError, s_tir.ScheduleError) as e:
        raise UserError(f"TVM can't compile the network: {first_line(e)[:200]}; please report it") from e
