"""Weights of 4 bits, two to a byte: packed, unpacked in a kernel, and equal to the integer program."""

import numpy as np
from cases import SEEDS, Activations, Epilogue, activations, epilogues, few
from hypothesis import example, given
from hypothesis import strategies as st
from layers import Layer, check, convolutions

from eq_tvm.schedules.choice.candidates import Stored, considered
from eq_tvm.schedules.convolution.conv2d import Conv2D

# One layer of each kind: dense, of a batch, with a residual, padded, by im2col, grouped, to floats.
USUAL = [
    (Layer(Conv2D(1, 1, 1, 515, 101), Activations(0, 255, "uint8"), 7), 0),
    (Layer(Conv2D(3, 1, 1, 64, 130).flattened(), Activations(-127, 127, "int8"), 7, "extreme"), 3),
    (Layer(Conv2D(1, 1, 1, 256, 128), Activations(0, 15, "int8"), 7, epilogue=Epilogue("int8", 0, 15)), 1),
    (
        Layer(
            Conv2D(1, 3, 7, 20, 64),
            epilogue=Epilogue("uint8", 0, 255, Activations(0, 127, "uint8"), 0.7),
            weight_limit=7,
        ),
        5,
    ),
    (Layer(Conv2D(1, 6, 7, 32, 48, (3, 3), padding=(1, 1, 1, 1)), Activations(0, 255, "uint8"), 7), 8),
    (Layer(Conv2D(1, 9, 8, 3, 40, (3, 3), (2, 2), (1, 1, 1, 1)), Activations(-127, 127, "int8"), 7), 2),
    (Layer(Conv2D(1, 5, 5, 48, 96, (3, 3), groups=3), Activations(0, 127, "int8"), 7, "extreme"), 4),
    (Layer(Conv2D(1, 1, 1, 96, 64), weight_limit=7, epilogue=Epilogue("float32", -np.inf, np.inf)), 6),
]


@given(
    st.lists(
        st.tuples(
            st.builds(
                Layer,
                convolutions(),
                activations(wide=False),
                st.sampled_from([1, 7]),
                st.sampled_from(["random", "extreme", "small"]),
                epilogues(),
                seed=SEEDS,
            ),
            SEEDS,
        ),
        min_size=1,
        max_size=6,
    )
)
@example(USUAL)
@few(2)
def test_equals_the_integer_program(family, folder, drawn):
    layers, jobs = [], []
    for layer, which in drawn:
        numbers, found = layer.numbers(), _candidates(layer, family)
        if not found:
            continue
        candidate = found[which % len(found)]
        func = candidate.make()
        shape = [int(extent) for extent in func.params[-1].shape]
        layers.append((layer, candidate.name))
        jobs.append((func, numbers.arguments(shape, *candidate.constants()), numbers.expected.reshape(shape)))
    check(family, folder, layers, jobs)


def _candidates(layer, family):
    numbers, inputs = layer.numbers(), layer.activations
    stored = Stored(inputs.dtype, inputs.low, inputs.high)
    every = considered(
        layer.conv, numbers.weight, numbers.bias, numbers.multiplier, stored, numbers.output, family.machine
    )
    return [each for each in every if each.algorithm == "direct nibbles" and each.is_proven]
