"""Evaluate an ONNX model as far as the shapes of its inputs decide it."""

from pathlib import Path

import onnx

from eq_tvm.importer.static import batch_norm, control_flow, empty, quantized, selection, sequences, shapes, windows
from eq_tvm.importer.static.rows import follow, settle_numbers
from eq_tvm.importer.static.specializer import Handler, Specializer


def specialize(path: str | Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of the same function whose tensors all have static shapes that onnx's own shape inference confirms.

    Exporters leave chains of Shape, Gather, Concat, Range, If behind that are constant once the inputs' shapes are.
    Node by node, in the file's order: what reads constants alone is computed by onnx's reference evaluator, Shape and
    Size read the shape that onnx infers, If takes its branch, Loop and Scan are unrolled, sequences of tensors become
    tensors, and operators that nobody implements are replaced by the function that the ONNX standard defines them by.

    Parameters
    ----------
    path : path of the model, for messages
    model : onnx.ModelProto
        With static shapes of its inputs.

    Returns
    -------
    onnx.ModelProto
        Without subgraphs, functions and sequences; ``value_info`` has the type of every tensor that is not a constant.
        Where outputs have as many rows as the data choose, more outputs count them, and `rows_of` tells which.

    Raises
    ------
    UserError
        Shapes that do not fit, or depend on data; loops without a fixed number of iterations.
    """
    specializer = Specializer(path, model, _HANDLERS, follow)
    specializer.run(model.graph.node, {})
    settle_numbers(specializer, [value.name for value in model.graph.output])
    return specializer.result(model)


_HANDLERS: dict[str, Handler] = {
    **shapes.HANDLERS,
    **control_flow.HANDLERS,
    **sequences.HANDLERS,
    **selection.HANDLERS,
    **batch_norm.HANDLERS,
    **windows.HANDLERS,
    **quantized.HANDLERS,
    **empty.HANDLERS,
}
