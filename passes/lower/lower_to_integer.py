"""Annotated -> integer: quantized regions become calls to scheduled kernels, float islands keep float."""

from collections.abc import Sequence

import tvm
from tvm import relax

from eq_tvm.schedules.choice.candidate import Candidate
from eq_tvm.schedules.processor.machine import Machine

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import operator_name
from ..graph.states import LOWERED
from ..islands.fuse_epilogues import fuse_epilogues
from .join_in_place import JOINS, join_in_place
from .kernel_record import KernelRecord
from .kernels import Kernels
from .lowered_values import Value
from .lowering import Lowering
from .rearranged import Rearranged
from .rules.table import RULES
from .weight_size import Choose, choose_small


@relax_pass
class LowerToInteger:
    """Lower convolutions, dense layers and everything between them to scheduled kernels.

    Works on an annotated module (integers wherever quantize/dequantize pairs say so) and on a canonical float module
    (float32 kernels). What it does not know stays the float operator that it was. Concatenations of channels copy
    nothing where the kernels before them can write in place (`join_in_place`).

    Parameters
    ----------
    machine : eq_tvm.schedules.processor.machine.Machine
        The CPU's multiply instructions and caches.
    choose : callable (key, candidates) -> Candidate, optional
        Picks the kernel of the layer that `key` describes (see `eq_tvm.schedules.choice.candidates`). By default the
        one that is estimated to be the fastest.
    optimize : {"speed", "size"}
        ``size`` leaves out kernels that enlarge the weights (see `weight_size`).

    Attributes
    ----------
    record : list of KernelRecord
        The kernel chosen for each layer, after the pass has run.
    cycles : dict of str to float
        Estimated cycles of each layer, by its name; depthwise ones, too.
    other_cycles : float
        Of everything else that integers go through: pooling, sums, tables, conversions.

    Raises
    ------
    ValueError
        Where a layer's accumulator could overflow, the processor has no multiply instruction, or the scales of a
        residual add differ too much; names the layer, if it is one's.
    """

    def __init__(self, machine: Machine, choose: Choose | None = None, optimize: str = "speed") -> None:
        choose = choose or _fastest
        self.machine, self.choose = machine, choose_small(choose) if optimize == "size" else choose
        self.record: list[KernelRecord] = []
        self.cycles: dict[str, float] = {}
        self.other_cycles = 0.0

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace ``main``; kernels are added to the module."""
        mod = relax.transform.DeadCodeElimination(["main"])(mod)  # a layer that nothing reads gets no kernel
        main = mod["main"]
        others = {var: func for var, func in mod.functions_items() if var.name_hint != "main"}
        builder = relax.BlockBuilder(tvm.IRModule(others))
        with builder.function("main", main.params, attrs=dict(main.attrs or {}) | {LOWERED: True}):
            with builder.dataflow():
                lowering = Lowering(builder, Kernels(builder, self.machine, self.choose), main.params)
                for block in main.body.blocks:
                    for binding in block.bindings:
                        lowering.name = binding.var.name
                        lowering.values[binding.var] = _lowered(lowering, binding.value)
                result = builder.emit_output(lowering.result(main.body.body))
            builder.emit_func_output(result)
        mod, fused = fuse_epilogues(builder.finalize(), JOINS)
        mod, called = join_in_place(mod)
        self.cycles, self.other_cycles = lowering.kernels.layer_cycles, lowering.kernels.other_cycles
        self.record = [
            {**layer, "function": called[fused[layer["function"]].pop(0)].pop(0)} for layer in lowering.kernels.record
        ]
        return mod


def _lowered(lowering: Lowering, expr: relax.Expr) -> Value | Rearranged:
    """What the variable that is bound to `expr` stands for."""
    if isinstance(expr, relax.Tuple):
        return expr
    if isinstance(expr, relax.TupleGetItem) and (fields := lowering.fields(expr.tuple_value)):
        return lowering.value(fields[expr.index])
    rule = RULES.get(operator_name(expr))
    value = rule(lowering, expr) if rule else None
    return lowering.generic(expr) if value is None else value


def _fastest(_key: str, candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda candidate: candidate.cycles)
