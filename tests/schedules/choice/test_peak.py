"""The kernels that tell how fast an instruction can be."""

import numpy as np

from eq_tvm.schedules.choice.peak import peak_kernel
from eq_tvm.schedules.processor.instructions import choose, choose_int16, fma, named, variants


def test_every_instruction_has_a_peak(family, folder):
    """Which computes what it says it does: sums of as many ones as it claims to multiply."""
    features = family.features
    found = [*variants(choose(features, (0, 127), 63)[0]), choose_int16(features), fma(family.bits // 32, features)]
    if family.in_order:
        found.append(named("smlal_ordered_x46"))
    jobs, depths = [], []
    for instruction in filter(None, found):
        assert named(instruction.name, features) == instruction
        func, macs = peak_kernel(instruction, family.machine)
        *shapes, result = ([int(extent) for extent in parameter.shape] for parameter in func.params)
        x, weights, bias, *multiplier, _ = (
            np.ones(shape, str(parameter.dtype)) for shape, parameter in zip(shapes, func.params, strict=False)
        )
        jobs.append((func, [x, weights, 0 * bias, *multiplier, np.array([0, np.inf], "float32")]))
        depths.append(macs / np.prod(result))
    for depth, got in zip(depths, family.run(folder, jobs), strict=True):
        np.testing.assert_array_equal(got, np.full_like(got, depth))
