"""Loops found by the axes of a block, whatever a schedule made of them."""

from tvm import s_tir, te

from eq_tvm.schedules.common.loops import along, loops


def _schedule():
    x = te.placeholder((4, 32, 1, 6), "int32", "x")
    kh, k = te.reduce_axis((0, 1), "kh"), te.reduce_axis((0, 6), "k")
    acc = te.compute((4, 32), lambda h, c: te.sum(x[h, c, kh, k], axis=[kh, k]), "acc")
    out = te.compute((4, 32), lambda h, *c: acc[(h, *c)] + 1, "out", varargs_names=["c"])
    return s_tir.Schedule(te.create_prim_func([x, out]))


def _extents(sch, found):
    return [int(sch.get(loop).extent) for loop in found]


def test_names_survive_a_move_and_splits():
    sch = _schedule()
    out = loops(sch, "out")
    assert list(vars(out)) == ["h", "c"]
    c_o, _ = sch.split(out.c, [None, 8])
    sch.compute_at(sch.get_sblock("acc"), c_o, preserve_unit_loops=True)
    acc = loops(sch, "acc")
    assert _extents(sch, [acc.h, acc.c, acc.kh, acc.k]) == [1, 8, 1, 6]
    sch.split(acc.c, [None, 2])
    assert _extents(sch, along(sch, "acc", "c")) == [4, 4, 2]
    assert _extents(sch, [loops(sch, "acc").c]) == [2]
    init = sch.decompose_reduction(sch.get_sblock("acc"), loops(sch, "acc").kh)
    assert list(vars(loops(sch, init))) == ["h", "c"]


def test_fused_loops_are_along_each_axis():
    sch = _schedule()
    fused = sch.fuse(loops(sch, "out").h, loops(sch, "out").c)
    assert sch.get(loops(sch, "out").h).same_as(sch.get(fused))
    assert sch.get(loops(sch, "out").c).same_as(sch.get(fused))


def test_an_axis_of_one_iteration_may_lose_its_loop():
    sch = _schedule()
    sch.compute_at(sch.get_sblock("acc"), loops(sch, "out").h)
    assert "kh" not in vars(loops(sch, "acc"))
    assert along(sch, "acc", "kh") == []
