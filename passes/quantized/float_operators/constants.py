"""Constant operands."""

import numpy as np
from tvm import relax

from ...graph.rewrite import array


def constant(expr: relax.Expr) -> np.ndarray:
    """The value of an operand that is known to be constant."""
    value = array(expr)
    if value is None:
        raise TypeError("an operand is not constant")
    return value
