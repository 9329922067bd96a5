"""SpaceToDepth in both modes."""

import numpy as np
import onnx
import pytest
from onnx_models import canonical, random, run_float, write_model

ORDERS = {"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}


@pytest.mark.parametrize("mode", ORDERS)
def test_space_to_depth(tmp_path, mode):
    opset = onnx.defs.get_schema("SpaceToDepth").since_version
    nodes = [("SpaceToDepth", "x", "y", {"blocksize": 2, "mode": mode})]
    write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 6)}, ["y"], opset=opset)
    x = random(1, 3, 4, 6)
    expected = x.reshape(1, 3, 2, 2, 3, 2).transpose(ORDERS[mode]).reshape(1, 12, 2, 3)
    np.testing.assert_array_equal(run_float(canonical(tmp_path / "m.onnx"), x)[0], expected)
