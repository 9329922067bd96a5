"""The schedule for everything else: keeps results, and leaves no large loop serial and scalar."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import s_tir, te, tirx, topi

from eq_tvm.schedules.common.sizes import PARALLEL_FROM
from eq_tvm.schedules.islands.fallback import fallback

FLOATS = {"rtol": 1e-5, "atol": 1e-5}


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _instance_norm(x):
    return (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)


def _te_mean(x):
    return topi.divide(topi.sum(x, (2, 3), True), float(int(x.shape[2]) * int(x.shape[3])))


def _te_instance_norm(x):
    centred = topi.subtract(x, _te_mean(x))
    return topi.divide(centred, topi.sqrt(topi.add(_te_mean(topi.multiply(centred, centred)), 1e-5)))


def _te_upsample(x):
    n, c, h, w = x.shape
    return te.compute((n, c, h * 2, w * 2), lambda n, c, h, w: x[n, c, h // 2, w // 2])


# name: (TE function, numpy function, whether any rank will do)
OPERATORS = {
    "sigmoid": (topi.sigmoid, lambda x: 1 / (1 + np.exp(-x)), True),
    "chain": (lambda x: topi.tanh(topi.multiply(topi.add(x, 1.0), x)), lambda x: np.tanh((x + 1) * x), True),
    "softmax": (lambda x: topi.nn.softmax(x, -1), _softmax, True),
    "reversed axes": (topi.transpose, lambda x: x.transpose(), True),
    "sum of the last axis": (lambda x: topi.sum(x, -1), lambda x: x.sum(-1), True),
    "sum of the first axis": (lambda x: topi.sum(x, 0), lambda x: x.sum(0), True),
    "sum of all": (topi.sum, np.sum, True),
    "greatest": (lambda x: topi.max(x, -1, True), lambda x: x.max(-1, keepdims=True), True),
    "index of the greatest": (lambda x: topi.argmax(x, -1), lambda x: x.argmax(-1).astype("int32"), True),
    "where it is positive": (lambda x: topi.greater(x, 0.0), lambda x: x > 0, True),
    "padding": (lambda x: topi.nn.pad(x, [1] * len(x.shape), [2] * len(x.shape)), lambda x: np.pad(x, (1, 2)), True),
    "every second": (
        lambda x: topi.strided_slice(x, [0] * len(x.shape), list(x.shape), [2] * len(x.shape)),
        lambda x: x[tuple(slice(None, None, 2) for _ in x.shape)],
        True,
    ),
    "one row": (lambda x: topi.reshape(x, (int(np.prod([int(n) for n in x.shape])),)), np.ravel, True),
    "channels last": (lambda x: topi.transpose(x, (0, 2, 3, 1)), lambda x: x.transpose(0, 2, 3, 1), False),
    "mean of pixels": (_te_mean, lambda x: x.mean((2, 3), keepdims=True), False),
    "instance normalization": (_te_instance_norm, _instance_norm, False),
    "twice as large": (_te_upsample, lambda x: x.repeat(2, 2).repeat(2, 3), False),
}
NARROW = {"greatest", "padding", "mean of pixels", "instance normalization"}  # have loops without room for a vector
SHAPES = [(2, 3, 5, 7), (1, 16, 9, 33), (2, 24, 32, 32), (33,), (20_000,), (3, 1000), (4, 9, 13)]


@pytest.mark.parametrize("name", OPERATORS)
def test_equals_numpy(cpu, folder, name):
    make, reference, any_rank = OPERATORS[name]
    arrays = [
        np.random.default_rng(0).integers(-32, 33, shape).astype("float32") / 8  # their sums are exact
        for shape in SHAPES
        if any_rank or len(shape) == 4
    ]
    jobs = [(fallback(_prim_func(make, array.shape), cpu.bits // 32), [array]) for array in arrays]
    for array, got in zip(arrays, cpu.run(folder, jobs), strict=True):
        want = np.asarray(reference(array))
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, **FLOATS, err_msg=f"{name} of {array.shape}")


def test_two_inputs_and_a_contraction(cpu, folder):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(65, 40)).astype("float32"), rng.normal(size=(40, 52)).astype("float32")
    x, y = te.placeholder(a.shape, name="x"), te.placeholder(b.shape, name="y")
    func = te.create_prim_func([x, y, topi.nn.relu(topi.matmul(x, y))])
    (got,) = cpu.run(folder, [(fallback(func), [a, b])])
    np.testing.assert_allclose(got, np.maximum(a @ b, 0), **FLOATS)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "sum of all"])
def test_large_loops_are_shared_and_vectorized(name):
    nests = _nests(fallback(_prim_func(OPERATORS[name][0], (2, 32, 64, 64))))
    large = [nest for nest in nests if np.prod([loop.extent for loop in nest]) >= PARALLEL_FROM]
    assert large
    for nest in large:
        assert nest[0].kind == tirx.ForKind.PARALLEL
        narrow = nest[-1].extent == 1  # the last axis is odd, or of one element
        assert nest[-1].kind == tirx.ForKind.VECTORIZED or narrow
        assert narrow <= (name in NARROW)


def test_small_loops_start_no_threads():
    nests = _nests(fallback(_prim_func(topi.sigmoid, (1, 100, 4))))
    assert not any(loop.kind == tirx.ForKind.PARALLEL for nest in nests for loop in nest)


def test_elementwise_chains_become_one_loop_nest():
    assert len(_nests(fallback(_prim_func(OPERATORS["chain"][0], (3, 50))))) == 1


def test_polynomials_are_not_nested_without_end():
    x = te.placeholder((64, 48), "float32", "x")
    result = x
    for _ in range(9):
        result = topi.tanh(topi.multiply(result, 1.5))
    scheduled = fallback(te.create_prim_func([x, result]))
    assert scheduled.script().count("T.sblock_alloc_buffer") == 4  # two in each expression
    run = tvm.compile(scheduled.with_attr("global_symbol", "main"), "llvm")
    given = np.random.default_rng(0).standard_normal((64, 48)).astype("float32")
    got, want = tvm.runtime.empty((64, 48), "float32"), given
    run(tvm.runtime.tensor(given), got)
    for _ in range(9):
        want = np.tanh(want * np.float32(1.5))
    np.testing.assert_allclose(got.numpy(), want, **FLOATS)


def test_sums_of_a_tensor_with_itself_stay_short():
    """Written out, the last of 40 would be 2^40 additions."""
    x = te.placeholder((5, 7), "float32", "x")
    result = x
    for _ in range(40):
        result = topi.add(result, result)
    given = np.random.default_rng(0).standard_normal((5, 7)).astype("float32")
    (got,) = _run_here(fallback(te.create_prim_func([x, result])), [given])
    np.testing.assert_array_equal(got, given * np.float32(2**40))


def test_a_function_of_one_element():
    (got,) = _run_here(fallback(_prim_func(topi.exp, ())), [np.float32(1.5).reshape(())])
    np.testing.assert_allclose(got, np.exp(1.5), **FLOATS)


def _prim_func(make, shape):
    x = te.placeholder(shape, "float32", "x")
    return te.create_prim_func([x, make(x)])


def _run_here(func, arguments):
    result = np.zeros([int(extent) for extent in func.params[-1].shape], str(func.params[-1].dtype))
    tensors = [tvm.runtime.tensor(array) for array in (*arguments, result)]
    tvm.tirx.build(func.with_attr("global_symbol", "k"), tvm.target.Target("llvm"))["k"](*tensors)
    return [tensors[-1].numpy()]


def _nests(func):
    """The loops around each innermost block, from the outside."""
    nests, path = [], []

    def visit(stmt):
        if isinstance(stmt, tirx.For):
            path.append(stmt)
            visit(stmt.body)
            path.pop()
        elif isinstance(stmt, tirx.SeqStmt):
            for part in stmt:
                visit(part)
        elif isinstance(stmt, tirx.BufferStore):
            nests.append(list(path))
        elif isinstance(stmt, s_tir.SBlockRealize):
            if path:
                nests.append(list(path))
            else:
                visit(stmt.block.body)

    visit(func.body)
    return nests
