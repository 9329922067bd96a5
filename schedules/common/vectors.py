"""TIR of whole vectors in buffers on the stack, and of addresses that LLVM leaves as they are."""

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.ir import Expr, Op, PointerType, PrimType
from tvm.target.codegen import llvm_lookup_intrinsic_id
from tvm.tirx import call_intrin

LANE = 16  # bytes that shuffles stay within
_NARROWING = {"packssdw": "sqxtn.v4i16", "packsswb": "sqxtn.v8i8", "packuswb": "sqxtun.v8i8"}  # NEON's for half of it


def part(buffer: tirx.Buffer, block: Expr, hidden: bool) -> tuple[tirx.Stmt, tirx.Buffer]:
    """A declaration, and the part of a buffer that it declares: buffer[block].

    LLVM would otherwise write base + index into every instruction, and in AVX instructions such operands cost a
    micro-operation of their own. Cutting 57 bits from the address, all there are, is what it can't see through: so it
    is `hidden`. (Not on ARM, where the bits above may be a tag.)
    """
    address = tirx.address_of(buffer[(block, *[0] * (len(buffer.shape) - 1))])
    if not hidden:
        view = tirx.decl_buffer(buffer.shape[1:], str(buffer.dtype), "part")
        return tirx.DeclBuffer(view, data=address), view
    return _declared("part", buffer.shape[1:], buffer, address, (1 << 57) - 1)


def aligned(buffer: tirx.Buffer) -> tuple[list[tirx.Stmt], tirx.Buffer]:
    """A declaration, and a buffer (rows, lanes) of 32 bits without its first rows, from a multiple of 64 on.

    (The stack is aligned to 16 bytes, and vectors across the borders of cache lines take twice as long to load.)
    """
    (rows, lanes), skipped = map(int, buffer.shape), 64 // (4 * int(buffer.shape[1]))
    declared, view = _declared(
        "aligned", (rows - skipped, lanes), buffer, tirx.address_of(buffer[skipped, 0]), (1 << 57) - 64
    )
    zeros = tirx.Broadcast(tirx.const(0, str(buffer.dtype)), lanes)
    return [put(buffer, [at], zeros) for at in (0, rows - 1)] + [declared], view  # TVM drops rows that none touches


def _declared(
    name: str, shape: Sequence[int], buffer: tirx.Buffer, address: Expr, mask: int
) -> tuple[tirx.Stmt, tirx.Buffer]:
    element = PrimType(str(buffer.dtype))
    pointer = call_intrin(
        PointerType(element),
        Op.get("tirx.call_llvm_pure_intrin"),
        tirx.const(llvm_lookup_intrinsic_id("llvm.ptrmask"), "uint32"),
        address,
        tirx.const(mask, "uint64"),
    )
    part = tirx.decl_buffer(shape, str(buffer.dtype), name)
    return tirx.DeclBuffer(part, data=pointer), part


def pack(name: str, a: Expr, b: Expr, width: int, size: int) -> Expr:
    """Two vectors of `width` bytes as one of integers of `size` bytes, with saturation, within each 128-bit lane.

    `name` is the instruction's, of AVX2 or AVX-512; a single lane is one of NEON's vectors.
    """
    if width == LANE:
        count = LANE // size // 2
        halves = [
            tirx.call_llvm_pure_intrin(f"int{8 * size}x{count}", f"llvm.aarch64.neon.{_NARROWING[name]}", each)
            for each in (a, b)
        ]
        return tirx.Shuffle(halves, list(range(2 * count)))
    prefix, suffix = ("avx512", ".512") if width == 64 else ("avx2", "")
    return tirx.call_llvm_pure_intrin(f"int{8 * size}x{width // size}", f"llvm.x86.{prefix}.{name}{suffix}", a, b)


def unpack(a: Expr, b: Expr, half: int, width: int, size: int) -> Expr:
    """Elements of `size` bytes from the low or high half of each 128-bit lane of a and b, in turn.

    Both are vectors of `width` bytes, and so is the result.
    """
    count, per_lane = width // size, LANE // size
    indices = [
        (start + half * per_lane // 2 + i) + source * count
        for start in range(0, count, per_lane)
        for i in range(per_lane // 2)
        for source in range(2)
    ]
    return tirx.Shuffle([a, b], indices)


def local(shape: Sequence[int], dtype: str, name: str) -> tirx.Buffer:
    """A buffer for `on_stack`."""
    return tirx.decl_buffer(shape, dtype, name, scope="local")


def get(buffer: tirx.Buffer, at: Sequence[Expr]) -> Expr:
    """A row of a buffer, which is a vector."""
    return buffer.vload([*at, 0], f"{buffer.dtype}x{int(buffer.shape[-1])}")


def put(buffer: tirx.Buffer, at: Sequence[Expr], value: Expr) -> tirx.Stmt:
    """Store a row."""
    return tirx.BufferStore(buffer, value, [*at, tirx.Ramp(0, 1, int(buffer.shape[-1]))])


def seq(stmts: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """Statements as one."""
    return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)


def loop(
    name: str, extent: int, body: Callable[[Expr], list[tirx.Stmt]], kind: tirx.ForKind = tirx.ForKind.SERIAL
) -> tirx.Stmt:
    """A loop around the statements that `body` makes for its variable; none around a single round."""
    if extent == 1 and kind == tirx.ForKind.SERIAL:
        return seq(body(0))
    at = tirx.Var(name, "int32")
    return tirx.For(at, tirx.const(0, "int32"), tirx.const(extent, "int32"), kind, seq(body(at)))
