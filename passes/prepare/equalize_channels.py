"""Cross-layer equalization: channels of one activation get ranges that one scale serves better."""

import numpy as np
import tvm

from ..graph.network import PASS_THROUGH, Network, read_network
from ..graph.rebuild import Constants, replace_constants
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import array
from ..graph.step_notes import with_step
from ..quantized.layer_matrices import read_channels
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import part_of
from .channel_bounds import upper_bounds, with_scaled_bounds
from .channel_noise import by_input, layer_errors, noise
from .channel_scalings import scaling, with_scalings, without_idle_scalings
from .coupled_channels import CoupledChannels
from .measured_channels import MeasuredActivation, components_of, measure_channels, ranges_of
from .preparation import Preparation

# Exponents and margins that are tried: see EqualizeChannels. True: relative to channels that take no factors, if there
# are any; of use where products scale what layers don't make, such as a table's features, which have any ranges.
_TRIED = (
    (0.0, 0.0, False),
    *((exponent, margin, False) for exponent in (0.25, 0.5, 0.75) for margin in (0, 0.1, 0.25)),
)
_FAR = tuple((1.0, margin, False) for margin in (0.0, 0.1, 0.25))  # all channels to the end, whatever they were
_TRIED_OUTSIDE = (
    *_TRIED,
    *_FAR,
    *((exponent, margin, True) for exponent in (0.25, 0.5, 0.75, 1.0) for margin in (0.0, 0.1, 0.25)),
)
_LARGEST_FACTOR, _LARGEST_OUTSIDE = 2.0**10, 2.0**24
_WORTH = 0.25  # parts of the noise that may be left for inputs' channels to be scaled, or channels as far: a bit is won
_FAINT = 2.0**-13  # of the range: channels that no factor up to `_LARGEST_FACTOR` brings to some tens of steps
_DOMINANT = 8.0  # times the weights of all other channels: those of a channel that images don't show
_MEASURED = 0.8  # of the time, before factors are tried


@relax_pass
class EqualizeChannels(Preparation):
    """Scale channels between layers of a canonical module: what they compute stays the same, but for rounding.

    Each channel is multiplied by a factor where a layer makes it, and what the layers that read it multiply it by is
    divided by that (Nagel et al., Data-Free Quantization, arXiv 1906.04721, section 4.1); coupled channels
    (`CoupledChannels`), as in residual networks, have one factor. Layer normalization makes channels as a layer does
    (Li et al., RepQ-ViT, arXiv 2212.08254). As each output channel of weights has a scale of its
    own, it costs nothing where depthwise layers read the channel. Elsewhere it moves error from activations to weights.
    And the nearer channels come to the end of the range, the more of them saturate in images other than those seen: one
    half of the images (every second one) tells how far they go beyond the other.

    Factors are (R / min(R, r (1 + m)))^e for channels of the largest magnitude r, R being the activation's, with the
    exponent e and the margin m for which the sum of these three errors, estimated in closed form, is least. An e of 1
    has to gain much: channels that hardly ever are anything would reach as far as all others. And so would those that
    are 0 in all images: they are scaled only where their weights would leave nothing of all others. Where products
    scale channels that layers don't make, R may also be that of the channels that take no factors. Channels of inputs
    are left as they are, often pixels that integers hold exactly, unless that gains much.

    Parameters are those of `Preparation`.

    Attributes
    ----------
    record : list of dict
        After a run, for each set of activations that were equalized together: the first `layer` that makes one, the
        `exponent`, the `margin`, and the estimated `noise`, in parts of what it was.
    """

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace weights and biases."""
        problem = self.problem(mod)
        mod = with_scalings(mod, problem.net, problem.points)
        problem = self.problem(mod)
        net, coupled = problem.net, CoupledChannels(problem.net)
        activations, powers = measure_channels(problem, coupled, part_of(self.progress, 0.0, _MEASURED))
        # what is not finite is for the calibration that follows, which names the layer
        activations = [a for a in activations if np.isfinite(a.squares).all()]
        bounds = {i: high for i, high in upper_bounds(net).items() if i in coupled.classes}
        _freeze_inner_bounds(bounds, activations, coupled)
        factors, self.record = np.ones(len(coupled)), list[dict[str, str | float]]()
        components, progress = components_of(activations), part_of(self.progress, _MEASURED, 1.0)
        for k, together in enumerate(components):
            progress(k / len(components), f"equalizing {net.nodes[together[0].node].name}")
            outside = [a.node for a in together if scaling(net.nodes[a.node]) is not None]
            ways = _TRIED_OUTSIDE if outside else (*_TRIED, *_FAR)
            tried = [_factors(together, coupled, *how) for how in ways]
            noises = [
                noise(problem, together, powers, f) if _ends_within(bounds, together, f) else np.inf for f in tried
            ]
            if outside:
                allowed = _WORTH if any(_reads_input(net, i) for i in outside) else 1.0
                best = int(np.argmin(noises))
                best = best if noises[best] <= noises[0] * allowed else 0
            else:
                best, far = (int(np.argmin(some)) for some in (noises[: len(_TRIED)], noises[len(_TRIED) :]))
                far += len(_TRIED)
                if np.isfinite(noises[far]) and _is_worth(problem, together, powers, tried[best], tried[far], coupled):
                    best = far
            if best:
                factors *= tried[best]
                name, (exponent, margin, _) = net.nodes[min(a.node for a in together)].name, ways[best]
                left = float(noises[best] / noises[0])
                self.record.append({"layer": name, "exponent": exponent, "margin": margin, "noise": left})
            factors *= _unseen_factors(net, together, factors, coupled)
        mod = replace_constants(mod, net, _scaled(net, coupled, factors))
        mod = with_step(mod, "equalize", layer_errors(problem, activations, powers, factors))
        mod = with_scaled_bounds(mod, read_network(mod), {i: factors[coupled.classes[i]] for i in bounds})
        return without_idle_scalings(mod, read_network(mod))


def _freeze_inner_bounds(
    bounds: dict[int, np.ndarray], activations: list[MeasuredActivation], coupled: CoupledChannels
) -> None:
    """Let upper bounds be where an activation shares its scale with larger ones, or has none of its own.

    Elsewhere the end of the quantized range bounds all channels as much, whatever they are scaled by.
    """
    ranges = ranges_of(activations, np.ones(len(coupled)))
    group_of = {activation.node: activation.group for activation in activations}
    for i, high in bounds.items():
        if i not in group_of or high.min() < ranges[group_of[i]]:
            coupled.freeze(i)


def _ends_within(bounds: dict[int, np.ndarray], together: list[MeasuredActivation], factors: np.ndarray) -> bool:
    """Whether the ranges of scaled activations end before the scaled bounds of each channel, where these are scaled."""
    ranges = ranges_of(together, factors)
    return all(
        (f == 1).all() or (bounds[a.node] * f).min() >= ranges[a.group] * (1 - 1e-6)
        for a in together
        if a.node in bounds
        for f in [factors[a.classes]]
    )


def _reads_input(net: Network, node: int) -> bool:
    """Whether an input of the network gets there as it is."""
    return any(
        net.nodes[i].op == "input" or (net.nodes[i].op in PASS_THROUGH and _reads_input(net, i))
        for i in net.nodes[node].inputs
    )


def _factors(
    together: list[MeasuredActivation], coupled: CoupledChannels, exponent: float, margin: float, from_frozen: bool
) -> np.ndarray:
    """For all classes, 1 for those of other activations."""
    factors, ranges = np.ones((2, len(coupled)))
    whole = ranges_of(together, factors)
    classes = np.unique(np.concatenate([activation.classes for activation in together]))
    ranges[classes] = 0
    for activation in together:
        np.maximum.at(ranges, activation.classes, activation.largest / whole[activation.group])
    frozen = coupled.is_frozen[classes]
    end = ranges[classes[frozen]].max(initial=0) if from_frozen else 1.0
    classes = classes[(ranges[classes] > 0) & ~frozen]
    least = 1 / (_LARGEST_OUTSIDE if exponent == 1 or from_frozen else _LARGEST_FACTOR)
    factors[classes] = (np.clip(ranges[classes] * (1 + margin), least, 1) / (end or 1.0)) ** -exponent
    return factors


def _is_worth(
    problem: Problem,
    together: list[MeasuredActivation],
    powers: dict[int, np.ndarray],
    near: np.ndarray,
    far: np.ndarray,
    coupled: CoupledChannels,
) -> bool:
    """Whether factors that bring all channels to the end gain much over others.

    Where some are so faint that they would be lost, in each channel of what reads them: it may be scaled itself.
    """
    ranges = ranges_of(together, np.ones(len(coupled)))
    faint = any(
        ((a.largest > 0) & (a.largest < _FAINT * ranges[a.group]) & ~coupled.is_frozen[a.classes]).any()
        for a in together
    )
    after, before = (noise(problem, together, powers, factors, apart=faint) for factors in (far, near))
    return after < _WORTH * before


def _unseen_factors(
    net: Network, together: list[MeasuredActivation], factors: np.ndarray, coupled: CoupledChannels
) -> np.ndarray:
    """For all classes: of channels that are 0 in all images, with weights much larger than all others of an output.

    Those weights become as large as the others.
    """
    found, seen = np.ones((2, len(factors)))
    seen[:] = False
    for a in together:
        seen[a.classes[a.largest > 0]] = True
    for a in together:
        unseen = (seen[a.classes] == 0) & ~coupled.is_frozen[a.classes]
        for reader in net.users[a.node] if unseen.any() else ():
            node = net.nodes[reader]
            if node.op not in ("conv2d", "dense"):
                continue
            channels = read_channels(node, len(a.classes))
            weight = np.abs(by_input(node)).max(axis=2) / factors[a.classes][channels]
            others = np.where(unseen[channels], 0, weight).max(axis=1, keepdims=True)
            ratio = np.divide(weight, others, out=np.zeros_like(weight), where=(others > 0) & unseen[channels])
            of_channels = np.zeros(len(a.classes))
            np.maximum.at(of_channels, np.broadcast_to(channels, ratio.shape), ratio)
            dominant = of_channels > _DOMINANT
            np.maximum.at(found, a.classes[dominant], np.minimum(of_channels[dominant], _LARGEST_OUTSIDE))
    return found


def _scaled(net: Network, coupled: CoupledChannels, factors: np.ndarray) -> dict[int, Constants]:
    """The network's constants with factors taken up."""
    constants: dict[int, Constants] = {}
    for i, node in enumerate(net.nodes):
        constant = node.constant if node.op == "bias_add" else scaling(node)
        if constant is not None and i in coupled.classes:
            constants[i] = constant * factors[coupled.classes[i]].reshape(constant.shape)
        elif node.op == "layer_norm" and i in coupled.classes:
            given = [found for arg in node.expr.args[1:] if (found := array(arg)) is not None]
            constants[i] = tuple(each * factors[coupled.classes[i]] for each in given)
        elif node.op in ("conv2d", "dense"):
            made, read = (factors[coupled.classes[j]] if j in coupled.classes else None for j in (i, node.inputs[0]))
            out = (-1, 1, 1, 1) if node.op == "conv2d" else (1, -1)
            weight = node.constant.astype(np.float64)
            if made is not None:
                weight = weight * made.reshape(out)
            if read is not None:
                read = read[read_channels(node, len(read))]
                weight = weight / (read.T if node.op == "dense" else read[..., None, None])
            constants[i] = weight
    return constants
