"""Boxes and lines of a quantized network, and where they are."""

import onnx
import pytest
from onnx import TensorProto, helper

from eq_tvm.reporting.picture import picture

PAIR = [("QuantizeLinear", "{0} s", "{0}_q"), ("DequantizeLinear", "{0}_q s", "{0}_dq")]


def model(*nodes):
    """(operator, inputs, outputs), where `x_dq` stands for a quantized x."""
    made = [helper.make_node(op, ins.split(), outs.split(), name=outs.split()[0]) for op, ins, outs in nodes]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [1.0])
    return helper.make_model(helper.make_graph(made, "net", values[:1], values[1:], [scale]))


def pair(name):
    return [(op, ins.format(name), outs.format(name)) for op, ins, outs in PAIR]


def test_pairs_are_no_boxes():
    nodes = [*pair("x"), ("Conv", "x_dq s", "a"), *pair("a"), ("Relu", "a_dq", "b"), ("Identity", "b", "y")]
    boxes = [(box.op, box.inputs, box.row) for box in picture(model(*nodes), ["a"])]
    assert boxes == [("input", [], 0), ("Conv", [0], 1), ("Relu", [1], 2), ("output", [2], 3)]


def test_branches_are_beside_each_other():
    nodes = [("Conv", "x_dq s", "a"), *pair("a"), ("Conv", "x_dq s", "b"), *pair("b"), ("Concat", "a_dq b_dq", "c")]
    boxes = picture(model(*pair("x"), *nodes, ("Conv", "c s", "d")), ["a", "b", "d"])
    left, right, joined, last = boxes[1:]
    assert left.row == right.row == 1 and joined.row == 2 and last.row == 3
    assert right.column - left.column == 1 and joined.column == pytest.approx((left.column + right.column) / 2)
    assert not any(box.is_float for box in boxes[1:])  # what moves quantized values gives such


def test_what_is_float():
    """What reads nothing quantized, what never computes in integers, and products without a kernel that does."""
    nodes = [("Exp", "x", "a"), *pair("a"), ("Conv", "a_dq s", "b"), *pair("b"), ("Softmax", "b_dq", "c")]
    boxes = picture(model(*nodes, ("MatMul", "a_dq b_dq", "d"), ("MatMul", "b_dq a_dq", "e")), ["b", "e"])
    assert {box.name: box.is_float for box in boxes[1:]} == {"a": True, "b": False, "c": True, "d": True, "e": False}


def test_an_empty_network():
    assert [box.op for box in picture(onnx.ModelProto(), [])] == []
