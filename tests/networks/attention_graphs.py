"""Networks with attention as several exporters write them, small and with random weights: ONNX nodes by hand."""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

IMAGE = (1, 3, 16, 16)
WIDTH, HEADS, TOKENS = 24, 3, 16
HEAD = WIDTH // HEADS


class Writer:
    """Writes nodes, and weights beside them."""

    def __init__(self, opset=18):
        self.opset, self.nodes, self.weights = opset, [], []
        self._random = np.random.default_rng(0)

    def __call__(self, kind, *inputs, outputs=1, **attributes):
        """The name of a node's result, or names of several; arrays among the inputs become initializers."""
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        results = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, results, name=f"{kind}_{len(self.nodes)}", **attributes))
        return results[0] if outputs == 1 else results

    def constant(self, values):
        """Floats of Python become float32."""
        array = np.asarray(values)
        array = array.astype("float32") if array.dtype == "float64" else array
        self.weights.append(numpy_helper.from_array(array, f"c{len(self.weights)}"))
        return self.weights[-1].name

    def random(self, *shape, spread=1.0):
        return (self._random.standard_normal(shape) * spread).astype("float32")

    def weight(self, *shape, inputs=None):
        """Of a layer, whose results are as large as what it reads."""
        return self.random(*shape, spread=1 / math.sqrt(inputs or shape[0]))

    def dense(self, x, inputs, outputs):
        return self("Add", self("MatMul", x, self.weight(inputs, outputs)), self.random(outputs, spread=0.1))

    def conv(self, x, inputs, outputs, kernel=1, **attributes):
        group = attributes.get("group", 1)
        weight = self.weight(outputs, inputs // group, kernel, kernel, inputs=inputs // group * kernel**2)
        pads = attributes.pop("pads", [kernel // 2] * 4)
        return self("Conv", x, weight, self.random(outputs, spread=0.1), pads=pads, **attributes)

    def norm(self, x, width=WIDTH):
        gamma, beta = self.random(width, spread=0.2) + np.float32(1), self.random(width, spread=0.2)
        return self("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-6)

    def gelu(self, x):
        half = self("Mul", x, 0.5)
        return self("Mul", half, self("Add", self("Erf", self("Div", x, math.sqrt(2))), 1.0))

    def transposed(self, x, *axes):
        return self("Transpose", x, perm=axes)

    def reshaped(self, x, *shape):
        return self("Reshape", x, list(shape))

    def save(self, path, output, image=IMAGE):
        value = helper.make_tensor_value_info
        inputs = [value("image", onnx.TensorProto.FLOAT, image)]
        outputs = [value(output, onnx.TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "network", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def network(attention, *, opset=18, norm=Writer.norm, blocks=(True, False)):
    """Patches, and blocks of attention and dense layers: (1, N, C) tokens. `attention(w, x, first block)`."""

    def write(path):
        w = Writer(opset)
        x = w.conv("image", 3, WIDTH, 4, strides=[4, 4], pads=[0] * 4)
        x = w.transposed(w.reshaped(x, 1, WIDTH, TOKENS), 0, 2, 1)
        x = w("Add", x, w.random(1, TOKENS, WIDTH, spread=0.3))
        for first in blocks:
            x = w("Add", x, attention(w, norm(w, x), first))
            hidden = w.gelu(w.dense(norm(w, x), WIDTH, 2 * WIDTH))
            x = w("Add", x, w.dense(hidden, 2 * WIDTH, WIDTH))
        x = w("ReduceMean", norm(w, x), [1], keepdims=0)
        w.save(path, w.dense(x, WIDTH, 10))

    return write


def _heads(w, x, *axes):
    """(1, N, C) as heads, transposed."""
    return w.transposed(w.reshaped(x, 1, TOKENS, HEADS, HEAD), *axes)


def _joined(w, mixed):
    """(1, heads, N, C of a head) as tokens, projected."""
    return w.dense(w.reshaped(w.transposed(mixed, 0, 2, 1, 3), 1, TOKENS, WIDTH), WIDTH, WIDTH)


def dynamo(w, x, _first):
    """torch.onnx.export(dynamo=True) of scaled_dot_product_attention: the root of the scale on both operands."""
    q, k, v = (_heads(w, w.dense(x, WIDTH, WIDTH), 0, 2, 1, 3) for _ in range(3))
    scale = np.float32(HEAD**-0.25)
    k = w.transposed(k, 0, 1, 3, 2)
    scores = w("MatMul", w("Mul", q, scale), w("Mul", k, scale))
    return _joined(w, w("MatMul", w("Softmax", scores, axis=-1), v))


def attention_operator(w, x, first):
    """Opset 23's Attention: of three tensors or four axes, causal or not."""
    if first:
        q, k, v = (w.dense(x, WIDTH, WIDTH) for _ in range(3))
        mixed = w("Attention", q, k, v, q_num_heads=HEADS, kv_num_heads=HEADS)
        return w.dense(mixed, WIDTH, WIDTH)
    q, k, v = (_heads(w, w.dense(x, WIDTH, WIDTH), 0, 2, 1, 3) for _ in range(3))
    return _joined(w, w("Attention", q, k, v, is_causal=1, scale=0.4))


def older(w, x, first):
    """torch.onnx.export(dynamo=False): shapes computed at run time, the fused projection as five axes."""
    count = w("Gather", w("Shape", x), 1)
    axes = [w("Unsqueeze", each, [0]) for each in (w.constant(1), count, w.constant(3), w.constant(HEADS))]
    fused = w("Reshape", w.dense(x, WIDTH, 3 * WIDTH), w("Concat", *axes, [HEAD], axis=0))
    if first:
        fused = w.transposed(fused, 2, 0, 3, 1, 4)
        q, k, v = (w("Gather", fused, i, axis=0) for i in range(3))
    else:
        parts = w("Split", fused, [1, 1, 1], outputs=3, axis=2)
        q, k, v = (w.transposed(w("Squeeze", part, [2]), 0, 2, 1, 3) for part in parts)
    length = w("Cast", w("Slice", w("Shape", q), [-1], [9223372036854775807]), to=onnx.TensorProto.FLOAT)
    scores = w("Div", w("MatMul", q, w.transposed(k, 0, 1, 3, 2)), w("Sqrt", length))
    return _joined(w, w("MatMul", w("Softmax", scores, axis=-1), v))


def einsums(w, x, first):
    """By hand, and as Keras' EinsumDense has it."""
    q, k, v = (
        w("Add", w("Einsum", x, w.weight(WIDTH, HEADS, HEAD), equation="bnd,dhe->bnhe"), w.random(HEADS, HEAD))
        for _ in range(3)
    )
    if first:
        scores = w("Einsum", w("Mul", q, float(HEAD**-0.5)), k, equation="bqhd,bkhd->bhqk")
        mixed = w("Einsum", w("Softmax", scores, axis=-1), v, equation="bhqk,bkhd->bqhd")
    else:
        scores = w("Einsum", k, w("Mul", q, float(HEAD**-0.5)), equation="aecd,abcd->acbe")
        mixed = w("Einsum", w("Softmax", scores, axis=-1), v, equation="acbe,aecd->abcd")
    out = w("Einsum", mixed, w.weight(HEADS, HEAD, WIDTH, inputs=WIDTH), equation="bqhd,hde->bqe")
    return w("Add", out, w.random(WIDTH, spread=0.1))


def tensorflow(w, x, _first):
    """tf2onnx of tf.matmul(q, k, transpose_b=True): dense layers of two axes, scaled by the root of a number."""
    rows = w.reshaped(x, TOKENS, WIDTH)
    q, k, v = (w.reshaped(w.dense(rows, WIDTH, WIDTH), -1, TOKENS, HEADS, HEAD) for _ in range(3))
    scores = w("MatMul", w.transposed(q, 0, 2, 1, 3), w.transposed(k, 0, 2, 3, 1))
    scores = w("Mul", scores, w("Reciprocal", w("Sqrt", float(HEAD))))
    mixed = w("MatMul", w("Softmax", scores, axis=-1), w.transposed(v, 0, 2, 1, 3))
    return w.reshaped(_joined(w, mixed), 1, TOKENS, WIDTH)


def tensorflow_norm(w, x, width=WIDTH):
    """tf2onnx of tf.nn.moments and batch_normalization."""
    mean = w("ReduceMean", x, [-1], keepdims=1)
    difference = w("Sub", x, mean)
    variance = w("ReduceMean", w("Mul", difference, difference), [-1], keepdims=1)
    factor = w("Reciprocal", w("Sqrt", w("Add", variance, 1e-3)))
    factor = w("Mul", factor, w.random(width, spread=0.2) + np.float32(1))
    shift = w("Sub", w.random(width, spread=0.2), w("Mul", mean, factor))
    return w("Add", w("Mul", x, factor), shift)


def masked(kind):
    """Attention whose scores a constant is added to, or chosen by: see `MASKS`."""

    def attention(w, x, _first):
        q, k, v = (_heads(w, w.dense(x, WIDTH, WIDTH), 0, 2, 1, 3) for _ in range(3))
        scores = w("MatMul", w("Mul", q, float(HEAD**-0.5)), w.transposed(k, 0, 1, 3, 2))
        return _joined(w, w("MatMul", w("Softmax", MASKS[kind](w, scores), axis=-1), v))

    return attention


def _causal(low):
    return np.triu(np.full((TOKENS, TOKENS), low, "float32"), 1)


MASKS = {
    "relative positions": lambda w, scores: w("Add", scores, w.random(1, HEADS, TOKENS, TOKENS)),
    "-infinity": lambda w, scores: w("Add", scores, _causal(-np.inf)),
    "-1e9": lambda w, scores: w("Add", scores, _causal(-1e9)),
    "-100": lambda w, scores: w("Add", scores, _causal(-100.0)),
    "where": lambda w, scores: w("Where", _causal(1.0) == 0, scores, np.float32(np.finfo("float32").min)),
}
