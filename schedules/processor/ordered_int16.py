"""Winograd's products by smlal in assembly, for ARM cores that keep the order of instructions: see `ordered`."""

from tvm.script import tirx as T

from ..common.inline_assembly import Load, addressed, llvm_function
from .intrinsics import Pair
from .registered import registered

ELEMENTS = 8  # int16 in a register: input channels of a step, output channels of a vector
_GROUP = 4  # registers that an instruction loads
_WEIGHTS, _SUMS = 8, 16  # the first of these registers; 0 to 7 hold activations, as what is used by element must


STEPS = 8  # at most in one piece, for the cache of instructions
TILINGS = [(tile, 1) for tile in range(3, 9)] + [(tile, 2) for tile in range(2, 5)]  # as registers allow: tile, vectors


def product_function(steps: int, tile: int, vectors: int, alone: bool) -> str:
    """The assembly as a function of LLVM.

    Its arguments are the addresses of activations (steps, tile, channels), of weights (steps, channels, output
    channels) and of the sums (tile, output channels).
    """
    lines = product_assembly(steps, tile, vectors, alone)
    name = function_name(steps, tile, vectors, alone)
    return llvm_function(name, lines, 2, 2 * vectors * tile, alone, range(_SUMS))


def function_name(steps: int, tile: int, vectors: int, alone: bool) -> str:
    """What the assembly is called in LLVM."""
    return f"eq_tvm_smlal_int16_{vectors}x{tile}x{steps}{'_alone' * alone}"


def product_assembly(steps: int, tile: int, vectors: int, alone: bool) -> list[str]:
    """The instructions; the sums are the first operands, then come the addresses of activations and weights."""
    sums = 2 * vectors * tile
    activations, weights = f"${sums}", f"${sums + 1}"
    groups = {first: min(_GROUP, tile - first) for first in range(0, tile, _GROUP)}  # loaded by one instruction
    both = len(groups) == 1  # there are registers for the activations of two steps

    def activation_loads(step: int, group: int) -> Load:
        first = group + (step % 2 * _GROUP if both else 0)
        return Load(first, groups[group], "8h", activations, (step * tile + group) * 16)

    def weight_loads(four: int) -> Load:
        return Load(_WEIGHTS + four % 2 * _GROUP, _GROUP, "8h", weights, four * _GROUP * 16)

    lines: list[str | Load | None] = [activation_loads(0, 0), weight_loads(0), None]
    lines += [activation_loads(0, group) for group in list(groups)[1:]]
    for step in range(steps):
        for element in range(ELEMENTS):
            place = (step * ELEMENTS + element) * vectors
            multiply = "smull" if alone and place == 0 else "smlal"
            next_weights = place % _GROUP == 0 and place + _GROUP < steps * ELEMENTS * vectors
            for group, count in groups.items():
                for vector in range(vectors):
                    weight = _WEIGHTS + (place + vector) % (2 * _GROUP)
                    for half, part in (("", "4h"), ("2", "8h")):
                        for t in range(group, group + count):
                            activation = t + (step % 2 * _GROUP if both else 0)
                            lines.append(
                                f"{multiply}{half} ${2 * (t * vectors + vector) + bool(half)}.4s, "
                                f"v{weight}.{part}, v{activation}.h[{element}]"
                            )
                        if next_weights:  # not earlier: these may have to wait for the activations' loads
                            lines.append(weight_loads(place // _GROUP + 1))
                            next_weights = False
                if step + 1 < steps and element == (3 if both else ELEMENTS - 1):  # the other group is multiplied then
                    lines.append(activation_loads(step + 1, group))
    return addressed(lines)


def product_intrinsic(steps: int, tile: int, vectors: int, alone: bool) -> str:
    """Name of the tensor intrinsic; the operands as for `product_function`."""
    name = function_name(steps, tile, vectors, alone)
    return registered(f"{name}_intrinsic", _product, name, steps, tile, 8 * vectors)


def _product(name: str, steps: int, tile: int, block: int) -> Pair:
    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (steps, tile, ELEMENTS), "int16", offset_factor=1)
        B = T.match_buffer(b, (steps, ELEMENTS, block), "int16", offset_factor=1)
        C = T.match_buffer(c, (tile, block), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:tile, 0:block], A[0:steps, 0:tile, 0:ELEMENTS], B[0:steps, 0:ELEMENTS, 0:block])
            T.writes(C[0:tile, 0:block])
            for t, i, s, k in T.grid(tile, block, steps, ELEMENTS):
                with T.sblock("update"):
                    vt, vi, vs, vk = T.axis.remap("SSRR", [t, i, s, k])
                    C[vt, vi] = C[vt, vi] + T.cast(A[vs, vt, vk], "int32") * T.cast(B[vs, vk, vi], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (steps, tile, ELEMENTS), "int16", offset_factor=1)
        B = T.match_buffer(b, (steps, ELEMENTS, block), "int16", offset_factor=1)
        C = T.match_buffer(c, (tile, block), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:tile, 0:block], A[0:steps, 0:tile, 0:ELEMENTS], B[0:steps, 0:ELEMENTS, 0:block])
            T.writes(C[0:tile, 0:block])
            T.evaluate(
                T.call_extern("void", name, T.address_of(A[0, 0, 0]), T.address_of(B[0, 0, 0]), T.address_of(C[0, 0]))
            )

    return description, implementation
