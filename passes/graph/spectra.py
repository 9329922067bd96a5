"""Layers that make spectra whose logarithm, or magnitudes, a network goes on with."""

from tvm import relax

from .network import Network, Node
from .rewrite import operator_name

_LAYERS = {"conv2d", "dense"}
_MOVES = {"bias_add", "reshape", "permute_dims", "strided_slice", "pad", "concat"}
_MOVES_BY_NAME = {"relax.call_tir", "relax.negative", "relax.nn.pad", "relax.split", "relax.take"}
_SCALES = {"relax.add", "relax.subtract", "relax.multiply", "relax.divide"}  # by a constant: linear
_MAGNITUDES = {
    *_SCALES,
    *("relax.abs", "relax.sqrt", "relax.power", "relax.sum", "relax.mean"),
    *("relax.clip", "relax.maximum", "relax.minimum", "relax.matmul"),
}


_HEARD_BY = {"relax.log", "relax.sqrt"}


def layers_of_spectra(net: Network) -> list[str]:
    """Names of layers that transform an input linearly, where magnitudes of the result stand under a logarithm or root.

    As in networks that hear: windows of sound times sines, squares, sums, mel bands, and decibels of it all. In a
    logarithm what is small counts as much as what is large, and the noise of quantization, which is the same everywhere
    in a tensor, drowns what is small. Squares under a root lose it as well: they have twice the range.
    """
    linear: set[int] = set()
    spectral: set[int] = set()  # those included
    for i, node in enumerate(net.nodes):
        if all(j in linear for j in node.inputs) and _is_linear(node):
            linear.add(i)
        if i in linear or (node.inputs and all(j in spectral for j in node.inputs) and _is_magnitude(node)):
            spectral.add(i)
    heard: set[int] = set()  # what a logarithm or root reads, and what that is made of
    for i in sorted(spectral, reverse=True):
        if any(user in heard or operator_name(net.nodes[user].expr) in _HEARD_BY for user in net.users[i]):
            heard.add(i)
    return [net.nodes[i].name for i in sorted(heard) if net.nodes[i].op in _LAYERS]


def _is_linear(node: Node) -> bool:
    name = operator_name(node.expr)
    if name in _SCALES and node.op != "bias_add":
        divides_by_it = name == "relax.divide" and isinstance(node.expr.args[1], relax.Var)
        return len(node.inputs) == 1 and not divides_by_it
    return name is None or node.op in _LAYERS | _MOVES or name in _MOVES_BY_NAME


def _is_magnitude(node: Node) -> bool:
    return node.op in _MOVES | {"dense"} or operator_name(node.expr) in _MAGNITUDES | _MOVES_BY_NAME
