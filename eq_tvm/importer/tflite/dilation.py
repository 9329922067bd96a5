"""Convolutions between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND are dilated ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from eq_tvm.importer.tflite.flatbuffer import Network, Operator

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_VALID = 1  # of Padding


def fold_dilation(network: Network) -> Network:
    """One dilated convolution for each such three operators, where nothing else reads what is between them."""
    readers = Counter(index for operator in network.operators for index in operator.inputs)
    readers.update(network.outputs)
    makers = {index: operator for operator in network.operators for index in operator.outputs}
    gone: set[int] = set()
    folded: dict[int, Operator] = {}
    for last in network.operators:
        if last.kind != "BATCH_TO_SPACE_ND":
            continue
        middle = makers.get(last.inputs[0])
        before = makers.get(middle.inputs[0]) if middle is not None and middle.kind in _CONVOLUTIONS else None
        if middle is None or before is None or before.kind != "SPACE_TO_BATCH_ND":
            continue
        if readers[middle.outputs[0]] > 1 or readers[before.outputs[0]] > 1:
            continue
        dilated = _dilated(network, before, middle, last)
        if dilated is not None:
            gone |= {id(before), id(middle)}
            folded[id(last)] = dilated
    kept = [folded.get(id(operator), operator) for operator in network.operators if id(operator) not in gone]
    return replace(network, operators=kept)


def _dilated(network: Network, before: Operator, convolution: Operator, after: Operator) -> Operator | None:
    blocks, pads, blocks_after, crops = (
        network.tensors[operator.inputs[position]].data for operator in (before, after) for position in (1, 2)
    )
    if blocks is None or pads is None or blocks_after is None or crops is None:
        return None
    steps = {convolution.option(name, 1) for name in ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor")}
    around = pads.astype(np.int64) - crops
    fits = blocks.size == 2 and np.array_equal(blocks, blocks_after) and (around >= 0).all()
    if not fits or steps != {1} or convolution.option("Padding") != _VALID:
        return None
    return replace(
        convolution,
        inputs=(before.inputs[0], *convolution.inputs[1:]),
        outputs=after.outputs,
        pads=(*map(int, around[:, 0]), *map(int, around[:, 1])),
        dilations=tuple(map(int, blocks)),
    )
