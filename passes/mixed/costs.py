"""What layers cost on a processor, by their type: the estimated cycles of the kernels that would be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm.ir.transform import Sequential

from eq_tvm.schedules.processor.machine import Machine

from ..calibrate.minmax_calibrate import MinMaxCalibrate
from ..lower.lower_to_integer import LowerToInteger
from ..lower.weight_size import Choose
from ..order.order_channels import OrderChannels
from ..refine.round_weights import even_rows

_IMAGES = 2  # the ranges that proofs need hardly depend on how many


@dataclass(frozen=True)
class Costs:
    """Estimated cycles of one core.

    Attributes
    ----------
    layers : dict of str to dict of str to float
        By the layer's name and its type.
    others : float
        Of what is between them, whatever types they have.
    """

    layers: dict[str, dict[str, float]]
    others: float

    def total(self, scheme: str) -> float:
        """Of a network all of whose layers have this type."""
        return self.others + sum(cycles[scheme] for cycles in self.layers.values())


def costs(
    mod: tvm.IRModule,
    images: Mapping[str, np.ndarray],
    schemes: Sequence[str],
    machine: Machine,
    *,
    activation_range: str = "unsigned",
    kept: Mapping[str, str] | None = None,
    choose: Choose | None = None,
    optimize: str = "speed",
    for_rows: bool = True,
) -> Costs:
    """What each layer costs at each of the types.

    Parameters
    ----------
    mod : tvm.IRModule
        Canonical.
    images : mapping of str to numpy.ndarray
        See `Calibration`; a few will do.
    schemes : sequence of str
        The types.
    machine, choose, optimize
        See `LowerToInteger`: `choose` may know times that were measured.
    activation_range, kept
        See `Calibration`.
    for_rows : bool
        Whether weights will be rounded as `round_weights` does it, for convolution along rows.
    """
    refine = even_rows if for_rows else None
    few = {name: array[:_IMAGES] for name, array in images.items()}
    layers: dict[str, dict[str, float]] = {}
    others = 0.0
    for scheme in schemes:
        calibration = MinMaxCalibrate(few, scheme=scheme, activation_range=activation_range, kept=kept, refine=refine)
        lowering = LowerToInteger(machine, choose, optimize)
        Sequential([calibration, OrderChannels(machine), lowering])(mod)
        for name, cycles in lowering.cycles.items():
            layers.setdefault(name, {})[scheme] = cycles
        others = max(others, lowering.other_cycles)
    return Costs({name: cycles for name, cycles in layers.items() if len(cycles) == len(schemes)}, others)
