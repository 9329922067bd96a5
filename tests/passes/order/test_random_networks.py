"""Networks of random operators: channels in another order, bits as they were, compiled for this machine."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run_annotated
from small_networks import build, random
from tvm import relax

from eq_tvm import passes, pipeline
from eq_tvm.targets import get_target


class Maker:
    """Adds operators one after the other, each to what some former one gave."""

    def __init__(self, emit, x):
        self.emit = emit
        self.images, self.count = [x], 0

    def named(self, expr):
        self.count += 1
        return self.emit(expr, f"n{self.count}")

    def weight(self, out, channels, size, seed):
        """Neighbouring channels large together, so that another order gains."""
        large = np.roll(np.where(np.arange(channels) < max(1, channels // 3), 1, 0.1), seed)
        sign = np.sign(random(out, 1, 1, 1, seed=seed + 1))
        values = (0.3 * random(out, channels, size, size, seed=seed) + 0.7 * sign) * large[:, None, None]
        return relax.const(values.astype("float32"))

    def layer(self, x, kind, out, seed):
        channels = int(x.ty.shape[1])
        if kind == "depthwise":
            weight, attrs, out = relax.const(random(channels, 1, 3, 3, seed=seed)), {"groups": channels}, channels
        elif kind == "grouped" and channels % 2 == 0 and out % 2 == 0:
            weight, attrs = self.weight(out, channels // 2, 3, seed), {"groups": 2}
        else:
            weight, attrs = self.weight(out, channels, 1 if kind == "pointwise" else 3, seed), {}
        padding = int(weight.ty.shape[2]) // 2
        y = self.named(relax.op.nn.conv2d(x, weight, padding=padding, **attrs))
        return self.named(relax.op.add(y, relax.const(random(1, out, 1, 1, seed=seed))))

    def step(self, op, which, seed):
        x = self.images[which % len(self.images)]
        channels, size = int(x.ty.shape[1]), int(x.ty.shape[2])
        same = [y for y in self.images if y.ty.shape == x.ty.shape and not y.same_as(x)]
        if op in ("pointwise", "three", "depthwise", "grouped"):
            y = self.layer(x, op, (16, 24, 32, 48)[seed % 4], seed)
            if seed % 3:
                y = self.named(relax.op.nn.relu(y) if seed % 3 == 1 else relax.op.clip(y, 0, 6))
        elif op in ("add", "multiply") and same:
            y = self.named(getattr(relax.op, op)(x, same[seed % len(same)]))
        elif op == "concat":
            near = [z for z in self.images if z.ty.shape[2] == x.ty.shape[2]]
            y = self.named(relax.op.concat([x, near[seed % len(near)]], axis=1))
        elif op == "pool" and size > 2:
            y = self.named(relax.op.nn.max_pool2d(x, (2, 2), (2, 2)))
        elif op == "half" and channels % 2 == 0:
            begin = seed % 2 * channels // 2
            y = self.named(relax.op.strided_slice(x, [1], [begin], [begin + channels // 2]))
        elif op == "gate" and channels > 3:
            mean = self.named(relax.op.mean(x, [2, 3], keepdims=True))
            gate = self.named(relax.op.sigmoid(self.layer(mean, "pointwise", channels, seed)))
            y = self.named(relax.op.multiply(x, gate))
        elif op == "slopes":
            y = self.named(relax.op.nn.prelu(x, relax.const(random(channels, seed=seed)), 1))
        else:
            y = self.named(getattr(relax.op, ("tanh", "sigmoid", "negative")[seed % 3])(x))
        self.images.append(y)

    def outputs(self):
        last = self.layer(self.images[-1], "pointwise", 5, 3)
        flat = self.images[-1]
        channels, size = int(flat.ty.shape[1]), int(flat.ty.shape[2])
        flat = self.named(relax.op.reshape(flat, (1, channels * size * size)))
        fc = relax.const(random(channels * size * size, 7))
        return [last, self.named(relax.op.matmul(flat, fc))]


OPS = "pointwise three depthwise grouped add multiply concat pool half gate slopes function".split()
STEPS = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 9), st.integers(0, 99)), min_size=3, max_size=9)


@settings(max_examples=6, deadline=None)
@given(STEPS, st.sampled_from(["int6", "int7", "int8"]))
def test_bits(steps, scheme):
    check(steps, scheme)


@pytest.mark.exhaustive
@settings(max_examples=400, deadline=None)
@given(STEPS, st.sampled_from(["int6", "int7", "int8"]))
def test_bits_of_many(steps, scheme):
    check(steps, scheme)


def check(steps, scheme):
    def make(emit, x):
        maker = Maker(emit, x)
        maker.step("three", 0, 7)
        for op, which, seed in steps:
            maker.step(op, len(maker.images) - 1 - which % 3, seed)
        return maker.outputs()

    images = random(3, 3, 8, 8)
    annotated = passes.MinMaxCalibrate({"x": images}, scheme=scheme)(build(make))
    expected = run_annotated(annotated, {"x": images[:1]})
    executable, _ = pipeline.build(annotated, get_target("x86"))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(images[:1]))
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted, strict=True)
