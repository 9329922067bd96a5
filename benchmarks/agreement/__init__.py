"""How far ONNX Runtime and eq_tvm agree on one quantized network."""
