"""Whether an imported network computes what the ONNX file says, on one input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eq_tvm.artifacts.bundle import TensorInfo, results_by_name
from eq_tvm.building.canonical import import_canonical
from eq_tvm.building.closeness import TOLERANCE, Arrays, are_near, in_order, is_close, worst_error
from eq_tvm.errors import UserError
from eq_tvm.importer.names import described, graph_inputs
from eq_tvm.importer.onnx_model import Constants, Shapes, fix_inputs, load_onnx, read_onnx
from eq_tvm.importer.protobuf import extents
from eq_tvm.importer.static import OURS
from eq_tvm.inputs.number_kind import number_kind

if TYPE_CHECKING:
    import tvm

_AFFORDABLE = 5.0  # seconds
_MACS = 4e9  # that numpy does in one
_REFERENCE_MACS = 1e8  # that onnx's reference evaluator does in one
_COMPILED = 0.08  # seconds that one operator takes to compile

_ROUNDING = 2.0**-22  # by which an input is disturbed
_CHAOTIC = 10.0  # times what such an input changes: each layer rounds, not the input alone


@dataclass(frozen=True)
class Verified:
    """What a network was compared with, or why it was not.

    Attributes
    ----------
    said : str
    expected : dict of str to numpy.ndarray, optional
        The outputs by their names; None where they can't be compared with others.
    """

    said: str
    expected: Arrays | None = None


def verify_compiled(path: Path, results: Arrays, outputs: tuple[TensorInfo, ...], verified: Verified) -> None:
    """Compare what was compiled to float32, on the input that `verify` had; UserError for a difference."""
    expected = verified.expected
    if expected is None or are_near(results, expected):
        return
    worst = min(worst_error(each, expected) for each in (results, in_order(results, expected, outputs)))
    if worst > TOLERANCE:
        if wild := [name for name, value in expected.items() if not np.isfinite(value).all()]:
            raise UserError(
                f"{path}: output {wild[0]!r} has NaN or infinity, which compiled layers do not pass on as float32 "
                "does: look for a division by 0; --no-verify compiles it as it is"
            )
        raise UserError(
            f"{path}: compiled, the network computes something else than imported (relative error {worst:.2g}). "
            "Please report it; --no-verify compiles it as it is"
        )


def verify(
    path: Path,
    module: tvm.IRModule,
    outputs: tuple[TensorInfo, ...],
    inputs: Arrays,
    shapes: Shapes | None,
    constants: Constants | None,
    always: bool,
) -> Verified:
    """Compare the imported network with ONNX Runtime where that is installed, or onnx's reference evaluator.

    Parameters
    ----------
    path : Path
        The ONNX file.
    module : tvm.IRModule
    outputs : tuple of TensorInfo
        What `import_canonical` made of it.
    inputs : dict of str to numpy.ndarray
        One input of the network, by name, in its full shape.
    shapes, constants
        As it was imported with.
    always : bool
        Also if it takes longer than a few seconds.

    Returns
    -------
    Verified

    Raises
    ------
    UserError
        The results differ; names the first node that computes something else.
    """
    from eq_tvm.passes.graph.network import read_network
    from eq_tvm.passes.quantized.float_executor import FloatExecutor

    net, executor = read_network(module), FloatExecutor(module)
    name, run, speed = _reference()
    seconds = _macs(net) * (1 / _MACS + 1 / speed) + _COMPILED * sum(map(executor.must_compile, net.nodes))
    if seconds > _AFFORDABLE and not always:
        return Verified(f"not verified, which would take about {seconds:.0f} s (--verify does it)")

    def reference(inputs: Arrays, disturbed: bool = False) -> Arrays:
        model = load_onnx(path)  # anew, as saving takes its weights out
        fix_inputs(path, model, shapes or {}, constants or {})
        if disturbed:
            inputs = {name: _disturbed(array) for name, array in inputs.items()}
            _disturb_scales(model)
        return run(model, inputs)

    try:
        expected = reference(inputs)
    except Exception as error:  # it raises whatever it likes
        return Verified(f"not verified: {name} can't run it: {' '.join(str(error).split())[:200]}")
    results = results_by_name(outputs, _run_module(module, net, executor, inputs))
    worst = worst_error(results, expected)
    quantized = _quantizes(load_onnx(path))
    if worst <= TOLERANCE:  # a tie that is rounded otherwise moves what is quantized by a step: nothing to expect
        return Verified(f"verified with {name}", None if quantized else expected)
    if worst_error(in_order(results, expected, outputs), expected) <= TOLERANCE:
        return Verified(f"verified with {name}: rows that come close to each other are in another order", expected)
    node = _first_different(path, inputs, shapes, constants, run)
    if node is None and are_near(results, expected):
        return Verified(f"verified with {name}, node by node: the outputs for this input are almost 0")
    if node is None and worst <= _CHAOTIC * worst_error(reference(inputs, disturbed=True), expected):
        return Verified(f"verified with {name}, node by node: the network itself enlarges roundings to {worst:.1g}")
    if node is None and quantized:
        return Verified(f"verified with {name}, node by node: ties that are rounded otherwise change {worst:.1g}")
    where = f"the first that does is {described(node)}" if node else "no single node is known to"
    raise UserError(
        f"{path}: imported, the network computes something else than in {name} (relative error {worst:.2g}); "
        f"{where}. Please report it; --no-verify compiles it as it is"
    )


def _quantizes(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear") for node in model.graph.node)


def _disturbed(array: np.ndarray) -> np.ndarray:
    """Floats that differ in the last bits."""
    if number_kind(array.dtype) != "f":
        return array
    signs = np.random.default_rng(0).choice([-1, 1], array.shape)
    return (array * (1 + _ROUNDING * signs)).astype(array.dtype)


def _disturb_scales(model: onnx.ModelProto) -> None:
    """Also what is dequantized, as an input that is quantized loses its last bits."""
    scales = {node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            tensor.CopyFrom(numpy_helper.from_array(_disturbed(numpy_helper.to_array(tensor)), tensor.name))


Run = Callable[[onnx.ModelProto, Arrays], Arrays]


def _reference() -> tuple[str, Run, float]:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return "onnx's reference evaluator", _run_reference, _REFERENCE_MACS
    return "ONNX Runtime", _run_onnxruntime, _MACS


def _run_onnxruntime(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Some of its fusions are wrong, and unfused it names the right node
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(model, file, save_as_external_data=True)  # it takes 2 GB at most otherwise
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, inputs), strict=True))


def _run_reference(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    return dict(zip(evaluator.output_names, map(np.asarray, evaluator.run(None, dict(inputs))), strict=True))


def _macs(net: Any) -> float:
    layers = [node for node in net.nodes if node.op in ("conv2d", "dense")]
    return float(
        sum(np.prod(node.shape) * node.constant.size / node.shape[-3 if node.op == "conv2d" else -1] for node in layers)
    )


def _run_module(module: tvm.IRModule, net: Any, executor: Any, inputs: Arrays) -> list[np.ndarray]:
    from tvm import relax

    from eq_tvm.passes.graph.rewrite import Graph, array

    result = module["main"].body.body
    bound = Graph(module).values.get(result, result)
    fields = list(bound.fields) if isinstance(bound, relax.Tuple) else [result]
    places = {i for field, i in net.var_node.items() if any(field.same_as(each) for each in fields)}
    given = (i for i, node in enumerate(net.nodes) if node.op == "input")
    images = dict(zip(given, (value[None] for value in inputs.values()), strict=True))
    values = {i: value for i, value in executor.run(net, images) if i in places}
    results: list[np.ndarray] = []
    for field in fields:
        constant = array(field)
        value = constant[None] if constant is not None else values[net.var_node[field]]
        results += [part[0] for part in value] if isinstance(value, list) else [value[0]]
    return results


def _first_different(
    path: Path, inputs: Arrays, shapes: Shapes | None, constants: Constants | None, run: Run
) -> onnx.NodeProto | None:
    """The first node, in the file's order, that by itself computes something else on the reference's tensors."""
    model = read_onnx(path, shapes, constants)
    everything = onnx.ModelProto()
    everything.CopyFrom(model)
    for node in everything.graph.node:
        if node.domain == OURS:  # as the standard has it, without a count of rows
            node.domain = ""
            del node.output[1:]
    known = {value.name: value for value in [*model.graph.value_info, *model.graph.output]}
    del everything.graph.output[:]
    computed = {name for node in everything.graph.node for name in node.output}
    everything.graph.output.extend(value for name, value in known.items() if name in computed)
    try:
        tensors = run(everything, inputs) | inputs
    except Exception:
        return None
    return next((node for node in model.graph.node if not _agrees(node, model, tensors)), None)


def _agrees(node: onnx.NodeProto, model: onnx.ModelProto, tensors: Mapping[str, np.ndarray]) -> bool:
    from eq_tvm.passes.graph.network import read_network
    from eq_tvm.passes.quantized.float_executor import FloatExecutor

    single = _single(node, model)
    names = [value.name for value in single.graph.input]
    if not names or not all(_is_complete(value, tensors) for value in single.graph.input):
        return True
    with TemporaryDirectory() as folder:
        file = Path(folder) / "node.onnx"
        onnx.save(single, file)
        module, _, outputs = import_canonical(file)
        given = {name: tensors[name] for name in names}
        run = _run_module(module, read_network(module), FloatExecutor(module), given)
    results = results_by_name(outputs, run)
    known = {name: tensors[name] for name in results if name in tensors}
    return all(is_close(results[name], theirs) or are_near(results, {name: theirs}) for name, theirs in known.items())


def _is_complete(value: onnx.ValueInfoProto, tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether a tensor is known, with all the rows that there can be."""
    return value.name in tensors and list(tensors[value.name].shape) == extents(value.type)


def _single(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of one node of a static model; constants stay constant."""
    constants = [tensor for tensor in model.graph.initializer if tensor.name in node.input]
    types = {value.name: value for value in _values(model)}
    read = dict.fromkeys(name for name in node.input if name in types)
    graph = helper.make_graph(
        [node], "node", [types[name] for name in read], [types[name] for name in node.output if name], constants
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    yield from (*graph_inputs(model), *model.graph.value_info, *model.graph.output)
