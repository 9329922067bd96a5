"""Loops whose iterations LLVM keeps apart: it neither writes several out nor moves loads from one into another.

Of a few iterations written out, LLVM loads all operands first, and stores again those that it has no registers for.
"""

from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV

from .statements import rebuilt

_FENCED, _NAME = "eq_tvm_fenced", "eq_tvm_fence"
# What may have changed memory; and as it must stay the only one of its kind, no loop around it is unrolled.
_FUNCTION = f"""define void @{_NAME}() alwaysinline {{
call void asm sideeffect "", "~{{memory}}"() noduplicate
ret void
}}"""


def keep_apart(sch: s_tir.Schedule, loop: LoopRV) -> None:
    """Mark a loop, for `fenced`."""
    sch.annotate(loop, _FENCED, True)
    sch.annotate(loop, "pragma_import_llvm", _FUNCTION)


def fenced(stmt: tirx.Stmt) -> tirx.Stmt:
    """A lowered statement with an instruction that is no code in each iteration of the loops that are marked."""

    def change(part: tirx.Stmt) -> tirx.Stmt:
        if not isinstance(part, tirx.For) or _FENCED not in part.annotations:
            return part
        fence = tirx.Evaluate(tirx.call_extern("int32", _NAME))
        body = tirx.SeqStmt([fence, part.body])
        rest = {key: value for key, value in part.annotations.items() if key != _FENCED}
        return tirx.For(part.loop_var, part.min, part.extent, part.kind, body, part.thread_binding, rest)

    return rebuilt(stmt, change)
