"""What each operator of TFLite is in ONNX: one table, from families in a file each.

A converter reads operands, gives results and refuses what it can't do by its `Call`; axes are those of the file, where
channels are last, but for what it asks to have first.
"""

from eq_tvm.importer.tflite.call import Converter
from eq_tvm.importer.tflite.operators.convolution import CONVOLUTION
from eq_tvm.importer.tflite.operators.elementwise import ELEMENTWISE
from eq_tvm.importer.tflite.operators.images import IMAGES
from eq_tvm.importer.tflite.operators.moves import MOVES
from eq_tvm.importer.tflite.operators.pooling import POOLING
from eq_tvm.importer.tflite.operators.recurrent import RECURRENT
from eq_tvm.importer.tflite.operators.reductions import REDUCTIONS

OPERATORS: dict[str, Converter] = CONVOLUTION | ELEMENTWISE | IMAGES | MOVES | POOLING | RECURRENT | REDUCTIONS
"""By the format's name of the operator."""
