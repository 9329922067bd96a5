"""Sparse constants, which nobody reads further on, as dense ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, SparseTensorProto, TensorProto, helper, numpy_helper

from eq_tvm.errors import UserError
from eq_tvm.importer.protobuf import replace_attributes

_MOST = 1 << 29  # elements, as of any tensor


def densify(path: str | Path, model: onnx.ModelProto) -> None:
    """Let a model's sparse initializers and constants be dense, in subgraphs, too; `onnx.checker` has seen them."""
    pending: list[GraphProto] = [model.graph]
    while pending:
        graph = pending.pop()
        graph.initializer.extend(_dense(path, sparse, sparse.values.name) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
        for node in graph.node:
            for attribute in node.attribute:
                pending += [*attribute.graphs, *([attribute.g] if attribute.type == AttributeProto.GRAPH else [])]
                if attribute.type == AttributeProto.SPARSE_TENSOR and node.op_type == "Constant":
                    dense = _dense(path, attribute.sparse_tensor, node.output[0])
                    replace_attributes(node, ["sparse_value"], value=dense)
                    break


def _dense(path: str | Path, sparse: SparseTensorProto, name: str) -> TensorProto:
    """Indices are flat, or one row for each value."""
    if math.prod(sparse.dims) > _MOST:
        raise UserError(
            f"{path}: the sparse constant {name!r} has {math.prod(sparse.dims):,} values; at most {_MOST:,}"
        )
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), helper.tensor_dtype_to_np_dtype(sparse.values.data_type))
    dense[np.unravel_index(indices, dense.shape) if indices.ndim == 1 else tuple(indices.T)] = values
    return numpy_helper.from_array(dense, name)
