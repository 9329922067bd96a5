"""Relay's text form."""

import numpy as np
import pytest
from onnx_models import random
from relay_runs import read_text, run, run_body

from eq_tvm.errors import UserError
from eq_tvm.importer.relay.expressions import Call, Constant
from eq_tvm.importer.relay.text import parse_module

X = random(2, 3)


@pytest.mark.parametrize(
    "body,expected",
    [
        ("%0 = exp(%a) /* ty=Tensor[(2, 3), float32] span=a.b::c:0:0 */;\n  negative(%0)", -np.exp(X)),
        ("let %v = exp(%a);\nlet %w: Tensor[(2, 3), float32] = add(%v, %v);\nadd(%w, %v)", 3 * np.exp(X)),
        (
            '%f = fn (%p: Tensor[(2, 3), float32], Primitive=1, hash="1") -> Tensor[(2, 3), float32] {exp(%p)}; %f(%a)',
            np.exp(X),
        ),
        ("let %f = fn (%p: Tensor[(2, 3), float32]) { add(%p, %a) };\n%0 = %f(%a);\n%f(%0)", 3 * X),
        ("%0 = (%a, exp(%a), (%a,));\n%1 = %0.2;\nadd(%0.1, %1.0)", X + np.exp(X)),
        ("%0 = (%a, (exp(%a), %a));\n%0.1.0", np.exp(X)),
        ("%a + %a * 2f - %a / 4.0f", X + X * 2 - X / 4),
        ("multiply(%a, -1.5e-2f)", X * np.float32(-0.015)),
        ("// a comment\nadd(%a, {\n  let %q = 1f;\n  %q\n})", X + 1),
        ("%unused = exp(%a);\nlog(%a);\nnn.relu(%a)", np.maximum(X, 0)),
        ("-(%a)", -X),
    ],
)
def test_expressions(tmp_path, body, expected):
    np.testing.assert_allclose(run_body(tmp_path, body, X)[0], expected, rtol=1e-6)


def test_names_of_frontends(tmp_path):
    text = """
    def @main(%onnx::Conv_1: Tensor[(3), float32], %layer1.0.weight: Tensor[(3), float32],
              %conv/weights:0: Tensor[(3), float32]) -> Tensor[(3), float32] {
      %0 = add(%onnx::Conv_1, %layer1.0.weight);
      subtract(%0, %conv/weights:0)
    }"""
    model = read_text(tmp_path, text)
    assert [value.name for value in model.graph.input] == ["onnx::Conv_1", "layer1.0.weight", "conv/weights:0"]
    arrays = [random(3, seed=seed) for seed in range(3)]
    np.testing.assert_allclose(run(model, *arrays)[0], arrays[0] + arrays[1] - arrays[2], rtol=1e-6)


def test_functions_of_a_module(tmp_path):
    text = """v0.0.4
    def @twice(%x: Tensor[(2, 3), float32]) -> Tensor[(2, 3), float32] { @add_one(add(%x, %x)) }
    def @add_one(%x: Tensor[(2, 3), float32]) { add(%x, 1f) }
    def @main(%x: Tensor[(2, 3), float32]) -> (Tensor[(2, 3), float32], Tensor[(2, 3), float32]) {
      %0 = @twice(%x);
      (%0, @twice(%0))
    }"""
    once, twice = run(read_text(tmp_path, text), X)
    np.testing.assert_allclose(once, 2 * X + 1, rtol=1e-6)
    np.testing.assert_allclose(twice, 4 * X + 3, rtol=1e-5)


@pytest.mark.parametrize(
    "text", ["fn (%x: Tensor[(2, 3), float32]) { exp(%x) }", "free_var %x: Tensor[(2, 3), float32];\nexp(%x)"]
)
def test_functions_and_expressions_alone(tmp_path, text):
    np.testing.assert_allclose(run(read_text(tmp_path, text), X)[0], np.exp(X), rtol=1e-6)


@pytest.mark.parametrize(
    "text,value",
    [
        ("1", np.int32(1)),
        ("-3", np.int32(-3)),
        ("2f", np.float32(2)),
        ("1e-05f", np.float32(1e-5)),
        ("2.5f64", np.float64(2.5)),
        ("1f16", np.float16(1)),
        ("7i64", np.int64(7)),
        ("255u8", np.uint8(255)),
        ("int64(4)", np.int64(4)),
        ("int8(-4)", np.int8(-4)),
        ("True", np.bool_(True)),
        ("-inff", np.float32(-np.inf)),
    ],
)
def test_numbers(text, value):
    body = parse_module(f"def @main() {{ {text} }}").functions["main"].body
    assert isinstance(body, Constant) and (body.value, body.value.dtype) == (value, value.dtype)


def test_attributes():
    text = 'def @main(%x: Tensor[(1), float32]) { f(%x, a=[1, [-2, 3i64]], b="NCHW", c=-0.5f, d=True, e=None, g=[]) }'
    body = parse_module(text).functions["main"].body
    assert isinstance(body, Call)
    assert body.attrs == {"a": [1, [-2, 3]], "b": "NCHW", "c": -0.5, "d": True, "e": None, "g": []}


def test_deep_networks(tmp_path):
    """More operators than Python has frames, as lines and as lets."""
    lines = "\n".join(f"%{i} = add({f'%{i - 1}' if i else '%a'}, 1f);" for i in range(3000))
    np.testing.assert_allclose(run_body(tmp_path, lines + "\n%2999", X)[0], X + 3000, rtol=1e-5)
    lets = "\n".join(f"let %v{i} = add({f'%v{i - 1}' if i else '%a'}, 1f);" for i in range(3000))
    np.testing.assert_allclose(run_body(tmp_path, lets + "\n%v2999", X)[0], X + 3000, rtol=1e-5)


MAIN = "def @main(%x: Tensor[(2, 3), float32]) { BODY }"


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "the file is empty"),
        (" \n ", "the file is empty"),
        ("hello", "hello as a value can't be read"),
        ("MNIST!", "line 1: unexpected '!'"),
        ("import tvm\n", "line 1: 'tvm' where 'end' should be"),
        (MAIN.replace("BODY", "add(%x, 1f"), "line 1: '}' where '\\)' should be"),
        (MAIN.replace("BODY }", "exp(%x)"), "'the end of the file' where '}' should be"),
        (MAIN.replace("BODY", "exp(%y)"), "no variable %y is defined before"),
        (MAIN.replace("BODY", "%0 = exp(%x);"), "'}' where an expression should be"),
        (MAIN.replace("BODY", "%x.0"), "takes item 0 of what has no such item"),
        (
            MAIN.replace("BODY", "add(%x, meta[relay.Constant][2])"),
            "has meta\\[relay.Constant\\]\\[2\\], but not its value; save .*save_json",
        ),
        (MAIN.replace("BODY", "if (%x) { %x } else { exp(%x) }"), "control flow \\(if\\) can't be read"),
        (MAIN.replace("BODY", "match? (%x) { Nil => %x }"), "pattern matching \\(match\\) can't be read"),
        (MAIN.replace("BODY", "@f(%x)"), "it calls @f, which it does not have"),
        (MAIN.replace("BODY", "@main(%x)"), "recursive"),
        (MAIN.replace("BODY", "exp"), "exp as a value can't be read"),
        (MAIN.replace("BODY", "fn (%y: Tensor[(1), float32]) { %y }"), "it has functions as values"),
        (
            MAIN.replace("BODY", "%0 = fn (%y: Tensor[(1), float32]) { %y }; %0(%x, %x)"),
            "calls a function of 1 with 2 arguments",
        ),
        (MAIN.replace("BODY", "%x(%x)"), "it calls what is no function"),
        (MAIN.replace("main", "net").replace("BODY", "%x"), "it has no function main, but net"),
        (
            MAIN.replace("2, 3", "?, 3").replace("BODY", "%x"),
            "input 'x' is of the dynamic shape .* save the module with static shapes",
        ),
        (
            MAIN.replace("Tensor[(2, 3), float32]", "List[int32]").replace("BODY", "%x"),
            "input 'x' has no tensor's type",
        ),
        (MAIN.replace("BODY", "frobnicate(%x)"), "operator frobnicate can't be read; .*export the network as ONNX"),
        (MAIN.replace("BODY", "call_lowered(@f, (%x,))"), "calls compiled code; save the module before relay.build"),
        (MAIN.replace("BODY", "dyn.topk(%x, 1)"), "operator dyn.topk has shapes that depend on data"),
        (MAIN.replace("BODY", "nn.max_pool2d_grad(%x, %x)"), "is of training; save the network for inference"),
        (
            MAIN.replace("BODY", "nn.contrib_conv2d_winograd_without_weight_transform(%x, %x)"),
            "save the module before AlterOpLayout",
        ),
        (MAIN.replace("BODY", "exp()"), "operator exp \\(node 'exp_0'\\): it has 0 arguments, and needs 1"),
        (MAIN.replace("BODY", "exp((%x, %x))"), "operator exp .*it takes a tensor, and has a tuple"),
        (MAIN.replace("BODY", "concatenate(%x)"), "operator concatenate .*it takes a tuple of tensors"),
        (MAIN.replace("BODY", "add(%x, 1)"), "operator add .*float32 and int32, where both should be alike"),
        (MAIN.replace("BODY", "clip(%x, a_min=0f)"), "operator clip .*it has no a_max"),
        (MAIN.replace("BODY", "reshape(%x, newshape=[5])"), "operator reshape .*newshape does not fit"),
        ("#[metadata]\n{", "not valid JSON"),
        (MAIN.replace("BODY", "(" * 9999), "nested too deeply"),
        (
            MAIN.replace("BODY", "%x") + '\n#[metadata]\n{"root": 0, "nodes": [{"type_key": ""}]}',
            "its metadata is not a map",
        ),
        ("{}", "JSON, but not what tvm.ir.save_json writes"),
        ("[]", "line 1: "),
        ('{"root": 5, "nodes": []}', "JSON, but not what"),
        (
            '{"root": 0, "nodes": [{"type_key": "relax.expr.Function"}]}',
            "has a relax.expr.Function of TVM, not a Relay module",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_text(tmp_path, text)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "net.relay"))


def test_no_such_file(tmp_path):
    from eq_tvm.importer.relay import read_relay

    with pytest.raises(UserError, match="No such file"):
        read_relay(tmp_path / "net.relay")
    with pytest.raises(UserError, match="directory"):
        read_relay(tmp_path)
    (tmp_path / "net.relay").write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(UserError, match="no text; save the module with"):
        read_relay(tmp_path / "net.relay")
    (tmp_path / "net.relay").write_text(MAIN.replace("BODY", "%x"))
    (tmp_path / "net.params").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"net.params: truncated; save the parameters with relay.save_param_dict"):
        read_relay(tmp_path / "net.relay")
