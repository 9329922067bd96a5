"""Weights of 4 bits, two to a byte: packed, unpacked in a kernel, and equal to the integer program."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from cases import SEEDS, Activations, Epilogue, activations, epilogues, few
from families import FAMILIES
from hypothesis import example, given
from hypothesis import strategies as st
from layers import Layer, check, convolutions
from tvm import te

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import considered
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution import nibbles
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_plan import DirectPlan, DirectTiling, pack_weights
from eq_tvm.schedules.processor.instructions import named
from eq_tvm.targets import get_target

# One layer of each kind: dense, of a batch, of 4 bits throughout, with a residual, padded, by im2col, grouped, to
# floats; and which of its kernels.
UINT8, INT8 = Activations(0, 255, "uint8"), Activations(-127, 127, "int8")
RESIDUAL = Epilogue("uint8", 0, 255, Activations(0, 127, "uint8"), 0.7)
USUAL = [
    (Layer(Conv2D(1, 1, 1, 515, 101), UINT8, 7), 0),
    (Layer(Conv2D(3, 1, 1, 64, 130).flattened(), INT8, 7, "extreme"), 3),
    (Layer(Conv2D(1, 1, 1, 256, 128), Activations(0, 15, "int8"), 7, epilogue=Epilogue("int8", 0, 15)), 1),
    (Layer(Conv2D(1, 3, 7, 20, 64), weight_limit=7, epilogue=RESIDUAL), 5),
    (Layer(Conv2D(1, 6, 7, 32, 48, (3, 3), padding=(1, 1, 1, 1)), UINT8, 7), 8),
    (Layer(Conv2D(1, 9, 8, 3, 40, (3, 3), (2, 2), (1, 1, 1, 1)), INT8, 7), 2),
    (Layer(Conv2D(1, 5, 5, 48, 96, (3, 3), groups=3), Activations(0, 127, "int8"), 7, "extreme"), 4),
    (Layer(Conv2D(1, 1, 1, 96, 64), weight_limit=7, epilogue=Epilogue("float32", -np.inf, np.inf)), 6),
]
LAYERS = st.builds(
    Layer,
    convolutions(),
    activations(wide=False),
    st.sampled_from([1, 7]),
    st.sampled_from(["random", "extreme", "small"]),
    epilogues(),
    seed=SEEDS,
)


@given(st.lists(st.tuples(LAYERS, SEEDS), min_size=1, max_size=6))
@example(USUAL)
@few(1)
def test_equals_the_integer_program(family, folder, drawn):
    chosen, jobs = [], []
    for layer, which in drawn:
        numbers = layer.numbers()
        weight = np.where(numbers.weight == -7, np.int8(-8), numbers.weight)  # as in networks from elsewhere
        numbers = layer.with_numbers(numbers.x, weight, numbers.bias)
        found = [each for each in _considered(layer, numbers, family.machine) if each.algorithm == "direct nibbles"]
        found = [each for each in found if each.is_proven]
        if not found:
            continue
        candidate = found[which % len(found)]
        func = candidate.make()
        shape = [int(extent) for extent in func.params[-1].shape]
        chosen.append((layer, candidate.name))
        jobs.append((func, numbers.arguments(shape, *candidate.constants()), numbers.expected.reshape(shape)))
    on_bytes = any("pmaddwd" not in feature for feature in family.features)
    assert len(jobs) == len(USUAL) * on_bytes or drawn != USUAL
    check(family, folder, chosen, jobs)


@pytest.mark.parametrize(
    "name", ["vpdpbusd_512", "pmaddubsw_256_x4", "sdot", "sdot_element_x4", "smlal_x2", "smlal_parts_x4", "vmlal_x8"]
)
def test_a_byte_holds_two_weights(name):
    """Half of the bytes, of which the plain weights become again, times the factor."""
    instruction = named(name)
    weight = np.random.default_rng(0).integers(nibbles.LOW, nibbles.HIGH + 1, (130, 70, 1, 1)).astype("int8")
    plan = DirectPlan(Conv2D(1, 1, 1, 70, 130), instruction, Output("int8"), DirectTiling(2, 1))
    plain = pack_weights(plan, weight)
    plan = replace(plan, tiling=replace(plan.tiling, nibbles=True))
    packed = pack_weights(plan, weight)
    assert packed.nbytes * 2 == plain.nbytes and packed.shape == plan.weight_shape
    weights = te.placeholder(packed.shape, packed.dtype, "weights")
    function = te.create_prim_func([weights, nibbles.unpacked(weights, instruction)])
    got = tvm.runtime.tensor(np.empty_like(plain))
    tvm.compile(function, target="llvm")["main"](tvm.runtime.tensor(packed), got)
    np.testing.assert_array_equal(got.numpy(), plain * nibbles.factor(instruction))


def kinds(layer, machine, **changed):
    """Algorithms of a layer, with numbers `changed`: of all candidates, and of those that are proven."""
    numbers = replace(layer.numbers(), **changed)
    found = _considered(layer, numbers, machine)
    return {each.algorithm for each in found}, {each.algorithm for each in found if each.is_proven}


DENSE = Layer(Conv2D(1, 1, 1, 64, 64), UINT8, 7)
VNNI, AVX2 = FAMILIES["vpdpbusd-512"].machine, FAMILIES["pmaddubsw"].machine
BOTH = {"direct", "direct nibbles"}


@pytest.mark.parametrize("name", ["vpdpbusd-512", "pmaddubsw", "pmaddubsw-512", "smlal", "sdot", "vmlal"])
def test_only_weights_of_4_bits(name):
    machine, weight = FAMILIES[name].machine, DENSE.numbers().weight
    for limit in (nibbles.LOW, nibbles.HIGH):
        weight.flat[5] = limit
        assert kinds(DENSE, machine, weight=weight) == (BOTH, BOTH)
        weight.flat[5] += np.sign(limit)
        assert kinds(DENSE, machine, weight=weight)[0] == {"direct"}


def test_not_for_instructions_on_int16():
    assert kinds(DENSE, FAMILIES["pmaddwd-512"].machine)[0] == {"direct"}
    wide = replace(DENSE, activations=Activations(0, 4095, "int16"))
    assert kinds(wide, VNNI)[0] == {"direct"}


def test_accumulators_that_are_16_times_as_large():
    """They are proven to fit, and multipliers to be divided exactly, where the kernel's are such."""
    bias = np.full(64, 2**27, "int32")
    assert kinds(DENSE, VNNI, bias=bias) == (BOTH, {"direct"})
    assert kinds(DENSE, AVX2, bias=bias) == (BOTH, BOTH)
    tiny = np.full(64, 2.0**-125, "float32")
    assert kinds(DENSE, VNNI, multiplier=tiny)[0] == {"direct"}
    assert kinds(DENSE, AVX2, multiplier=tiny)[0] == BOTH


@pytest.mark.parametrize("target", ["x86", "x86-vnni", "rpi4", "rpi5"])
def test_dense_layers_of_one_row_take_them(target):
    """Half of the bytes from the memory: the estimate is more than half of the time, but not much more."""
    layer, machine = Layer(Conv2D(1, 1, 1, 2048, 1024), INT8, 7), get_target(target).machine
    first, *rest = _considered(layer, layer.numbers(), machine)
    assert first.algorithm == "direct nibbles"
    plain = next(each for each in rest if each.algorithm == "direct")
    assert 0.5 < first.cycles / plain.cycles < 0.7


def _considered(layer, numbers, machine):
    inputs = layer.activations
    stored = Stored(inputs.dtype, inputs.low, inputs.high)
    return considered(layer.conv, numbers.weight, numbers.bias, numbers.multiplier, stored, numbers.output, machine)
