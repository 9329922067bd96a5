"""From a quantized network to files that other tools read.

Here lives what turns an annotated module into standard ONNX. Nothing here changes what a network computes.
"""
