"""What the tests here share: a bundle small enough to make again for each, and the command line in a folder."""

from pathlib import Path

import onnx
import pytest
import tvm
from onnx import TensorProto, helper
from tiny import SHAPE, write_tiny
from tvm import relax

from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.cli import main


@pytest.fixture(scope="session")
def tiny_executable() -> tvm.runtime.Executable:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.relu(relax.op.negative(x)))
            mean = builder.emit(relax.op.mean(y, axis=[2, 3]))
            result = builder.emit_output(relax.Tuple([mean, y]))
        builder.emit_func_output(result)
    return tvm.compile(builder.get(), target=tvm.target.Target("llvm"))


@pytest.fixture
def tiny(tmp_path, tiny_executable) -> Bundle:
    """The bundle tmp_path/tiny.eqtvm, for this machine."""
    return write_tiny(tmp_path / "tiny.eqtvm", tiny_executable)


@pytest.fixture
def tiny_onnx(tmp_path) -> Path:
    """The same network as ONNX."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
        helper.make_node("ReduceMean", ["y"], ["mean"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE[1:]])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("mean", "y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


@pytest.fixture
def cli(folder, capsys):
    """Run a command in the test module's `folder`; give the exit code, stdout and stderr."""

    def run(*arguments):
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def refused(cli, folder):
    """Run a command that must give one line of error that has `message`, and leave the folder as it was."""

    def run(message, *arguments):
        before = sorted(folder.rglob("*"))
        code, out, err = cli(*arguments)
        assert (code, out) == (2, ""), err
        lines = [line for line in err.splitlines() if not line.startswith("[")]  # progress, on a slow machine
        assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], err
        assert sorted(folder.rglob("*")) == before

    return run
