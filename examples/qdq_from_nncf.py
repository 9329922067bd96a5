"""A network that NNCF has quantized keeps its scales and integers: no images, no scheme, and NNCF's accuracy.

    pip install nncf
    python qdq_from_nncf.py
    python qdq_from_nncf.py --model net.onnx --calibration inputs.npy
    python qdq_from_nncf.py --with onnxruntime

`inputs.npy` holds what the network takes, float32 (N, C, H, W). It writes qdq.onnx and qdq-native.eqtvm.
"""

import argparse
import sys

import numpy as np
import onnx

import eq_tvm
from eq_tvm import example
from eq_tvm.preprocess import Preprocess


def main() -> None:
    """Quantize by another tool, compile, compare with ONNX Runtime."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(example.MODEL), help="ONNX file with one input (default: digits)")
    parser.add_argument("--calibration", help=".npy of its inputs (default: the images of digits)")
    parser.add_argument("--with", dest="tool", default="nncf", choices=TOOLS, help="(default: %(default)s)")
    given = parser.parse_args()
    images = np.load(given.calibration) if given.calibration else _digits()
    model = onnx.load(given.model)
    name = model.graph.input[0].name
    samples = [{name: image[None]} for image in images]

    TOOLS[given.tool](model, samples)
    bundle = eq_tvm.compile("qdq.onnx", output="qdq-native.eqtvm", input_shapes={name: samples[0][name].shape})
    print(f"{len(bundle.kernels)} layers on integers; scales: {bundle.scheme}")

    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    network = eq_tvm.load(bundle)
    options = onnxruntime.SessionOptions()
    # Nothing fused: its sums of 8-bit products saturate on processors that have AVX2 and no VNNI.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession("qdq.onnx", options, providers=["CPUExecutionProvider"])
    ours = np.concatenate([next(iter(network.run(sample).values())) for sample in samples])
    theirs = np.concatenate([session.run(None, sample)[0] for sample in samples])
    cosine = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
    same = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    print(
        f"{len(samples)} images: cosine {cosine:.6f} with ONNX Runtime's scores of qdq.onnx, {same:.1%} same decisions"
    )


def _nncf(model: onnx.ModelProto, samples: list) -> None:
    import nncf

    onnx.save(nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples)), "qdq.onnx")


def _onnx_runtime(model: onnx.ModelProto, samples: list) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        left = iter(samples)

        def get_next(self) -> dict | None:
            return next(self.left, None)

    quantize_static(model, "qdq.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


TOOLS = {"nncf": _nncf, "onnxruntime": _onnx_runtime}


def _digits() -> np.ndarray:
    steps = Preprocess.read(example.PREPROCESS)
    with np.load(example.CALIBRATION) as data:
        return np.stack([steps(image) for image in data["images"][:50]])


if __name__ == "__main__":
    try:
        main()
    except eq_tvm.UserError as error:
        sys.exit(f"error: {error}")
