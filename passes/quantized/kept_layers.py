"""Layers that are kept at a wider type than the scheme's, and those that no scheme quantizes."""

from collections.abc import Mapping
from difflib import get_close_matches

from ..graph.network import QUANTIZED_OPS, Network
from ..graph.rewrite import operator_name
from .quantizers import WIDE

WIDER = ("int8", WIDE, "float")


def check_kept(net: Network, kept: Mapping[str, str]) -> None:
    """Raise ValueError unless `kept` maps names of operators that would be quantized to one of `WIDER`."""
    names = [node.name for node in net.nodes if node.op in QUANTIZED_OPS]
    for name, kind in kept.items():
        if kind not in WIDER:
            raise ValueError(f"layer '{name}' can be kept at {', '.join(WIDER[:-1])} or {WIDER[-1]}, not at '{kind}'")
        if name not in names:
            near = get_close_matches(name, names, n=3) or names[:3]
            raise ValueError(f"no layer '{name}' to keep at {kind}; of {len(names)} there are {', '.join(near)}")


def float_layers(net: Network) -> list[tuple[str, str]]:
    """Name and operator of each convolution and matrix product that stays float, for want of an integer kernel."""
    found = []
    for node in net.nodes:
        operator = (operator_name(node.expr) or "").removeprefix("relax.").removeprefix("nn.")
        if node.op == "float" and not node.left_float and operator.startswith(("conv", "matmul")):
            found.append((node.name, operator))
    return found
