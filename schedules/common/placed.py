"""A function on part of a larger tensor: what lets several kernels write one buffer, each its own channels."""

import math
from collections.abc import Sequence

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Var


def placed(func: tirx.PrimFunc, index: int, width: int, first: int, whole: int) -> tirx.PrimFunc:
    """A `func` one of whose arguments is part of a larger tensor.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Its innermost loops go along the rows of the argument.
    index : int
        Which argument: it becomes a tensor (rows, `whole`), of which it was `width` elements of each row, from `first`.
    width : int
        Elements of a row of the argument: the product of its last axes (see `has_rows`).
    first : int
        Where the argument's elements begin in a row of the larger tensor.
    whole : int
        Elements of a row of the larger tensor.

    Returns
    -------
    tvm.tirx.PrimFunc
    """
    argument = func.params[index]
    shape, name = [int(extent) for extent in argument.shape], argument.name
    larger = tirx.decl_buffer((math.prod(shape) // width, whole), str(argument.dtype), name)
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    strides = [step // width * whole if step % width == 0 else step for step in steps]
    part = tirx.decl_buffer(shape, str(argument.dtype), f"{name}_part", strides=strides, elem_offset=first)

    block = func.body.block if isinstance(func.body, s_tir.SBlockRealize) else None
    body = tvm_ffi.structural_map(
        block.body if block else func.body, [(Var, lambda var: part if var.same_as(argument) else var)], order="pre"
    )
    body = tirx.SeqStmt([tirx.DeclBuffer(part, data=larger.data), body])
    if block:  # as Relax's passes expect
        block = s_tir.SBlock([], [], [], block.name_hint, body, alloc_buffers=block.alloc_buffers)
        body = s_tir.SBlockRealize([], True, block)
    params = [*func.params[:index], larger, *func.params[index + 1 :]]
    return tirx.PrimFunc(params, body, func.ret_type, attrs=func.attrs)


def has_rows(shape: Sequence[int], width: int) -> bool:
    """Whether the last axes of a tensor of this shape have together `width` elements."""
    return any(math.prod(shape[axis:]) == width for axis in range(len(shape)))
