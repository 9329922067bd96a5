"""Float operators by themselves: how fast each kind is, compiled by eq_tvm in float32, beside ONNX Runtime.

One operator (or the few that belong together) per network, one thread, in turn. Inputs and results are NCHW on both
sides, as in a network that consists of it: what a layout costs is part of it. Where several sizes are measured, the
table has each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

os.environ.setdefault("TVM_NUM_THREADS", "1")

import onnx
import onnxruntime
import tvm
from onnx import helper

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.targets import get_target
from peers import machine
from reports.accuracy_report import put_between, table_line

DOCUMENT = Path(__file__).parents[1] / "docs/how-it-works/islands.md"
_BEGIN = "<!-- table: benchmarks/islands.py --write -->"
ROUNDS = 15
SECONDS = 0.02  # of each engine in a round

Shape = tuple[int, ...]
Nodes = list[onnx.NodeProto]
Case = tuple[str, str, dict[str, Shape], Nodes, dict[str, np.ndarray]]  # kind, size, inputs, nodes, constants


def main() -> int:
    options = _options()
    titles = ["kind", "size", "eq_tvm us", "ONNX Runtime us", "times as fast"]
    lines = [table_line(*titles), table_line(*["---"] * len(titles))]
    for case in cases():
        if options.kinds and case[0] not in options.kinds:
            continue
        ours, theirs = measured(case)
        lines.append(table_line(*case[:2], f"{ours:.0f}", f"{theirs:.0f}", f"{theirs / ours:.2f}"))
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join([f"{machine.made_with()}; {date.today()}", "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def cases() -> Iterator[Case]:
    """All that is measured."""
    yield from _convolutions()
    yield from _matrices()
    yield from _reductions()
    yield from _elements()
    yield from _moves()


def measured(case: Case) -> tuple[float, float]:
    """Microseconds of a run: eq_tvm's and ONNX Runtime's, medians of rounds in turn."""
    model = _model(case)
    inputs = {name: np.random.default_rng(0).normal(size=shape).astype("float32") for name, shape in case[2].items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "island.onnx"
        onnx.save(model, path)
        module, infos, _ = import_canonical(path, {})
    executable, _ = pipeline.build(module, get_target("native"))
    run = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"]
    tensors = [tvm.runtime.tensor(inputs[info.name]) for info in infos]
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), how, providers=["CPUExecutionProvider"])
    (want,), got = session.run(None, inputs), run(*tensors).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3, err_msg=" ".join(case[:2]))
    times = [(_time(lambda: run(*tensors)), _time(lambda: session.run(None, inputs))) for _ in range(ROUNDS)]
    ours, theirs = np.median(times, axis=0)
    return 1e6 * ours, 1e6 * theirs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="of the table's first column; by default all")
    parser.add_argument("--write", action="store_true", help="put the table into docs/how-it-works/islands.md")
    return parser.parse_args()


def _time(run) -> float:
    """Of this thread, which computes alone on both sides: what else runs on the machine is not counted."""
    start, runs = time.thread_time(), 0
    while (passed := time.thread_time() - start) < SECONDS or runs < 2:
        run()
        runs += 1
    return passed / runs


def _model(case: Case) -> onnx.ModelProto:
    kind, _, inputs, nodes, constants = case
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    graph = helper.make_graph(
        nodes,
        kind.replace(" ", "_"),
        values,
        [helper.make_tensor_value_info(nodes[-1].output[0], onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def _one(kind: str, size: str, shapes: list[Shape], operator: str, constants=(), **attributes) -> Case:
    """A single node."""
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    named = {f"c{i}": np.asarray(constant) for i, constant in enumerate(constants)}
    return kind, size, inputs, [helper.make_node(operator, [*inputs, *named], ["y"], **attributes)], named


def _random(*shape: int) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=shape) / max(1, np.prod(shape[1:])) ** 0.5).astype("float32")


def _conv(kind: str, channels: int, out: int, image: int, kernel: int, stride: int = 1, groups: int = 1) -> Case:
    size = f"{channels} to {out}, {image}x{image}, {kernel}x{kernel} / {stride}"
    weights, pads = _random(out, channels // groups, kernel, kernel), [kernel // 2] * 4
    shape = (1, channels, image, image)
    return _one(kind, size, [shape], "Conv", [weights, _random(out)], strides=[stride] * 2, pads=pads, group=groups)


def _convolutions() -> Iterator[Case]:
    for channels, image, kernel, stride in [(32, 112, 3, 1), (96, 56, 3, 2), (240, 14, 5, 1), (960, 7, 5, 1)]:
        yield _conv("depthwise", channels, channels, image, kernel, stride, channels)
    for channels, out, image, kernel, stride in [
        (3, 16, 224, 3, 2),
        (3, 64, 224, 7, 2),
        (8, 8, 160, 3, 1),
        (16, 16, 80, 3, 1),
    ]:
        yield _conv("few channels", channels, out, image, kernel, stride)
    yield _conv("convolution", 64, 64, 56, 3)
    yield _conv("convolution", 256, 64, 28, 1)
    for channels, image, kernel, groups in [(64, 80, 2, 1), (32, 40, 4, 1), (32, 40, 4, 32)]:
        weights = _random(channels, channels // groups, kernel, kernel)
        size = f"{channels}, {image}x{image}, {kernel}x{kernel} / 2{', depthwise' if groups > 1 else ''}"
        how = {"strides": [2, 2], "pads": [kernel // 2 - 1] * 4, "group": groups}
        yield _one("transposed", size, [(1, channels, image, image)], "ConvTranspose", [weights], **how)


def _matrices() -> Iterator[Case]:
    for rows, depth, columns in [(197, 192, 768), (49, 384, 384), (1, 1024, 1000)]:
        size = f"{rows}x{depth} by {depth}x{columns}"
        yield _one("constant matrix", size, [(1, rows, depth)], "MatMul", [_random(depth, columns)])
    for batch, rows, depth, columns in [(3, 197, 64, 197), (3, 197, 197, 64), (16, 49, 32, 49)]:
        size = f"{batch} of {rows}x{depth} by {depth}x{columns}"
        yield _one("two activations", size, [(1, batch, rows, depth), (1, batch, depth, columns)], "MatMul")


def _reductions() -> Iterator[Case]:
    for shape, axis in [((3, 197, 197), -1), ((40, 6625), -1), ((1, 16, 4, 2100), 1), ((1, 21, 64, 64), 1)]:
        yield _one("softmax", f"{_by(shape)}, axis {axis}", [shape], "Softmax", axis=axis)
    for shape in [(1, 197, 192), (1, 3136, 96)]:
        constants = [np.ones(shape[-1], "float32"), np.zeros(shape[-1], "float32")]
        yield _one("layer norm", _by(shape), [shape], "LayerNormalization", constants, axis=-1)
    shape = (1, 64, 56, 56)
    constants = [np.ones(64, "float32"), np.zeros(64, "float32")]
    yield _one("instance norm", _by(shape), [shape], "InstanceNormalization", constants)
    for axes in ([2, 3], [1]):
        yield _one("mean", f"{_by(shape)}, axes {axes}", [shape], "ReduceMean", [np.array(axes)])
    yield _one("pooling", f"max 3x3 / 2, {_by(shape)}", [shape], "MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    yield _one("pooling", f"average 2x2 / 2, {_by(shape)}", [shape], "AveragePool", kernel_shape=[2, 2], strides=[2, 2])


def _elements() -> Iterator[Case]:
    shape = (1, 64, 56, 56)
    for operator in ("Sigmoid", "Tanh", "Erf", "Exp", "HardSwish", "Gelu", "Softplus"):
        yield _one("elements", f"{operator}, {_by(shape)}", [shape], operator)
    yield _one("elements", f"Add, {_by(shape)}", [shape, shape], "Add")
    yield _one("elements", f"Mul by channel, {_by(shape)}", [shape, (1, 64, 1, 1)], "Mul")


def _moves() -> Iterator[Case]:
    shape = (1, 64, 56, 56)
    for before, order in [(shape, [0, 2, 3, 1]), ((1, 56, 56, 64), [0, 3, 1, 2]), ((1, 197, 3, 64), [0, 2, 1, 3])]:
        yield _one("transpose", f"{_by(before)} to {order}", [before], "Transpose", perm=order)
    yield _one("concat", f"2 of {_by(shape)}", [shape, shape], "Concat", axis=1)
    none = np.array([], "float32")
    scales = np.array([1, 1, 2, 2], "float32")
    for mode, how in [
        ("nearest", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("linear", {"coordinate_transformation_mode": "half_pixel"}),
        ("cubic", {"coordinate_transformation_mode": "half_pixel"}),
    ]:
        yield _one("resize", f"{mode}, {_by(shape)} twice", [shape], "Resize", [none, scales], mode=mode, **how)


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    sys.exit(main())
