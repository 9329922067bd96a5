"""AMX: matrix registers of x86 ("tiles" in Intel's manual), a micro-kernel for them in LLVM's language.

A register holds up to 16 rows of 64 bytes. One instruction multiplies the rows of one, each of 64 activations of a
pixel, by another's 64 x 16 weights, and adds to a third's 16 int32 for each pixel: 16 steps of `vpdpbusd` for 16 pixels
at once. Two registers of pixels by two of channels make four of sums. Two of activations and two of weights are loaded
for four products, and all eight registers are used.

The `.internal` intrinsics leave it to LLVM to give out registers and to load their configuration. Source: Intel 64 and
IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; LLVM's `docs/AMX`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .instruction import Definition, Instruction

ROWS = 16  # of a register
DEPTH = 64  # bytes of a row
CHANNELS = 16  # int32 of a row
LINE, SECOND = 64, 2  # bytes of a cache line; the second cache, in LLVM's words


def tdpb(base_name: str, family: str, registers: int, activation: str) -> Definition:
    """Bytes by int8, of a matrix; `registers` are those of vectors, which store the results."""
    return Definition(
        Instruction(
            base_name, "x86", family, CHANNELS, 4, activation, "int8", registers, chain=16, fused=True, matrix=True
        ),
        lambda _: None,  # no intrinsic: see `schedules.convolution.matrix_calls`
    )


@dataclass(frozen=True)
class MicroKernel:
    """One product of a tile of pixels by 16 or 32 channels, over everything that is to be added up.

    Parameters
    ----------
    signed : bool
        Whether activations are int8, else uint8.
    rows : int
        Pixels of a register, at most 16.
    pixels, channels : int
        Registers of pixels, and of channels: 1 or 2 each.
    depth : int
        Bytes of a step: a multiple of 4, at most 64.
    reduction : tuple of int
        Extents of the loops over kernel rows, taps and steps.
    fetched : int
        Lines of 64 bytes that each step fetches into the second cache, one after the other.
    """

    signed: bool
    rows: int
    pixels: int
    channels: int
    depth: int
    reduction: tuple[int, int, int]
    fetched: int = 0

    @property
    def name(self) -> str:
        """What it is called in LLVM."""
        counts = "_".join(map(str, (self.rows, self.pixels, self.channels, self.depth, *self.reduction, self.fetched)))
        return f"eq_tvm_tdpb{'ss' if self.signed else 'us'}d_{counts}"

    def text(self) -> str:
        """The function in LLVM's language: C = A . B for rows of A, C and registers of B.

        Its arguments are the address of the activations; the bytes from one pixel to the next, from one register of
        pixels to the next, from one kernel row, tap and step to the next; the address of the weights; the bytes from
        one step of them to the next; the address of what is fetched; that of the sums; the bytes from one pixel to the
        next there, and from one register of pixels to the next; the end of the sums.
        """
        strides = ", ".join(f"i64 %{name}" for name in ("pixel", "registers", "kh", "tap", "step"))
        return "\n".join(
            [
                *_DECLARATIONS,
                f"define void @{self.name}(ptr %a, {strides}, ptr %b, i64 %next, ptr %f, ptr %c, i64 %row, i64 %half, "
                "ptr) alwaysinline {",
                "entry:",
                *(f"%z{n} = call x86_amx @llvm.x86.tilezero.internal({self._sums})" for n in range(self._products)),
                *self._loops(),
                *self._stores(),
                "ret void",
                "}",
            ]
        )

    @property
    def _products(self) -> int:
        return self.pixels * self.channels

    @property
    def _sums(self) -> str:
        return f"i16 {self.rows}, i16 {4 * CHANNELS}"

    def _loops(self) -> Iterator[str]:
        """Three loops, one in the other, around the products; the values behind the last are %s0, ..."""
        names, counts = ("kh", "tap", "step"), self.reduction
        outer, sums, address, weights, fetched = "entry", "z", "%a", "%b", "%f"
        for name in names:
            yield f"br label %{name}.loop"
            yield f"{name}.loop:"
            last = f"{name}.end"
            yield f"%{name}.i = phi i64 [0, %{outer}], [%{name}.i1, %{last}]"
            yield f"%{name}.a = phi ptr [{address}, %{outer}], [%{name}.a1, %{last}]"
            yield f"%{name}.b = phi ptr [{weights}, %{outer}], [%b1, %{last}]"
            yield f"%{name}.f = phi ptr [{fetched}, %{outer}], [%f1, %{last}]"
            yield from (
                f"%{name}.{n} = phi x86_amx [%{sums}{n}, %{outer}], [%s{n}, %{last}]" for n in range(self._products)
            )
            outer, sums = f"{name}.loop", f"{name}."
            address, weights, fetched = (f"%{name}.{pointer}" for pointer in "abf")
        yield from self._multiply()
        yield f"%b1 = getelementptr i8, ptr {weights}, i64 %next"
        yield f"%f1 = getelementptr i8, ptr {fetched}, i64 {LINE * self.fetched}"
        for line in range(self.fetched):
            yield f"%f1.{line} = getelementptr i8, ptr {fetched}, i64 {LINE * line}"
            yield f"call void @llvm.prefetch.p0(ptr %f1.{line}, i32 0, i32 {SECOND}, i32 1)"
        for name, count in zip(names[::-1], counts[::-1], strict=True):
            yield f"br label %{name}.end"
            yield f"{name}.end:"
            yield f"%{name}.i1 = add i64 %{name}.i, 1"
            yield f"%{name}.a1 = getelementptr i8, ptr %{name}.a, i64 %{name}"
            yield f"%{name}.more = icmp ult i64 %{name}.i1, {count}"
            yield f"br i1 %{name}.more, label %{name}.loop, label %{name}.out"
            yield f"{name}.out:"

    def _multiply(self) -> Iterator[str]:
        """The products of one step, each register loaded right before its first."""
        activations, kind = f"i16 {self.rows}, i16 {self.depth}", "ss" if self.signed else "us"
        yield "%a1 = getelementptr i8, ptr %step.a, i64 %registers"
        yield f"%w1 = getelementptr i8, ptr %step.b, i64 {self.depth * CHANNELS}"
        for p in range(self.pixels):
            address = ("%step.a", "%a1")[p]
            yield (f"%A{p} = call x86_amx @llvm.x86.tileloadd64.internal({activations}, ptr {address}, i64 %pixel)")
            for c in range(self.channels):
                if p == 0:
                    address = ("%step.b", "%w1")[c]
                    yield (
                        f"%B{c} = call x86_amx @llvm.x86.tileloadd64.internal("
                        f"i16 {self.depth // 4}, i16 {4 * CHANNELS}, ptr {address}, i64 {4 * CHANNELS})"
                    )
                n = p * self.channels + c
                yield (
                    f"%s{n} = call x86_amx @llvm.x86.tdpb{kind}d.internal({self._sums}, i16 {self.depth}, "
                    f"x86_amx %step.{n}, x86_amx %A{p}, x86_amx %B{c})"
                )

    def _stores(self) -> Iterator[str]:
        yield "%c1 = getelementptr i8, ptr %c, i64 %half"
        for n in range(self._products):
            p, c = divmod(n, self.channels)
            yield f"%o{n} = getelementptr i8, ptr {('%c', '%c1')[p]}, i64 {4 * CHANNELS * c}"
            yield (f"call void @llvm.x86.tilestored64.internal({self._sums}, ptr %o{n}, i64 %row, x86_amx %s{n})")


_DECLARATIONS: Sequence[str] = (
    "declare x86_amx @llvm.x86.tilezero.internal(i16, i16)",
    "declare x86_amx @llvm.x86.tileloadd64.internal(i16, i16, ptr, i64)",
    "declare x86_amx @llvm.x86.tdpbusd.internal(i16, i16, i16, x86_amx, x86_amx, x86_amx)",
    "declare x86_amx @llvm.x86.tdpbssd.internal(i16, i16, i16, x86_amx, x86_amx, x86_amx)",
    "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
    "declare void @llvm.x86.tilestored64.internal(i16, i16, ptr, i64, x86_amx)",
)
