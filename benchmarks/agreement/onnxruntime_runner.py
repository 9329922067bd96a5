"""ONNX files as ONNX Runtime runs them, with and without its rewriting of the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class OnnxRuntime:
    """A network with one input, on one thread.

    Parameters
    ----------
    path : Path
    optimize : bool
        Whether it may rewrite the graph. If not, what stands between quantize/dequantize pairs is computed in float32.
    """

    def __init__(self, path: Path, *, optimize: bool = True) -> None:
        import onnxruntime

        options, level = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input; a dynamic batch is 1."""
        return tuple(size if isinstance(size, int) else 1 for size in self._input.shape)

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by their names."""
        return dict(zip(self._outputs, self._session.run(None, {self._input.name: image}), strict=True))
