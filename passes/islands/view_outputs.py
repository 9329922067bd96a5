"""Reshapes that leave the network share the memory of what they reshape."""

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph


@relax_pass
class ViewOutputs:
    """Let TVM make views of reshapes that are outputs of the network, as it does of all others.

    It copies what is bound to an output, which might be somebody else's memory. The result of a kernel that is no
    output by itself is nobody's: another variable is bound to its reshape, and the output to that.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``, which has calls of functions alone."""
        after = tvm.IRModule(mod.functions, attrs=mod.attrs)
        after["main"] = _Viewer(mod).visit_expr(mod["main"])
        return after


@mutator
class _Viewer(PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.graph = Graph(mod)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if not isinstance(binding.var, relax.DataflowVar) and self._reshapes_own(binding.value):
            view = relax.DataflowVar(f"{binding.var.name}.view", binding.var.ty)
            super().visit_var_binding_(relax.VarBinding(view, binding.value))
            binding = relax.VarBinding(binding.var, view)
        super().visit_var_binding_(binding)

    def _reshapes_own(self, value: relax.Expr) -> bool:
        """Whether it is a reshape of what a kernel wrote that only this reads."""
        if not self._is_reshape(value):
            return False
        (source,) = value.args[1]
        written = self.graph.sole_call(source, "relax.call_tir") if isinstance(source, relax.DataflowVar) else None
        return written is not None and not self._is_reshape(written)

    def _is_reshape(self, value: relax.Expr) -> bool:
        if not isinstance(value, relax.Call) or value.op != tvm.ir.Op.get("relax.call_tir") or len(value.args[1]) != 1:
            return False
        return bool(relax.analysis.has_reshape_pattern(self.graph.mod[value.args[0]]))
