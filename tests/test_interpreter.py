"""The interpreter of the integer program, and the examples in its definition."""

from __future__ import annotations

import doctest
from fractions import Fraction
from pathlib import Path

import aarch64 as emulation
import integer_ops as ops
import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from interpreter import run_annotated
from tvm import relax, te, tirx

DOCUMENT = Path(__file__).parents[1] / "docs" / "integer-program.md"
CPU = tvm.target.Target("llvm")


def test_examples_in_the_definition():
    failed, attempted = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert attempted > 10 and not failed


@given(st.data())
def test_conv2d_is_the_sum_of_products(data):
    groups, kernel, per_group, out_per_group = (data.draw(st.integers(1, 3)) for _ in range(4))
    size, stride, dilation = data.draw(st.integers(7, 9)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    top, left, bottom, right = padding = data.draw(st.tuples(*[st.integers(0, 2)] * 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    q = rng.integers(-128, 128, (2, groups * per_group, size, size + 1), dtype="int8")
    w = rng.integers(-127, 128, (groups * out_per_group, per_group, kernel, kernel), dtype="int8")
    bias = rng.integers(-(2**30), 2**30, len(w))
    got = ops.conv2d_acc(q, w, bias, (stride, stride), padding, (dilation, dilation), groups)
    padded = np.pad(q.astype(int), ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = dilation * (kernel - 1) + 1
    assert got.shape[2:] == tuple((n - reach) // stride + 1 for n in padded.shape[2:])
    for n, o, y, x in np.ndindex(got.shape):
        group, rows, columns = o // out_per_group, y * stride, x * stride
        patch = padded[n, group * per_group :][:per_group]
        patch = patch[:, rows : rows + reach : dilation, columns : columns + reach : dilation]
        assert got[n, o, y, x] == (patch * w[o]).sum() + bias[o]


@given(st.data())
def test_pooling_equals_relax(data):
    kernel, dilation = (data.draw(st.tuples(*[st.integers(1, top)] * 2)) for top in (3, 2))
    strides = tuple(data.draw(st.integers(1, k)) for k in kernel)
    padding = tuple(data.draw(st.integers(0, (k - 1) * d // 2)) for k, d in zip(kernel * 2, dilation * 2, strict=True))
    ceil_mode, include_pad = data.draw(st.booleans()), data.draw(st.booleans())
    geometry = list(kernel), list(strides), list(padding), list(dilation), ceil_mode
    q = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-127, 128, (1, 2, 7, 6), dtype="int8")
    function = _function(
        {"x": q.shape},
        lambda b, x: relax.Tuple(
            [relax.op.nn.max_pool2d(x, *geometry), relax.op.nn.avg_pool2d(x, *geometry, include_pad)]
        ),
    )
    largest, average = _run(function, q.astype("float32"))
    try:
        acc, count = ops.avg_pool_acc(q, *geometry, include_pad)
        np.testing.assert_array_equal(ops.max_pool(q, *geometry), largest)
    except ValueError:  # a window without elements: TVM divides by zero there
        return
    np.testing.assert_allclose(acc / count, average, rtol=1e-5)


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1), st.floats(2**-40, 2.0, width=32))
def test_requantize_rounds_twice_to_float_and_once_to_integer(acc, m):
    expected = []
    for a in acc:
        product = np.float32(float(Fraction(float(np.float32(a))) * Fraction(m)))  # 48 bits: exact in float64
        expected.append(min(max(round(Fraction(float(product))), -63), 127))
    assert ops.requantize(np.array(acc), m, -63, 127).tolist() == expected


@given(st.floats(1e-3, 1e3), st.floats(1e-6, 1.0), st.integers(1, 2**15), st.integers(0, 99))
def test_residual_is_close_to_the_real_sum(ratio, m, high, seed):
    """Also where the accumulator's term is clipped."""
    rng = np.random.default_rng(seed)
    acc, q = rng.integers(-(10**6), 10**6, 50), rng.integers(-127, 128, 50)
    f, (r,) = ops.fixed_point([(ratio, 127)], high)
    assert f == 20 or 127 * 2 * r + high * 2 ** (f + 1) > 2**29 - 127
    got = ops.residual(acc, np.float32(m * 2**f), q, r, f, -high, high)
    real = acc * m + q * ratio
    allowed = 0.51 + 127 * 2.0**-f + (np.abs(acc * m) + np.abs(q * ratio)) * 1e-6
    assert (np.abs(got - np.clip(real, -high, high)) <= allowed).all()


def test_compiled_formulas_are_exact_on_every_target(aarch64, tmp_path):
    """With fused multiply-adds at hand: a Haswell and a Cortex-A72."""
    rng = np.random.default_rng(5)
    acc, q = rng.integers(-(10**7), 10**7, 4096, dtype="int32"), rng.integers(-63, 64, 4096, dtype="int8")
    m, mf, r, f = np.float32(5e-6), np.float32(0.3), 32768, 16

    def clipped(x):
        return te.compute((4096,), lambda i: te.max(te.min(x(i), 63), -63).astype("int8"))

    a, b = te.placeholder((4096,), "int32", "a"), te.placeholder((4096,), "int8", "b")
    product = te.compute((4096,), lambda i: te.round(a[i].astype("float32") * tirx.const(m, "float32")).astype("int32"))
    term = te.compute((4096,), lambda i: te.round(a[i].astype("float32") * tirx.const(mf, "float32")).astype("int32"))
    total = te.compute((4096,), lambda i: (term[i] + b[i].astype("int32") * r + (1 << (f - 1))) >> f)
    kernel = te.create_prim_func([a, b, clipped(product), clipped(total)]).with_attr("global_symbol", "formulas")
    arguments = [acc, q, np.zeros_like(q), np.zeros_like(q)]
    expected = [ops.requantize(acc, m, -63, 63), ops.residual(acc, mf, q, r, f, -63, 63)]

    here = tvm.tirx.build(kernel, tvm.target.Target({"kind": "llvm", "mcpu": "haswell"}))
    tensors = [tvm.runtime.tensor(argument) for argument in arguments]
    here["formulas"](*tensors)
    there = emulation.export(tvm.tirx.build(kernel, emulation.target()), tmp_path / "formulas.so")
    for results in ([t.numpy() for t in tensors], aarch64.run_prim_func(there, "formulas", arguments)):
        np.testing.assert_array_equal(results[2:], expected)


def test_scales_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="residual"):
        ops.fixed_point([(2.0**22, 127)])


def test_accumulators_that_do_not_fit_are_refused():
    with pytest.raises(OverflowError):
        ops.conv2d_acc(np.full((1, 1, 1, 1), 127), np.full((1, 1, 1, 1), 63), [2**31 - 1])


def test_a_network_of_all_operators_is_close_to_its_float_simulation():
    mod = _every_operator()
    x = np.random.default_rng(1).uniform(-1, 1, (1, 3, 16, 16)).astype("float32")
    for got, simulated in zip(run_annotated(mod, {"x": x}), _run(mod, x), strict=True):
        assert got.shape == simulated.shape and got.dtype == simulated.dtype
        np.testing.assert_allclose(got, simulated, atol=0.02 * np.abs(simulated).max())
        assert np.corrcoef(got.ravel(), simulated.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0, np.inf), (0, 6), (-1, 0.3)])
def test_bounds_become_integers(bounds):
    q = np.arange(-63, 64, dtype="float32").reshape(1, 1, 1, -1)

    def build(b, x):
        return _pair(b, relax.op.clip(_pair(b, x, 0.25, (-63, 63)), *bounds), 0.125, (-63, 63))

    (got,) = run_annotated(_function({"x": q.shape}, build), {"x": q * 0.25})
    np.testing.assert_array_equal(
        got, np.clip(np.clip(q * 0.25, *np.rint(np.divide(bounds, 0.125)) * 0.125), -7.875, 7.875)
    )


def test_concat_of_different_scales_quantizes_each_part():
    x = np.random.default_rng(2).uniform(-10, 10, (1, 2, 3, 3)).astype("float32")

    def build(b, x):
        parts = [_pair(b, x, 0.1, (-63, 63)), _pair(b, x, 0.2, (0, 127))]
        return _pair(b, b.emit(relax.op.concat(parts, 1)), 0.3, (-63, 63))

    (got,) = run_annotated(_function({"x": x.shape}, build), {"x": x})
    parts = []
    for scale, lo, hi in ((0.1, -63, 63), (0.2, 0, 127)):
        q = np.clip(np.rint(x / np.float32(scale)), lo, hi)
        parts.append(
            ops.requantize(q, np.float32(np.float64(np.float32(scale)) / np.float64(np.float32(0.3))), -63, 63)
        )
    np.testing.assert_array_equal(got, np.concatenate(parts, 1).astype("float32") * np.float32(0.3))


def test_a_layer_that_reads_a_bounded_value_is_a_float_operator():
    x = np.random.default_rng(3).uniform(-1, 1, (1, 2, 4, 4)).astype("float32")
    w = np.random.default_rng(3).integers(-63, 64, (3, 2, 3, 3), dtype="int8")

    def build(b, x):
        bounded = b.emit(relax.op.nn.relu(_pair(b, x, 0.1, (-63, 63))))
        return relax.op.nn.conv2d(bounded, _constant(b, w, np.full(3, 0.01), 0))

    mod = _function({"x": x.shape}, build)
    np.testing.assert_allclose(run_annotated(mod, {"x": x})[0], _run(mod, x)[0], rtol=1e-5, atol=1e-6)


def _every_operator() -> tvm.IRModule:
    rng = np.random.default_rng(0)

    def layer(b, x, s_x, out, per_group, kernel=3, **attributes):
        w = rng.integers(-63, 64, (out, per_group, kernel, kernel), dtype="int8")
        scale = rng.uniform(0.002, 0.006, out)
        y = b.emit(relax.op.nn.conv2d(x, _constant(b, w, scale, 0), **attributes))
        bias = rng.integers(-3000, 3000, (1, out, 1, 1), dtype="int32")
        accumulator = np.float64(np.float32(s_x)) * scale.astype("float32")
        return b.emit(relax.op.add(y, _constant(b, bias, accumulator, 1)))

    def build(b, x):
        op, nn = relax.op, relax.op.nn
        x = _pair(b, x, 1 / 63, (-63, 63))
        a = _pair(b, b.emit(nn.relu(layer(b, x, 1 / 63, 8, 3, padding=1))), 0.02, (0, 127))
        depthwise = _pair(b, b.emit(op.clip(layer(b, a, 0.02, 8, 1, padding=1, groups=8), 0, 6)), 0.03, (0, 127))
        total = _pair(b, b.emit(op.add(layer(b, depthwise, 0.03, 8, 8, 1), a)), 0.05, (-63, 63))
        both = _pair(b, b.emit(nn.relu(b.emit(op.add(total, depthwise)))), 0.04, (0, 127))
        wide = _pair(b, b.emit(nn.relu(layer(b, both, 0.04, 8, 4, padding=2, dilation=2, groups=2))), 0.04, (0, 127))
        joined = b.emit(op.concat([wide, both], 1))
        pooled = b.emit(nn.max_pool2d(joined, [3, 3], [2, 2], [1, 1, 0, 0], ceil_mode=True))
        sliced = b.emit(op.strided_slice(b.emit(nn.pad(pooled, [0, 0, 2, 0, 0, 0, 0, 0])), [1], [1], [17], [1]))
        average = b.emit(nn.avg_pool2d(sliced, [3, 3], [2, 2], [1, 1, 1, 1], count_include_pad=False))
        average = _pair(b, average, 0.03, (0, 127))
        flat = b.emit(op.reshape(b.emit(op.permute_dims(average, [0, 2, 3, 1])), [1, 16 * 4 * 4]))
        w = rng.integers(-63, 64, (256, 10), dtype="int8")
        dense = b.emit(op.matmul(flat, _constant(b, w, np.full(10, 0.004), 1)))
        mean = b.emit(op.mean(average, [2, 3], keepdims=True))
        return relax.Tuple([dense, b.emit(nn.softmax(dense)), mean, b.emit(op.sigmoid(average)), total])

    return _function({"x": (1, 3, 16, 16)}, build)


def _function(inputs: dict[str, tuple], build) -> tvm.IRModule:
    """A module whose `main` is `build(builder, *inputs)`."""
    builder = relax.BlockBuilder()
    parameters = [relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in inputs.items()]
    with builder.function("main", parameters):
        with builder.dataflow():
            result = builder.emit_output(build(builder, *parameters))
        builder.emit_func_output(result)
    return builder.get()


def _pair(b: relax.BlockBuilder, x, scale: float, bounds: tuple[int, int]):
    """Quantize/dequantize pair to int8 in `bounds`."""
    scale, zero = relax.const(np.float32(scale)), relax.const(np.int8(0))
    q = b.emit(relax.op.clip(b.emit(relax.op.quantize(x, scale, zero, out_dtype="int8")), *bounds))
    return b.emit(relax.op.dequantize(q, scale, zero))


def _constant(b: relax.BlockBuilder, q: np.ndarray, scale: np.ndarray, axis: int):
    zeros = relax.const(np.zeros(scale.shape, q.dtype))
    return b.emit(relax.op.dequantize(relax.const(q), relax.const(scale.astype("float32")), zeros, axis))


def _run(mod: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    """The float simulation, by TVM."""
    result = relax.VirtualMachine(tvm.compile(mod, CPU), tvm.cpu())["main"](*map(tvm.runtime.tensor, inputs))
    return [part.numpy() for part in ([result] if isinstance(result, tvm.runtime.Tensor) else result)]
