"""The embedded example: a small trained network and its images, made by `train.py` in this folder.

- `MODEL`: float32 ONNX, opset 17, input `input` (batch, 3, 28, 28), output `logits` (batch, 10).
- `CALIBRATION`, `EVAL`: `.npz` with `images` uint8 (N, 28, 28, 3) and `labels` int64 (N,).
- `PREPROCESS`: how pixels become the network's input.
"""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent

MODEL = _FOLDER / "digits.onnx"
CALIBRATION = _FOLDER / "digits_calibration.npz"
EVAL = _FOLDER / "digits_eval.npz"
PREPROCESS = _FOLDER / "preprocess.yaml"
