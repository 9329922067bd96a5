"""Relax passes: canonicalization, calibration, lowering to the integer program."""

from eq_tvm.schedules.lowered import COMPILE_CONFIG

from .analyze_layers import analyze_layers
from .canonical import canonical_passes
from .center_channels import CenterChannels
from .compare_outputs import compare_outputs
from .correct_bias import CorrectBias
from .easyquant_calibrate import EASYQUANT_SHIPPED, EasyQuantCalibrate
from .equalize_channels import EqualizeChannels
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fold_padding import FoldPadding
from .kl_calibrate import KLCalibrate
from .lower_to_integer import LowerToInteger
from .minmax_calibrate import MinMaxCalibrate
from .mse_calibrate import MSECalibrate
from .normalize_shapes import NormalizeShapes
from .percentile_calibrate import PercentileCalibrate
from .recover_clip import RecoverClip
from .recover_operators import RecoverOperators
from .remove_identities import RemoveIdentities
from .round_weights import RoundWeights
from .scale_search import Candidates
from .schedule_fallback import ScheduleFallback

__all__ = [
    "COMPILE_CONFIG",
    "EASYQUANT_SHIPPED",
    "Candidates",
    "CenterChannels",
    "CorrectBias",
    "EasyQuantCalibrate",
    "EqualizeChannels",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldPadding",
    "KLCalibrate",
    "LowerToInteger",
    "MSECalibrate",
    "MinMaxCalibrate",
    "NormalizeShapes",
    "PercentileCalibrate",
    "RecoverClip",
    "RecoverOperators",
    "RemoveIdentities",
    "RoundWeights",
    "ScheduleFallback",
    "analyze_layers",
    "canonical_passes",
    "compare_outputs",
]
