"""Resize in all its modes, against ONNX Runtime."""

import itertools

import numpy as np
import pytest
from covering import covering
from onnx_models import check_against_onnxruntime, operators, write_model

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx


def check(path, shape, scales=None, sizes=None, **attributes):
    operands = {"s": np.float32(scales)} if scales is not None else {"z": np.array(sizes)}
    ins = "x - s" if scales is not None else "x - - z"
    given = {key: value for key, value in attributes.items() if value is not None}
    write_model(path / "m.onnx", [("Resize", ins, "y", given)], {"x": shape}, ["y"], operands, opset=19)
    return check_against_onnxruntime(path / "m.onnx")


COORDINATES = ["half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"]
KINDS = [*itertools.product(COORDINATES, ["nearest", "linear", "cubic"])]


@pytest.mark.parametrize("kind, scales", covering(KINDS, [(2, 2), (0.7, 0.45), (1.3, 2.7), (0.2, 1)]))
def test_scales(tmp_path, kind, scales):
    coordinates, mode = kind
    check(tmp_path, (1, 2, 5, 7), [1, 1, *scales], mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("sizes", [(11, 13), (3, 4), (1, 1)])
def test_sizes(tmp_path, mode, coordinates, sizes):
    check(tmp_path, (1, 2, 5, 7), sizes=[1, 2, *sizes], mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_nearest(tmp_path, rounding):
    check(tmp_path, (1, 2, 5, 7), [1, 1, 1.7, 0.8], mode="nearest", nearest_mode=rounding)


@pytest.mark.parametrize(
    "mode,antialias,exclude", [("linear", 1, 0), ("linear", 1, 1), ("cubic", 1, 0), ("cubic", 0, 1)]
)
def test_weights(tmp_path, mode, antialias, exclude):
    options = {"antialias": antialias, "exclude_outside": exclude, "cubic_coeff_a": -0.5 if mode == "cubic" else None}
    check(tmp_path, (1, 2, 12, 9), [1, 1, 0.4, 0.6], mode=mode, **options)


@pytest.mark.parametrize(
    "shape,scales", [((3, 8), (1, 1.6)), ((1, 3, 8), (1, 1, 2)), ((1, 2, 3, 4, 5), (1, 1, 2, 2, 2))]
)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_ranks(tmp_path, shape, scales, mode):
    check(tmp_path, shape, scales, mode=mode)


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1]])
def test_axes(tmp_path, axes):
    check(tmp_path, (1, 2, 4, 6), [1.5, 2.0][: len(axes)], axes=axes, mode="linear")


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio(tmp_path, policy):
    check(tmp_path, (1, 2, 4, 7), sizes=[7, 9], axes=[2, 3], keep_aspect_ratio_policy=policy, mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_images_of_usual_factors_stay_what_the_passes_know(tmp_path, mode):
    assert operators(check(tmp_path, (1, 2, 4, 6), [1, 1, 2, 2], mode=mode)) == ["image.resize2d"]


def test_corners_by_a_scale_that_fits_no_size(tmp_path):
    write_model(
        tmp_path / "m.onnx",
        [("Resize", "x - s", "y", {"mode": "linear", "coordinate_transformation_mode": "align_corners"})],
        {"x": (1, 2, 5, 7)},
        ["y"],
        {"s": np.float32([1, 1, 0.7, 0.7])},
    )
    with pytest.raises(UserError, match=r"Resize \(node 'n0'\): it aligns corners by the scale 0.7.*with sizes"):
        import_onnx(tmp_path / "m.onnx")
