"""Relax passes: canonicalization, calibration, lowering to the integer program."""

from eq_tvm.schedules.common.lowered import COMPILE_CONFIG

from .analysis.analyze_layers import analyze_layers
from .analysis.compare_outputs import compare_outputs
from .calibrate.easyquant_calibrate import EASYQUANT_SHIPPED, EasyQuantCalibrate
from .calibrate.kl_calibrate import KLCalibrate
from .calibrate.minmax_calibrate import MinMaxCalibrate
from .calibrate.mse_calibrate import MSECalibrate
from .calibrate.percentile_calibrate import PercentileCalibrate
from .calibrate.scale_search import Candidates
from .canonical.canonical_passes import canonical_passes
from .canonical.expand_transposed import ExpandTransposed
from .canonical.flatten_depth import FlattenDepth
from .canonical.flatten_matmul import FlattenMatmul
from .canonical.fold_attention_scale import FoldAttentionScale
from .canonical.fold_batch_norm import FoldBatchNorm, batch_statistics
from .canonical.fold_constants import FoldConstants
from .canonical.fold_padding import FoldPadding
from .canonical.join_products import JoinProducts
from .canonical.lift_to_2d import LiftTo2D
from .canonical.normalize_shapes import NormalizeShapes
from .canonical.pad_for_constants import PadForConstants
from .canonical.recover.recover_clip import RecoverClip
from .canonical.recover.recover_layer_norm import RecoverLayerNorm
from .canonical.recover.recover_layers import RecoverLayers
from .canonical.recover.recover_masks import RecoverMasks
from .canonical.recover.recover_operators import RecoverOperators
from .canonical.recover.recover_response_norm import RecoverResponseNorm
from .canonical.recover.recover_rms_norm import RecoverRMSNorm
from .canonical.recover.recover_separable_attention import RecoverSeparableAttention
from .canonical.remove_identities import RemoveIdentities
from .canonical.sink_reshapes import SinkReshapes
from .correlation.vit_calibrate import ViTCalibrate
from .given.lift_dequantize import LiftDequantize
from .given.narrow_ranges import NarrowRanges
from .given.store_signed import StoreSigned
from .given.take_scales import TakeScales
from .given.unify_scales import UnifyScales
from .graph.output_parts import part_cosines
from .islands.float_calls import float_calls
from .islands.schedule_fallback import ScheduleFallback
from .islands.serialize_short_loops import SerializeShortLoops
from .islands.view_outputs import ViewOutputs
from .joint.lapq_calibrate import LAPQCalibrate
from .lower.lower_to_integer import LowerToInteger
from .order.order_channels import OrderChannels
from .prepare.center_channels import CenterChannels
from .prepare.center_sources import CenterSources
from .prepare.duplicate_functions import DuplicateFunctions
from .prepare.equalize_channels import EqualizeChannels
from .prepare.equalize_heads import EqualizeHeads
from .quantized.calibration_images import affordable_images
from .quantized.layer_record import LayerRecord
from .quantized.progress import Progress, no_progress, part_of
from .refine.correct_bias import CorrectBias
from .refine.reconstruct_blocks import reconstruct_blocks
from .refine.round_weights import RoundWeights, even_rows, round_weights
from .synthesize.match_statistics import match_statistics, matched_layers, matched_norms
from .synthesize.procedural_images import procedural_images

__all__ = [
    "COMPILE_CONFIG",
    "EASYQUANT_SHIPPED",
    "Candidates",
    "CenterChannels",
    "CenterSources",
    "CorrectBias",
    "DuplicateFunctions",
    "EasyQuantCalibrate",
    "EqualizeChannels",
    "EqualizeHeads",
    "ExpandTransposed",
    "FlattenDepth",
    "FlattenMatmul",
    "FoldAttentionScale",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldPadding",
    "JoinProducts",
    "KLCalibrate",
    "LAPQCalibrate",
    "LayerRecord",
    "LiftDequantize",
    "LiftTo2D",
    "LowerToInteger",
    "MSECalibrate",
    "MinMaxCalibrate",
    "NarrowRanges",
    "NormalizeShapes",
    "OrderChannels",
    "PadForConstants",
    "PercentileCalibrate",
    "Progress",
    "RecoverClip",
    "RecoverLayerNorm",
    "RecoverLayers",
    "RecoverMasks",
    "RecoverOperators",
    "RecoverRMSNorm",
    "RecoverResponseNorm",
    "RecoverSeparableAttention",
    "RemoveIdentities",
    "RoundWeights",
    "ScheduleFallback",
    "SerializeShortLoops",
    "SinkReshapes",
    "StoreSigned",
    "TakeScales",
    "UnifyScales",
    "ViTCalibrate",
    "ViewOutputs",
    "affordable_images",
    "analyze_layers",
    "batch_statistics",
    "canonical_passes",
    "compare_outputs",
    "even_rows",
    "float_calls",
    "match_statistics",
    "matched_layers",
    "matched_norms",
    "no_progress",
    "part_cosines",
    "part_of",
    "procedural_images",
    "reconstruct_blocks",
    "round_weights",
]
