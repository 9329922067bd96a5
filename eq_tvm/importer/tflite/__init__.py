"""From a TFLite (LiteRT) file to an ONNX model that computes the same.

Here lives what reads such files; the flatbuffer is parsed by the package ``tflite``, and each operator becomes ONNX by
an entry of `operators`. All that follows (static shapes, verification, scales of quantized networks) is that of ONNX.
"""

from eq_tvm.importer.tflite.read_tflite import read_tflite

__all__ = ["read_tflite"]
