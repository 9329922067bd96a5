"""Pad in all its modes, and what rules for the padding of convolutions become."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, operators, random, write_model

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx


def write(path, shape, pads, mode, axes=None):
    operands = {"p": np.array(pads)} | ({} if axes is None else {"a": np.array(axes)})
    inputs = "x p" if axes is None else "x p - a"
    return write_model(path / "m.onnx", [("Pad", inputs, "y", {"mode": mode})], {"x": shape}, ["y"], operands, opset=19)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(
    "shape,pads,axes",
    [
        ((5,), [2, 1], None),
        ((4, 5, 6), [1, 2, 3, 2, 0, 1], None),
        ((4, 5, 6), [-1, 2, 0, 1, -2, 0], None),
        ((1, 2, 4, 5), [2, -1, 1, 2], [-1, 2]),
        ((2, 3, 3, 4, 5), [0, 1, 0, 2, 1, 1, 0, 2, 0, 2], None),
    ],
)
def test_pad(tmp_path, mode, shape, pads, axes):
    check_against_onnxruntime(write(tmp_path, shape, pads, mode, axes))


def test_zeros_around_images_stay_what_the_passes_know(tmp_path):
    mod = check_against_onnxruntime(write(tmp_path, (1, 2, 4, 5), [0, 0, 1, 2, 0, 0, 2, 1], "constant"))
    assert operators(mod) == ["nn.pad"]


def test_nothing_left_to_repeat(tmp_path):
    with pytest.raises(UserError, match=r"Pad \(node 'n0'\): its pads leave nothing of axis 1 to repeat"):
        import_onnx(write(tmp_path, (2, 3), [0, -3, 0, 5], "edge"))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel,stride", [(1, 3), (4, 2)])
def test_transposed_convolutions_by_rules(tmp_path, auto_pad, kernel, stride):
    attributes = {"auto_pad": auto_pad, "strides": [stride, stride]}
    write_model(
        tmp_path / "m.onnx",
        [("ConvTranspose", "x w", "y", attributes)],
        {"x": (1, 2, 4, 5)},
        ["y"],
        {"w": random(2, 3, kernel, kernel)},
    )
    check_against_onnxruntime(tmp_path / "m.onnx")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_transposed_convolutions(tmp_path, rank, groups, dilation):
    given = {"strides": 2, "dilations": dilation, "output_padding": 1}
    attributes = {name: [value] * rank for name, value in given.items()}
    attributes |= {"group": groups, "pads": [0, 1, 1][:rank] + [1, 0, 2][:rank]}
    write_model(
        tmp_path / "m.onnx",
        [("ConvTranspose", "x w b", "y", attributes)],
        {"x": (1, 4, *[4, 3, 5][:rank])},
        ["y"],
        {"w": random(4, 2, *[3] * rank), "b": random(2 * groups, seed=1)},
    )
    check_against_onnxruntime(tmp_path / "m.onnx")
