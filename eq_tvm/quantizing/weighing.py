"""What types of layers lose: errors that are measured of networks with one type everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eq_tvm import passes, pipeline
from eq_tvm.methods import REFINED
from eq_tvm.passes.mixed.layer_types import NARROW, TYPES, WIDE
from eq_tvm.passes.mixed.mixed_network import MixedNetwork
from eq_tvm.passes.mixed.nuclear import nuclear_errors
from eq_tvm.passes.mixed.sensitivity import INPUTS, WEIGHTS, mean_square_error, output_errors
from eq_tvm.quantizing.images import HeldOut, images_to_analyze
from eq_tvm.quantizing.quantization import Quantization

if TYPE_CHECKING:
    import tvm

SENSITIVITIES = {"outputs": output_errors, "nuclear": nuclear_errors}
_IMAGES = 96  # to measure errors on: a few images make up most of it
_OF_LAYERS = 16  # of them, for errors of layers: each is followed through the whole network


@dataclass(frozen=True)
class Weighed:
    """What is known of networks with one type everywhere.

    Attributes
    ----------
    errors : mapping of str to float
        By type the error of the network's outputs, in parts of their mean square.
    layers : mapping of str to dict
        By type, of each layer what its weights' and its inputs' quantization alone does: see `output_errors`.
    """

    errors: Mapping[str, float]
    layers: Mapping[str, Mapping[str, Mapping[str, float]]]
    prepared: tvm.IRModule
    annotated: Mapping[str, tvm.IRModule]
    samples: Mapping[str, np.ndarray]
    how: Quantization

    def lost(self, layers: Iterable[str], scheme: str) -> float:
        """What some layers at a type lose more than at the widest one, in no unit."""
        weights, inputs = TYPES[scheme]
        return sum(
            max(0.0, self.layers[base].get(layer, {}).get(part, 0.0) - self.layers[WIDE].get(layer, {}).get(part, 0.0))
            for layer in layers
            for base, part in ((weights, WEIGHTS), (inputs, INPUTS))
        )

    def mixed(self) -> MixedNetwork:
        """What assignments can be tried on."""
        how = self.how
        return MixedNetwork(
            self.prepared,
            self.annotated,
            self.samples,
            activation_range=how.activation_range,
            kept=how.kept,
            corrected=how.method.endswith(REFINED),
        )


def weigh(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    how: Quantization,
    types: Sequence[str],
    sensitivity: str,
    progress: passes.Progress,
) -> Weighed:
    """Quantize a network once for each bit width, and measure what that does.

    Parameters
    ----------
    module, images, held_out, how
        See `by_cost`.
    types : sequence of str
        Those that layers may get.
    sensitivity : str
        A key of `SENSITIVITIES`.
    progress : callable (done 0..1, message)
    """
    bases = tuple(dict.fromkeys(base for scheme in types for base in TYPES[scheme]))
    step = 1 / (len(bases) + 1)
    preparing = passes.part_of(progress, 0.0, step)
    scheme, options = {"scheme": NARROW}, {"method": how.method, "activation_range": how.activation_range}
    prepared = pipeline.prepare(module, images, progress=preparing, **scheme, **options)
    samples = images_to_analyze(held_out, images, _IMAGES)
    few = {name: x[:: max(1, len(x) // _OF_LAYERS)] for name, x in samples.items()}
    errors, layers, annotated = {}, {}, {}
    for number, base in enumerate(bases, 1):
        start = number * step
        calibrating, weighing = (
            passes.part_of(progress, start, start + step / 2),
            passes.part_of(progress, start + step / 2, start + step),
        )
        annotated[base], _ = pipeline.quantize(
            prepared, images, kept=how.kept, progress=calibrating, scheme=base, **options
        )
        read = {"scheme": base, "activation_range": how.activation_range}
        pairs = passes.compare_outputs(prepared, annotated[base], [samples], imported=module, kept=how.kept, **read)
        errors[base] = float(np.mean([mean_square_error(*pair) for each in pairs for pair in each]))
        layers[base] = SENSITIVITIES[sensitivity](
            prepared, annotated[base], few, kept=how.kept, progress=weighing, **read
        )
    return Weighed(errors, layers, prepared, annotated, few, how)
