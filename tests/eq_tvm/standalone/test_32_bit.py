"""What 32-bit ARM has no instructions for: LLVM calls functions of the compiler's library, by its ABI."""

import c_programs
import numpy as np
import pytest
from onnx_models import canonical, run_float, write_model

from eq_tvm.targets import get_target

VALUES = np.float32([[0.75, 1.5, -2.5, 3, 3e9, -7, 1e17, 100.25]])


@pytest.mark.parametrize(("target", "cpu"), [("rpi2-32", "cortex-a7"), ("rpi4-32", "max")])
@pytest.mark.parametrize("kind", [6, 7, 11, 13])  # int32, int64, float64, uint64
def test_conversions(armv7, tmp_path, target, cpu, kind):
    """There and back: the fraction is gone where the type has none."""
    values = {6: np.clip(VALUES, -1e9, 1e9), 13: np.abs(VALUES)}.get(kind, VALUES)
    path = write_model(tmp_path / "m.onnx", [("Cast", "x", "a", {"to": kind}), ("Cast", "a", "y", {"to": 1})], *XY)
    check(path, target, cpu, values, tmp_path)


@pytest.mark.parametrize("coordinates", ["align_corners", "half_pixel", "asymmetric"])
def test_positions_of_pixels(armv7, tmp_path, coordinates):
    """TVM's are int64, and are multiplied by a float32."""
    attributes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    sizes = np.array([1, 1, 13, 5])
    path = write_model(
        tmp_path / "m.onnx", [("Resize", "x - - n", "y", attributes)], {"x": (1, 1, 17, 3)}, ["y"], {"n": sizes}
    )
    check(path, "rpi4-32", "max", np.arange(51, dtype=np.float32).reshape(1, 1, 17, 3), tmp_path)


XY = {"x": (1, 8)}, ["y"]


def check(path, target, cpu, values, folder):
    module = canonical(path)
    written = c_programs.write(module, target, folder / "library")
    (result,), _ = c_programs.run(written, get_target(target), [values], cpu=cpu)
    np.testing.assert_allclose(result, run_float(module, values)[0], rtol=1e-6)
