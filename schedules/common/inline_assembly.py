"""Assembly within a kernel: a function in LLVM's language, which TVM links in and LLVM puts where it is called.

`pragma_import_llvm`, an annotation of a loop, brings the function to where `call_extern` calls it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ADDRESSES = [f"x{n}" for n in (*range(9, 18), *range(20, 29))]  # without those that systems or LLVM may reserve


def llvm_function(
    name: str, lines: Sequence[str], pointers: int, sums: int, alone: bool, vectors: Iterable[int]
) -> str:
    """A function that runs `lines` of aarch64 assembly.

    Parameters
    ----------
    name : str
    lines : sequence of str
        $0, $1, ... are the registers of sums, and those behind hold the pointers.
    pointers : int
        What it takes: so many addresses, and that of the sums.
    sums : int
        Registers of four int32 that lie there one behind the other. LLVM keeps them in registers.
    alone : bool
        Sums are written only.
    vectors : iterable of int
        Vector registers that change besides.
    """
    kind = f"{{{', '.join(['<4 x i32>'] * sums)}}}"
    read = range(0 if alone else sums)
    used = {word.strip(",[]") for line in lines for word in line.split()}
    changed = [*(f"v{n}" for n in vectors), *(name for name in ADDRESSES if name in used), "memory"]
    constraints = ",".join(
        ["=&w"] * sums + ["r"] * pointers + [str(n) for n in read] + [f"~{{{each}}}" for each in changed]
    )
    operands = ", ".join([*(f"ptr %a{n}" for n in range(pointers)), *(f"<4 x i32> %c{n}" for n in read)])
    text = r"\0A".join(lines)
    return "\n".join(
        [
            f"define void @{name}({''.join(f'ptr %a{n}, ' for n in range(pointers))}ptr %sums) {{",
            *(f"%p{n} = getelementptr <4 x i32>, ptr %sums, i64 {n}" for n in range(sums)),
            *(f"%c{n} = load <4 x i32>, ptr %p{n}, align 16" for n in read),
            f'%new = call {kind} asm sideeffect "{text}", "{constraints}"({operands}) noduplicate',  # or it is unrolled
            *(
                f"%d{n} = extractvalue {kind} %new, {n}\nstore <4 x i32> %d{n}, ptr %p{n}, align 16"
                for n in range(sums)
            ),
            "ret void",
            "}",
        ]
    )


@dataclass(frozen=True)
class Load:
    """One instruction that fills `count` neighbouring registers, from `first` on, from an address plus `offset` bytes.

    `kind` is how the registers are seen, as "16b".
    """

    first: int
    count: int
    kind: str
    operand: str
    offset: int


def addressed(lines: Sequence[str | Load | None]) -> list[str]:
    """Lines of assembly, among which are `Load`s, with what these addresses take.

    The instruction has no offsets. Addresses are computed many at a time, as that waits for all multiplications before
    in LLVM's model of the Cortex-A53: the first ones where a line is None, others when all registers are used up.
    """
    later = [line for line in lines if isinstance(line, Load) and line.offset]
    batches = [later[at : at + len(ADDRESSES)] for at in range(0, len(later), len(ADDRESSES))]
    addresses: dict[Load, str] = {}
    written: list[str] = []

    def compute() -> None:
        for register, load in zip(ADDRESSES, batches.pop(0), strict=False):
            addresses[load] = register
            written.append(f"add {register}, {load.operand}, #{load.offset}")

    for line in lines:
        if line is None and batches:
            compute()
        elif isinstance(line, Load):
            if line.offset and line not in addresses:
                compute()
            registers = ", ".join(f"v{line.first + n}.{line.kind}" for n in range(line.count))
            written.append(f"ld1 {{{registers}}}, [{addresses.get(line, line.operand)}]")
        elif line:
            written.append(line)
    return written
