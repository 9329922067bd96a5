"""Options are declared once: functions, their help and the command line have the same."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import typer

import eq_tvm
from eq_tvm.analysis import analyze
from eq_tvm.cli.commands import app
from eq_tvm.errors import UserError
from eq_tvm.options.declared import SCHEMES, CompileOptions, QuantizeOptions, TargetsOptions
from eq_tvm.options.option import check_values, options_of
from eq_tvm.preprocess import Preprocess

BGR = Preprocess("BGR", (0.0,) * 3, (1.0,) * 3)
FUNCTIONS = {eq_tvm.compile: CompileOptions, analyze: QuantizeOptions}
COMMANDS = {"compile": CompileOptions, "analyze": QuantizeOptions, "targets": TargetsOptions}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions(function):
    parameters = inspect.signature(function).parameters
    assert next(iter(parameters)) == "model" and parameters["model"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    options = options_of(FUNCTIONS[function])
    assert {option.name: option.default for option in options} == {
        name: parameter.default for name, parameter in parameters.items() if name not in ("progress", "example")
    }
    for option in options:
        assert f"\n{option.name} : " in function.__doc__
        assert option.help.split(";")[0] in " ".join(function.__doc__.split())
    assert function.__doc__.index("Parameters\n---") < function.__doc__.index("Returns\n---")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command):
    parameters = {p.name: p for p in typer.main.get_command(app).commands[command].params}
    for option in options_of(COMMANDS[command]):
        parameter = parameters[option.name]
        assert parameter.default == option.default
        if option.flag:
            assert [*parameter.opts, *parameter.secondary_opts] == option.flag.split("/")
            assert parameter.help == option.help


def test_what_is_wrong_with_them():
    with pytest.raises(TypeError, match="no_such_option"):
        eq_tvm.compile(no_such_option=1)
    with pytest.raises(TypeError):
        eq_tvm.compile("net.onnx", "native")
    for options, message in [
        (
            {"scheme": "int9"},
            f"--scheme must be one of {', '.join(SCHEMES)}, not int9",
        ),
        ({"activation_range": ""}, "--activation-range must be one of unsigned, symmetric, not "),
        ({"method": "best"}, "--method must be one of easyquant, "),
        ({"refine": "network"}, "--refine must be one of layers, blocks, not network"),
        ({"refine": "blocks", "method": "kl"}, r"--refine blocks needs a method that refines: --method kl\+, not kl"),
        ({"refine": "layers", "method": "kl"}, r"--refine layers needs a method that refines: --method kl\+, not kl"),
        ({"refine": "layers", "calibration": "random"}, r"--refine layers needs a method .* minmax\+, not minmax"),
        ({"refine": "blocks", "scheme": "float32"}, "--refine blocks is for quantized networks: leave it out, or"),
        ({"scheme": 8}, f"--scheme must be one of {', '.join(SCHEMES)}, not 8"),
        ({"target": None}, "--target must be text, not NoneType None"),
        ({"images": "3"}, "--images must be a whole number, not str '3'"),
        ({"images": 2.5}, "--images must be a whole number, not float 2.5"),
        ({"max_drop": "a"}, "--max-drop must be a number, not str 'a'"),
        ({"keep": ["a=float"]}, "--keep must be a mapping, not list"),
        ({"calibration": np.zeros(3)}, "--calibration must be a path, not ndarray"),
        ({"preprocess": {"channels": "RGB"}}, "--preprocess must be a path, not dict"),
        ({"model": 3}, "model must be a path, not int 3"),
        ({"optimize": "weight"}, "--optimize must be one of speed, size, not weight"),
        ({"artifact": "onnx"}, "--artifact must be one of bundle, standalone, not onnx"),
    ]:
        with pytest.raises(UserError, match=message):
            eq_tvm.compile(**options)
    with pytest.raises(UserError, match=r"can't read x*: File name too long"):
        eq_tvm.compile("x" * 300)
    check_values(CompileOptions(method=None, scheme="int8", images=np.int64(3), max_drop=1, preprocess=BGR))


def test_unknown_keywords_are_named():
    with pytest.raises(TypeError, match=r"compile\(\) has no option 'foo'; there are model, "):
        eq_tvm.compile(foo=1)


def test_none_is_no_choice_where_there_is_a_default():
    with pytest.raises(UserError, match="--optimize must be one of speed, size, not None"):
        eq_tvm.compile(optimize=None)


def test_documented_modules_come_with_the_package():
    code = "import eq_tvm; eq_tvm.analysis.analyze, eq_tvm.evaluate.evaluate, eq_tvm.bench.bench, eq_tvm.passes"
    subprocess.run([sys.executable, "-c", code], check=True)
