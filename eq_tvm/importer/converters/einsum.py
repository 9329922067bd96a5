"""Einsum as one product of matrices between transposes and reshapes, as for layers and attention."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence

from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall


def einsum(call: OnnxCall) -> relax.Expr | None:
    """Of one or two operands, none of which has an index twice; TVM's importer has the others, as a loop nest.

    Indices that both operands and the result have number the matrices, those that both operands have and the result
    has not are summed over, and those of one operand are rows or columns.
    """
    terms = _terms(call)
    if terms is None:
        return None
    *operands, result = terms
    emit = call.builder.emit
    # what one operand alone has is summed up first
    values = []
    for i, term in enumerate(operands):
        elsewhere = result + "".join(other for j, other in enumerate(operands) if j != i)
        lost = [axis for axis, index in enumerate(term) if index not in elsewhere]
        values.append(emit(relax.op.sum(call.inputs[i], lost)) if lost else call.inputs[i])
        operands[i] = "".join(index for index in term if index in elsewhere)
    if len(values) == 1:
        return _transposed(emit, values[0], operands[0], result)
    first, second = operands
    pairs = [index for index in result if index in first and index in second]
    rows = [index for index in result if index in first and index not in second]
    columns = [index for index in result if index in second and index not in first]
    summed = [index for index in first if index in second and index not in result]
    extents = {
        index: int(extent)
        for term, value in zip(operands, values, strict=True)
        for index, extent in zip(term, value.ty.shape, strict=True)
    }

    if not summed:
        return _product(emit, values, operands, result)

    def matrices(value: relax.Expr, term: str, groups: Sequence[Sequence[str]]) -> relax.Expr:
        ordered = _transposed(emit, value, term, "".join(index for group in groups for index in group))
        sizes = [math.prod(extents[index] for index in group) for group in groups[1:]]
        return emit(relax.op.reshape(ordered, [*(extents[index] for index in groups[0]), *sizes]))

    left = matrices(values[0], first, (pairs, rows, summed))
    right = matrices(values[1], second, (pairs, summed, columns))
    product = emit(relax.op.matmul(left, right))
    order = [*pairs, *rows, *columns]
    whole = emit(relax.op.reshape(product, [extents[index] for index in order]))
    return _transposed(emit, whole, "".join(order), result)


def _product(
    emit: Callable[..., relax.Var], values: Sequence[relax.Expr], terms: Sequence[str], result: str
) -> relax.Expr:
    """Of two operands, element by element, nothing being summed over."""
    factors = []
    for value, term in zip(values, terms, strict=True):
        ordered = _transposed(emit, value, term, "".join(index for index in result if index in term))
        missing = [axis for axis, index in enumerate(result) if index not in term]
        factors.append(emit(relax.op.expand_dims(ordered, missing)) if missing else ordered)
    return relax.op.multiply(*factors)


def _terms(call: OnnxCall) -> list[str] | None:
    """The operands' indices and the result's, a letter for each; None where that is not all."""
    equation = str(call.attributes["equation"]).replace(" ", "")
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    if len(terms) > 2 or len(terms) != len(call.inputs):
        return None
    letters = [letter for letter in string.ascii_letters if letter not in equation]
    free = []
    for i, term in enumerate(terms):  # an ellipsis stands for as many axes as are left
        count = len(call.shape(i)) - len(term.replace("...", ""))
        free.append(count if "..." in term else 0)
        if count < 0 or count > len(letters) or (count and "..." not in term):
            return None
        terms[i] = term.replace("...", "".join(letters[:count][::-1]))
    if not arrow:
        once = sorted(index for index in set("".join(terms)) if "".join(terms).count(index) == 1 and index in equation)
        result = "..." * any(free) + "".join(once)
    if any(free) and "..." not in result:
        return None
    terms.append(result.replace("...", "".join(letters[: max(free)][::-1])))
    known: dict[str, int] = {}
    for i, term in enumerate(terms):
        if len(set(term)) < len(term) or (i == len(terms) - 1 and not set(term) <= known.keys()):
            return None
        for index, extent in zip(term, call.shape(i), strict=True) if i < len(terms) - 1 else ():
            if known.setdefault(index, extent) != extent:
                return None  # broadcast
    return terms


def _transposed(emit: Callable[..., relax.Var], value: relax.Expr, term: str, result: str) -> relax.Expr:
    return value if term == result else emit(relax.op.permute_dims(value, [term.index(index) for index in result]))
