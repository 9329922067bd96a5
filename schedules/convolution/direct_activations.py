"""What a direct convolution multiplies: runs of activations, read where they are or from a copy (see `direct_plan`)."""

from collections.abc import Callable

from tvm import te, tirx
from tvm.tirx import Expr

from .direct_plan import DirectPlan

# An activation by (n, h, w, kh, tap, g, k): pixel of the result, kernel row, tap of the row, group, element of the run.
Read = Callable[[Expr, Expr, Expr, Expr, Expr, Expr, Expr], Expr]


def prepared(x: te.Tensor, plan: DirectPlan, offset: int, zero: int) -> Read:
    """How the instruction reads activations: where they are, or copied to be padded, offset, widened or gathered.

    Parameters
    ----------
    x : te.Tensor
        (N, H, W, C), as they are stored.
    plan : DirectPlan
    offset : int
        Added to each.
    zero : int
        How 0 is stored: the padding is that and the offset.

    Returns
    -------
    Read
        Elements of the dtype that the instruction takes. It reads `x` itself; or its copy "prepared", (N, padded H,
        padded W, [groups,] run), or, where a run is a kernel row or several, (N, padded H, pixels side by side); or
        "im2col", gathered from the latter: (N, OH, padded OW, run).
    """
    conv = plan.conv

    def row_of(h: Expr, kh: Expr) -> Expr:
        return h * conv.strides[0] + kh * conv.dilation[0]

    def column_of(w: Expr, tap: Expr) -> Expr:
        return w * conv.strides[1] + tap * conv.dilation[1]

    if not plan.needs_copy(x.dtype, offset):
        whole = plan.padded_columns == conv.out_width

        def inside(w: Expr) -> Expr:
            return w if whole else te.min(w, conv.out_width - 1)

        return lambda n, h, w, kh, tap, g, k: x[n, row_of(h, kh), column_of(inside(w), tap), g * plan.group_in + k]
    length = plan.steps * plan.instruction.depth
    height = row_of(plan.padded_rows - 1, conv.kernel[0] - 1) + 1
    width = column_of(plan.padded_columns - 1, conv.kernel[1] - 1) + 1
    if plan.row == plan.group_in and not plan.tiling.im2col:
        grouped = conv.groups > 1
        copy = te.compute(
            (conv.batch, height, width, *([conv.groups] if grouped else []), length),
            lambda n, h, w, *gk: _padded(
                x, plan, offset, zero, n, h, w, sum(gk[:-1]) * plan.group_in + gk[-1], gk[-1] < plan.group_in
            ),
            "prepared",
            varargs_names=["g", "k"] if grouped else ["k"],
        )
        return lambda n, h, w, kh, tap, g, k: copy[(n, row_of(h, kh), column_of(w, tap), *([g] if grouped else []), k)]
    # A run is a kernel row or several: keep pixels side by side, with room behind the last.
    channels = conv.in_channels
    row_length = (width - conv.kernel[1]) * channels + max(length, plan.row)
    copy = te.compute(
        (conv.batch, height, row_length),
        lambda n, h, i: _padded(x, plan, offset, zero, n, h, i // channels, i % channels),
        "prepared",
    )
    if not plan.tiling.im2col:
        return lambda n, h, w, kh, _tap, _g, k: copy[n, row_of(h, kh), column_of(w, 0) * channels + k]
    # What is behind the last row meets weights of zero.
    rows = -(-length // plan.row)
    im2col = te.compute(
        (conv.batch, plan.padded_rows, plan.padded_columns, rows * plan.row),
        lambda n, h, w, k: copy[
            n, row_of(h, te.min(k // plan.row, conv.kernel[0] - 1)), column_of(w, 0) * channels + k % plan.row
        ],
        "im2col",
    )
    return lambda n, h, w, _kh, _tap, _g, k: im2col[n, h, w, k]


def _padded(
    x: te.Tensor, plan: DirectPlan, offset: int, zero: int, n: Expr, h: Expr, w: Expr, c: Expr, *inside: Expr
) -> Expr:
    """An activation plus the offset, (h, w) counted from the padding's corner; beyond the tensor what 0 becomes."""
    conv, activation = plan.conv, plan.instruction.activation
    top, left, _, _ = conv.padding
    inside = (h >= top, h < top + conv.height, w >= left, w < left + conv.width, *inside)
    value = x[n, h - top, w - left, c].astype(activation) + tirx.const(offset, activation)
    return te.if_then_else(te.all(*inside), value, tirx.const(offset + zero, activation))
