"""Concatenations whose inputs are written where they are needed: no copies, and the same integers."""

import functools
import re

import c_programs
import numpy as np
import pytest
import tvm
from aarch64 import export, machine
from covering import covering
from interpreter import run_annotated
from small_networks import build, conv, random, relu
from tvm import relax

from eq_tvm import host, passes, pipeline
from eq_tvm.passes.graph.rewrite import operator_name
from eq_tvm.passes.lower.join_in_place import JOINS
from eq_tvm.targets import get_target

IMAGES = random(4, 3, 9, 8)
CPUS = {"rpi3": "cortex-a53", "rpi5": "cortex-a76", "rpi2-32": "cortex-a7"}  # emulated


def _layer(emit, x, name, out):
    return relu(emit, conv(emit, x, name, out=out), f"r{name}")


def _join(emit, parts, name="joined"):
    return emit(relax.op.concat(parts, 1), name)


def _two(emit, x):
    return [conv(emit, _join(emit, [_layer(emit, x, "a", 5), _layer(emit, x, "bb", 64)]), "last")]


def _four(emit, x):
    y = _layer(emit, x, "y", 16)
    pooled = emit(relax.op.nn.max_pool2d(y, (3, 3), padding=(1, 1)), "pooled")
    mean = emit(relax.op.nn.avg_pool2d(y, (3, 3), padding=(1, 1), count_include_pad=True), "mean")
    depthwise = relu(emit, conv(emit, y, "depth", bias=False, weight=random(16, 1, 3, 3), groups=16), "rdepth")
    grouped = relu(emit, conv(emit, y, "groups", bias=False, weight=random(20, 4, 3, 3), groups=4), "rgroups")
    return [conv(emit, _join(emit, [pooled, grouped, mean, depthwise]), "last")]


def _other_reader(emit, x):
    """A part that a convolution and a pooling read, too."""
    a, b = _layer(emit, x, "a", 7), _layer(emit, x, "bb", 32)
    pooled = emit(relax.op.nn.max_pool2d(a, (3, 3), padding=(1, 1)), "pooled")
    return [conv(emit, _join(emit, [a, b]), "last"), conv(emit, a, "other"), conv(emit, pooled, "third")]


def _residual(emit, x):
    """A part that a residual add reads, too."""
    a = _layer(emit, x, "a", 12)
    added = relu(emit, emit(relax.op.add(conv(emit, a, "bb", out=12), a), "sum"), "rsum")
    return [conv(emit, _join(emit, [added, a]), "last")]


def _result(emit, x):
    """The concatenation is a result of the network, and a layer reads its integers."""
    joined = _join(emit, [_layer(emit, x, "a", 3), _layer(emit, x, "bb", 17)])
    return [joined, conv(emit, joined, "last")]


def _part_is_result(emit, x):
    a = _layer(emit, x, "a", 3)
    return [a, conv(emit, _join(emit, [a, _layer(emit, x, "bb", 17)]), "last")]


def _nested(emit, x):
    """As in Inception's last blocks: a branch ends in a concatenation."""
    a, b, c = (_layer(emit, x, name, out) for name, out in (("a", 16), ("bb", 5), ("ccc", 8)))
    return [conv(emit, _join(emit, [a, _join(emit, [b, c], "inner")]), "last")]


def _dense(emit, x):
    """As in DenseNet: what was joined is read, and joined with what comes of it."""
    y = _layer(emit, x, "y", 16)
    for name, out in (("a", 8), ("bb", 3), ("ccc", 8)):
        y = _join(emit, [y, _layer(emit, y, name, out)], f"j{name}")
    return [conv(emit, y, "last")]


def _split_stages(emit, x):
    """As in YOLO: of several stages each is joined, and read by the next one."""
    stages = [_layer(emit, x, "a", 16)]
    for name in ("bb", "ccc"):
        stages.append(_layer(emit, stages[-1], name, 16))
    return [conv(emit, _join(emit, stages[::-1]), "last")]


def _twice(emit, x):
    a, b = _layer(emit, x, "a", 4), _layer(emit, x, "bb", 6)
    return [conv(emit, _join(emit, [a, b, a]), "last"), conv(emit, _join(emit, [b, a], "again"), "other")]


def _not_by_rows(emit, x):
    """A table's results, and a slice."""
    a, b = _layer(emit, x, "a", 4), _layer(emit, x, "bb", 6)
    table = emit(relax.op.sigmoid(b), "sigmoid")
    slice_ = emit(relax.op.strided_slice(_layer(emit, x, "ccc", 9), [1], [0], [5], [1]), "slice")
    return [conv(emit, _join(emit, [table, a, slice_]), "last")]


def _dense_layers(emit, x):
    mean = emit(relax.op.mean(_layer(emit, x, "a", 9), [2, 3]), "mean")
    heads = [
        emit(relax.op.nn.relu(emit(relax.op.matmul(mean, relax.const(random(9, n))), f"m{n}")), f"h{n}") for n in (5, 8)
    ]
    return [emit(relax.op.matmul(emit(relax.op.concat(heads, 1), "joined"), relax.const(random(13, 6))), "dense")]


# With the copies that are left: how many tensors are copied.
NETWORKS = {
    _two: 0,
    _four: 0,
    _other_reader: 0,
    _residual: 0,
    _result: 0,
    _part_is_result: 1,
    _nested: 0,
    _dense: 0,
    _split_stages: 0,
    _twice: 3,
    _not_by_rows: 2,
    _dense_layers: 0,
}


def _name(value):
    return value if isinstance(value, str) else value.__name__.strip("_")


EACH = pytest.mark.parametrize("make", NETWORKS, ids=_name)


@EACH
def test_what_is_copied(make):
    module = pipeline.lower(_program((make,), "int7")[0], get_target("x86"))[0]
    assert sum(_copied(module, call) for call in _calls(module)) == NETWORKS[make]


@pytest.mark.parametrize("make, scheme", covering([*NETWORKS], ["int7", "int8"]), ids=_name)
def test_equals_the_interpreter(make, scheme):
    annotated, expected = _program((make,), scheme)
    _check(_run(pipeline.build(annotated, get_target("x86"))[0]), expected)


@pytest.mark.parametrize("target", ["native", "x86-vnni"])
def test_all_at_once(target):
    """On all numbers of threads."""
    if target == "x86-vnni" and host.missing_features(["vpdpbusd-512"]):
        pytest.skip("this processor has no AVX-512 VNNI")
    annotated, expected = _program(tuple(NETWORKS), "int7")
    executable = pipeline.build(annotated, get_target(target))[0]
    for threads in (2, 3, 1):
        tvm.get_global_func("runtime.config_threadpool")(1, threads)
        _check(_run(executable), expected)


@pytest.mark.parametrize("target", [pytest.param("rpi3", marks=pytest.mark.exhaustive), "rpi5"])
def test_all_at_once_on_arm(target, aarch64, tmp_path):
    del aarch64  # skips, or fails in CI, where nothing can be emulated
    annotated, expected = _program(tuple(NETWORKS), "int7")
    library = export(pipeline.build(annotated, get_target(target))[0], tmp_path / "network.so")
    _check(machine(CPUS[target]).run_vm(library, [IMAGES[:1]]), expected)


@pytest.mark.parametrize("target", ["x86", "rpi5", "rpi2-32"])
def test_all_at_once_standalone(target, tmp_path):
    annotated, expected = _program(tuple(NETWORKS), "int7")
    library = c_programs.write(annotated, target, tmp_path / "library")
    for threads in (1, 3):
        results, _ = c_programs.run(library, get_target(target), [IMAGES[:1]], threads=threads, cpu=CPUS.get(target))
        _check(results, expected)


def test_float_networks():
    module = build(_nested, IMAGES[:1].shape)
    lowered = pipeline.lower(module, get_target("x86"))[0]
    assert not any(_copied(lowered, call) for call in _calls(lowered))
    (expected,) = _run(tvm.compile(module, "llvm"))
    (result,) = _run(pipeline.executable(lowered, get_target("x86")))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_layers_are_found_by_the_names_of_their_functions():
    module, record = pipeline.lower(_program((_dense,), "int7")[0], get_target("x86"))
    names = [call.args[0].name_hint for call in _calls(module)]
    layers = [layer["function"] for layer in record]
    assert [name for name in names if name in layers] == layers
    assert [re.findall(r"_(?:arg0)?at\d+of\d+", name) for name in layers] == [
        ["_at0of35"],
        *(["_arg0at0of35", f"_at{first}of35"] for first in (16, 24, 27)),
        [],
    ]


@functools.cache
def _program(makes, scheme):
    """The annotated network with all their results, and the interpreter's."""
    module = build(lambda emit, x: [result for make in makes for result in make(emit, x)], IMAGES[:1].shape)
    annotated = passes.MinMaxCalibrate({"x": IMAGES}, scheme=scheme)(module)
    return annotated, run_annotated(annotated, {"x": IMAGES[:1]})


def _check(results, expected):
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.reshape(reference.shape), reference, strict=True)


def _calls(module):
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    return [value for value in values if operator_name(value) in ("relax.call_tir", "relax.call_tir_inplace")]


def _copied(module, call):
    """How many tensors a call copies side by side."""
    if JOINS not in module[call.args[0]].attrs:
        return 0
    return len(call.args[1].fields) - (operator_name(call) == "relax.call_tir_inplace")


def _run(executable):
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(IMAGES[:1]))
    return [result.numpy()] if isinstance(result, tvm.runtime.Tensor) else [field.numpy() for field in result]
