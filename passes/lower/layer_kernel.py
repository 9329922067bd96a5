"""Which kernel computes a convolution or dense layer, and the constants that it reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import tirx

from eq_tvm.schedules.choice import candidates
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.left_out import left_out
from eq_tvm.schedules.common import overflow
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution import nibbles
from eq_tvm.schedules.depthwise import depthwise, depthwise_columns_plan, depthwise_pairs
from eq_tvm.schedules.depthwise.depthwise_large import LARGE
from eq_tvm.schedules.processor.instructions import choose_int16, fma, vector_bits
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.schedules.processor.rounding import proven

from . import named_kernels
from .kernel_record import KernelRecord, kernel_record
from .lowered_values import Linear, Tensor
from .weight_size import Choose


@dataclass(frozen=True)
class LayerKernel:
    """The kernel of a layer.

    Parameters
    ----------
    function : tvm.tirx.PrimFunc
        Arguments: activations, `constants`, limits, the residual if there is one, and the result.
    constants : sequence of numpy.ndarray
        Packed weights, bias and (of quantized layers) multiplier, in the kernel's own layouts.
    shape : tuple of int
        Of the result: NHWC, or with the channels of several groups as an axis of their own.
    record : KernelRecord, optional
        Of convolutions whose kernel was chosen.
    """

    function: tirx.PrimFunc
    constants: Sequence[np.ndarray]
    shape: tuple[int, ...]
    record: KernelRecord | None = None


def layer_kernel(
    item: Linear, output: Output, multiplier: np.ndarray | None, machine: Machine, choose: Choose
) -> LayerKernel:
    """The fastest kernel that provably gives a layer's result.

    Parameters
    ----------
    item : Linear
    output : Output
        What is proven of accumulators is found here.
    multiplier : numpy.ndarray or None
        float32 (O,): of the accumulators, where the layer is quantized.
    machine : Machine
    choose : callable (key, candidates) -> Candidate
        Is asked where there are several kernels.

    Raises
    ------
    ValueError
        If an accumulator could overflow, or the processor has no multiply instruction.
    """
    item = replace(item, source=_with_zero(item.source))
    if item.conv.is_column:  # tiles go along rows
        item = replace(item, conv=item.conv.transposed(), weight=np.swapaxes(item.weight, 2, 3))
    if multiplier is not None:
        output = proven(output, _worst(item), multiplier, machine.instructions.keys())
    if 1 < item.conv.groups == item.conv.in_channels == item.conv.out_channels:
        return _depthwise(item, output, multiplier, machine)
    found = []
    for conv in dict.fromkeys([item.conv.flattened(), item.conv]):
        if multiplier is None:
            lanes = vector_bits(machine.instructions.keys()) // 32
            found += candidates.float_candidates(conv, item.weight, item.bias, output, machine, lanes)
        else:
            stored = Stored(item.source.dtype, item.source.low, item.source.high, item.source.zero)
            found += candidates.considered(conv, item.weight, item.bias, multiplier, stored, output, machine)
    best = choose(_layer_key(item, output), [candidate for candidate in found if candidate.is_proven])
    function = named_kernels.convolution(best.make, item.conv, best.algorithm, output.dtype)
    shape = tuple(int(extent) for extent in function.params[-1].shape)
    impossible = {} if multiplier is None else _left_out(item, multiplier, machine)
    name = str(function.attrs["global_symbol"])
    record = kernel_record(item.name, name, item.conv.macs, best, found, impossible)
    return LayerKernel(function, best.constants(), shape, record)


def _with_zero(source: Tensor) -> Tensor:
    """What a kernel multiplies: 0 as well, which is padding, and fills up runs, whatever bounds an activation has."""
    return replace(source, low=min(source.low, 0), high=max(source.high, 0))


def _left_out(item: Linear, multiplier: np.ndarray, machine: Machine) -> dict[str, str]:
    source, weight_max = item.source, int(np.abs(item.weight.astype("int32")).max(initial=0))
    span = source.low + source.zero, source.high + source.zero
    return left_out(item.conv, weight_max, multiplier, source.dtype, span, machine.instructions)


def _layer_key(item: Linear, output: Output) -> str:
    """What two layers have in common that can use the same kernels, for people and files."""
    conv, source = item.conv, item.source
    form = "float32"
    if source.quantized:
        form = f"{source.dtype} [{source.low}, {source.high}]{f' + {source.zero}' * bool(source.zero)}"
        form += " by 4 bits" * nibbles.holds(item.weight)  # more kernels than for others
    return (
        f"{conv.batch}x{conv.height}x{conv.width}x{conv.in_channels} to {conv.out_channels}, "
        f"kernel {conv.kernel}, strides {conv.strides}, padding {conv.padding}, dilation {conv.dilation}, "
        f"groups {conv.groups}, {form} to {output.dtype}{f' plus {output.residual}' if output.residual else ''}"
    )


def _depthwise(item: Linear, output: Output, multiplier: np.ndarray | None, machine: Machine) -> LayerKernel:
    conv, dtype, features = item.conv, item.source.dtype, machine.instructions.keys()
    if item.weight[0].size > LARGE:
        return _depthwise_large(item, output, multiplier, vector_bits(features) // 32)
    if multiplier is None:
        lanes = vector_bits(features) // 32
        function = named_kernels.depthwise_floats(conv, lanes, fma(lanes, features).registers, output)
        return LayerKernel(function, [depthwise.pack_depthwise(item.weight), item.bias], conv.nhwc_shape)
    if dtype == "int16" and (pairs := depthwise_pairs.multiplying(choose_int16(features), conv.out_channels)):
        function = named_kernels.depthwise_pairs(conv, pairs, output)
        bias = overflow.folded_bias(item.weight, item.bias, _span(item), 0)
        return LayerKernel(function, [depthwise_pairs.pack_pairs(item.weight), bias, multiplier], conv.nhwc_shape)
    multiply = depthwise.byte_multiply(features) if dtype == "int8" else None
    weight = depthwise.pack_depthwise(item.weight, "int8" if multiply else "int16")
    lanes = vector_bits(features) // 16
    by_columns = None if dtype == "int16" else _depthwise_columns(item, output, multiplier, machine)
    if by_columns is not None:
        return by_columns
    zero = item.source.zero
    chain = depthwise.int16_chain(item.weight, (item.source.low + zero, item.source.high + zero))
    bias = overflow.folded_bias(item.weight, item.bias, _span(item), zero)
    function = named_kernels.depthwise_conv(conv, dtype, chain, lanes, output, zero, multiply)
    return LayerKernel(function, [weight, bias, multiplier], conv.nhwc_shape)


def _depthwise_large(item: Linear, output: Output, multiplier: np.ndarray | None, lanes: int) -> LayerKernel:
    function = named_kernels.depthwise_large(item.conv, item.source.dtype, lanes, output, item.source.zero)
    weight = depthwise.pack_depthwise(item.weight)
    if multiplier is None:
        return LayerKernel(function, [weight, item.bias], item.conv.nhwc_shape)
    bias = overflow.folded_bias(item.weight, item.bias, _span(item), item.source.zero)
    return LayerKernel(function, [weight, bias, multiplier], item.conv.nhwc_shape)


def _depthwise_columns(item: Linear, output: Output, multiplier: np.ndarray, machine: Machine) -> LayerKernel | None:
    """The kernel for processors with instructions for bytes, where it can be used."""
    conv, (low, high) = item.conv, _span(item)
    added = depthwise_columns_plan.added(machine.instructions, item.source.dtype, low)
    offset = item.source.zero + added  # of the bytes that are multiplied
    weight_max = int(np.abs(item.weight.astype("int32")).max())
    dot = depthwise_columns_plan.choose(machine.instructions, (low + offset, high + offset), weight_max)
    if dot is None or not depthwise_columns_plan.fits(conv, output):
        return None
    narrow = output.dtype == "uint8" and not dot.signed and depthwise_columns_plan.is_small(_worst(item))
    bias = overflow.folded_bias(item.weight, item.bias, (low, high), offset)
    constants = [
        depthwise_columns_plan.pack_weights(conv, dot, item.weight),
        depthwise_columns_plan.pack_constants(conv, dot, bias, multiplier, narrow),
    ]
    function = named_kernels.depthwise_columns(conv, item.source.dtype, dot, item.source.zero, added, output, narrow)
    return LayerKernel(function, constants, conv.nhwc_shape)


def _span(item: Linear) -> tuple[int, int]:
    return item.source.low, item.source.high


def _worst(item: Linear) -> np.ndarray:
    return overflow.worst_accumulators(item.weight, item.bias, _span(item))
