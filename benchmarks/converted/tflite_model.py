"""A network as LiteRT reads it, by onnx2tf, which needs other versions of packages than eq_tvm: its own environment."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from peers.qdq import input_shapes

IMAGES = 4
# onnx2tf fetches these images unless they lie where it runs; what is in them does not matter to speed.
_OWN_IMAGES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def convert(model: Path, path: Path, scheme: str, command: Path) -> None:
    """Write an ONNX network with one image as its input as a TFLite file.

    Parameters
    ----------
    model, path : Path
    scheme : str
        float32; or int8: all of it, weights per channel, calibrated with noise, with float32 inputs and outputs.
    command : Path
        onnx2tf.

    Raises
    ------
    RuntimeError
        There is no onnx2tf, or it failed.
    """
    if not command.is_file():
        folder = command.parents[1]
        raise RuntimeError(f"no {command}: python3 -m venv {folder} && {folder}/bin/pip install onnx2tf")
    ((name, (_, channels, height, width)),) = input_shapes(model).items()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        np.save(Path(folder, _OWN_IMAGES), random.random((20, 128, 128, 3), dtype=np.float32))
        np.save(Path(folder, "noise.npy"), random.standard_normal((IMAGES, height, width, channels), dtype=np.float32))
        statistics = [str(np.full((1, 1, 1, channels), value).tolist()) for value in (0, 1)]
        options = ["-i", str(model.resolve()), "-o", "made", "-b", "1", "-n"]
        if scheme == "int8":
            options += ["-oiqt", "-qt", "per-channel", "-cind", name, "noise.npy", *statistics]
            options += ["-iqd", "float32", "-oqd", "float32"]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [str(command.absolute()), *options], cwd=folder, env=environment, capture_output=True, text=True
        )
        suffix = "full_integer_quant" if scheme == "int8" else "float32"
        made = Path(folder, "made", f"{model.stem}_{suffix}.tflite")
        if not made.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines() or [f"ended with code {done.returncode}"]
            raise RuntimeError(f"onnx2tf: {lines[-1]}")
        made.replace(path)
