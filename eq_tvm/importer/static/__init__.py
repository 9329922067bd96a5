"""From an ONNX model to one whose shapes are all static, by the shapes of its inputs.

`specialize` visits the nodes in order with a `Specializer`, which knows the types and the constants so far; a table per
file says what becomes of operators that are not left to be computed.
"""

from eq_tvm.importer.static.counted import rows_of
from eq_tvm.importer.static.specialize import specialize
from eq_tvm.importer.static.specializer import OURS
from eq_tvm.importer.static.standard import is_static

__all__ = ["OURS", "is_static", "rows_of", "specialize"]
