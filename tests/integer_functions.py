"""The functions of single elements that the integer program knows (docs/integer-program.md), in float64."""

from __future__ import annotations

import math

import numpy as np

F64 = np.float64


def _each(function):
    """`function` of one Python number, on arrays."""
    return lambda x: np.array([function(float(v)) for v in x.ravel()], F64).reshape(x.shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x * (1 + _each(math.erf)(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))) / 2


def leaky(x, slope):
    return np.where(x < 0, x * slope, x)


UNARY = {
    "relax.abs": np.abs,
    "relax.erf": _each(math.erf),
    "relax.exp": np.exp,
    "relax.log": np.log,
    "relax.negative": np.negative,
    "relax.nn.gelu": gelu,
    "relax.nn.gelu_tanh": gelu_tanh,
    "relax.nn.silu": lambda x: x / (1 + np.exp(-x)),
    "relax.sigmoid": sigmoid,
    "relax.sqrt": np.sqrt,
    "relax.tanh": np.tanh,
}
BINARY = {
    "relax.add": np.add,
    "relax.divide": np.divide,
    "relax.maximum": np.maximum,
    "relax.minimum": np.minimum,
    "relax.multiply": np.multiply,
    "relax.nn.prelu": leaky,
    "relax.power": np.power,
    "relax.subtract": np.subtract,
}
