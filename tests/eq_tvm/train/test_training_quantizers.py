"""Rounding as PyTorch trains through it: the integer program's integers, and the gradients of the papers."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eq_tvm.passes.quantized.quantizers import Range, quantize

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.quantizers import LSQ, integers, rounded  # noqa: E402
from eq_tvm.train.srq import SRQ, mode_probability  # noqa: E402

RANGES = [(-7, 7), (0, 15), (-127, 127), (-16, 239)]
numbers = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


@pytest.mark.parametrize(("lo", "hi"), RANGES)
@given(x=numbers, scale=st.floats(0.0078125, 4, width=32))
def test_lsq_has_the_integers_of_the_program(lo, hi, x, scale):
    scale = np.float32(scale)
    expected = quantize(x, scale, Range("int16", lo, hi)) * scale
    np.testing.assert_array_equal(rounded(torch.from_numpy(x), torch.tensor(scale), lo, hi).numpy(), expected)


def test_scales_of_channels():
    weight = torch.randn(4, 3, 2, 2)
    quantizer = LSQ(torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1, 1), -7, 7)
    for result, each, scale in zip(quantizer(weight), weight, quantizer.scale, strict=True):
        assert torch.equal(result, rounded(each, scale.reshape(()), -7, 7))


@pytest.mark.parametrize(
    ("x", "of_x", "of_scale"),
    [
        (0.9, 1.0, 2 - 1.8),  # 2 steps: equation 3 of the paper, -v/s + round(v/s)
        (0.7, 1.0, 1 - 1.4),
        (-0.2, 0.0, 0.0),  # below 0: the least integer, 0
        (99.0, 0.0, 15.0),  # beyond the end: the greatest integer
    ],
)
def test_gradients_of_lsq(x, of_x, of_scale):
    x, scale = torch.tensor([x], requires_grad=True), torch.tensor(0.5, requires_grad=True)
    rounded(x, scale, 0, 15).sum().backward()
    assert x.grad.item() == of_x
    assert scale.grad.item() == pytest.approx(of_scale, abs=1e-6)


def test_large_tensors_without_a_compiler(tmp_path):
    """Nor are Python's headers everywhere: the result is the same, and it is said once that it takes longer."""
    program = """if True:
        import torch
        from eq_tvm.train.quantizers import rounded
        x, scale = torch.randn(2, 64, 32, 17, requires_grad=True), torch.tensor(0.3)
        result = rounded(x, scale, 0, 15)
        result.sum().backward()
        with torch.no_grad():
            assert torch.equal(result, (x / scale).round().clamp(0, 15) * scale)
            assert torch.equal(x.grad, ((x / scale >= 0) & (x / scale <= 15)).float())
    """
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("training takes longer, as PyTorch can't compile parts of it (InvalidCxxCompiler") == 1


def test_large_tensors_are_the_same_in_one_loop():
    large = torch.randn(2, 64, 32, 16)
    for x in (large, large.contiguous(memory_format=torch.channels_last)):
        whole, parts = x.clone().requires_grad_(), x.clone().requires_grad_()
        scales = [torch.tensor(0.3, requires_grad=True) for _ in range(2)]
        gradient = torch.randn(x.shape)
        result = rounded(whole, scales[0], 0, 15)
        pieces = torch.cat([rounded(each, scales[1], 0, 15) for each in parts.split(1, 1)], 1)
        assert torch.equal(result, pieces)
        result.backward(gradient)
        pieces.backward(gradient)
        assert torch.equal(whole.grad, parts.grad)
        assert scales[0].grad.item() == pytest.approx(scales[1].grad.item(), rel=1e-3)


@given(x=numbers)
def test_srq_computes_with_the_nearest_point(x):
    scale = torch.tensor(0.5)
    quantizer = SRQ(scale, -7, 7)
    expected = rounded(torch.from_numpy(x), quantizer.scale, -7, 7)
    np.testing.assert_allclose(quantizer(torch.from_numpy(x)).detach().numpy(), expected.detach().numpy(), atol=1e-6)


def test_probabilities_of_all_points_are_one():
    x, scale, noise = torch.linspace(-3, 3, 50), torch.tensor(0.4), torch.tensor(0.2)
    each = [mode_probability(x, torch.full_like(x, q), scale, noise, -3, 3) for q in range(-3, 4)]
    torch.testing.assert_close(torch.stack(each).sum(0), torch.ones(50))
    nearest = torch.stack(each).argmax(0) - 3
    assert torch.equal(nearest.float(), integers(x, scale, -3, 3))


def test_gradient_of_srq_is_that_of_the_probability_times_the_point():
    x = torch.tensor([0.55, -1.3, 0.1], requires_grad=True)
    quantizer = SRQ(torch.tensor(0.5), -3, 3)
    points = quantizer(x)
    points.sum().backward()
    step = 1e-3
    for i, value in enumerate(x.tolist()):
        q = integers(x[i], quantizer.scale, -3, 3)
        near = [
            mode_probability(torch.tensor(value + d), q, quantizer.scale, quantizer.log_noise.exp(), -3, 3).item()
            for d in (-step, step)
        ]
        slope = (near[1] - near[0]) / (2 * step)
        assert x.grad[i].item() == pytest.approx(points[i].item() * slope, abs=2e-3)
    assert quantizer.log_noise.grad.item() != 0
    assert quantizer.log_scale.grad.item() != 0
