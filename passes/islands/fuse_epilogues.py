"""Float operators on single elements, done by the kernel whose results they take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.ir import Expr
from tvm.relax.expr_functor import PyExprMutator, mutator

from eq_tvm.schedules.islands.followed import followed

from ..graph.rewrite import operator_name, shape, variables
from ..graph.states import SCHEDULED
from .expressions import EXPRESSIONS, READS, operands, scalar

# Operations in an epilogue, counted each time that its result is read: that is what TVM's passes take time for, though
# each is computed once. Mish has 60,000; of four hyperbolic tangents in each other they would take many minutes.
_LARGEST = 100_000


def fuse_epilogues(mod: tvm.IRModule, without: str) -> tuple[tvm.IRModule, dict[str, list[str]]]:
    """Let kernels store functions of their results, where nothing but those functions reads these.

    What follows a kernel is taken as long as it works element by element on its result, on numbers, and on tensors of
    the same shape that are there before the kernel runs.

    Parameters
    ----------
    mod : tvm.IRModule
        Its ``main`` consists of calls of scheduled functions, and of operators.
    without : str
        An attribute of functions that stay as they are.

    Returns
    -------
    mod : tvm.IRModule
    names : dict of str to list of str
        For each function called, what is called instead, call by call.
    """
    rewriting = _Fusing(mod, without)
    main = rewriting.visit_expr(mod["main"])
    rewriting.builder_.update_func(mod.get_global_var("main"), main)
    return relax.transform.DeadCodeElimination(["main"])(rewriting.builder_.get()), rewriting.names


@dataclass(frozen=True)
class _Epilogue:
    """What follows a kernel: bindings in order, the last of which is the only one that others read."""

    members: tuple[relax.Var, ...]
    operands: tuple[relax.Var, ...]  # other tensors that they read


class _Graph:
    """The bindings of ``main``, and who reads them."""

    def __init__(self, mod: tvm.IRModule) -> None:
        main = mod["main"]
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        self.values = {binding.var: binding.value for binding in bindings}
        self.places = {var: place for place, var in enumerate([*main.params, *self.values])}
        self.readers: dict[relax.Var, list[relax.Var | None]] = defaultdict(list)
        for var, value in [*self.values.items(), (None, main.body.body)]:
            for read in variables(value):
                self.readers[read].append(var)

    def epilogue(self, var: relax.Var) -> _Epilogue | None:
        """The longest one behind the kernel that `var` is bound to."""
        found, members, others, sizes = None, [var], [], {var: 1}
        while True:
            following = self._following(var, members)
            if following is None:
                return found
            member, needed = following
            call = self.values[member]
            sizes[member] = READS.get(call.op.name, 1) * sum(sizes.get(read, 1) for read in call.args)
            if sizes[member] > _LARGEST:
                return found
            members.append(member)
            others += [other for other in needed if other not in others]
            if sum(self._is_exposed(each, members) for each in members) == 1 and self._is_exposed(member, members):
                found = _Epilogue(tuple(members[1:]), tuple(others))

    def _following(self, var: relax.Var, members: list[relax.Var]) -> tuple[relax.Var, list[relax.Var]] | None:
        """The first reader of members that can become one, and the other tensors that it reads."""
        readers = {reader for member in members for reader in self.readers[member] if reader is not None}
        for reader in sorted(readers.difference(members), key=self.places.__getitem__):
            needed = self._needed(reader, members)
            if needed is not None and all(self.places[other] < self.places[var] for other in needed):
                return reader, needed
        return None

    def _needed(self, reader: relax.Var, members: list[relax.Var]) -> list[relax.Var] | None:
        """The other tensors that a reader takes; None if it does not work element by element."""
        value = self.values[reader]
        if operator_name(value) == "relax.reshape":
            return []
        tensors = operands(value) if isinstance(value, relax.Call) else None
        if tensors is None:
            return None
        others = [tensor for tensor in tensors if tensor not in members and scalar(tensor) is None]
        alike = all(isinstance(other, relax.Var) and shape(other) == shape(value) for other in others)
        whole = all(shape(tensor) == shape(value) for tensor in tensors if tensor in members)
        return others if alike and whole and all(str(other.ty.dtype) == "float32" for other in others) else None

    def _is_exposed(self, var: relax.Var, members: list[relax.Var]) -> bool:
        return any(reader not in members for reader in self.readers[var])


@mutator
class _Fusing(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, without: str) -> None:
        super().__init__(mod)
        self.functions, self.without = dict(mod.functions_items()), without
        self.graph = _Graph(mod)
        self.names: dict[str, list[str]] = defaultdict(list)
        self.new: dict[tuple[object, ...], relax.GlobalVar | None] = {}
        self.done: set[relax.Var] = set()  # by a kernel

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, call = binding.var, binding.value
        if var in self.done:
            return
        if operator_name(call) != "relax.call_tir":
            super().visit_var_binding_(binding)
            return
        function, epilogue = call.args[0], None
        marks = self.functions[function].attrs or {}
        if SCHEDULED in marks and self.without not in marks and str(getattr(call.ty, "dtype", "")) == "float32":
            epilogue = self.graph.epilogue(var)
        new = epilogue and self.fused(function, var, epilogue)
        self.names[function.name_hint].append(new.name_hint if new else function.name_hint)
        if not new or not epilogue:
            super().visit_var_binding_(binding)
            return
        others = [self.reshaped(self.visit_expr(other), shape(var)) for other in epilogue.operands]
        arguments = [*(self.visit_expr(argument) for argument in call.args[1].fields), *others]
        last = epilogue.members[-1]
        result = self.builder_.emit(relax.call_tir(new, relax.Tuple(arguments), out_ty=call.ty), last.name)
        self.set_var_remap(last, self.reshaped(result, shape(last)))
        self.done.update(epilogue.members)

    def reshaped(self, expr: relax.Expr, target: Sequence[int]) -> relax.Expr:
        return expr if shape(expr) == tuple(target) else self.builder_.emit(relax.op.reshape(expr, target))

    def fused(self, function: relax.GlobalVar, var: relax.Var, epilogue: _Epilogue) -> relax.GlobalVar | None:
        """The kernel with the epilogue in it, made once; None where it can't be."""
        program = self.program(var, epilogue)
        if not program:
            return None
        key = (function, len(epilogue.operands), *(step.key for step in program))
        if key not in self.new:
            made = followed(
                self.functions[function], lambda *tensors: _computed(program, *tensors), len(epilogue.operands)
            )
            words = "_".join(step.call.op.name.split(".")[-1] for step in program)
            self.new[key] = made and self.builder_.add_func(made, f"{function.name_hint}_{words}")
        return self.new[key]

    def program(self, var: relax.Var, epilogue: _Epilogue) -> list[_Step]:
        """The steps of an epilogue; a reshape is none."""
        places = {var: 0} | {other: 1 + i for i, other in enumerate(epilogue.operands)}
        program: list[_Step] = []
        for member in epilogue.members:
            call = self.graph.values[member]
            if operator_name(call) == "relax.reshape":
                places[member] = places[call.args[0]]
                continue
            tensors = operands(call) or []
            program.append(_Step(call, tuple(places[t] if t in places else scalar(t) for t in tensors)))
            places[member] = len(epilogue.operands) + len(program)
        return program


@dataclass(frozen=True)
class _Step:
    """An operator's call, and for each of its tensors a number, or the place of the value that it is.

    Places count the kernel's result, the operands, and the steps' results.
    """

    call: relax.Call
    tensors: tuple[int | float | None, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """What equal steps have in common."""
        others = tuple(str(arg) for arg in self.call.args[len(self.tensors) :])
        return self.call.op.name, str(self.call.attrs), others, tuple(map(repr, self.tensors))


def _computed(program: Sequence[_Step], value: Expr, others: Sequence[Expr]) -> Expr:
    """The last step's result."""
    places, variables, results = [value, *others], [], []
    for step in program:
        tensors = [places[t] if isinstance(t, int) else tirx.const(t, "float32") for t in step.tensors]
        results.append(EXPRESSIONS[step.call.op.name](step.call, *tensors))
        variables.append(tirx.Var("step", "float32"))
        places.append(variables[-1])
    result = results.pop()
    for variable, earlier in zip(variables[-2::-1], reversed(results), strict=True):
        result = tirx.Let(variable, earlier, result)
    return result
