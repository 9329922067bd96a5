"""Our own conversions of ONNX operators to Relax, where TVM's importer has none, or a wrong one.

One file per family of operators; `CONVERTERS` is the table of them all, which the importer asks before TVM's.
"""

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.importer.converters.division import DIVISION
from eq_tvm.importer.converters.einsum import einsum
from eq_tvm.importer.converters.elementwise import ELEMENTWISE
from eq_tvm.importer.converters.float8 import cast
from eq_tvm.importer.converters.fourier import FOURIER
from eq_tvm.importer.converters.images.blocks import space_to_depth
from eq_tvm.importer.converters.images.columns import col2im, deformable_convolution
from eq_tvm.importer.converters.images.padding import pad
from eq_tvm.importer.converters.images.pooling import lp_pool, max_pool, max_unpool
from eq_tvm.importer.converters.images.regions import roi_align
from eq_tvm.importer.converters.images.resizing import resize
from eq_tvm.importer.converters.images.sampling import affine_grid, grid_sample
from eq_tvm.importer.converters.indexing import INDEXING
from eq_tvm.importer.converters.placing import PLACING
from eq_tvm.importer.converters.quantization import QUANTIZATION
from eq_tvm.importer.converters.recurrent import recurrent
from eq_tvm.importer.converters.reductions import REDUCTIONS
from eq_tvm.importer.converters.selection import SELECTION
from eq_tvm.importer.converters.shifts import SHIFTS

CONVERTERS: dict[str, Converter] = {
    "AffineGrid": affine_grid,
    "Cast": cast,
    "Col2Im": col2im,
    "DeformConv": deformable_convolution,
    "Einsum": einsum,
    "GridSample": grid_sample,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "Pad": pad,
    "Resize": resize,
    "RoiAlign": roi_align,
    "SpaceToDepth": space_to_depth,
    **DIVISION,
    **ELEMENTWISE,
    **FOURIER,
    **INDEXING,
    **PLACING,
    **QUANTIZATION,
    **REDUCTIONS,
    **SELECTION,
    **SHIFTS,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), recurrent),
}

__all__ = ["CONVERTERS", "Converter", "OnnxCall"]
