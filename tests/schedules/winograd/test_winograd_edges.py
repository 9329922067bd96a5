"""Winograd's tiles at the edges of an image: fewer places, the same results."""

import itertools

import numpy as np
import pytest
from cases import SEEDS, Activations, Epilogue
from covering import usual
from families import FAMILIES as ALL
from families import OF_SUMS, OF_SUMS_ON_ARM, parameters
from hypothesis import given, settings
from layers import Layer, check

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import considered
from eq_tvm.schedules.choice.tilings import winograd_tilings
from eq_tvm.schedules.common.overflow import INT16_MAX
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.processor.instructions import choose_int16
from eq_tvm.schedules.winograd.winograd_form import F43, FORMS, largest_activation, proofs, transformed_weights
from eq_tvm.schedules.winograd.winograd_plan import WinogradPlan, edges_of

EDGES = pytest.mark.parametrize(
    "edges",
    [*itertools.product([None, *F43.edges.values()], repeat=2)],
    ids=lambda edges: "x".join(map(_outputs, edges)),
)
FAMILIES = pytest.mark.parametrize(
    "family",
    parameters(["pmaddwd-256", "vpdpbusd-512", "smlal", "smlal-in-order"]),
    indirect=True,
)
FLOATS = Epilogue("float32", -np.inf, np.inf)


def _outputs(edge):
    return str(next((outputs for outputs, each in F43.edges.items() if each is edge), F43.m))


def _at(edge):
    """A^T of a tile at an edge."""
    return F43.at if edge is None else np.stack(edge.a([*np.eye(F43.alpha, dtype=int)], lambda x, factor: x * factor))


@EDGES
@given(SEEDS)
@settings(max_examples=20)
def test_a_tile_is_the_factor_times_the_correlation(edges, seed):
    rng, (down, across) = np.random.default_rng(seed), edges
    d, w = rng.integers(-255, 256, (6, 6)), rng.integers(-127, 128, (3, 3))
    product = transformed_weights(F43, w[None, None])[:, :, 0, 0] * (F43.bt_of(down) @ d @ F43.bt_of(across).T)
    windows = (np.lib.stride_tricks.sliding_window_view(d, w.shape) * w).sum((2, 3))
    expected = 24**2 * windows[: len(_at(down)), : len(_at(across))]
    np.testing.assert_array_equal(_at(down) @ product @ _at(across).T, expected)


@EDGES
def test_places(edges):
    """As many as outputs and taps take; the bias goes where it does in other tiles."""
    for edge in filter(None, edges):
        assert len(edge.places) == len(_at(edge)) + 2
        assert edge.places == tuple(np.flatnonzero(F43.bt_of(edge).any(1))) == tuple(np.flatnonzero(_at(edge).any(0)))
        assert (_at(edge)[:, 1] == 1).all()


@pytest.mark.parametrize("span", [(0, 255), (-128, 127), (-63, 63), (-7, 100)])
@EDGES
def test_largest_activation_is_reached(edges, span):
    reached = 0
    for down, across in itertools.product({None, edges[0]}, {None, edges[1]}):
        for row, column in itertools.product(F43.bt_of(down), F43.bt_of(across)):
            factors = np.outer(row, column)
            reached = max(
                reached, *(abs((np.where(factors < 0, *ends) * factors).sum()) for ends in (span, span[::-1]))
            )
    assert largest_activation(F43, span, edges) == reached <= INT16_MAX


def test_activations_that_do_not_fit_are_refused():
    """At the edges alone: 12 bits, of a range that the others' places just hold."""
    weight, bias, edges = np.ones((1, 1, 3, 3), "int8"), np.zeros(1, "int32"), (F43.edges[3], None)
    end = next(end for end in range(1, 2**12) if largest_activation(F43, (0, end), edges) > INT16_MAX)
    assert all(proof.holds for proof in proofs(F43, weight, bias, (0, end)))
    assert not all(proof.holds for proof in proofs(F43, weight, bias, (0, end), edges=edges))


def test_which_layers_have_edges():
    conv = Conv2D(1, 14, 8, 3, 4, (3, 3), padding=(1, 1, 1, 1))
    assert edges_of(conv, F43) == (F43.edges[2], None)
    assert all(edges_of(conv, form) == (None, None) for form in FORMS if form is not F43)


def test_how_much_is_multiplied():
    conv = Conv2D(1, 14, 14, 64, 64, (3, 3), padding=(1, 1, 1, 1))
    ins = choose_int16(ALL["vpdpbusd-512"].features)
    multiplied = set()
    for tiling in winograd_tilings(conv, F43, ins):
        plan = WinogradPlan(conv, F43, ins, Layer(conv).numbers().output, tiling)
        assert sorted(plan.place_order) == [*range(36)]
        multiplied.add((tiling.edges, sum(part.places * part.tiles for part in plan.parts) * plan.chunks))
    assert multiplied == {(False, 24**2), (True, 22**2)}


# Heights and widths of results: each remainder, along one axis or both, and images of a single tile.
SIZES = [(9, 9), (10, 10), (11, 11), (14, 8), (8, 13), (10, 7), (6, 9), (3, 3), (2, 2), (1, 1), (2, 9), (7, 1), (3, 4)]


BY_SIZES = pytest.mark.parametrize(
    "sizes", [pytest.param(SIZES[n::4], marks=usual(n == 2), id=str(n)) for n in range(4)]
)


@FAMILIES
@BY_SIZES
def test_equals_the_integer_program(family, folder, sizes):
    _check(family, folder, sizes, sums=False)


@BY_SIZES
def test_sums_equal_it(folder, sizes):
    if OF_SUMS.lacking:
        pytest.skip(f"this processor lacks {', '.join(OF_SUMS.lacking)}")
    _check(OF_SUMS, folder, sizes, sums=True)


def test_sums_equal_it_on_arm(folder, aarch64):
    del aarch64  # skips, or fails in CI, where nothing can be emulated
    _check(OF_SUMS_ON_ARM, folder, SIZES[2::4], sums=True)


def _check(family, folder, sizes, sums):
    """The first and the last of the ways to compute a layer with edges, for results of each size."""
    drawn, jobs = [], []
    for n, (height, width) in enumerate(sizes):
        layer = _layer(n, height, width)
        numbers, stored = layer.numbers(family.features), Stored(layer.activations.dtype, *layer.span)
        arrays = numbers.weight, numbers.bias, numbers.multiplier
        every = considered(layer.conv, *arrays, stored, numbers.output, family.machine)
        found = [each for each in every if each.name.endswith(" edges") and ("_sums_" in each.name) == sums]
        for each in (found[0], found[-1]):
            assert each.is_proven
            drawn.append((layer, each.name))
            arguments = numbers.arguments(layer.conv.out_shape, *each.constants())
            jobs.append((each.make(), arguments, numbers.expected.reshape(layer.conv.out_shape)))
    check(family, folder, drawn, jobs)


def _layer(n, height, width):
    """With such a result: of few channels or of many, one image or two."""
    padded = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    residual = Epilogue("uint8", 0, 255, Activations(-63, 63, "int8"), 0.7)
    layers = [
        Layer(Conv2D(1, height, width, 48, 70, **padded), Activations(0, 127, "uint8", "high"), 63, "extreme", FLOATS),
        Layer(Conv2D(2, height, width, 20, 5, **padded), Activations(-63, 63, "int8"), 63, "extreme", residual),
        Layer(Conv2D(1, height, width, 8, 24, **padded), Activations(-128, 127, "int8"), 63, epilogue=FLOATS),
    ]
    return layers[n % len(layers)]
