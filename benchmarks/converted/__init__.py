"""Networks in the form of peers that take another than ONNX: LiteRT, MNN, ncnn, and OpenVINO for transformers."""
