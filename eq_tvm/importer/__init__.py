"""From an ONNX file to a Relax module.

Here lives what reads an ONNX file, checks it, and turns it into a module whose variables are named as the file names
its nodes. Nothing here changes what the network computes; making its form canonical is the passes' part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eq_tvm.importer.relax_importer import import_onnx

__all__ = ["import_onnx"]


def __getattr__(name: str) -> Any:
    """Import TVM's compiler only where it is asked for: `formats` does without."""
    if name == "import_onnx":
        return import_module("eq_tvm.importer.relax_importer").import_onnx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
