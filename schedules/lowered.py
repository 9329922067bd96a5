"""From a scheduled function to plain loops, with what TVM's lowering has no words for put in."""

import functools
import math

import tvm
from tvm import s_tir, tirx
from tvm.ir.expr import TensorLoad
from tvm.ir.transform import Sequential


def lowered(func):
    """`func` as plain loops, whose "local" buffers stay on the stack, so that LLVM can keep them in registers.

    TVM allocates buffers of 1 KiB and more on the heap, which for a tile of accumulators means a call, a memset and a
    store of each register. Its own way to forbid that is an annotation of the allocation, which only exists after the
    blocks of a schedule are gone, and which StorageRewrite drops: compile with `COMPILE_CONFIG`.
    """
    func = next(iter(_to_loops()(tvm.IRModule({"main": func})).functions.values()))
    body = _fetching(_rebuilt(func.body, lambda stmt: _aligned(_on_stack(stmt))))
    # Relax's passes expect each function to consist of a block.
    return func.with_body(s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", body)))


def prefetch(sch, loop, passes, far, stream=""):
    """Let each iteration of the reduction `loop` fetch a share of the `weights` that are read later.

    Weights are cold: the network's other layers have driven them out of the near caches since the last run. A block of
    them, weights[:, 1], is read again in each iteration of the loops `passes`, and all of these together fetch the next
    block into the second cache, evenly: the memory is slower than the first pass, faster than all. `far` says that a
    block does not stay in the first cache; then what is read some iterations later is fetched into that, too, as what
    a processor fetches by itself ends with each page.

    `stream` names a buffer, [..., element], of which each pass reads the rows that follow those of the pass before:
    they are fetched, too. A processor does not recognize several neighbouring rows as streams.
    """
    sch.annotate(loop, _PREFETCH, int(far))
    sch.annotate(loop, _STREAM, stream)
    for outer in passes:
        sch.annotate(outer, _PASS, 1)


COMPILE_CONFIG = {"tirx.disable_storage_rewrite": True}


def cropped(func, shape):
    """A lowered `func` that stores only those elements of its result (the last argument) that lie within `shape`.

    The kernel computes whole tiles; this is how it is kept from writing beyond the edge of the tensor.
    """
    out = func.params[-1]
    if tuple(int(extent) for extent in out.shape) == tuple(shape):
        return func
    edge = [axis for axis, (whole, kept) in enumerate(zip(out.shape, shape, strict=True)) if int(whole) != kept]
    target = tirx.decl_buffer(shape, str(out.dtype), out.name)

    def crop(stmt):
        vector, store = _vector_store(stmt, out)
        if store is None:
            return stmt
        store = tirx.BufferStore(target, store.value, store.indices)
        inside = [_without(store.indices[axis], vector) < shape[axis] for axis in edge]
        if vector is not None:
            store = tirx.For(vector, stmt.min, stmt.extent, stmt.kind, store)
        return tirx.IfThenElse(tirx.all(*inside), store, None)

    body = _rebuilt(func.body, crop, lambda stmt: _vector_store(stmt, out)[1] is not None)
    return tirx.PrimFunc([*func.params[:-1], target], body, func.ret_type, attrs=func.attrs)


def _vector_store(stmt, out):
    """(loop variable or None, store) of a statement that stores into `out`, vectorized or not."""
    if isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.VECTORIZED:
        _, store = _vector_store(stmt.body, out)
        return stmt.loop_var, store
    return None, stmt if isinstance(stmt, tirx.BufferStore) and stmt.buffer.same_as(out) else None


def _without(index, variable):
    """A sum with `variable`, which is one of its terms, left out."""
    if variable is None:
        return index
    if index.same_as(variable):
        return tirx.const(0, "int32")
    if isinstance(index, tirx.Add):
        return _without(index.a, variable) + _without(index.b, variable)
    return index


@functools.cache
def _to_loops():
    """What lowers blocks to loops; made when it is used, as TVM's runtime alone has none of it."""
    return Sequential([
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
    ])


_STACK = 1 << 15  # bytes: what is larger is no tile of registers
_PREFETCH, _STREAM, _PASS = "eq_tvm.prefetch", "eq_tvm.stream", "eq_tvm.pass"
_LINE, _AHEAD = 64, 4096  # bytes of a cache line, and how far ahead: what is read while the next cache answers


def _fetching(stmt, passes=()):
    """A statement whose loops, marked by `prefetch`, fetch; `passes` are the marked ones around it."""
    def change(part):
        if not isinstance(part, tirx.For):
            return part
        marks = {key: value for key, value in part.annotations.items() if key not in (_PASS, _PREFETCH, _STREAM)}
        body = part.body
        if _PASS in part.annotations:
            body = _fetching(body, (*passes, part))
        elif _PREFETCH in part.annotations:
            fetches = list(_fetches(part, passes))
            body = tirx.SeqStmt([*fetches, body]) if fetches else body
        return tirx.For(part.loop_var, part.min, part.extent, part.kind, body, part.thread_binding, marks)

    return _rebuilt(stmt, change, lambda part: isinstance(part, tirx.For) and _PASS in part.annotations)


def _fetches(loop, passes):
    weights, indices = _first_load("weights", loop)
    axis = next((i for i, index in enumerate(indices) if _uses(index, loop.loop_var)), None)
    if axis is None:  # a loop of one iteration
        return
    itemsize = tvm.DataType(str(weights.dtype)).bits // 8
    step, line = math.prod(int(extent) for extent in weights.shape[axis + 1:]), _LINE // itemsize
    steps = int(weights.shape[axis]) // int(loop.extent)  # in an iteration
    many = math.prod(int(outer.extent) for outer in passes)
    rows, blocks = (int(extent) for extent in weights.shape[:2])
    if many > 1 and rows * blocks > 1:
        block = (indices[0] * blocks + indices[1] + 1) % (rows * blocks)  # the first, too, is often needed next
        share, number = -(-step // many), 0  # of a step, of a pass and of a step in all passes
        counted = [(outer.loop_var, outer.extent) for outer in passes]
        for index, extent in counted + list(zip(indices[2:axis + 1], weights.shape[2:axis + 1], strict=True)):
            number = number * extent + index
        for at in range(0, steps * share, line):
            yield _fetch(weights, [block // blocks, block % blocks], number * share + at, locality=2)
    if many > 1 and loop.annotations[_STREAM]:
        rows, place = _first_load(loop.annotations[_STREAM], loop)
        count = int(rows.shape[-2]) // many  # of a pass, whose loop is the innermost
        share = count * int(rows.shape[-1]) // int(loop.extent)
        yield _fetch(rows, [*place[:-2], place[-2] + count], loop.loop_var * share, locality=2)
    if many == 1 or loop.annotations[_PREFETCH]:
        indices[axis] += max(1, _AHEAD // (step * itemsize))
        for at in range(0, steps * step, line):
            yield _fetch(weights, indices[:axis + 1], at, locality=3)


def _first_load(name, loop):
    """The buffer called `name`, and where the loop's iteration begins to read it."""
    load = next(load for store in _stores(loop.body) if (load := _load_of(name, store.value)) is not None)
    indices = list(load.indices)
    for inner in _loops(loop.body):
        indices = [_without(index, inner.loop_var) for index in indices]
    return load.source, indices


def _fetch(weights, place, element, locality):
    """Fetch what is that many elements behind the beginning of weights[place]."""
    place = [*place, *(0 for _ in weights.shape[len(place) + 1:]), element]
    address = tirx.address_of(tirx.BufferLoad(weights, place))
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, locality, 1))


def _stores(stmt):
    """All BufferStore of a statement, in order."""
    if isinstance(stmt, tirx.BufferStore):
        yield stmt
    for part in stmt.seq if isinstance(stmt, tirx.SeqStmt) else [stmt.body] if hasattr(stmt, "body") else []:
        yield from _stores(part)


def _loops(stmt):
    """All For of a statement."""
    if isinstance(stmt, tirx.For):
        yield stmt
    for part in stmt.seq if isinstance(stmt, tirx.SeqStmt) else [stmt.body] if hasattr(stmt, "body") else []:
        yield from _loops(part)


def _uses(expr, variable):
    operands = [getattr(expr, field) for field in ("a", "b") if hasattr(expr, field)]
    return expr.same_as(variable) or any(_uses(operand, variable) for operand in operands)


def _load_of(name, expr):
    """The first element of the buffer called `name` that an expression reads."""
    if isinstance(expr, TensorLoad):
        return expr if expr.source.name == name else None
    operands = (getattr(expr, field) for field in ("a", "b", "value") if hasattr(expr, field))
    parts = [*getattr(expr, "args", []), *operands]
    return next((found for part in parts if (found := _load_of(name, part)) is not None), None)


def on_stack(buffer):
    """The allocation of a "local" buffer, whatever its size."""
    return tirx.AllocBuffer(buffer, {"disable_lower_builtin": tirx.IntImm("bool", 1)})


def _on_stack(stmt):
    if not isinstance(stmt, tirx.AllocBuffer) or stmt.buffer.scope() != "local":
        return stmt
    size = math.prod(int(extent) for extent in stmt.buffer.shape) * tvm.DataType(str(stmt.buffer.dtype)).bits // 8
    return on_stack(stmt.buffer) if size <= _STACK else stmt


def _aligned(stmt):
    """A parallel loop that makes LLVM align its stack, so that a register that is spilled crosses no cache line.

    LLVM aligns a function's stack only where it knows of a need before it assigns registers: 64 bytes whose address is
    used, by an instruction without effect.
    """
    if not isinstance(stmt, tirx.For) or stmt.kind != tirx.ForKind.PARALLEL:
        return stmt
    line = tirx.decl_buffer((1,), f"uint8x{_LINE}", "line", scope="local")
    address = tirx.address_of(tirx.BufferLoad(line, [0]))
    used = tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, 3, 1))
    return tirx.For(stmt.loop_var, stmt.min, stmt.extent, stmt.kind, tirx.SeqStmt([on_stack(line), used, stmt.body]),
                    stmt.thread_binding, stmt.annotations)


def _rebuilt(stmt, change, whole=lambda stmt: False):
    """A statement with `change` applied to all that it consists of, innermost first; `whole` ones are not entered."""
    if whole(stmt):
        return change(stmt)
    if isinstance(stmt, tirx.SeqStmt):
        stmt = tirx.SeqStmt([_rebuilt(part, change, whole) for part in stmt.seq])
    elif isinstance(stmt, tirx.For):
        stmt = tirx.For(stmt.loop_var, stmt.min, stmt.extent, stmt.kind, _rebuilt(stmt.body, change, whole),
                        stmt.thread_binding, stmt.annotations)
    elif isinstance(stmt, s_tir.SBlockRealize):
        block = stmt.block
        body = _rebuilt(block.body, change, whole)
        stmt = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], block.name_hint, body))
    elif isinstance(stmt, tirx.AttrStmt):
        stmt = tirx.AttrStmt(stmt.node, stmt.attr_key, stmt.value, _rebuilt(stmt.body, change, whole))
    elif isinstance(stmt, tirx.IfThenElse):
        otherwise = None if stmt.else_case is None else _rebuilt(stmt.else_case, change, whole)
        stmt = tirx.IfThenElse(stmt.condition, _rebuilt(stmt.then_case, change, whole), otherwise)
    return change(stmt)
