"""Concatenation without copies: kernels write their channels of the concatenation's buffer, and read them there."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from eq_tvm.schedules.common.placed import has_rows, placed
from eq_tvm.schedules.operators.concat import concat

from ..graph.rewrite import operator_name, shape

BY_ROW = "eq_tvm.by_row"  # of functions that go through rows of channels, wherever these lie
JOINS = "eq_tvm.joins"  # of functions that copy their inputs side by side


def join_in_place(mod: tvm.IRModule) -> tuple[tvm.IRModule, dict[str, list[str]]]:
    """Let the inputs of concatenations be written where they are needed.

    An input that a kernel by rows makes, and that only such kernels read, becomes part of the concatenation's result
    from the start: its kernel writes every so many bytes, and so its readers read. Other inputs are copied.

    Parameters
    ----------
    mod : tvm.IRModule
        Its ``main`` consists of calls; functions have the attributes `BY_ROW` and `JOINS` where these apply.

    Returns
    -------
    mod : tvm.IRModule
    names : dict of str to list of str
        For each function called, what is called instead, call by call.
    """
    graph = _Calls(mod)
    rewriting = _Rewriting(mod, graph, _places(graph))
    main = rewriting.visit_expr(mod["main"])
    rewriting.builder_.update_func(mod.get_global_var("main"), main)
    return relax.transform.DeadCodeElimination(["main"])(rewriting.builder_.get()), rewriting.names


@dataclass(frozen=True)
class _Place:
    """Columns of a buffer: `width` from `first` on, of (`rows`, `whole`) elements of `dtype`."""

    buffer: relax.Var  # the concatenation that it is the result of
    first: int
    width: int
    rows: int
    whole: int
    dtype: str

    @property
    def partial(self) -> bool:
        return self.width < self.whole


_Use = tuple[relax.Call, int] | None  # a kernel's argument, or anything else


class _Calls:
    """What the variables of ``main`` are bound to, and which calls read what they are made from."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self.functions: dict[relax.GlobalVar, tirx.PrimFunc] = dict(mod.functions_items())
        main = mod["main"]
        self.values: dict[relax.Var, relax.Expr] = {
            binding.var: binding.value for block in main.body.blocks for binding in block.bindings
        }
        self.origins: dict[relax.Var, relax.Var] = {}  # of tensors that are another one under another shape
        self.readers: dict[relax.Var, list[_Use]] = defaultdict(list)  # of origins
        for var, value in self.values.items():
            if operator_name(value) == "relax.reshape":
                self.origins[var] = self.origin(value.args[0])
            elif operator_name(value) == "relax.call_tir":
                for index, argument in enumerate(value.args[1].fields):
                    self.readers[self.origin(argument)].append((value, index))
            else:
                self._read(value)
        self._read(main.body.body)

    def _read(self, expr: relax.Expr) -> None:
        def note(node: tvm.ir.Node) -> None:
            if isinstance(node, relax.Var):
                self.readers[self.origin(node)].append(None)

        relax.analysis.post_order_visit(expr, note)

    def origin(self, expr: relax.Expr) -> relax.Expr:
        """The tensor that `expr` is, maybe under another shape."""
        return self.origins.get(expr, expr)

    def marked(self, call: relax.Call, mark: str) -> bool:
        return mark in (self.functions[call.args[0]].attrs or {})

    def joins(self, value: relax.Expr) -> bool:
        return operator_name(value) == "relax.call_tir" and self.marked(value, JOINS)

    def movable(self, tensor: relax.Var, width: int) -> bool:
        """Whether a tensor with rows of `width` elements can be part of another one."""
        maker = self.values.get(tensor)
        if maker is None or operator_name(maker) != "relax.call_tir" or not isinstance(maker.ty, relax.TensorType):
            return False
        uses = [*self.readers[tensor], (maker, -1)]
        return all(use is not None and self._by_rows(*use, width) for use in uses)

    def _by_rows(self, call: relax.Call, index: int, width: int) -> bool:
        argument = self.functions[call.args[0]].params[index]
        return self.marked(call, BY_ROW) and has_rows([int(extent) for extent in argument.shape], width)


def _places(graph: _Calls) -> dict[relax.Var, _Place]:
    """The place of each tensor that is part of a concatenation, and of those that consist of such."""
    places: dict[relax.Var, _Place] = {}
    for var, call in reversed(graph.values.items()):  # what is joined again later comes first
        if not graph.joins(call):
            continue
        rows, whole = shape(var)
        place = places.get(var, _Place(var, 0, whole, rows, whole, str(var.ty.dtype)))
        parts: dict[relax.Var, _Place] = {}
        first = place.first
        for part in call.args[1].fields:
            tensor, width = graph.origin(part), shape(part)[1]
            if tensor not in places and tensor not in parts and graph.movable(tensor, width):
                parts[tensor] = _Place(place.buffer, first, width, rows, place.whole, place.dtype)
            first += width
        if parts:
            places |= {var: place} | parts
    return places


@mutator
class _Rewriting(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, graph: _Calls, places: dict[relax.Var, _Place]) -> None:
        super().__init__(mod)
        self.graph, self.places = graph, places
        self.names: dict[str, list[str]] = defaultdict(list)
        self.new: dict[tuple[object, ...], relax.GlobalVar] = {}
        self.written: dict[relax.Var, relax.Var] = {}  # buffer -> variable that stands for its newest contents

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, value = binding.var, binding.value
        place = self.places.get(self.graph.origin(var))
        if operator_name(value) == "relax.call_tir":
            if place is not None and self.graph.joins(value):
                self.join(var, value, place)
            else:
                self.call(binding, place)
        elif place is None or not place.partial:
            super().visit_var_binding_(binding)

    def join(self, var: relax.Var, call: relax.Call, place: _Place) -> None:
        """Copy what is not in its place yet."""
        copied, first = [], place.first
        for argument in call.args[1].fields:
            width, at = shape(argument)[1], self.places.get(self.graph.origin(argument))
            if at is None or (at.buffer, at.first) != (place.buffer, first):
                copied.append((argument, width, first))
            first += width
        if copied:
            arguments, widths, firsts = zip(*copied, strict=True)
            copying = self.copying(call.args[0], place, widths, firsts)
            self.write(place, *self.parts(copying, arguments), var)
        if not place.partial:
            self.set_var_remap(var, self.written[place.buffer])

    def call(self, binding: relax.VarBinding, result: _Place | None) -> None:
        """A call some of whose tensors may be parts of larger ones."""
        var, call = binding.var, binding.value
        function, arguments = self.parts(call.args[0], call.args[1].fields)
        if result is not None:
            function = self.placed(function, len(arguments), result)
        self.names[call.args[0].name_hint].append(function.name_hint)
        if result is not None:
            self.write(result, function, arguments, var)
        elif function.same_as(call.args[0]):
            super().visit_var_binding_(binding)
        else:
            called = relax.call_tir(function, relax.Tuple(arguments), out_ty=call.ty)
            self.set_var_remap(var, self.builder_.emit(called, var.name))

    def parts(
        self, function: relax.GlobalVar, arguments: Sequence[relax.Expr]
    ) -> tuple[relax.GlobalVar, list[relax.Expr]]:
        """A function as it reads arguments that may be parts, and what it reads."""
        found = []
        for index, argument in enumerate(arguments):
            place = self.places.get(self.graph.origin(argument))
            if place is not None and place.partial:
                function = self.placed(function, index, place)
                found.append(self.written[place.buffer])
            else:
                found.append(self.visit_expr(argument))
        return function, found

    def write(self, place: _Place, function: relax.GlobalVar, arguments: list[relax.Expr], var: relax.Var) -> None:
        """Call a function that writes a part of a buffer."""
        before = self.written.get(place.buffer)
        ty = relax.TensorType((place.rows, place.whole), place.dtype)
        if before is None:
            call = relax.call_tir(function, relax.Tuple(arguments), out_ty=ty)
        else:
            call = relax.op.call_tir_inplace(function, relax.Tuple([*arguments, before]), len(arguments), ty)
        self.written[place.buffer] = self.builder_.emit(call, var.name)

    def copying(
        self, function: relax.GlobalVar, place: _Place, widths: tuple[int, ...], firsts: tuple[int, ...]
    ) -> relax.GlobalVar:
        """As `function`, which copies all inputs of a concatenation, but some of them to their places."""

        def make() -> tirx.PrimFunc:
            copy = concat(place.rows, widths, place.dtype, firsts, place.whole).without_attr("global_symbol")
            return copy.with_attrs(dict(self.graph.functions[function].attrs.items()))

        return self.added((widths, firsts, place.rows, place.whole, place.dtype), make, f"{function.name_hint}_parts")

    def placed(self, function: relax.GlobalVar, index: int, place: _Place) -> relax.GlobalVar:
        """A function with a part of a larger tensor as argument `index`."""

        def make() -> tirx.PrimFunc:
            return placed(self.graph.functions[function], index, place.width, place.first, place.whole)

        part = "at" if index == len(self.graph.functions[function].params) - 1 else f"arg{index}at"
        name = f"{function.name_hint}_{part}{place.first}of{place.whole}"
        return self.added((function, index, place.width, place.first, place.whole), make, name)

    def added(self, key: tuple[object, ...], make: Callable[[], tirx.PrimFunc], name: str) -> relax.GlobalVar:
        if key not in self.new:
            function = make()
            self.new[key] = self.builder_.add_func(function, name)
            self.graph.functions[self.new[key]] = function
        return self.new[key]
