"""AVX-512 on processors that lack it: kernels, in LLVM's language, for AVX2 instead.

LLVM splits wide vectors by itself. Only what it has under the names of AVX-512's instructions is written out here, as
Intel's manual describes it.
"""

import re
from pathlib import Path

import tvm

CPU = "haswell"  # that is compiled for
_DECLARED = re.compile(r"^declare (<[^>]*>) @llvm\.x86\.avx512\.([\w.]+)\(([^)]*)\).*$", re.MULTILINE)
_CALLED = re.compile(r"call (<[^>]*>) (@llvm\.x86\.avx2\.[\w.]+)\((<[^>]*>) [^,]*, (<[^>]*>) [^,)]*\)")
_VECTOR = re.compile(r"<(\d+) x (i\d+|float)>")


def without_avx512(built: tvm.runtime.Module, cpu: str, folder: Path) -> tvm.runtime.Module:
    """What TVM built for a processor with AVX-512, to run on one with AVX2."""
    text = built.inspect_source("ll").replace(f'"{cpu}"', f'"{CPU}"').replace(f"\\22{cpu}\\22", f"\\22{CPU}\\22")
    text = _DECLARED.sub(lambda found: _definition(found[1], found[2], _VECTOR.findall(found[3])), text)
    text = re.sub(r'"target-features"="[^"]*"', "", text).replace("@llvm.x86.avx512.", "@avx512.")
    declared = set(re.findall(r"^declare .* (@[\w.]+)\(", text, re.MULTILINE))
    called = {name: f"declare {result} {name}({a}, {b})" for result, name, a, b in _CALLED.findall(text)}
    file = folder / "without_avx512.ll"
    file.write_text("\n".join([text, *(line for name, line in called.items() if name not in declared)]))
    return tvm.runtime.load_module(str(file))


def _definition(result: str, name: str, operands: list[tuple[str, str]]) -> str:
    """A function that computes what the instruction does."""
    types = [f"<{count} x {element}>" for count, element in operands]
    instruction = re.sub(r"\.\d+$", "", name)
    make = _sums if instruction in _SUMS else _permutation if instruction == "vpermi2var.ps" else _halves
    parameters = ", ".join(f"{each} %{letter}" for each, letter in zip(types, "abc", strict=False))
    # With the attributes of its callers, so that vectors are passed as they do it.
    head = f'define internal {result} @avx512.{name}({parameters}) "target-cpu"="{CPU}" {{'
    return "\n".join([head, *make(instruction, result, types), "}"])


# Products of neighbours, added to an accumulator: how many, and how the first operand is widened.
_SUMS = {"vpdpbusd": (4, "zext"), "vpdpwssd": (2, "sext")}


def _sums(instruction: str, result: str, types: list[str]) -> list[str]:
    neighbours, widen = _SUMS[instruction]
    lanes = int(_VECTOR.match(result)[1])
    count = lanes * neighbours
    narrow, wide = f"<{count} x i{32 // neighbours}>", f"<{count} x i32>"
    lines = [
        f"%x = bitcast {types[1]} %b to {narrow}",
        f"%y = bitcast {types[2]} %c to {narrow}",
        f"%p = {widen} {narrow} %x to {wide}",
        f"%q = sext {narrow} %y to {wide}",
        f"%m = mul {wide} %p, %q",
    ]
    sum_ = "%a"
    for k in range(neighbours):
        lines.append(f"%n{k} = {_chosen(wide, '%m', '%m', range(k, count, neighbours))}")
        lines.append(f"%s{k} = add {result} {sum_}, %n{k}")
        sum_ = f"%s{k}"
    return [*lines, f"ret {result} {sum_}"]


def _permutation(_instruction: str, result: str, types: list[str]) -> list[str]:
    """Of the elements of two registers, at places that a third has."""
    count, element = _VECTOR.match(result).groups()
    both, places = f"<{2 * int(count)} x {element}>", range(2 * int(count))
    lines, so_far = [f"%t = {_chosen(result, '%a', '%c', places)}"], "poison"
    for k in range(int(count)):
        lines += [
            f"%i{k} = extractelement {types[1]} %b, i32 {k}",
            f"%m{k} = and i32 %i{k}, {len(places) - 1}",
            f"%e{k} = extractelement {both} %t, i32 %m{k}",
            f"%r{k} = insertelement {result} {so_far}, {element} %e{k}, i32 {k}",
        ]
        so_far = f"%r{k}"
    return [*lines, f"ret {result} {so_far}"]


# Instructions that work on each 128 bits by themselves, by their names in AVX2.
_HALVES = {
    "pmaddw.d": "pmadd.wd",
    "pmaddubs.w": "pmadd.ub.sw",
    "pshuf.b": "pshuf.b",
    **{name: name for name in ("packssdw", "packusdw", "packsswb", "packuswb")},
}


def _halves(instruction: str, result: str, types: list[str]) -> list[str]:
    count, half = int(_VECTOR.match(result)[1]), _half(result)
    name = f"@llvm.x86.avx2.{_HALVES[instruction]}"
    lines = []
    for part in range(2):
        for letter, each in zip("ab", types, strict=True):
            lanes = int(_VECTOR.match(each)[1]) // 2
            places = range(part * lanes, (part + 1) * lanes)
            lines.append(f"%{letter}{part} = {_chosen(each, f'%{letter}', f'%{letter}', places)}")
        operands = ", ".join(f"{_half(each)} %{letter}{part}" for letter, each in zip("ab", types, strict=True))
        lines.append(f"%r{part} = call {half} {name}({operands})")
    lines.append(f"%r = {_chosen(half, '%r0', '%r1', range(count))}")
    return [*lines, f"ret {result} %r"]


def _half(vector: str) -> str:
    count, element = _VECTOR.match(vector).groups()
    return f"<{int(count) // 2} x {element}>"


def _chosen(vector: str, a: str, b: str, places: range) -> str:
    """A shuffle."""
    indices = ", ".join(f"i32 {place}" for place in places)
    return f"shufflevector {vector} {a}, {vector} {b}, <{len(places)} x i32> <{indices}>"
