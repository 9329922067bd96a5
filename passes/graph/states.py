"""In which state a module is, as far as passes must know: see docs/using/passes.md."""

import tvm
from tvm import relax, tirx

from .rewrite import operator_name

SCHEDULED = "tirx.is_scheduled"  # attribute of functions that have a schedule


def check_main(mod: tvm.IRModule) -> None:
    """ValueError where there is no function ``main``."""
    if "main" not in (var.name_hint for var in mod.functions):
        raise ValueError("the module has no function main, which all passes of eq_tvm work on")


def check_canonical(mod: tvm.IRModule) -> None:
    """ValueError where a module has been annotated or lowered already."""
    if any(isinstance(func, tirx.PrimFunc) and SCHEDULED in (func.attrs or {}) for func in mod.functions.values()):
        raise ValueError("a canonical module is needed, but this one calls kernels: LowerToInteger comes last")

    def visit(node: relax.Expr) -> None:
        if (name := operator_name(node)) in ("relax.quantize", "relax.dequantize"):
            raise ValueError(
                f"a canonical module is needed, but this one has scales already ({name}): TakeScales takes them over"
            )

    relax.analysis.post_order_visit(mod["main"], visit)
