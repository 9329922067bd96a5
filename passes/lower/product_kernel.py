"""Which kernel computes products of matrices that are both activations."""

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import product_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.direct_plan import DirectPlan
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.schedules.processor.rounding import proven
from eq_tvm.schedules.products.operand import product_shape

from . import named_kernels
from .kernel_record import KernelRecord, kernel_record
from .lowered_values import MatrixProduct, Tensor


@dataclass(frozen=True)
class ProductKernel:
    """The kernels of a product.

    Parameters
    ----------
    plan : DirectPlan
    pack : tvm.tirx.PrimFunc
        See `operand.pack_operand`.
    bias : tvm.tirx.PrimFunc, optional
        See `operand.operand_bias`; None where the bias is 0.
    function : tvm.tirx.PrimFunc
        See `direct_conv`.
    record : KernelRecord
    """

    plan: DirectPlan
    pack: tirx.PrimFunc
    bias: tirx.PrimFunc | None
    function: tirx.PrimFunc
    record: KernelRecord


def product_kernel(item: MatrixProduct, output: Output, multiplier: np.float32, machine: Machine) -> ProductKernel:
    """The kernel that is estimated to be the fastest.

    Parameters
    ----------
    item : MatrixProduct
    output : Output
        What is proven of the sums is found here.
    multiplier : numpy.float32
        Of the sums.
    machine : Machine

    Raises
    ------
    ValueError
        See `product_candidates`.
    """
    pairs, rows, depth, columns = item.sizes
    conv = product_shape(pairs, rows, depth, columns)
    largest = depth * _largest(item.first) * _largest(item.second)
    output = proven(output, np.array([largest]), np.array([multiplier]), machine.instructions.keys())
    found = product_candidates(conv, _stored(item.first), _stored(item.second), output, machine)
    best = found[0]
    plan, offset, *_ = best.make.args  # type: ignore[attr-defined]  # functools.partial of direct_conv
    function = named_kernels.convolution(best.make, conv, "product", output.dtype)
    return ProductKernel(
        plan,
        named_kernels.pack_operand(plan, item.order, item.second.dtype),
        named_kernels.operand_bias(plan, offset) if offset else None,
        function,
        {
            **kernel_record(item.name, "", conv.macs, best, found, {}),
            "weight_bytes": 0,  # there are none
            "small_weight_bytes": 0,
        },
    )


def _stored(tensor: Tensor) -> Stored:
    return Stored(tensor.dtype, tensor.low, tensor.high)


def _largest(tensor: Tensor) -> int:
    return max(-tensor.low, tensor.high)
