"""Layers that must have one type, as they read the same quantized tensors."""

import tvm

from ..graph.network import QUANTIZED_OPS, read_network
from ..quantized.quantization_points import quantization_points


def units(mod: tvm.IRModule, activation_range: str = "unsigned") -> list[tuple[str, ...]]:
    """Names of the layers of each unit, in the order of execution.

    A tensor that several layers read is stored once, as the widest of their types needs it. So these have one type, and
    with them those that share one of their other operands, a sum's for instance.

    Parameters
    ----------
    mod : tvm.IRModule
        Canonical.
    activation_range : str
        See `Calibration`.
    """
    net = read_network(mod)
    groups = quantization_points(net, "int7", activation_range).scale_groups
    unit_of: dict[int, set[int]] = {}
    for group in groups:
        readers = [i for i in group.consumers if net.nodes[i].op in QUANTIZED_OPS]
        joined = set(readers).union(*(unit_of[i] for i in readers if i in unit_of))
        unit_of.update(dict.fromkeys(joined, joined))
    found = {min(unit): unit for unit in unit_of.values()}
    return [tuple(net.nodes[i].name for i in sorted(found[first])) for first in sorted(found)]
