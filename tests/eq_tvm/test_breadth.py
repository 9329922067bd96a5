"""Small networks that failed once, each for a kind, with the outputs that ONNX Runtime gives."""

import numpy as np
import pytest
from covering import usual

import eq_tvm

ERROR = {"float32": 1e-5, "int8": 0.04, "int7": 0.08}  # relative, of all outputs together


NAMES = [
    "arm_conv7x1",
    "convtranspose_output_shape",
    "gather_ch",
    "gemm_M144",
    "grouped_12_8_g2",
    "groupnorm21",
    "hardmax11",
    "pad_dyn_from_shape",
    "pad_value",
    "resize10_linear",
    "resize_antialias",
    "resize_axes18",
    "resize_linear_scale_0p3",
    "slice_dyn_from_shape",
    "weight_dq_int8",
]


@pytest.mark.parametrize(
    "name, scheme",
    [
        pytest.param(name, scheme, marks=usual(scheme in ("float32", ("int7", "int8")[number % 2])))
        for number, name in enumerate(NAMES)
        for scheme in ERROR
    ],
)
def test_breadth(name, scheme, shared_cases, tmp_path, aarch64):
    """Close to float, and on a board the same bits."""
    folder = shared_cases / "breadth"
    expected = np.load(folder / f"{name}.expected.npz")
    inputs = {key.removeprefix("in_"): expected[key] for key in expected if key.startswith("in_")}
    calibration = folder / f"{name}.calib.npz"
    if not calibration.exists():
        calibration = tmp_path / "calibration.npz"
        np.savez(calibration, **{key: np.stack([value] * 4) for key, value in inputs.items()})
    options = {"scheme": scheme, "calibration": calibration}
    bundle = eq_tvm.compile(folder / f"{name}.onnx", output=tmp_path / "out.eqtvm", **options)
    results = eq_tvm.load(bundle).run(inputs)
    if scheme == "int7":
        there = eq_tvm.compile(folder / f"{name}.onnx", target="rpi4", output=tmp_path / "there.eqtvm", **options)
        for got, value in zip(aarch64.run_vm(there.library, [*inputs.values()]), results.values(), strict=True):
            np.testing.assert_array_equal(got, value)
    for key, value in results.items():
        reference = expected[f"out_{key}"]
        assert value.shape == reference.shape and value.dtype == reference.dtype
        assert np.linalg.norm(value - reference) <= ERROR[scheme] * np.linalg.norm(reference)
