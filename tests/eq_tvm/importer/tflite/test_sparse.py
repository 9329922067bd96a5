"""Constants of which a file stores some elements."""

import flatbuffers
import numpy as np
import tflite

from eq_tvm.importer.tflite.sparse import densified

VECTORS = {"Int32Vector": 1, "Uint16Vector": 2, "Uint8Vector": 3}


def sparsity(order, blocks, levels):
    """Levels are a size, of a dense one, or (segments, indices, kind of vector)."""
    b = flatbuffers.Builder()
    made = [_level(b, level) for level in levels]
    b.StartVector(4, len(made), 4)
    for each in reversed(made):
        b.PrependUOffsetTRelative(each)
    levels_at = b.EndVector()
    order_at, blocks_at = (b.CreateNumpyVector(np.int32(each)) for each in (order, blocks))
    tflite.SparsityParametersStart(b)
    tflite.SparsityParametersAddTraversalOrder(b, order_at)
    tflite.SparsityParametersAddBlockMap(b, blocks_at)
    tflite.SparsityParametersAddDimMetadata(b, levels_at)
    b.Finish(tflite.SparsityParametersEnd(b))
    return tflite.SparsityParameters.GetRootAs(bytes(b.Output()), 0)


def _level(b, level):
    if isinstance(level, int):
        tflite.DimensionMetadataStart(b)
        tflite.DimensionMetadataAddFormat(b, 0)
        tflite.DimensionMetadataAddDenseSize(b, level)
        return tflite.DimensionMetadataEnd(b)
    segments, indices, kind = level
    tables = []
    for values in (segments, indices):
        dtype = {"Int32Vector": np.int32, "Uint16Vector": np.uint16, "Uint8Vector": np.uint8}[kind]
        at = b.CreateNumpyVector(np.array(values, dtype))
        getattr(tflite, f"{kind}Start")(b)
        getattr(tflite, f"{kind}AddValues")(b, at)
        tables.append(getattr(tflite, f"{kind}End")(b))
    tflite.DimensionMetadataStart(b)
    tflite.DimensionMetadataAddFormat(b, 1)
    tflite.DimensionMetadataAddArraySegmentsType(b, VECTORS[kind])
    tflite.DimensionMetadataAddArraySegments(b, tables[0])
    tflite.DimensionMetadataAddArrayIndicesType(b, VECTORS[kind])
    tflite.DimensionMetadataAddArrayIndices(b, tables[1])
    return tflite.DimensionMetadataEnd(b)


def test_compressed_rows():
    for kind in VECTORS:
        how = sparsity([0, 1], [], [3, ([0, 2, 2, 3], [0, 3, 1], kind)])
        found = densified(np.float32([5, 6, 7]), how, (3, 4))
        np.testing.assert_array_equal(found, [[5, 0, 0, 6], [0, 0, 0, 0], [0, 7, 0, 0]])


def test_columns_first():
    how = sparsity([1, 0], [], [2, ([0, 1, 3], [2, 0, 1], "Uint8Vector")])
    np.testing.assert_array_equal(densified(np.int8([1, 2, 3]), how, (3, 2)), [[0, 2], [0, 3], [1, 0]])


def test_blocks():
    """Of 2 x 2, in a matrix of 4 x 4."""
    how = sparsity([0, 1, 2, 3], [0, 1], [2, ([0, 1, 2], [1, 0], "Uint8Vector"), 2, 2])
    found = densified(np.arange(1, 9, dtype=np.float32), how, (4, 4))
    np.testing.assert_array_equal(found, [[0, 0, 1, 2], [0, 0, 3, 4], [5, 6, 0, 0], [7, 8, 0, 0]])
