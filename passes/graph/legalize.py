"""What TVM makes wrong loops of, or such as no schedule knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import relax, te, tirx, topi


def legalizations() -> dict[str, Callable[[relax.BlockBuilder, relax.Call], relax.Expr]]:
    """For ``relax.transform.LegalizeOps``.

    Maxima and minima of floats along axes, that start from infinity: TVM's of nothing but -infinity is the smallest
    finite number. Layer normalization with one reduction for the mean and one for the spread: TVM's has both at once.
    """
    return {
        "relax.max": _legalizer(tirx.max, "-inf", topi.max),
        "relax.min": _legalizer(tirx.min, "inf", topi.min),
        "relax.nn.layer_norm": _layer_norm,
    }


def _layer_norm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    rank = len(call.ty.shape)
    axes = sorted(int(axis) % rank for axis in call.attrs.axes)
    count = math.prod(int(call.ty.shape[axis]) for axis in axes)
    epsilon = float(call.attrs.epsilon)

    def normalized(x: te.Tensor, gamma: te.Tensor, beta: te.Tensor) -> te.Tensor:
        def spread(values: te.Tensor) -> te.Tensor:
            return topi.multiply(topi.sum(values, axes, keepdims=True), 1.0 / count)

        def of_axes(values: te.Tensor) -> te.Tensor:
            return topi.reshape(values, [x.shape[axis] if axis in axes else 1 for axis in range(rank)])

        centred = topi.subtract(x, spread(x))
        root = topi.sqrt(topi.add(spread(topi.multiply(centred, centred)), epsilon))
        return topi.add(topi.multiply(topi.divide(centred, root), of_axes(gamma)), of_axes(beta))

    return builder.call_te(normalized, *call.args, primfunc_name_hint="layer_norm")


def _legalizer(
    choose: Callable[[Any, Any], Any], start: str, of_integers: Callable[..., te.Tensor]
) -> Callable[[relax.BlockBuilder, relax.Call], relax.Expr]:
    reducer = te.comm_reducer(lambda x, y: choose(x, y), lambda dtype: tirx.const(float(start), dtype), "extreme")

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        axes = [int(axis) for axis in call.attrs.axis] if call.attrs.axis is not None else None
        if not str(call.ty.dtype).startswith("float"):
            return builder.call_te(of_integers, call.args[0], axes, call.attrs.keepdims)
        name = call.op.name.removeprefix("relax.")
        reduced = partial(_reduced, reducer=reducer, axes=axes, keepdims=bool(call.attrs.keepdims))
        return builder.call_te(reduced, call.args[0], primfunc_name_hint=name)

    return legalize


def _reduced(x: te.Tensor, reducer: Any, axes: list[int] | None, keepdims: bool) -> te.Tensor:
    rank = len(x.shape)
    reduced = sorted(axis % rank for axis in (range(rank) if axes is None else axes))
    rest = [axis for axis in range(rank) if axis not in reduced]
    along = [te.reduce_axis((0, x.shape[axis]), f"k{axis}") for axis in reduced]

    def at(*indices: Any) -> Any:
        kept = [indices[axis] for axis in rest] if keepdims else indices
        places = dict(zip([*reduced, *rest], [*along, *kept], strict=True))
        return reducer(x(*[places[axis] for axis in range(rank)]), axis=along)

    shape = [1 if axis in reduced else x.shape[axis] for axis in range(rank) if keepdims or axis not in reduced]
    return te.compute(shape, at, "extreme")
