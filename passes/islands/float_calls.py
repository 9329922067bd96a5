"""Which scheduled functions are float islands: they have nothing to do with integers."""

from __future__ import annotations

import re
from collections import Counter

import tvm
from tvm import relax, tirx

# As TVM names what only looks at data in another shape
_VIEWS = re.compile(r"(fused)?(_?(reshape|squeeze|expand_dims)\d*)+")
_INTEGERS = ("int8", "uint8", "int16", "int32")  # of quantized tensors and sums; int64 are indices


def float_calls(mod: tvm.IRModule) -> dict[str, int]:
    """How often `main` calls each function that computes in floats alone, in the order in which they come.

    Parameters
    ----------
    mod : tvm.IRModule
        Integer state: calls to scheduled functions.
    """
    counts: Counter[str] = Counter()

    def visit(node: relax.Expr) -> None:
        if isinstance(node, relax.Call) and node.args and isinstance(node.args[0], relax.GlobalVar):
            function = mod[node.args[0]]
            name = node.args[0].name_hint
            if isinstance(function, tirx.PrimFunc) and _is_float(function) and not _VIEWS.fullmatch(name):
                counts[name] += 1

    relax.analysis.post_order_visit(mod["main"], visit)
    return dict(counts)


def _is_float(function: tirx.PrimFunc) -> bool:
    dtypes = [str(param.dtype) for param in function.params]
    return any(dtype.startswith("float") for dtype in dtypes) and not any(dtype in _INTEGERS for dtype in dtypes)
