"""If, Loop and Scan, which static shapes let us write out."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper

from eq_tvm.errors import UserError
from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.specializer import Handler, Specializer

_MOST_ITERATIONS = 4096


def _if(specializer: Specializer, node: NodeProto, scope: dict[str, str]) -> bool:
    """The branch of a constant condition; else both, if they give tensors of the same types, and a choice."""
    branches = attributes_of(node)
    condition = specializer.value(node.input[0])
    if condition is not None:
        taken = branches["then_branch" if condition.all() else "else_branch"]
        for name, result in zip(node.output, _run_graph(specializer, node, taken, scope), strict=True):
            specializer.alias(name, result)
        return True
    decided = specializer.sources(node.input[0])
    remedy = f"the data decides ({', '.join(decided)}): fix it with --constant {decided[0]}=VALUE"
    try:
        then, other = (_run_graph(specializer, node, branches[f"{name}_branch"], scope) for name in ("then", "else"))
    except UserError as error:
        reason = str(error).removeprefix(f"{specializer.path}: ")
        raise specializer.refusal(node, f"has a branch that can't be compiled, and {remedy} ({reason})") from None
    choice = specializer.reshape(node.input[0], [])
    for name, one, two in zip(node.output, then, other, strict=True):
        types = [specializer.types.get(result) for result in (one, two)]
        counted = _counted(specializer, choice, one, two)
        if counted is not None:
            _choose_rows(specializer, choice, (one, two), name, counted)
        elif types[0] is None or types[0] != types[1] or one in specializer.rows or two in specializer.rows:
            raise specializer.refusal(node, f"gives tensors of different types, and {remedy}")
        else:
            specializer.call("Where", choice, one, two, output=name)
    return True


def _counted(specializer: Specializer, choice: str, *results: str) -> Rows | None:
    """How many rows a choice of two tensors has that differ in that, or None."""
    axes = {specializer.rows[name].axis for name in results if name in specializer.rows}
    types = [specializer.types.get(name) for name in results]
    if len(axes) != 1 or None in types or len({ty.tensor_type.elem_type for ty in types if ty}) != 1:
        return None
    (axis,) = axes
    shapes = [specializer.shape(name) for name in results]
    others = [shape[:axis] + shape[axis + 1 :] for shape in shapes]
    if len(shapes[0]) != len(shapes[1]) or others[0] != others[1]:
        return None
    counts = [
        specializer.rows[name].count if name in specializer.rows else specializer.constant(np.array([shape[axis]]))
        for name, shape in zip(results, shapes, strict=True)
    ]
    count = counts[0] if counts[0] == counts[1] else specializer.call("Where", choice, *counts)
    return Rows(axis, max(shape[axis] for shape in shapes), count)


def _choose_rows(specializer: Specializer, choice: str, results: Sequence[str], output: str, rows: Rows) -> None:
    """One of two tensors that have room for the rows of either; of those that never have any, the other."""
    filled = [name for name in results if 0 not in specializer.shape(name)]
    roomy = []
    for name in filled:
        shape = specializer.shape(name)
        shape[rows.axis] = rows.most - shape[rows.axis]
        dtype = helper.tensor_dtype_to_np_dtype(specializer.types[name].tensor_type.elem_type)
        rest = [specializer.constant(np.zeros(shape, dtype))] if shape[rows.axis] else []
        roomy.append(_with_rows(specializer, rows, "Concat", name, *rest, axis=rows.axis) if rest else name)
    if len(roomy) == 2:
        chosen = _with_rows(specializer, rows, "Where", choice, *roomy)
    else:
        chosen = _with_rows(specializer, rows, "Identity", *roomy)
    if all(name in specializer.places for name in filled):
        specializer.places.add(chosen)
    specializer.alias(output, chosen)


def _with_rows(specializer: Specializer, rows: Rows, op_type: str, *operands: str, **attributes: int) -> str:
    name = specializer.new_name(op_type)
    specializer.rows[name] = rows
    specializer.keep(helper.make_node(op_type, operands, [name], name=name, **attributes))
    return name


def _loop(specializer: Specializer, node: NodeProto, scope: dict[str, str]) -> bool:
    """Iteration by iteration; the standard's section Loop."""
    body = attributes_of(node)["body"]
    trips = specializer.value(node.input[0]) if node.input[0] else np.int64(_MOST_ITERATIONS + 1)
    condition = node.input[1] if len(node.input) > 1 and node.input[1] else specializer.constant(np.bool_(True))
    if trips is None or condition not in specializer.constants:
        raise _endless(specializer, node)
    carried, count = list(node.input[2:]), 0
    gathered: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
    while count < trips and np.all(specializer.value(condition)):
        iteration = specializer.constant(np.int64(count))
        operands = dict(zip((value.name for value in body.input), [iteration, condition, *carried], strict=False))
        condition, *results = _run_graph(specializer, node, body, scope | operands)
        if condition not in specializer.constants or count >= _MOST_ITERATIONS:
            raise _endless(specializer, node)
        carried, scanned = results[: len(carried)], results[len(carried) :]
        for all_of_it, one in zip(gathered, scanned, strict=True):
            all_of_it.append(one)
        count += 1
    for name, result in zip(node.output, carried, strict=False):
        specializer.alias(name, result)
    for name, parts in zip(node.output[len(carried) :], gathered, strict=False):
        _stack(specializer, node, parts, 0, name)
    return True


def _scan(specializer: Specializer, node: NodeProto, scope: dict[str, str]) -> bool:
    """Slice by slice; the standard's section Scan, since operator set 9."""
    if specializer.opset < 9:
        raise specializer.refusal(node, "of operator sets before 9 can't be imported; export the model anew")
    given = attributes_of(node)
    body, count = given["body"], given["num_scan_inputs"]
    state, scanned = list(node.input[:-count]), list(node.input[-count:])
    axes = given.get("scan_input_axes", [0] * count)
    backwards = given.get("scan_input_directions", [0] * count)
    length = specializer.shape(scanned[0])[axes[0]]
    gathered: list[list[str]] = [[] for _ in body.output[len(state) :]]
    for step in range(length):
        slices = [
            specializer.call(
                "Gather", name, specializer.constant(np.int64(length - 1 - step if back else step)), axis=i
            )
            for name, i, back in zip(scanned, axes, backwards, strict=True)
        ]
        operands = dict(zip((value.name for value in body.input), state + slices, strict=True))
        results = _run_graph(specializer, node, body, scope | operands)
        state = results[: len(state)]
        for all_of_it, one in zip(gathered, results[len(state) :], strict=True):
            all_of_it.append(one)
    for name, result in zip(node.output, state, strict=False):
        specializer.alias(name, result)
    axes = given.get("scan_output_axes", [0] * len(gathered))
    backwards = given.get("scan_output_directions", [0] * len(gathered))
    for name, parts, axis, back in zip(node.output[len(state) :], gathered, axes, backwards, strict=True):
        _stack(specializer, node, parts[::-1] if back else parts, axis, name)
    return True


HANDLERS: dict[str, Handler] = {"If": _if, "Loop": _loop, "Scan": _scan}


def _run_graph(specializer: Specializer, node: NodeProto, graph: onnx.GraphProto, scope: dict[str, str]) -> list[str]:
    """Visit a subgraph's nodes; the names of its results. It sees the names around it, which see none of its own."""
    inside, prefix = dict(scope), specializer.prefix(node)
    for tensor in graph.initializer:
        inside[tensor.name] = prefix + tensor.name
        specializer.set_constant(prefix + tensor.name, tensor)
    specializer.run(graph.node, inside, prefix)
    return [specializer.resolve(inside.get(value.name, value.name)) for value in graph.output]


def _stack(specializer: Specializer, node: NodeProto, parts: Sequence[str], axis: int, output: str) -> None:
    if not output:
        return
    if not parts:
        raise specializer.refusal(node, "runs no iteration, and its result is empty")
    shape = specializer.shape(parts[0])
    place = axis % (len(shape) + 1)
    rows = [specializer.reshape(part, [*shape[:place], 1, *shape[place:]]) for part in parts]
    specializer.call("Concat", *rows, output=output, axis=place)


def _endless(specializer: Specializer, node: NodeProto) -> Exception:
    what = f"does not iterate a fixed number of times (at most {_MOST_ITERATIONS}); only such loops can be compiled"
    sources = [name for name in specializer.sources(*node.input[:2]) if len(specializer.shape(name)) < 2]  # no images
    decided = " ".join(f"--constant {name}=VALUE" for name in sources)
    return specializer.refusal(node, f"{what}: {f'fix it with {decided}' if decided else 'cut the model before it'}")
