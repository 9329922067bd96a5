"""Nodes in an order in which each finds what it reads: ONNX asks for one, and runtimes don't mind."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import onnx
from onnx import NodeProto


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort the nodes of a graph if some come too early; those of a cycle stay, for onnx's checker to name them."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needed = {place: {makers[name] for name in _reads(node) if name in makers} for place, node in enumerate(graph.node)}
    if all(other < place for place, others in needed.items() for other in others):
        return
    try:
        nodes = [graph.node[place] for place in TopologicalSorter(needed).static_order()]
    except CycleError:
        return
    ordered = onnx.GraphProto(node=nodes)  # copies, before the originals go
    del graph.node[:]
    graph.node.extend(ordered.node)


def _reads(node: NodeProto) -> Iterator[str]:
    """What a node reads, and what its subgraphs read from outside."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
