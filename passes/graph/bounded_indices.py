"""Indices that data choose stay inside: TVM's loops read, and write, wherever an index says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tvm
from tvm import relax, te, tirx

from .rewrite import shape

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]


def bounded_indices() -> dict[str, Legalize]:
    """For ``relax.transform.LegalizeOps``: what is out of bounds reads, or replaces, the nearest element.

    The operators that gather and scatter, but for ``relax.take``, which says so itself (``mode="clip"``).
    """
    return {
        "relax.gather_elements": partial(_bounded, extents=_of_axis),
        "relax.gather_nd": partial(_bounded, extents=_of_coordinates),
        "relax.scatter_elements": partial(_bounded, extents=_of_axis, from_behind=True),
        "relax.scatter_nd": partial(_bounded, extents=_of_coordinates),
    }


def _bounded(
    builder: relax.BlockBuilder,
    call: relax.Call,
    extents: Callable[[relax.Call], list[int]],
    from_behind: bool = False,
) -> relax.Expr:
    """`extents`: one, or for each place along the last axis of the indices; `from_behind`: negative ones count too."""
    data, indices, *rest = call.args
    bounds = extents(call)

    def clamped(x: te.Tensor) -> te.Tensor:
        def at(*i: Any) -> Any:
            low, high = ((lambda n: -n) if from_behind else (lambda n: 0)), (lambda n: n - 1)
            return tirx.max(tirx.min(x(*i), pick(high, i)), pick(low, i))

        def pick(end: Callable[[int], int], i: tuple[Any, ...]) -> Any:
            *first, last = (tirx.const(end(extent), x.dtype) for extent in bounds)
            for place, bound in reversed(list(enumerate(first))):
                last = tirx.Select(i[-1] == place, bound, last)
            return last

        return te.compute(x.shape, at, "clamped")

    inside = builder.emit(builder.call_te(clamped, indices, primfunc_name_hint="clamped"))
    legalize = tvm.ir.Op.get(call.op.name).get_attr("FLegalize")
    return legalize(builder, builder.normalize(relax.Call(call.op, [data, inside, *rest], call.attrs)))


def _of_axis(call: relax.Call) -> list[int]:
    return [shape(call.args[0])[int(call.attrs.axis)]]


def _of_coordinates(call: relax.Call) -> list[int]:
    first = int(getattr(call.attrs, "batch_dims", 0))
    return list(shape(call.args[0])[first : first + shape(call.args[1])[-1]])
