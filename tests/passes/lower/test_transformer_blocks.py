"""Attention and what surrounds it: all integers, equal to the integer program."""

import functools

import aarch64 as emulation
import numpy as np
import pytest
import tvm
from interpreter import run_annotated
from small_networks import build, conv, pairs, random
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes.islands.float_calls import float_calls
from eq_tvm.targets import get_target

SHAPE = (1, 3, 6, 5)
TOKENS, WIDTH, HEADS = 31, 24, 3


def transformer(emit, x):
    """Two blocks on patches, a class token and embedded positions, as vision transformers have them."""

    def dense(y, name, out):
        weight = random(int(y.ty.shape[-1]), out, seed=len(name)) / np.float32(np.sqrt(int(y.ty.shape[-1])))
        return emit(
            relax.op.add(emit(relax.op.matmul(y, relax.const(weight)), name), relax.const(random(out, seed=3))),
            f"{name}_sum",
        )

    def norm(y, name):
        gamma, beta = (relax.const(random(WIDTH, seed=seed) + seed) for seed in (1, 0))
        return emit(relax.op.nn.layer_norm(y, gamma, beta, axes=[-1], epsilon=1e-5), name)

    def attention(y, name):
        split = emit(relax.op.reshape(dense(y, f"{name}_qkv", 3 * WIDTH), (TOKENS, 3, HEADS, WIDTH // HEADS)), "split")
        parts = []
        for i in range(3):
            part = emit(relax.op.strided_slice(split, [1], [i], [i + 1]), f"{name}_part{i}")
            part = emit(relax.op.reshape(part, (TOKENS, HEADS, WIDTH // HEADS)), f"{name}_rows{i}")
            parts.append(emit(relax.op.permute_dims(part, [1, 2, 0] if i == 1 else [1, 0, 2]), f"{name}_heads{i}"))
        scores = emit(relax.op.matmul(parts[0], parts[1]), f"{name}_scores")
        shares = emit(relax.op.nn.softmax(scores, axis=-1), f"{name}_shares")
        mixed = emit(relax.op.permute_dims(emit(relax.op.matmul(shares, parts[2]), f"{name}_mixed"), [1, 0, 2]), "back")
        return dense(emit(relax.op.reshape(mixed, (TOKENS, WIDTH)), "joined"), f"{name}_out", WIDTH)

    patches = emit(relax.op.reshape(conv(emit, x, "patches", out=WIDTH), (1, WIDTH, TOKENS - 1)), "flat")
    padded = emit(
        relax.op.nn.pad(emit(relax.op.permute_dims(patches, [0, 2, 1]), "rows"), [0, 0, 1, 0, 0, 0]), "padded"
    )
    stream = emit(relax.op.add(padded, relax.const(random(1, TOKENS, WIDTH, seed=5))), "positions")
    stream = emit(relax.op.reshape(stream, (TOKENS, WIDTH)), "stream")
    for name in "ab":
        stream = emit(relax.op.add(stream, attention(norm(stream, f"{name}_norm"), name)), f"{name}_attended")
        hidden = emit(relax.op.nn.gelu(dense(norm(stream, f"{name}_norm2"), f"{name}_fc1", 2 * WIDTH)), f"{name}_gelu")
        stream = emit(relax.op.add(stream, dense(hidden, f"{name}_fc2", WIDTH)), f"{name}_block")
    token = emit(relax.op.strided_slice(stream, [0], [0], [1]), "token")
    bounded = emit(relax.op.clip(norm(token, "last_norm"), -1, 2), "bounded")
    return [dense(bounded, "head", 7)]


@functools.cache
def calibrated(scheme):
    annotated, _ = pipeline.calibrate(
        build(transformer, SHAPE), {"x": random(6, *SHAPE[1:])}, scheme=scheme, method="minmax"
    )
    x = random(*SHAPE, seed=9)
    return annotated, x, run_annotated(annotated, {"x": x})


def test_ranges():
    """The stream and scores have 12 bits, as only sums and rows read them."""
    found = pairs(calibrated("int7")[0])
    assert found["positions"][0] == found["a_attended"][0] == found["a_scores"][0] == "int16"
    assert found["a_shares"][:3] == ("int8", 0, 127)
    assert found["a_norm"][:3] == ("int8", -63, 63)


def lowered(scheme, target):
    module, _ = pipeline.lower(calibrated(scheme)[0], get_target(target))
    return module


@pytest.mark.parametrize("target", ["x86", "rpi3"])
def test_no_float_operator_is_left(target):
    calls = float_calls(lowered("int8", target))
    assert calls == {}


@pytest.mark.parametrize("target", ["native", "x86"])
@pytest.mark.parametrize("scheme", ["int8", "int7", "int6", "w8a12"])
def test_x86_computes_the_integer_program(scheme, target):
    annotated, x, expected = calibrated(scheme)
    executable, _ = pipeline.build(annotated, get_target(target))
    result = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
    np.testing.assert_array_equal(result.numpy(), expected[0])


@pytest.mark.parametrize("target, machine", [("rpi3", "aarch64"), ("rpi5", "aarch64_dotprod")])
def test_on_a_board(request, tmp_path, target, machine):
    board = request.getfixturevalue(machine)
    for scheme in ("int7", "int8"):
        annotated, x, expected = calibrated(scheme)
        built, _ = pipeline.build(annotated, get_target(target))
        result = board.run_vm(emulation.export(built, tmp_path / f"{scheme}.so"), [x])
        np.testing.assert_array_equal(result[0] if isinstance(result, list) else result, expected[0])
