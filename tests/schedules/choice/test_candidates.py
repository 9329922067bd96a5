"""The kernels to choose from: each gives the integer program's result, and the cheapest comes first."""

from __future__ import annotations

from dataclasses import replace

import integer_ops as ops
import numpy as np
import pytest
from cases import SEEDS, Activations, Epilogue, activations
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import Layer, check, nchw, weight_shape

from eq_tvm.schedules.choice import cost, tilings
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates, float_candidates
from eq_tvm.schedules.choice.chains import longer_chains
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import INT16_MAX
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_plan import pack_weights, weight_runs
from eq_tvm.schedules.processor.machine import Machine

BODY = Conv2D(1, 5, 6, 12, 64, (3, 3), padding=(1, 1, 1, 1))
UINT8 = Epilogue("uint8", 0, 255, Activations(0, 255, "uint8"), 0.7)
LAYERS = [
    Layer(BODY, weight_limit=20, values="small", epilogue=Epilogue("int8", -63, 63)),
    Layer(BODY, Activations(0, 255, "uint8"), 127, epilogue=UINT8),
    Layer(Conv2D(1, 4, 4, 8, 12), epilogue=Epilogue("float32", 0, 6)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=["int7", "int8", "pointwise"])
@pytest.mark.parametrize(
    "family", ["pmaddubsw", "pmaddubsw-512", "vpdpbusd-512", "smlal", "smlal-in-order"], indirect=True
)
def test_every_candidate_gives_the_same_integers(family, folder, layer):
    """At least one of each way to compute the layer, the fastest ones, and some of the rest."""
    numbers, found = layer.numbers(family.features), _candidates(layer, family.machine)
    _check_costs(found, family.machine)
    kinds = {(*each.name.split()[:2], each.name.endswith("ordered")): each for each in reversed(found)}
    chosen = [*kinds.values(), *found[1 :: max(1, len(found) // 4)]]
    assert ("F(4,3)" in {kind for kind, *_ in kinds}) == (layer.conv == BODY)
    assert any(ordered for _, _, ordered in kinds) == (family.in_order and layer.conv == BODY)
    jobs = []
    for candidate in chosen:
        func = candidate.make()
        shape = [int(extent) for extent in func.params[-1].shape]
        jobs.append((func, numbers.arguments(shape, *candidate.constants()), numbers.expected.reshape(shape)))
    check(family, folder, [candidate.name for candidate in chosen], jobs)


@pytest.mark.parametrize("name", ["pmaddubsw", "pmaddubsw-512", "smlal", "smlal-in-order", "vmlal"])
@given(st.sampled_from([1, 3, 4]), st.sampled_from([(3, 3), (5, 5), (1, 3)]), activations(), SEEDS)
@settings(max_examples=20)
def test_chains_hold_in_the_order_of_their_weights(name, channels, kernel, inputs, seed):
    """Windows put other products side by side than rows do."""
    layer = Layer(Conv2D(1, 6, 9, channels, 12, kernel), inputs, 63 + seed % 65, seed=seed)
    weight = layer.numbers().weight
    for candidate in _candidates(layer, FAMILIES[name].machine):
        plan, offset, *_ = candidate.make.args
        ins, span = plan.instruction, (layer.span[0] + offset, layer.span[1] + offset)
        if ins.chains:  # int16 sums of each chain of links, of both halves of a register
            w = pack_weights(plan, weight).astype("int32").reshape(-1, ins.links, plan.tiling.vectors, 2, 8)
            for chain in np.split(w, np.cumsum(ins.chains)[:-1], axis=1):
                ends = np.stack([chain * end for end in span])
                assert ends.max(0).sum((1, 3)).max() <= INT16_MAX and ends.min(0).sum((1, 3)).min() >= -INT16_MAX
        elif ins.chain > 1 and ins.int16_step:
            w = pack_weights(plan, weight).astype("int32")
            if ins.lanes_per_channel > 1:
                w, axes = w.reshape(-1, ins.chain, ins.products, 8), (1, 2)
            else:
                w, axes = w.reshape(-1, ins.chain, 2 * ins.lanes, ins.products), (1, 3)
            ends = np.stack([w * end for end in span])
            assert ends.max(0).sum(axes).max() <= INT16_MAX and ends.min(0).sum(axes).min() >= -INT16_MAX
            runs = lambda longer, plan=plan: weight_runs(replace(plan, instruction=longer), weight)  # noqa: E731
            assert list(longer_chains(replace(ins, chain=1), runs, span, [ins.chain])) == [ins], candidate.name


def test_float_candidates(cpu, folder):
    conv, rng = Conv2D(1, 5, 6, 5, 40, (3, 3), padding=(1, 1, 1, 1)), np.random.default_rng(0)
    weight, bias = (rng.normal(size=shape).astype("float32") for shape in (weight_shape(conv), 40))
    x = rng.normal(size=(1, 5, 6, 5)).astype("float32")
    found = float_candidates(conv, weight, bias, Output("float32"), cpu.machine, cpu.bits // 32)
    _check_costs(found, cpu.machine)
    expected = ops.correlate(nchw(x), weight, conv.strides, conv.padding, conv.dilation, 1, "float64")
    expected = np.maximum(expected.transpose(0, 2, 3, 1) + bias, 0)
    limits = np.array([0, np.inf], "float32")
    results = cpu.run(folder, [(each.make(), [x, *each.constants(), limits]) for each in found[::4]])
    for candidate, got in zip(found[::4], results, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4, err_msg=candidate.name)


def test_the_choice_follows_the_machine():
    """Large maps of many channels are cheapest by Winograd, single pixels are not."""
    machine = Machine({"pmaddubsw": 40.0, "pmaddwd-256": 22.0})
    large = Layer(Conv2D(1, 56, 56, 64, 64, (3, 3), padding=(1, 1, 1, 1)), Activations(0, 255, "uint8"), 127)
    assert _candidates(large, machine)[0].name.startswith("F(4,3)")
    small = Layer(Conv2D(1, 1, 1, 64, 64, (3, 3), padding=(1, 1, 1, 1)), Activations(0, 127, "int8"), 63)
    assert _candidates(small, machine)[0].name.startswith("direct")


def test_winograd_only_where_it_is_exact():
    machine, layer = Machine({"vpdpbusd-512": 128.0}), Layer(BODY, weight_limit=127, large_bias=True)
    assert {each.name.split()[0] for each in _candidates(layer, machine)} == {"direct"}


def test_tilings_fit():
    """Vectors of accumulators are in registers; chunks of Winograd divide the rows."""
    conv, layer = BODY, LAYERS[0]
    machine = Machine({"vpdpbusd-512": 128.0})
    for each in _candidates(layer, machine):
        plan = each.make.args[0]
        assert plan.tiling.vectors * plan.tiling.tile < plan.instruction.registers
        if each.name.startswith("rows"):
            assert conv.out_height % plan.tiling.chunk == 0 and plan.tiling.tile <= plan.pairs
        elif each.name.startswith("F"):
            assert plan.rows % plan.tiling.chunk == 0 and plan.tiling.tile <= plan.tiles
        else:
            assert plan.tiling.tile <= conv.out_width and conv.out_height % plan.tiling.chunk == 0
            assert tilings.chunk_of(plan, machine) == plan.tiling.chunk


def test_processors_without_instructions():
    with pytest.raises(ValueError, match="no multiply instruction is known"):
        _candidates(LAYERS[0], Machine({}))


def _candidates(layer, machine):
    numbers, (low, high) = layer.numbers(), layer.span
    return convolution_candidates(
        layer.conv,
        numbers.weight,
        numbers.bias,
        numbers.multiplier,
        Stored(layer.activations.dtype, low, high),
        numbers.output,
        machine,
    )


def _check_costs(found, machine):
    cycles = [candidate.cycles for candidate in found]
    assert found and cycles == sorted(cycles) and len({candidate.name for candidate in found}) == len(found)
    assert all(
        0 < candidate.multiplications / cost.throughput(candidate.make.args[0].instruction, machine) < candidate.cycles
        for candidate in found
    )
