"""Vision transformers by the layers of networks.py: DeiT (arXiv 2012.12877) in the sizes that are timed.

Attention is written as torch's exporter writes timm's: one dense layer for queries, keys and values, split and
transposed by heads; GELU is a chain around Erf. ONNX Runtime finds both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from peers.networks import Graph

PATCH, HEAD, LAYERS = 16, 64, 12  # pixels of an edge, channels of a head, blocks


def deit(g: Graph, width: int) -> str:
    """Of `width` channels: 192 is DeiT-Tiny, 384 DeiT-Small. A class token, 12 blocks, and a dense layer."""
    image = g.conv("input", width, PATCH, stride=PATCH, padding=0, activation=None)
    tokens = (224 // PATCH) ** 2 + 1
    x = g.op("Reshape", [image, _shape(g, "patches", 1, width, tokens - 1)])
    x = g.op("Transpose", [x], perm=[0, 2, 1])
    x = g.op("Concat", [_random(g, "class_token", (1, 1, width)), x], axis=1)
    x = g.op("Add", [x, _random(g, "positions", (1, tokens, width))])
    for i in range(LAYERS):
        x = g.op("Add", [_attention(g, _layer_norm(g, x, width, f"norm{2 * i}"), width, tokens, f"block{i}.attn"), x])
        x = g.op("Add", [_mlp(g, _layer_norm(g, x, width, f"norm{2 * i + 1}"), width, f"block{i}.mlp"), x])
    first = g.initializer("first", np.array(0, np.int64))
    x = g.op("Gather", [_layer_norm(g, x, width, "norm"), first], axis=1)
    return g.dense(x, width, 1000)


def _attention(g: Graph, x: str, width: int, tokens: int, name: str) -> str:
    heads = width // HEAD
    x = _dense(g, x, width, 3 * width, f"{name}.qkv", gain=2.0)
    x = g.op("Reshape", [x, _shape(g, "by_heads", 1, tokens, 3, heads, HEAD)])
    x = g.op("Transpose", [x], perm=[2, 0, 3, 1, 4])
    queries, keys, values = (
        g.op("Gather", [x, _constant(g, f"number{i}", np.array(i, np.int64))], axis=0) for i in range(3)
    )
    scale = _constant(g, "scale", np.array(HEAD**-0.5, np.float32))
    scores = g.op("MatMul", [g.op("Mul", [queries, scale]), g.op("Transpose", [keys], perm=[0, 1, 3, 2])])
    x = g.op("MatMul", [g.op("Softmax", [scores], axis=-1), values])
    x = g.op("Reshape", [g.op("Transpose", [x], perm=[0, 2, 1, 3]), _shape(g, "joined", 1, tokens, width)])
    return _dense(g, x, width, width, f"{name}.proj")


def _mlp(g: Graph, x: str, width: int, name: str) -> str:
    x = _dense(g, x, width, 4 * width, f"{name}.fc1")
    half, one, root = (
        _constant(g, key, np.array(value, np.float32)) for key, value in (("half", 0.5), ("one", 1), ("root", 2**0.5))
    )
    error = g.op("Erf", [g.op("Div", [x, root])])
    x = g.op("Mul", [g.op("Mul", [x, g.op("Add", [error, one])]), half])
    return _dense(g, x, 4 * width, width, f"{name}.fc2")


def _dense(g: Graph, x: str, inputs: int, outputs: int, name: str, gain: float = 1.0) -> str:
    weight = _random(g, f"{name}.weight", (inputs, outputs), gain / inputs**0.5)
    return g.op("Add", [g.op("MatMul", [x, weight]), _random(g, f"{name}.bias", (outputs,), 0.05)])


def _layer_norm(g: Graph, x: str, width: int, name: str) -> str:
    gamma = _random(g, f"{name}.weight", (width,), 0.1, 1.0)
    return g.op("LayerNormalization", [x, gamma, _random(g, f"{name}.bias", (width,), 0.1)], axis=-1, epsilon=1e-6)


def _random(g: Graph, name: str, shape: tuple[int, ...], deviation: float = 1.0, mean: float = 0.0) -> str:
    return g.initializer(name, (mean + deviation * g.random.standard_normal(shape)).astype(np.float32))


def _shape(g: Graph, name: str, *extents: int) -> str:
    return _constant(g, name, np.array(extents, np.int64))


def _constant(g: Graph, name: str, value: np.ndarray) -> str:
    if any(tensor.name == name for tensor in g.initializers):
        return name
    return g.initializer(name, value)
