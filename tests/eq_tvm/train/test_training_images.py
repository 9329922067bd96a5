"""Batches of what is trained on: all of it, shifted and mirrored."""

import numpy as np
import pytest

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs.samples import Samples

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.images import TrainingImages  # noqa: E402

INPUTS = [
    TensorInfo("left", (1, 3, 16, 24), "float32", None),
    TensorInfo("right", (1, 16, 24, 3), "uint8", None),
    TensorInfo("numbers", (1, 5), "float32", None),
]


def images(count, inputs=INPUTS, **how):
    left = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 24), dtype=np.uint8)
    numbers = np.arange(5 * count, dtype=np.float32).reshape(count, 5)
    arrays = {"left": left.astype(np.float32), "right": left.transpose(0, 2, 3, 1), "numbers": numbers}
    samples = Samples.of_arrays("some.npz", {info.name: arrays[info.name] for info in inputs}, inputs, None)
    return TrainingImages(samples, [info.name for info in inputs], **{"seed": 0, "augment": True} | how), arrays


def test_all_images_of_a_sample_are_moved_alike():
    made, arrays = images(12)
    (batch,) = (inputs for inputs, _ in made.epoch(11))
    left, right, numbers = batch
    assert torch.equal(left, right.permute(0, 3, 1, 2).float()) and right.dtype == torch.uint8
    order = (numbers[:, 0] / 5).int()
    assert sorted(order.tolist()) == sorted(made.trained)
    unmoved = torch.from_numpy(arrays["left"])[order]
    places = [
        (top, start, mirrored)
        for moved, image in zip(left, unmoved, strict=True)
        for padded in [torch.nn.functional.pad(image[None], (3, 3, 2, 2), mode="reflect")[0]]
        for top in range(5)
        for start in range(7)
        for mirrored in (False, True)
        if torch.equal(moved, padded[:, top : top + 16, start : start + 24].flip(-1 if mirrored else ()))
    ]
    assert len(places) == 11 and len(set(places)) > 5


@pytest.mark.parametrize("batch", [1, 4, 9, 10, 64, 10**9])
def test_any_batch_gives_steps(batch):
    made, _ = images(11, augment=False)
    sizes = [len(inputs[0]) for inputs, _ in made.epoch(batch)]
    assert sizes and max(sizes) == min(batch, 10)


def test_an_input_without_an_axis_of_images():
    with pytest.raises(UserError, match=r"numbers .*\(2, 5\)"):
        images(24, [TensorInfo("numbers", (2, 5), "float32", None)])
