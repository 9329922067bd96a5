"""Products of two float matrices, both of them computed by the network: a tile of the result is held in registers.

The right matrix is packed as it comes, in panels of as many columns as a tile has, zeros beyond its edge, so that the
innermost loop reads whole vectors one after the other. Rows beyond the left one's edge are the last row once more. So
tiles are always whole, and only storing them knows of edges.
"""

from dataclasses import dataclass

from tvm import s_tir, te, tirx
from tvm.ir import Expr

from ..common.loops import loops
from ..common.lowered import lowered
from ..common.sizes import innermost_width

PER_TILE = 40.0  # cycles to zero and store a tile, and to start its loop
LOADS = 1.75  # in a cycle, as found in practice
MOST_ROWS = 28  # of a tile


@dataclass(frozen=True)
class Tile:
    """Rows, and vectors of columns, whose sums are in registers together."""

    rows: int
    vectors: int


def matmul(batch: int, rows: int, depth: int, columns: int, tile: Tile, lanes: int) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a batch of products.

    Parameters
    ----------
    batch, rows, depth, columns : int
    tile : Tile
        From `choose_tile`.
    lanes : int
        Elements of a vector.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments, all float32: (batch, rows, depth), (batch, depth, columns) and the result (batch, rows, columns).
    """
    a = te.placeholder((batch, rows, depth), "float32", "a")
    b = te.placeholder((batch, depth, columns), "float32", "b")
    width = tile.vectors * lanes
    panels, padded = -(-columns // width), -(-rows // tile.rows) * tile.rows

    def element(n: Expr, p: Expr, k: Expr, j: Expr) -> Expr:
        inside = b[n, k, p * width + j]
        if columns % width == 0:
            return inside
        return te.if_then_else(p * width + j < columns, inside, tirx.const(0, "float32"))

    packed = te.compute((batch, panels, depth, width), element, "packed")
    k = te.reduce_axis((0, depth), "k")
    acc = te.compute(
        (batch, panels, padded, width),
        lambda n, p, i, j: te.sum(a[n, _least(i, rows, padded), k] * packed[n, p, k, j], axis=k),
        "acc",
    )
    out = te.compute((batch, rows, columns), lambda n, i, j: acc[n, j // width, i, j % width], "out")
    return _scheduled(te.create_prim_func([a, b, out]), tile, lanes, columns)


def choose_tile(rows: int, columns: int, lanes: int, registers: int) -> Tile:
    """The tile that takes the fewest cycles, where a processor starts two multiplications and nearly two loads in each.

    Parameters
    ----------
    rows, columns : int
        Of the result.
    lanes, registers : int
        Elements of a vector register, and how many of these there are.
    """

    def cycles(tile: Tile) -> float:
        count = -(-rows // tile.rows) * -(-columns // (tile.vectors * lanes))
        return count * (max(tile.rows * tile.vectors / 2, (tile.rows + tile.vectors) / LOADS) + PER_TILE / 64)

    room = registers - 3
    found = [Tile(m, v) for v in (1, 2, 3, 4) for m in range(1, min(rows, MOST_ROWS, (room - v) // v) + 1)]
    return min(found, key=cycles)


def _least(row: Expr, rows: int, padded: int) -> Expr:
    return row if rows == padded else te.min(row, rows - 1)


def _scheduled(func: tirx.PrimFunc, tile: Tile, lanes: int, columns: int) -> tirx.PrimFunc:
    """Panel after panel, and for each tile after tile; threads share the matrices, or the tiles of a single one."""
    sch = s_tir.Schedule(func)
    acc = loops(sch, "acc")
    many = int(sch.get(acc.n).extent) > 1
    places, i = sch.split(acc.i, [None, tile.rows])
    v, lane = sch.split(acc.j, [None, lanes])
    sch.reorder(acc.n, acc.p, places, acc.k, i, v, lane)
    sch.unroll(i)
    sch.unroll(v)
    sch.set_scope(sch.get_sblock("acc"), 0, "local")
    sch.compute_at(sch.get_sblock("packed"), acc.p, preserve_unit_loops=True)
    sch.vectorize(sch.split(loops(sch, "packed").j, [None, lanes])[1])
    sch.reverse_compute_at(sch.get_sblock("out"), places, preserve_unit_loops=True)
    out = loops(sch, "out")
    width = innermost_width(columns, lanes)
    sch.unroll(out.i)
    vector, part = sch.split(out.j, [None, width])
    sch.unroll(vector)
    sch.vectorize(part)
    sch.parallel(acc.n if many else places)
    if columns % (tile.vectors * lanes):
        sch.annotate(acc.p, "pragma_loop_partition_hint", True)
    sch.vectorize(lane)
    init = loops(sch, sch.decompose_reduction(sch.get_sblock("acc"), acc.k))
    sch.vectorize(init.j)
    sch.unroll(init.i)
    return lowered(sch.mod["main"])
