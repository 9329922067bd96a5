"""INT7/INT8 post-training quantization and compilation of convolutional networks, on Apache TVM."""
