"""What each operator of Relay is in ONNX: a table for each kind, and all together in `RULES`."""

from eq_tvm.importer.relay.operation import Rule
from eq_tvm.importer.relay.operators import (
    convolution,
    creation,
    elementwise,
    images,
    moves,
    normalization,
    pooling,
    products,
    quantized,
    reductions,
    selection,
)

RULES: dict[str, Rule] = {
    **convolution.RULES,
    **creation.RULES,
    **elementwise.RULES,
    **images.RULES,
    **moves.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **products.RULES,
    **quantized.RULES,
    **reductions.RULES,
    **selection.RULES,
}
