"""Layers of another type than the scheme's, and those that no scheme quantizes."""

from collections.abc import Mapping
from difflib import get_close_matches

from ..graph.network import QUANTIZED_OPS, Network
from ..graph.rewrite import operator_name
from .quantizers import WEIGHT_LIMITS

KINDS = (*WEIGHT_LIMITS, "float")


def check_kept(net: Network, kept: Mapping[str, str]) -> None:
    """Raise ValueError unless `kept` maps names of operators that would be quantized to one of `KINDS`."""
    names = [node.name for node in net.nodes if node.op in QUANTIZED_OPS]
    for name, kind in kept.items():
        if kind not in KINDS:
            raise ValueError(f"layer '{name}' can be kept at {', '.join(KINDS[:-1])} or {KINDS[-1]}, not at '{kind}'")
        if name not in names:
            near = get_close_matches(name, names, n=3) or names[:3]
            raise ValueError(f"no layer '{name}' to keep at {kind}; of {len(names)} there are {', '.join(near)}")


def end_layers(net: Network) -> list[str]:
    """Names of the layers that no other one is in front of, and of those that none is behind."""
    behind: list[bool] = []  # of each node, whether a layer is in front of it, or itself one
    for node in net.nodes:
        behind.append(node.op in _LAYERS or any(behind[i] for i in node.inputs))
    in_front = [False] * len(net.nodes)  # whether a layer reads it, perhaps through others
    for i in reversed(range(len(net.nodes))):
        in_front[i] = any(net.nodes[user].op in _LAYERS or in_front[user] for user in net.users[i])
    first = [i for i in net.layers() if not any(behind[j] for j in net.nodes[i].inputs)]
    last = [i for i in net.layers() if not in_front[i]]
    return [net.nodes[i].name for i in dict.fromkeys(first + last)]


_LAYERS = {"conv2d", "dense"}


def float_layers(net: Network) -> list[tuple[str, str]]:
    """Name and operator of each convolution and matrix product that stays float, for want of an integer kernel."""
    found = []
    for node in net.nodes:
        operator = (operator_name(node.expr) or "").removeprefix("relax.").removeprefix("nn.")
        if node.op == "float" and not node.left_float and operator.startswith(("conv", "matmul")):
            found.append((node.name, operator))
    return found
