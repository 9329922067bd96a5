"""Col2Im against onnx's reference (ONNX Runtime adds up dilated blocks wrongly), DeformConv against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import canonical, check_against_onnxruntime, random, run_float, write_model


@pytest.mark.parametrize(
    "image,block,attributes",
    [
        ((7,), (2,), {"dilations": [2]}),
        ((5, 6), (1, 5), {}),
        ((5, 5), (3, 3), {"pads": [0, 1, 1, 2], "strides": [2, 1]}),
        ((6, 7), (2, 3), {"dilations": [2, 1], "strides": [3, 3]}),
        ((4, 5, 5), (1, 2, 3), {"strides": [1, 2, 1]}),
    ],
)
def test_columns_to_image(tmp_path, image, block, attributes):
    rank = len(image)
    strides, dilations = (attributes.get(name, [1] * rank) for name in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * 2 * rank)
    rooms = [image[i] + pads[i] + pads[rank + i] - (block[i] - 1) * dilations[i] - 1 for i in range(rank)]
    count = int(np.prod([room // stride + 1 for room, stride in zip(rooms, strides, strict=True)]))
    shape = (2, 3 * int(np.prod(block)), count)
    sizes = {"image": np.array(image), "block": np.array(block)}
    path = tmp_path / "m.onnx"
    write_model(path, [("Col2Im", "x image block", "y", attributes)], {"x": shape}, ["y"], sizes, opset=18)
    (expected,) = ReferenceEvaluator(onnx.load(path)).run(None, {"x": random(*shape)})
    np.testing.assert_allclose(run_float(canonical(path), random(*shape))[0], expected, atol=1e-5)


@pytest.mark.parametrize("groups,offset_groups", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("inputs", ["x w o", "x w o b m"])
def test_deformed_windows(tmp_path, groups, offset_groups, inputs):
    attributes = {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 2, 1]}
    attributes |= {"group": groups, "offset_group": offset_groups}
    results, elements = (4, 6), offset_groups * 6
    shapes = {"x": (2, 4, 7, 7), "o": (2, 2 * elements, *results), "m": (2, elements, *results)}
    weights = {"w": random(6, 4 // groups, 3, 2), "b": random(6, seed=1)}
    write_model(
        tmp_path / "m.onnx",
        [("DeformConv", inputs, "y", attributes)],
        {name: shape for name, shape in shapes.items() if name in inputs.split()},
        ["y"],
        {name: array for name, array in weights.items() if name in inputs.split()},
        opset=19,
    )
    check_against_onnxruntime(tmp_path / "m.onnx")
