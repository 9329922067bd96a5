"""--optimize size: which kernels are left out."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from small_networks import build, conv, random, relu

from eq_tvm import passes
from eq_tvm.passes.lower.weight_size import choose_small, small, weight_bytes
from eq_tvm.pipeline import calibrate
from eq_tvm.targets import get_target


def candidate(name, shape, dtype="int8", cycles=1.0):
    plan = SimpleNamespace(weight_shape=shape, weight_dtype=dtype)
    return SimpleNamespace(name=name, cycles=cycles, constants=partial(lambda plan: None, plan))


FOUND = [
    candidate("F(4,3)", (36, 16, 16), "int16"),
    candidate("direct", (9, 16, 16)),
    candidate("a little wider", (9, 16, 18)),
    candidate("padded", (9, 64, 16)),
    candidate("pmaddwd", (9, 16, 16), "int16"),
]


def test_what_enlarges_the_weights_is_left_out():
    assert [weight_bytes(each) for each in FOUND[:2]] == [2 * 36 * 256, 9 * 256]
    assert [each.name for each in small(FOUND)] == ["direct", "a little wider"]
    assert small(FOUND[-1:]) == FOUND[-1:]


def test_asked_under_another_key():
    asked = []
    choose_small(lambda key, candidates: asked.append((key, len(candidates))))("layer", FOUND)
    assert asked == [("layer, small weights", 2)]


def test_weights_of_4_bits():
    """They take half a byte each where a layer is made small; what is measured of other weights is not for them."""
    weight, images = random(64, 64, 3, 3), {"x": random(2, 64, 12, 12)}
    module = build(lambda emit, x: [relu(emit, conv(emit, x, "a", weight=weight), "r")], (1, 64, 12, 12))
    sizes, asked = [], []

    def choose(key, candidates):
        asked.append(key)
        return candidates[0]

    for scheme in ("int8", "w4a8"):
        annotated, _ = calibrate(module, images, method="minmax", scheme=scheme)
        lower = passes.LowerToInteger(get_target("x86-vnni").machine, choose, optimize="size")
        lower(annotated)
        sizes += [record["weight_bytes"] for record in lower.record]
    assert sizes == [weight.size, weight.size / 2] and len(set(asked)) == 2


def test_no_winograd():
    """A layer for which Winograd is the fastest keeps one byte for each weight."""
    weight = np.random.default_rng(0).normal(size=(64, 64, 3, 3)).astype("float32")
    module = build(lambda emit, x: [relu(emit, conv(emit, x, "a", weight=weight), "r")], (1, 64, 32, 32))
    images = {"x": np.random.default_rng(1).normal(size=(2, 64, 32, 32)).astype("float32")}
    annotated, _ = calibrate(module, images, method="minmax")
    records = {}
    for optimize in ("speed", "size"):
        lower = passes.LowerToInteger(get_target("x86").machine, optimize=optimize)
        lower(annotated)
        (records[optimize],) = lower.record
    assert records["speed"]["kernel"].startswith("F(") and records["size"]["kernel"].startswith("direct")
    assert records["size"]["weight_bytes"] == weight.size == records["speed"]["small_weight_bytes"]
    assert records["speed"]["weight_bytes"] >= 4 * weight.size
