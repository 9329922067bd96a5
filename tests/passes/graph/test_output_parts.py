"""Parts of outputs, each with a cosine of its own, and masks."""

import numpy as np
import pytest
from small_networks import build, conv
from tvm import relax

from eq_tvm.passes import part_cosines
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.graph.output_parts import output_loss, output_parts, overlap


def head(emit, x):
    """Boxes, scores and a mask in one output, the former two inside another concatenation; and a second output."""
    boxes, scores = (emit(relax.op.reshape(conv(emit, x, name, out=2), (1, 2, 64)), f"{name}_flat") for name in "ab")
    both = emit(relax.op.permute_dims(emit(relax.op.concat([boxes, scores], axis=1), "both"), (0, 2, 1)), "moved")
    mask = emit(relax.op.reshape(conv(emit, x, "c", out=1), (1, 16, 4)), "mask")
    return [emit(relax.op.concat([both, mask], axis=-2), "y"), boxes]


def test_parts_are_what_concatenations_join():
    whole = slice(0, 1)
    assert output_parts(read_network(build(head))) == [
        [
            (whole, slice(0, 64), slice(0, 2)),
            (whole, slice(0, 64), slice(2, 4)),
            (whole, slice(64, 80), slice(0, 4)),
        ],
        [(whole, slice(0, 2), slice(0, 64))],
    ]


def test_a_small_part_counts_by_itself():
    mod, random = build(head), np.random.default_rng(0)
    expected = [random.standard_normal((3, 1, 80, 4)), random.standard_normal((3, 1, 2, 64))]
    expected[0][:, :, :64, :2] *= 1000
    results = [x.copy() for x in expected]
    results[0][:, :, :64, 2:] *= -1
    results[0][1, :, 64:] = 0
    cosines = part_cosines(
        mod, [[(a[some], b[some]) for a, b in zip(expected, results, strict=True)] for some in (slice(2), [2])]
    )
    np.testing.assert_allclose(cosines, [1, -1, 2 / 3, 1])


def as_it_is(emit, x):
    return emit(relax.op.sigmoid(x), "y")


def enlarged(emit, x):
    small = emit(relax.op.nn.softmax(x, axis=1), "small")
    return emit(relax.op.image.resize2d(small, (16, 16), coordinate_transformation_mode="asymmetric"), "y")


def flat(emit, x):
    return emit(relax.op.reshape(as_it_is(emit, x), (1, -1)), "flat")


def a_sequence(emit, x):
    rows = emit(relax.op.reshape(x, (1, 2, 64)), "rows")
    return emit(relax.op.permute_dims(emit(relax.op.nn.softmax(rows, axis=1), "softmax"), [0, 2, 1]), "y")


def without_probabilities(emit, x):
    return emit(relax.op.tanh(x), "y")


@pytest.mark.parametrize(
    ("head", "is_mask"),
    [(as_it_is, True), (enlarged, True), (a_sequence, True), (flat, False), (without_probabilities, False)],
)
def test_masks_are_judged_by_their_overlap(head, is_mask):
    net = read_network(build(lambda emit, x: [head(emit, conv(emit, x, "c", out=2))]))
    expected, result = (np.zeros((3, *net.nodes[net.outputs[0]].shape), np.float32) for _ in "ab")
    expected.reshape(3, -1)[:, :100], result.reshape(3, -1)[:, :98] = 1, 1
    loss = output_loss(net, [(expected, result)])
    assert loss == pytest.approx(0.005 * 2**2 if is_mask else 1 - np.sqrt(0.98))
    assert output_loss(net, [(expected, expected)]) == pytest.approx(0)


def test_overlap():
    a, b = np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.5, 0.5])
    assert overlap(a, b) == 1 / 2
    assert overlap(a, a) == 1 and overlap(0 * a, 0 * a) == 1 and overlap(0 * a, b) == 0
