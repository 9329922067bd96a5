"""ARM's matrix products of bytes (i8mm): the record of each, and its words in LLVM's language.

`smmla` multiplies two rows of eight bytes by two rows of eight, which makes four sums: here those of two neighbouring
pixels and two output channels, [pixel 0: channels 0 and 1; pixel 1: channels 0 and 1]. That is twice the products of
`sdot`. `usmmla` has unsigned activations, so that what cannot be negative is read where it is, without an offset.

The pixels' activations are not neighbours in memory. 16 channels of both take two loads, of which two instructions,
zip1 and zip2, make two operands (chains of two); 8 channels take two loads, one of them into the upper half of a
register. `sums_of_pixels` brings the sums into the order of pixels.
"""

from tvm import tirx
from tvm.script import tirx as T

from .instruction import Definition, Instruction
from .intrinsics import Expr, Pair, llvm, multiplying, shared, spread
from .registered import registered

REGISTERS = 32
ROW, PIXELS = 8, 2


def smmla(*variants: Definition) -> Definition:
    """For signed activations; the variants are those of sdot."""
    return _matrix("smmla", "int8", *variants)


def usmmla() -> Definition:
    """For unsigned activations."""
    usdot = Definition(_dot("usdot"), multiplying(_usdot))
    return _matrix("usmmla", "uint8", usdot, _usdot_element(4), _usdot_element(2))


def _matrix(name: str, activation: str, *variants: Definition) -> Definition:
    def of_links(chain: int, variants: tuple[Definition, ...] = ()) -> Definition:
        full = f"{name}_x{chain}" if chain > 1 else name
        return Definition(
            Instruction(
                full, "aarch64", "smmla", 4, ROW, activation, "int8", REGISTERS, chain, pixels=PIXELS, fused=True
            ),
            _register,
            variants,
        )

    return of_links(1, (of_links(2), *variants))


def _usdot(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
    a, b = spread(A, 0, 4, "uint8", 4), B.vload([0, 0], "int8x16")
    return llvm("llvm.aarch64.neon.usdot.v4i32.v16i8", "int32x4", c, a, b)


def _usdot_element(chain: int) -> Definition:
    """Each quarter of a register of activations in turn."""

    def body(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
        a = T.reinterpret(A.vload([0], f"uint8x{4 * chain}"), dtype=f"int32x{chain}")
        for q in range(chain):
            element = T.reinterpret(T.broadcast(T.Shuffle([a], [q]), 4), dtype="int8x16")
            c = llvm("llvm.aarch64.neon.usdot.v4i32.v16i8", "int32x4", c, element, B.vload([q, 0, 0], "int8x16"))
        return c

    return Definition(_dot(f"usdot_element_x{chain}", chain), shared(body))


def _dot(name: str, chain: int = 1) -> Instruction:
    return Instruction(name, "aarch64", "smmla", 4, 4, "uint8", "int8", REGISTERS, chain=chain, fused=True, rate=0.5)


def _register(ins: Instruction) -> None:
    registered(ins.intrinsic, _chained if ins.chain > 1 else _single, ins)


def _products(ins: Instruction, A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
    """The new accumulators; an operand is a row of each pixel."""
    words = "int64" if ins.chain == 1 else f"int64x{ins.chain}"
    pixels = [T.reinterpret(A.vload([p, 0], f"{ins.activation}x{ins.depth}"), dtype=words) for p in range(PIXELS)]
    call = f"llvm.aarch64.neon.{ins.base_name.partition('_')[0]}.v4i32.v16i8"
    for link in range(ins.chain):
        rows = T.reinterpret(T.Shuffle(pixels, [link, ins.chain + link]), dtype="int8x16")
        at = [link, 0, 0] if ins.chain > 1 else [0, 0]
        c = llvm(call, "int32x4", c, rows, B.vload(at, "int8x16"))
    return c


def _single(ins: Instruction) -> Pair:
    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (PIXELS, ROW), ins.activation, offset_factor=1, scope="local")
        B = T.match_buffer(b, (2, ROW), "int8", offset_factor=1)
        C = T.match_buffer(c, (4,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:4], A[0:PIXELS, 0:ROW], B[0:2, 0:ROW])
            T.writes(C[0:4])
            for i, k in T.grid(4, ROW):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + T.cast(A[vi // 2, vk], "int32") * T.cast(B[vi % 2, vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (PIXELS, ROW), ins.activation, offset_factor=1, scope="local")
        B = T.match_buffer(b, (2, ROW), "int8", offset_factor=1)
        C = T.match_buffer(c, (4,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:4], A[0:PIXELS, 0:ROW], B[0:2, 0:ROW])
            T.writes(C[0:4])
            C[T.ramp(T.int32(0), 1, 4)] = _products(ins, A, B, C.vload([0], dtype="int32x4"))

    return description, implementation


def _chained(ins: Instruction) -> Pair:
    chain = ins.chain

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (PIXELS, chain * ROW), ins.activation, offset_factor=1, scope="local")
        B = T.match_buffer(b, (chain, 2, ROW), "int8", offset_factor=1)
        C = T.match_buffer(c, (4,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:4], A[0:PIXELS, 0 : chain * ROW], B[0:chain, 0:2, 0:ROW])
            T.writes(C[0:4])
            for i, q, k in T.grid(4, chain, ROW):
                with T.sblock("update"):
                    vi, vq, vk = T.axis.remap("SRR", [i, q, k])
                    C[vi] = C[vi] + T.cast(A[vi // 2, vq * ROW + vk], "int32") * T.cast(B[vq, vi % 2, vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (PIXELS, chain * ROW), ins.activation, offset_factor=1, scope="local")
        B = T.match_buffer(b, (chain, 2, ROW), "int8", offset_factor=1)
        C = T.match_buffer(c, (4,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:4], A[0:PIXELS, 0 : chain * ROW], B[0:chain, 0:2, 0:ROW])
            T.writes(C[0:4])
            C[T.ramp(T.int32(0), 1, 4)] = _products(ins, A, B, C.vload([0], dtype="int32x4"))

    return description, implementation


def sums_of_pixels() -> str:
    """Name of the tensor intrinsic C[p, 2 v + i] = A[4 v + 2 p + i]: two vectors of sums, as each pixel's channels."""
    return registered("eq_tvm.sums_of_pixels", _sums_of_pixels)


def _sums_of_pixels() -> Pair:
    def pixel(A: tirx.Buffer, p: int) -> Expr:
        vectors = [T.reinterpret(A.vload([4 * v], "int32x4"), dtype="int64x2") for v in range(2)]
        return T.reinterpret(T.Shuffle(vectors, [p, 2 + p]), dtype="int32x4")

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        s = T.int32()
        A = T.match_buffer(a, (8,), "int32", offset_factor=1, scope="local")
        C = T.match_buffer(c, (PIXELS, 4), "int32", strides=[s, 1], offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:8])
            T.writes(C[0:PIXELS, 0:4])
            for p, i in T.grid(PIXELS, 4):
                with T.sblock("sums"):
                    vp, vi = T.axis.remap("SS", [p, i])
                    C[vp, vi] = A[vi // 2 * 4 + vp * 2 + vi % 2]

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        s = T.int32()
        A = T.match_buffer(a, (8,), "int32", offset_factor=1, scope="local")
        C = T.match_buffer(c, (PIXELS, 4), "int32", strides=[s, 1], offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:8])
            T.writes(C[0:PIXELS, 0:4])
            C[0, T.ramp(T.int32(0), 1, 4)] = pixel(A, 0)
            C[1, T.ramp(T.int32(0), 1, 4)] = pixel(A, 1)

    return description, implementation
