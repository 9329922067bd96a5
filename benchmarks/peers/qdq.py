"""The peers' INT8 models: what ONNX Runtime's quantizer makes of a float network."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx

IMAGES = 4


def quantize(model: Path, output: Path) -> None:
    """Write the QDQ form of a network: int8 weights per channel, uint8 activations, int32 biases.

    Calibrated with noise: good for timing only.

    Raises
    ------
    RuntimeError
        A bias became a computation. ONNX Runtime would not fuse its convolution, which is then several times slower.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Noise(CalibrationDataReader):
        def __init__(self, inputs: dict[str, tuple[int, ...]]):
            random = np.random.default_rng(0)
            self._images = iter(
                [
                    {name: random.standard_normal(shape, dtype=np.float32) for name, shape in inputs.items()}
                    for _ in range(IMAGES)
                ]
            )

        def get_next(self):
            return next(self._images, None)

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=output.parent) as directory:
        prepared, made = Path(directory) / "prepared.onnx", Path(directory) / "int8.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(made),
            Noise(input_shapes(model)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=False,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        _check_biases(onnx.load(made))
        os.replace(made, output)


def input_shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's inputs, with 1 for an axis that is dynamic."""
    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return {
        value.name: tuple(axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim)
        for value in graph.input
        if value.name not in weights
    }


def _check_biases(model: onnx.ModelProto) -> None:
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2:
            bias = producers.get(node.input[2])
            if bias is None or bias.op_type != "DequantizeLinear" or types.get(bias.input[0]) != onnx.TensorProto.INT32:
                raise RuntimeError(f"{node.op_type} {node.name}: the bias is no int32 initializer")
