"""In which state a module is, as far as passes must know: see docs/passes.md."""

import tvm
from tvm import relax

from .rewrite import operator_name

SCHEDULED = "tirx.is_scheduled"  # attribute of functions that have a schedule
LOWERED = "is_lowered"  # attribute of `main` where it calls kernels


def check_main(mod: tvm.IRModule) -> None:
    """ValueError where there is no function ``main``."""
    if "main" not in (var.name_hint for var in mod.functions):
        raise ValueError("the module has no function main, which all passes of eq_tvm work on")


def check_canonical(mod: tvm.IRModule) -> None:
    """ValueError where a module has been annotated or lowered already."""
    if LOWERED in (mod["main"].attrs or {}):
        raise ValueError("a canonical module is needed, but this one calls kernels: LowerToInteger comes last")
    dequantized: set[relax.Var] = set()
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            name = operator_name(binding.value)
            if name == "relax.dequantize":
                dequantized.add(binding.var)
            elif name in _LAYERS and not dequantized.isdisjoint(binding.value.args):
                raise ValueError(
                    f"a canonical module is needed, but {binding.var.name} has scales already: TakeScales takes over "
                    "what is there"
                )


_LAYERS = ("relax.nn.conv2d", "relax.matmul")
