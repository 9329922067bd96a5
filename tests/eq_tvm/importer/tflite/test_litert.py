"""Files that TensorFlow's converter wrote, beside what LiteRT computes: see data/README.md."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from tflite_files import run

import eq_tvm
from eq_tvm.importer.own_scales import has_scales
from eq_tvm.importer.tflite import read_tflite

DATA = Path(__file__).parent / "data"
FILES = sorted(DATA.glob("*.tflite"))
LITERT = np.load(DATA / "litert.npz")
QUANTIZED = ["dw_u8", "lenet_u8", "residual_int8", "se_int8", "tconv_int8"]


def test_there_are_results_of_all():
    assert {path.stem for path in FILES} == {name.split(":")[0] for name in LITERT.files}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_onnxruntime_computes_the_same(path):
    (found,) = run(path, LITERT[f"{path.stem}:in"])
    expected = LITERT[f"{path.stem}:out"]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", QUANTIZED)
def test_bundles_compute_the_same(tmp_path, name):
    """With the file's scales: no images, no options."""
    path = tmp_path / "net.onnx"
    onnx.save(read_tflite(DATA / f"{name}.tflite"), path)
    assert has_scales(path)
    model = eq_tvm.load(eq_tvm.compile(path, target="native", output=tmp_path / "net.eqtvm"))
    (found,) = model.run(LITERT[f"{name}:in"]).values()
    assert found.dtype == LITERT[f"{name}:out"].dtype
    np.testing.assert_array_equal(found, LITERT[f"{name}:out"])
