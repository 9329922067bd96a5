"""PyTorch -> ONNX, by PyTorch's own exporter (extra `torch`)."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from eq_tvm.errors import UserError, reason
from eq_tvm.importer.names import unique

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_SCOPES = "pkg.torch.onnx.name_scopes"
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def read_exported(path: Path) -> onnx.ModelProto:
    """The network in a file of ``torch.export.save`` (.pt2); UserError where it can't be read or exported."""
    torch = _torch(str(path))
    try:
        with _quiet():
            _know_quantized_operators()
            program = torch.export.load(path)
    except Exception as error:  # it raises whatever it likes
        raise UserError(
            f"{path}: not what torch.export.save writes, or of another PyTorch: {reason(error)[:200]}"
        ) from error
    return _from_program(program, str(path))


def to_onnx(module: Any, example: Any = None) -> onnx.ModelProto:
    """Make ONNX of a network in memory.

    Parameters
    ----------
    module : torch.nn.Module or torch.export.ExportedProgram
        A module is exported as for inference, and stays as it is.
    example : torch.Tensor, numpy.ndarray, or tuple of what the module takes, optional
        Inputs, for their shapes and dtypes; an exported program needs none.

    Returns
    -------
    onnx.ModelProto
        Layers are named as their modules; outputs by their place in what the module returns: ``output`` for one,
        ``output_0`` and so on for a tuple, and the keys of a dict.

    Raises
    ------
    UserError
        PyTorch is not installed, there is no example, or PyTorch can't export the module.
    """
    name = type(module).__name__
    torch = _torch(name)
    if isinstance(module, torch.export.ExportedProgram):
        return _from_program(module, "the exported program")
    if example is None:
        raise UserError(f"{name}: give an example input, as in compile(module, example=torch.zeros(1, 3, 224, 224))")
    inputs = example if isinstance(example, tuple) else (example,)
    inputs = tuple(torch.as_tensor(each) if hasattr(each, "__array__") else each for each in inputs)
    with _for_inference(module), _quiet():
        try:
            program = torch.export.export(module, inputs)
        except Exception as error:  # what depends on data it may not trace, where the older exporter does
            return _traced(module, inputs, name, reason(error))
    return _from_program(program, name)


def _know_quantized_operators() -> None:
    """PyTorch registers what its pt2e quantization inserts only where that is imported."""
    for home in ("torch.ao.quantization.fx._decomposed", "torchao.quantization.pt2e"):
        with contextlib.suppress(ImportError):
            import_module(home)
            return


def _torch(what: str) -> Any:
    if "torch" in sys.modules and sys.modules["torch"] is None:  # as the command line hides it
        del sys.modules["torch"]
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise UserError(
            f'{what} needs PyTorch with its ONNX exporter: pip install "eq_tvm[torch]" ({error})'
        ) from error
    return torch


def _from_program(program: ExportedProgram, what: str) -> onnx.ModelProto:
    import torch

    for node in program.graph.nodes:
        if "batch_norm" in str(node.target) and True in node.args[5:6]:
            raise UserError(f"{what} was exported for training: call model.eval() before torch.export.export")
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                optimize=False,  # folds batch norms by another formula than ours, which all formats share
            )
        model: onnx.ModelProto = exported.model_proto
    except Exception as error:
        raise UserError(f"PyTorch can't export {what} as ONNX: {_root(error)}") from error
    _name_layers(model)
    _name_outputs(model, program)
    return model


def _traced(module: Any, inputs: tuple[Any, ...], name: str, why: str) -> onnx.ModelProto:
    """By the older exporter, which follows what happens to the example."""
    import torch

    file = io.BytesIO()
    try:
        torch.onnx.export(module, inputs, file, dynamo=False, opset_version=17)
    except Exception as error:
        traced = _root(error)
        raise UserError(
            f"PyTorch can't export {name}: {why[:300]}{'' if traced in why else f'; traced: {traced}'}"
        ) from error
    return onnx.load_from_string(file.getvalue())


@contextlib.contextmanager
def _for_inference(module: Any) -> Iterator[None]:
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporters tell their developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _root(error: BaseException) -> str:
    """What went wrong first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason(error)[:300]


def _name_outputs(model: onnx.ModelProto, program: ExportedProgram) -> None:
    """Name outputs by their places in what the module returns, also where it returns a tensor twice, or an input."""
    names = [name for name, value in _places(program) if value is not None]
    outputs, used = list(model.graph.output), {name for node in model.graph.node for name in node.output}
    used.update(value.name for value in (*model.graph.input, *model.graph.initializer))
    if len(names) != len(outputs):
        return  # there are others than tensors
    del model.graph.output[:]
    for value, wanted in zip(outputs, names, strict=True):
        name = unique(wanted, used)
        model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [name], name=name))
        model.graph.output.add().CopyFrom(value)
        model.graph.output[-1].name = name


def _places(program: ExportedProgram) -> list[tuple[str, Any]]:
    """For each thing returned a name by its place, and what it is called in the program: None for None."""
    from torch.utils import _pytree

    spec = program.call_spec.out_spec
    leaves, _ = _pytree.tree_flatten_with_path(_pytree.tree_unflatten(list(range(spec.num_leaves)), spec))
    names = ["_".join(re.findall(r"\w+", _pytree.keystr(path))) for path, _ in leaves]
    named = [f"output_{name}".rstrip("_") if not name or name[0].isdigit() else name for name in names]
    return list(zip(named, program.graph_signature.user_outputs, strict=True))


def _name_layers(model: onnx.ModelProto) -> None:
    """Name layers as the modules that own their weights."""
    owned = {tensor.name for tensor in model.graph.initializer if tensor.name.endswith(".weight")}
    taken: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in _LAYERS:
            continue
        scopes = ast.literal_eval(next((p.value for p in node.metadata_props if p.key == _SCOPES), "[]"))
        module = node.input[1].removesuffix(".weight") if node.input[1] in owned else "".join(scopes[-2:-1])
        if module and module not in taken:
            node.name = module
            taken.add(module)
