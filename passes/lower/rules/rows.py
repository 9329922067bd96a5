"""The lowering rule of softmax, layer and RMS normalization: pending, where the rows are stored side by side."""

from tvm import relax

from eq_tvm.schedules.rows.layer_norm import WIDEST
from eq_tvm.schedules.rows.softmax import LONGEST

from ...graph.network import is_of_rows
from ...graph.rewrite import operator_name
from ..lowered_values import OfRows
from ..lowering import Lowering
from ..rearranged import Rearranged


def of_rows(low: Lowering, call: relax.Call) -> OfRows | None:
    """`nn.softmax`, `nn.layer_norm` or `nn.rms_norm` over the last axis of a quantized tensor."""
    view = low.view(call.args[0])
    if view is None or not view.source.quantized or not is_of_rows(call):
        return None
    count = view.shape[-1]
    softmax = operator_name(call) == "relax.nn.softmax"
    if not (count <= LONGEST if softmax else count * view.source.limit < WIDEST):
        return None
    row = view.axes[-1]
    if row != tuple(range(len(view.factors) - len(row), len(view.factors))):
        view = Rearranged.of(low.layout(low.moved(view, plain=True), False))
    return OfRows(call, view.source, view.factors, view.axes, count)
