"""From an ONNX file to a Relax module.

Here lives what reads an ONNX file, checks it, and turns it into a module whose variables are named as the file names
its nodes. Nothing here changes what the network computes; making its form canonical is the passes' part.
"""

from eq_tvm.importer.relax_importer import import_onnx

__all__ = ["import_onnx"]
