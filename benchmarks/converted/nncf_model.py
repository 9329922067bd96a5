"""OpenVINO's INT8 model of a transformer: what NNCF makes of a float network when it is told that it is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peers.qdq import IMAGES, input_shapes


def quantize(model: Path, output: Path) -> None:
    """Write OpenVINO's form (.xml and .bin) of a network, calibrated with noise: good for timing only."""
    import nncf
    import openvino

    random = np.random.default_rng(0)
    images = [
        {name: random.standard_normal(shape, dtype=np.float32) for name, shape in input_shapes(model).items()}
        for _ in range(IMAGES)
    ]
    quantized = nncf.quantize(
        openvino.convert_model(model),
        nncf.Dataset(images),
        subset_size=IMAGES,
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
    )
    openvino.save_model(quantized, output)
