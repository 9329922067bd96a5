"""From a scheduled function to plain loops, with what TVM's lowering has no words for put in."""

import functools
import math
from collections.abc import Sequence

import tvm
from tvm import s_tir, tirx
from tvm.ir.transform import Sequential

from .fence import fenced
from .prefetch import fetching
from .statements import rebuilt, with_body, without


def lowered(func: tirx.PrimFunc, aligned: bool = True) -> tirx.PrimFunc:
    """A function as plain loops, whose "local" buffers stay on the stack, so that LLVM can keep them in registers.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Scheduled.
    aligned : bool
        What LLVM spills shall cross no cache line: worth an instruction where registers are wide.

    Returns
    -------
    tvm.tirx.PrimFunc
        With the same arguments; its body is one block named "root", as Relax's passes expect.

    Notes
    -----
    TVM allocates buffers of 1 KiB and more on the heap, which for a tile of accumulators means a call, a memset and a
    store of each register. Its own way to forbid that is an annotation of the allocation, which only exists after the
    blocks of a schedule are gone, and which StorageRewrite drops: compile with `COMPILE_CONFIG`.
    """
    func = next(iter(_to_loops()(tvm.IRModule({"main": func})).functions.values()))
    body = fenced(func.body)
    body = fetching(rebuilt(body, lambda stmt: _aligned(_on_stack(stmt)) if aligned else _on_stack(stmt)))
    return func.with_body(s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", body)))


COMPILE_CONFIG = {"tirx.disable_storage_rewrite": True}


def cropped(func: tirx.PrimFunc, shape: Sequence[int]) -> tirx.PrimFunc:
    """A lowered `func` that stores only those elements of its result (the last argument) that lie within `shape`.

    The kernel computes whole tiles; this is how it is kept from writing beyond the edge of the tensor.
    """
    out = func.params[-1]
    if tuple(int(extent) for extent in out.shape) == tuple(shape):
        return func
    edge = [axis for axis, (whole, kept) in enumerate(zip(out.shape, shape, strict=True)) if int(whole) != kept]
    target = tirx.decl_buffer(shape, str(out.dtype), out.name)

    def crop(stmt: tirx.Stmt) -> tirx.Stmt:
        vector, store = _vector_store(stmt, out)
        if store is None:
            return stmt
        store = tirx.BufferStore(target, store.value, store.indices)
        inside = [without(_first(store.indices[axis]), vector) < shape[axis] for axis in edge]
        if vector is not None:
            store = tirx.For(vector, stmt.min, stmt.extent, stmt.kind, store)
        return tirx.IfThenElse(tirx.all(*inside), store, None)

    body = rebuilt(func.body, crop, lambda stmt: _vector_store(stmt, out)[1] is not None)
    return tirx.PrimFunc([*func.params[:-1], target], body, func.ret_type, attrs=func.attrs)


def _first(index: tirx.Expr) -> tirx.Expr:
    """Of a vector of places the first one."""
    return index.base if isinstance(index, tirx.Ramp) else index


def _vector_store(stmt: tirx.Stmt, out: tirx.Buffer) -> tuple[tirx.Var | None, tirx.BufferStore | None]:
    """(loop variable or None, store) of a statement that stores into `out`, vectorized or not."""
    if isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.VECTORIZED:
        _, store = _vector_store(stmt.body, out)
        return stmt.loop_var, store
    return None, stmt if isinstance(stmt, tirx.BufferStore) and stmt.buffer.same_as(out) else None


@functools.cache
def _to_loops() -> Sequential:
    """What lowers blocks to loops; made when it is used, as TVM's runtime alone has none of it."""
    return Sequential(
        [
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
        ]
    )


_STACK = 1 << 15  # bytes: what is larger is no tile of registers
_LINE = 64  # bytes of a cache line


def on_stack(buffer: tirx.Buffer) -> tirx.AllocBuffer:
    """The allocation of a "local" buffer, whatever its size."""
    return tirx.AllocBuffer(buffer, {"disable_lower_builtin": tirx.IntImm("bool", 1)})


def _on_stack(stmt: tirx.Stmt) -> tirx.Stmt:
    if not isinstance(stmt, tirx.AllocBuffer) or stmt.buffer.scope() != "local":
        return stmt
    size = math.prod(int(extent) for extent in stmt.buffer.shape) * tvm.DataType(str(stmt.buffer.dtype)).bits // 8
    return on_stack(stmt.buffer) if size <= _STACK else stmt


def _aligned(stmt: tirx.Stmt) -> tirx.Stmt:
    """A parallel loop that makes LLVM align its stack, so that a register that is spilled crosses no cache line.

    LLVM aligns a function's stack only where it knows of a need before it assigns registers: 64 bytes whose address is
    used, by an instruction without effect.
    """
    if not isinstance(stmt, tirx.For) or stmt.kind != tirx.ForKind.PARALLEL:
        return stmt
    line = tirx.decl_buffer((1,), f"uint8x{_LINE}", "line", scope="local")
    address = tirx.address_of(tirx.BufferLoad(line, [0]))
    used = tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, 3, 1))
    return with_body(stmt, tirx.SeqStmt([on_stack(line), used, stmt.body]))
