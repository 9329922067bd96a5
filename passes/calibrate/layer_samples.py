"""Samples of a layer's inputs and outputs for the scale searches."""

import numpy as np

from ..arithmetic.exact_product import exact_product
from ..graph.network import BOUNDS, Network, Node
from ..quantized.layer_matrices import columns, grouped_weight, output_columns, positions
from ..quantized.quantizers import quantize_weight
from .scale_search import Activation, ActivationSample, WeightSample, weight_sample

# Rows (output positions) sampled per image: as many as these products of rows, K (weights per output channel) and
# output channels allow. They bound the time of one search.
_WEIGHT_WORK = 2**22
_WEIGHT_ROWS = (16, 256)
_ACTIVATION_ELEMENTS = 2**14
_ACTIVATION_WORK = 2**21
_ACTIVATION_ROWS = (4, 256)
_TENSOR_ELEMENTS = 4096


def activation_behind(net: Network, layer: int) -> Activation | None:
    """The bias and the relu or clip directly behind a layer, where nothing else reads what is between."""
    bias, bias_node = net.bias_of(layer), net.bias_node(layer)
    last = layer if bias_node is None else bias_node
    user = net.sole_user(last)
    if user is None or net.nodes[user].op not in BOUNDS or net.nodes[user].inputs != (last,):
        return None
    node, bound = net.nodes[layer], net.nodes[user]
    low, high = (0.0, np.inf) if bound.op == "relu" else (float(arg.value) for arg in bound.expr.args[1:])
    shape = grouped_weight(node, node.constant).shape[:2]
    highs, behind = np.full(shape, high, np.float32), net.sole_user(user)
    if behind is not None and net.nodes[behind].op == "minimum":
        highs = net.nodes[behind].constant.reshape(shape)
    return Activation(np.zeros(shape, np.float32) if bias is None else bias.reshape(shape), low, highs)


def layer_weight_sample(
    node: Node,
    quantized: np.ndarray,
    scale: np.float32,
    output: np.ndarray,
    seed: int,
    activation: Activation | None = None,
    alone: bool = False,
) -> WeightSample:
    """Sample for a layer's weight scales.

    Parameters
    ----------
    quantized : (N, *input shape) integers
        The layer's input in the simulated network, of that scale.
    output : (N, *output shape) float32
        The layer's output, bias excluded, in the float network.
    activation, alone
        As in `WeightSample`.
    """
    groups, per_group, k = grouped_weight(node, node.constant).shape
    count = positions(node)
    rows = int(np.clip(_WEIGHT_WORK // (groups * per_group * k), *_WEIGHT_ROWS))
    compress = k <= rows and activation is None  # all positions fit then
    rng = np.random.default_rng(seed)
    windows, outputs = [], []
    for x, o in zip(quantized, output, strict=True):
        at = slice(None) if compress or rows >= count else rng.choice(count, rows, replace=False)
        windows.append(columns(node, x, at) * np.float32(scale))
        outputs.append(output_columns(node, o, at))
    return weight_sample(windows, outputs, compress and k < count, activation, alone)


def layer_activation_sample(
    node: Node,
    x: np.ndarray,
    x_float: np.ndarray,
    weight_scale: np.ndarray,
    limit: int,
    seed: int,
    activation: Activation | None = None,
) -> ActivationSample:
    """Sample for the scale of a layer's input.

    Parameters
    ----------
    x, x_float : (N, *input shape) float32
        The input before quantization in the simulated network, and in the float network.
    """
    weight = grouped_weight(node, node.constant)
    axis = 0 if node.op == "conv2d" else 1
    quantized = grouped_weight(node, quantize_weight(node.constant, weight_scale, limit, axis))
    dequantized = quantized * weight_scale.reshape(weight.shape[0], -1, 1)
    groups, per_group, k = weight.shape
    count = positions(node)
    allowed = min(_ACTIVATION_ELEMENTS // (groups * k), _ACTIVATION_WORK // (groups * per_group * k))
    rows = min(count, int(np.clip(allowed, *_ACTIVATION_ROWS)))
    rng = np.random.default_rng(seed)
    samples, outputs = [], []
    for image, image_float in zip(x, x_float, strict=True):
        at = slice(None) if rows == count else rng.choice(count, rows, replace=False)
        samples.append(columns(node, image, at).transpose(0, 2, 1))
        outputs.append(exact_product(weight, columns(node, image_float, at)).transpose(0, 2, 1).astype(np.float32))
    targets = np.stack(outputs)
    targets = targets if activation is None else activation(targets)
    return ActivationSample(
        np.stack(samples), np.ascontiguousarray(dequantized.transpose(0, 2, 1)), targets, activation
    )


def tensor_sample(x: np.ndarray, x_float: np.ndarray, seed: int) -> ActivationSample:
    """Sample for a tensor that is read as it is; arguments as for `layer_activation_sample`."""
    x, x_float = x.reshape(len(x), -1), x_float.reshape(len(x), -1)
    count = min(x.shape[1], _TENSOR_ELEMENTS)
    at = np.random.default_rng(seed).choice(x.shape[1], count, replace=False)
    return ActivationSample(x[:, None, None, at], None, x_float[:, None, None, at])
