"""SpaceToDepth in the mode that TVM's importer does not know."""

from __future__ import annotations

from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall


def space_to_depth(call: OnnxCall) -> relax.Expr | None:
    """SpaceToDepth in mode CRD: a channel's blocks stay together."""
    if call.attributes.get("mode", "DCR") != "CRD":
        return None
    block = call.attributes["blocksize"]
    batch, channels, height, width = call.shape(0)
    blocks = (batch, channels, height // block, block, width // block, block)
    moved = relax.op.permute_dims(call.builder.emit(relax.op.reshape(call.operand(0), blocks)), (0, 1, 3, 5, 2, 4))
    return relax.op.reshape(moved, (batch, channels * block * block, height // block, width // block))
