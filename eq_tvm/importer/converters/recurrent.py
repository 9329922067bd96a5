"""ONNX's LSTM, GRU and RNN: the projection of all inputs is one dense layer, the rest a kernel with loops over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall
from eq_tvm.schedules.operators.gate_functions import FUNCTIONS, GateFunction
from eq_tvm.schedules.operators.recurrence import recurrence
from eq_tvm.schedules.operators.recurrence_plan import GATES, OPTIONAL, Direction, Recurrence

_DEFAULT_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_INPUTS = {"lengths": 4, "initial_h": 5, "initial_c": 6, "peepholes": 7}  # optional ones that the kernel reads


def recurrent(call: OnnxCall) -> relax.Expr:
    """Y, Y_h and, of an LSTM, Y_c, whether the node names them or not.

    Raises
    ------
    ValueError
        Unknown activations or direction, shapes that do not fit, biases that are not constant.
    """
    plan = _plan(call)
    _check(call, plan)
    bias, hidden_bias = _biases(call, plan)
    given = {name: call.operand(index) for name, index in _INPUTS.items()}
    given["hidden_bias"] = None if hidden_bias is None else relax.const(hidden_bias)
    operands = [
        _projected(call, plan, bias),
        _packed(call, plan),
        *(given[name] for name in OPTIONAL if name in plan.optional),
    ]
    shapes = [plan.result_shape, *[plan.state_shape] * (2 if plan.cell == "LSTM" else 1)]
    return relax.Tuple(call.kernel(recurrence(plan), operands, [(shape, "float32") for shape in shapes]))


def _plan(call: OnnxCall) -> Recurrence:
    attributes, cell = call.attributes, call.node.op_type
    if len(call.shape(0)) != 3 or len(call.shape(2)) != 3:
        raise ValueError("its inputs X, W and R must have 3 axes")
    batch_first = bool(attributes.get("layout", 0))
    given = {name for name, index in _INPUTS.items() if call.operand(index) is not None}
    reset_after = bool(attributes.get("linear_before_reset", 0))
    if reset_after and call.operand(3) is not None:
        given.add("hidden_bias")
    batch, steps = call.shape(0)[:2] if batch_first else call.shape(0)[1::-1]
    return Recurrence(
        cell,
        steps,
        batch,
        hidden=call.shape(2)[2],
        directions=_directions(cell, attributes),
        batch_first=batch_first,
        optional=frozenset(given),
        clip=attributes.get("clip"),
        reset_after=reset_after,
        coupled=bool(attributes.get("input_forget", 0)),
    )


def _directions(cell: str, attributes: Mapping[str, Any]) -> tuple[Direction, ...]:
    direction = attributes.get("direction", "forward")
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction {direction!r} is none of {', '.join(_DIRECTIONS)}")
    reverse, count = _DIRECTIONS[direction], len(_DEFAULT_FUNCTIONS[cell])
    names = attributes.get("activations") or _DEFAULT_FUNCTIONS[cell] * len(reverse)
    if len(names) != count * len(reverse):
        raise ValueError(f"{len(names)} activations; {count} are needed for each of its directions")
    functions = _functions(names, attributes.get("activation_alpha", ()), attributes.get("activation_beta", ()))
    return tuple(Direction(back, functions[i * count : (i + 1) * count]) for i, back in enumerate(reverse))


def _functions(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> tuple[GateFunction, ...]:
    """The lists have values for those functions only that take one."""
    left, found = (list(alphas), list(betas)), []
    for name in names:
        if name.lower() not in FUNCTIONS:
            raise ValueError(f"unknown activation {name!r}")
        _, *defaults = FUNCTIONS[name.lower()]
        values = [
            0.0 if default is None else values.pop(0) if values else default
            for default, values in zip(defaults, left, strict=True)
        ]
        found.append(GateFunction(name.lower(), *values))
    return tuple(found)


def _check(call: OnnxCall, plan: Recurrence) -> None:
    """The kernel reads as many elements as the plan says: no operand may have another shape."""
    directions, rows = len(plan.directions), GATES[plan.cell] * plan.hidden
    shapes = {
        1: (directions, rows, call.shape(0)[2]),
        2: (directions, rows, plan.hidden),
        3: (directions, 2 * rows),
        **{index: plan.optional_shapes[name] for name, index in _INPUTS.items()},
    }
    if call.attributes.get("hidden_size", plan.hidden) != plan.hidden:
        raise ValueError(f"hidden_size is {call.attributes['hidden_size']}, but R has {plan.hidden} columns")
    for index, expected in shapes.items():
        if call.operand(index) is not None and call.shape(index) != expected:
            what = f"its input {call.node.input[index]!r} has the shape {call.shape(index)}"
            raise ValueError(f"{what}; {expected} is expected")
    for index, name in enumerate(call.node.input):
        expected_dtype = "int32" if index == _INPUTS["lengths"] else "float32"
        if call.operand(index) is not None and call.dtype(index) != expected_dtype:
            raise ValueError(f"its input {name!r} is {call.dtype(index)}; {expected_dtype} is expected")


def _biases(call: OnnxCall, plan: Recurrence) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What is added to the projection, and what is added to a GRU's product with the state before that is reset."""
    both = call.constant(3)
    if both is None:
        return None, None
    inputs, state = both.reshape(len(plan.directions), 2, GATES[plan.cell], plan.hidden).swapaxes(0, 1).copy()
    if "hidden_bias" not in plan.optional:
        return inputs + state, None
    hidden = state[:, 2].copy()
    state[:, 2] = 0
    return inputs + state, hidden


def _projected(call: OnnxCall, plan: Recurrence, bias: np.ndarray | None) -> relax.Expr:
    """The product of all inputs and W, for both directions at once."""
    inputs = call.shape(0)[2]
    rows = relax.op.reshape(call.operand(0), (plan.steps * plan.batch, inputs))
    weights = relax.op.permute_dims(relax.op.reshape(call.operand(1), (-1, inputs)), (1, 0))
    product = call.builder.emit(relax.op.matmul(rows, weights))
    return product if bias is None else call.builder.emit(relax.op.add(product, relax.const(bias.reshape(-1))))


def _packed(call: OnnxCall, plan: Recurrence) -> relax.Expr:
    """R in the kernel's layout."""
    directions, gates, blocks, hidden, width = plan.weight_shape
    rows = relax.op.permute_dims(relax.op.reshape(call.operand(2), (directions, gates, hidden, hidden)), (0, 1, 3, 2))
    if blocks * width > hidden:
        zeros = np.zeros((directions, gates, hidden, blocks * width - hidden), "float32")
        rows = relax.op.concat([rows, relax.const(zeros)], axis=3)
    rows = relax.op.reshape(rows, (directions, gates, hidden, blocks, width))
    return call.builder.emit(relax.op.permute_dims(rows, (0, 1, 3, 2, 4)))
