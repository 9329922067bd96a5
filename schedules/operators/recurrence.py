"""Recurrent layers in float32: LSTM, GRU and RNN of ONNX, from the inputs' projection on.

The plain algorithm, of one sequence in one direction, for each of its elements in turn:

    gates[g] = projected[t, g] + h . R[g]       for each gate g; `_products` computes the second part
    h (and c) = the cell's function of the gates, and of h (and c) before
    y[t] = h

Blocked: the columns of R[g] are cut into blocks that are as wide as the accumulators that registers hold, and each
block's rows follow each other in memory. Functions of gates are loops over single elements, which LLVM vectorizes.
Some sequences of a batch are computed together; else sequences and directions do not depend on each other: threads
share them.
"""

from collections.abc import Callable
from functools import partial

from tvm import s_tir, tirx
from tvm.ir import Expr

from ..common.lowered import on_stack
from ..common.sizes import PARALLEL_FROM
from ..common.vectors import get, local, loop, put, seq
from .recurrence_cells import Products, Sequence, Update, stages
from .recurrence_plan import GATES, OPTIONAL, Recurrence


def recurrence(plan: Recurrence) -> tirx.PrimFunc:
    """PrimFunc of a recurrent layer.

    Parameters
    ----------
    plan : Recurrence

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments, float32: the projected inputs, biases included (steps * batch, directions * gates * hidden), with
        rows in the order of the inputs; the packed weights of the state; the operands in `plan.optional`; the results
        y, h and, of an LSTM, c.
    """
    inputs = {"projected": plan.projected_shape, "weights": plan.weight_shape}
    inputs |= {name: plan.optional_shapes[name] for name in OPTIONAL if name in plan.optional}
    outputs = {"y": plan.result_shape, "h": plan.state_shape}
    outputs |= {"c": plan.state_shape} if plan.cell == "LSTM" else {}
    buffers = {
        name: tirx.decl_buffer(shape, "int32" if name == "lengths" else "float32", name)
        for name, shape in (inputs | outputs).items()
    }
    tiles = plan.batch // plan.together
    tasks = len(plan.directions) * tiles
    work = tasks * plan.together * plan.steps * plan.hidden * plan.hidden * GATES[plan.cell]
    kind = tirx.ForKind.PARALLEL if tasks > 1 and work >= PARALLEL_FROM else tirx.ForKind.SERIAL

    def tile(direction: int, at: Expr) -> tirx.Stmt:
        first = at % tiles * plan.together
        return _tile([Sequence(plan, buffers, direction, first + n) for n in range(plan.together)])

    def task(at: Expr) -> list[tirx.Stmt]:
        forward, *backward = (tile(direction, at) for direction in range(len(plan.directions)))
        return [tirx.IfThenElse(at < tiles, forward, backward[0]) if backward else forward]

    root = s_tir.SBlock([], [], [], "root", loop("task", tasks, task, kind))
    return tirx.PrimFunc(list(buffers.values()), s_tir.SBlockRealize([], True, root))


def _tile(sequences: list[Sequence]) -> tirx.Stmt:
    """Sequences that are computed together; only a single one can have a length of its own."""
    this, plan = sequences[0], sequences[0].plan
    zero, length = tirx.const(0, "float32"), plan.steps
    sums = local((len(sequences), plan.width), "float32", "sums")
    if "lengths" in this.buffers:
        length = tirx.max(tirx.min(this.buffers["lengths"][this.n], plan.steps), 0)

    def element(step: Expr) -> list[tirx.Stmt]:
        t = length - 1 - step if plan.directions[this.direction].reverse else step
        computed = [
            _products(sequences, stage, sums) if isinstance(stage, Products) else _updates(sequences, stage, t)
            for stage in (*stages(plan), _result)
        ]
        if "lengths" not in this.buffers:
            return computed
        beyond = _each(plan, lambda j: [this.put_result(step, j, zero)])
        return [tirx.IfThenElse(step < length, seq(computed), beyond)]

    memory = [*(tirx.AllocBuffer(of.gates) for of in sequences), on_stack(sums)]
    return seq([*memory, *map(_begin, sequences), loop("step", plan.steps, element)])


def _begin(this: Sequence) -> tirx.Stmt:
    """The state in front of the first element, 0 where it is not given."""

    def begin(j: Expr) -> list[tirx.Stmt]:
        given = {name: this.buffers.get(f"initial_{name}") for name in ("h", "c") if name in this.buffers}
        zero = tirx.const(0, "float32")
        return [this.put(name, j, zero if first is None else first[this.at(j)]) for name, first in given.items()]

    return _each(this.plan, begin)


def _result(this: Sequence, t: Expr, j: Expr) -> list[tirx.Stmt]:
    return [this.put_result(t, j, this.state("h", j))]


def _updates(sequences: list[Sequence], update: Update, t: Expr) -> tirx.Stmt:
    return seq([_each(this.plan, partial(update, this, t)) for this in sequences])


def _each(plan: Recurrence, body: Callable[[Expr], list[tirx.Stmt]]) -> tirx.Stmt:
    return loop("j", plan.hidden, body)


def _products(sequences: list[Sequence], stage: Products, sums: tirx.Buffer) -> tirx.Stmt:
    this, plan = sequences[0], sequences[0].plan

    def block(gate: Expr, at: Expr) -> list[tirx.Stmt]:
        def row(k: Expr) -> list[tirx.Stmt]:
            weights = get(this.buffers["weights"], [this.direction, gate, at, k])
            factors = [tirx.Broadcast(stage.factor(of, k), plan.width) for of in sequences]
            return [put(sums, [n], get(sums, [n]) + factor * weights) for n, factor in enumerate(factors)]

        zeros, columns = tirx.Broadcast(tirx.const(0, "float32"), plan.width), tirx.Ramp(at * plan.width, 1, plan.width)
        start = [put(sums, [n], zeros) for n in range(len(sequences))]
        end = [tirx.BufferStore(of.gates, get(sums, [n]), [gate, columns]) for n, of in enumerate(sequences)]
        return [*start, loop("k", plan.hidden, row), *end]

    def blocks(gate: Expr) -> list[tirx.Stmt]:
        return [loop("block", plan.blocks, lambda at: block(stage.gates.start + gate, at))]

    return loop("gate", len(stage.gates), blocks)
