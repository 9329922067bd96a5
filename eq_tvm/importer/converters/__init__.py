"""Our own conversions of ONNX operators to Relax, where TVM's importer has none, or a wrong one.

One file per family of operators; `CONVERTERS` is the table of them all, which the importer asks before TVM's.
"""

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.importer.converters.elementwise import ELEMENTWISE
from eq_tvm.importer.converters.float8 import cast
from eq_tvm.importer.converters.fourier import FOURIER
from eq_tvm.importer.converters.indexing import gather
from eq_tvm.importer.converters.placing import PLACING
from eq_tvm.importer.converters.quantization import QUANTIZATION
from eq_tvm.importer.converters.recurrent import recurrent
from eq_tvm.importer.converters.reductions import REDUCTIONS
from eq_tvm.importer.converters.resizing import resize

CONVERTERS: dict[str, Converter] = {
    "Cast": cast,
    "Gather": gather,
    "Resize": resize,
    **ELEMENTWISE,
    **FOURIER,
    **PLACING,
    **QUANTIZATION,
    **REDUCTIONS,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), recurrent),
}

__all__ = ["CONVERTERS", "Converter", "OnnxCall"]
