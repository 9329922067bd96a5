"""Division by a constant without a division, which takes a processor of ARM some thirty cycles for a vector."""

from tvm import tirx
from tvm.tirx import Expr

from ..common.epilogue import ACC_LIMIT

DIVISORS = (2.0**-90, 2.0**90)  # least and greatest: the reciprocal is a normal number
MOST = ACC_LIMIT  # magnitude of a quotient: no integer that is quantized is greater, and infinity is far


def quotient(number: Expr, divisor: Expr, reciprocal: Expr) -> Expr:
    """float32 number / divisor, rounded once to nearest as IEEE's division is, by fused multiply-adds.

    A multiplication comes within two units in the last place, a correction by its remainder within one. From there,
    with a reciprocal that is rounded correctly, one more gives the rounded quotient (Markstein, "Computation of
    elementary functions on the IBM RISC System/6000 processor", 1990, theorem 5). Remainders of quotients below 2^-11
    may be rounded, and such quotients be wrong in their last bit.

    Parameters
    ----------
    number : tvm.tirx.Expr
        float32, finite, at most `MOST` times the divisor.
    divisor : tvm.tirx.Expr
        float32, in `DIVISORS`.
    reciprocal : tvm.tirx.Expr
        float32: 1 / divisor, rounded to nearest.
    """
    near = number * reciprocal
    for _ in range(2):
        near = _fma(_fma(-near, divisor, number), reciprocal, near)
    return near


def _fma(a: Expr, b: Expr, c: Expr) -> Expr:
    return tirx.call_llvm_pure_intrin("float32", "llvm.fma", a, b, c)
