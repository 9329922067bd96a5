"""The passes that bring an imported network to the canonical form."""

import tvm

from .expand_transposed import ExpandTransposed
from .flatten_depth import FlattenDepth
from .flatten_matmul import FlattenMatmul
from .fold_attention_scale import FoldAttentionScale
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fold_padding import FoldPadding
from .join_products import JoinProducts
from .lift_to_2d import LiftTo2D
from .normalize_shapes import NormalizeShapes
from .pad_for_constants import PadForConstants
from .recover.recover_clip import RecoverClip
from .recover.recover_layer_norm import RecoverLayerNorm
from .recover.recover_layers import RecoverLayers
from .recover.recover_masks import RecoverMasks
from .recover.recover_operators import RecoverOperators
from .recover.recover_response_norm import RecoverResponseNorm
from .recover.recover_rms_norm import RecoverRMSNorm
from .recover.recover_separable_attention import RecoverSeparableAttention
from .remove_identities import RemoveIdentities
from .sink_reshapes import SinkReshapes


def canonical_passes() -> list[tvm.transform.Pass]:
    """Imported -> canonical: float32 NCHW, ``conv2d`` and ``matmul`` with constant weights and one bias, no batch norm.

    Convolutions of one and three dimensions, transposed ones, and products of tensors of any rank by a constant matrix,
    become such.

    Returns
    -------
    list of tvm.transform.Pass
        To be run in this order. They compute the same as before (up to float32 rounding of folded weights), and a
        second run changes nothing.
    """
    return [
        FoldConstants(),
        RecoverOperators(),
        RemoveIdentities(),
        NormalizeShapes(),
        RecoverClip(),
        RecoverLayerNorm(),
        RecoverRMSNorm(),
        RecoverResponseNorm(),
        RecoverSeparableAttention(),
        RecoverMasks(),
        PadForConstants(),
        LiftTo2D(),
        FlattenDepth(),
        ExpandTransposed(),
        FlattenMatmul(),
        JoinProducts(),
        FoldBatchNorm(),
        SinkReshapes(),
        RecoverLayerNorm(),  # what a reshape parted from its factors: groups of channels
        NormalizeShapes(),
        FoldPadding(),
        FoldBatchNorm(),
        FoldAttentionScale(),
        RecoverLayers(),
        FoldBatchNorm(),
    ]
