"""Relax passes: canonicalization, calibration, lowering to the integer program."""

from eq_tvm.schedules.lowered import COMPILE_CONFIG

from .canonical import canonical_passes
from .easyquant_calibrate import EasyQuantCalibrate
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fold_padding import FoldPadding
from .lower_to_integer import LowerToInteger
from .minmax_calibrate import MinMaxCalibrate
from .normalize_shapes import NormalizeShapes
from .recover_clip import RecoverClip
from .recover_operators import RecoverOperators
from .remove_identities import RemoveIdentities
from .schedule_fallback import ScheduleFallback

__all__ = [
    "COMPILE_CONFIG",
    "EasyQuantCalibrate",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldPadding",
    "LowerToInteger",
    "MinMaxCalibrate",
    "NormalizeShapes",
    "RecoverClip",
    "RecoverOperators",
    "RemoveIdentities",
    "ScheduleFallback",
    "canonical_passes",
]
