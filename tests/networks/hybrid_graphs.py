"""Networks that mix convolutions and attention, small and with random weights: ONNX nodes as exporters write them."""

import numpy as np
from attention_graphs import Writer

SIZE, CHANNELS, HEADS = 8, 16, 2  # of the image behind the stem
PIXELS, HEAD = SIZE * SIZE, CHANNELS // HEADS


def network(*blocks):
    """A stem, blocks from (1, C, 8, 8) to the same, and a classifier."""

    def write(path):
        w = Writer(18)
        x = w("Relu", w.conv("image", 3, CHANNELS, 3, strides=[2, 2]))
        for block in blocks:
            x = block(w, x)
        x = w("Flatten", w("GlobalAveragePool", x))
        w.save(path, w("Gemm", x, w.weight(CHANNELS, 10), w.random(10)))

    return write


def attention(w, x, batch, count, bias=None):
    """Of (batch, count, C); `bias(scores)` adds to (batch, heads, count, count)."""
    fused = w.reshaped(w.dense(x, CHANNELS, 3 * CHANNELS), batch, count, 3, HEADS, HEAD)
    q, k, v = (w("Gather", w.transposed(fused, 2, 0, 3, 1, 4), i, axis=0) for i in range(3))
    scores = w("MatMul", w("Mul", q, float(HEAD**-0.5)), w.transposed(k, 0, 1, 3, 2))
    shares = w("Softmax", scores if bias is None else bias(scores), axis=-1)
    mixed = w.reshaped(w.transposed(w("MatMul", shares, v), 0, 2, 1, 3), batch, count, CHANNELS)
    return w.dense(mixed, CHANNELS, CHANNELS)


def transformer(w, x, batch, count, bias=None):
    """A block with layer norms before, and residuals around, attention and two dense layers."""
    x = w("Add", x, attention(w, w.norm(x, CHANNELS), batch, count, bias))
    hidden = w.gelu(w.dense(w.norm(x, CHANNELS), CHANNELS, 2 * CHANNELS))
    return w("Add", x, w.dense(hidden, 2 * CHANNELS, CHANNELS))


def silu(w, x):
    return w("Mul", x, w("Sigmoid", x))


def mobilevit(w, x):
    """Pixels at one place of each 2x2 patch attend to one another (arXiv 2110.02178)."""
    half = SIZE // 2
    y = silu(w, w.conv(silu(w, w.conv(x, CHANNELS, CHANNELS, 3)), CHANNELS, CHANNELS))
    y = w.transposed(w.reshaped(y, CHANNELS * half, 2, half, 2), 0, 2, 1, 3)
    y = w.transposed(w.reshaped(y, 1, CHANNELS, PIXELS // 4, 4), 0, 3, 2, 1)
    y = transformer(w, w.reshaped(y, 4, PIXELS // 4, CHANNELS), 4, PIXELS // 4)
    y = w.transposed(w.reshaped(y, 1, 4, PIXELS // 4, CHANNELS), 0, 3, 2, 1)
    y = w.transposed(w.reshaped(y, CHANNELS * half, half, 2, 2), 0, 2, 1, 3)
    y = silu(w, w.conv(w.reshaped(y, 1, CHANNELS, SIZE, SIZE), CHANNELS, CHANNELS))
    return silu(w, w.conv(w("Concat", x, y, axis=1), 2 * CHANNELS, CHANNELS, 3))


def mobilevit_v2(w, x):
    """Separable attention: a score for each token, whose mixed keys multiply all values (arXiv 2206.02680)."""
    half = SIZE // 2
    y = w.transposed(w.reshaped(x, 1, CHANNELS, half, 2, half, 2), 0, 1, 3, 5, 2, 4)
    y = w.reshaped(y, 1, CHANNELS, 4, PIXELS // 4)
    fused = w.conv(y, CHANNELS, 1 + 2 * CHANNELS)
    q, k, v = w("Split", fused, [1, CHANNELS, CHANNELS], axis=1, outputs=3)
    context = w("ReduceSum", w("Mul", k, w("Softmax", q, axis=-1)), [-1], keepdims=1)
    mixed = w("Mul", w("Relu", v), w("Expand", context, w("Shape", v)))
    y = w("Add", y, w.conv(mixed, CHANNELS, CHANNELS))
    y = w.transposed(w.reshaped(y, 1, CHANNELS, 2, 2, half, half), 0, 1, 4, 2, 5, 3)
    return w.conv(w.reshaped(y, 1, CHANNELS, SIZE, SIZE), CHANNELS, CHANNELS)


def channel_norm(w, x):
    """Over axis 1 of NCHW, as ConvNeXt's authors have it."""
    mean = w("ReduceMean", x, [1], keepdims=1)
    centered = w("Sub", x, mean)
    variance = w("ReduceMean", w("Pow", w("Sub", x, mean), 2.0), [1], keepdims=1)
    normal = w("Div", centered, w("Sqrt", w("Add", variance, 1e-6)))
    scaled = w("Mul", w.random(CHANNELS, 1, 1, spread=0.2) + np.float32(1), normal)
    return w("Add", scaled, w.random(CHANNELS, 1, 1, spread=0.2))


def transposed_norm(w, x):
    """The same between transposes."""
    return w.transposed(w.norm(w.transposed(x, 0, 2, 3, 1), CHANNELS), 0, 3, 1, 2)


def convnext(norm, dense):
    """Depthwise 7x7, norm, two pointwise layers (convolutions, or dense ones of NHWC), scaled (arXiv 2201.03545)."""

    def block(w, x):
        y = norm(w, w.conv(x, CHANNELS, CHANNELS, 7, group=CHANNELS))
        if dense:
            y = w.gelu(w.dense(w.transposed(y, 0, 2, 3, 1), CHANNELS, 4 * CHANNELS))
            y = w("Mul", w.dense(y, 4 * CHANNELS, CHANNELS), w.random(CHANNELS))
            y = w.transposed(y, 0, 3, 1, 2)
        else:
            y = w.conv(w.gelu(w.conv(y, CHANNELS, 4 * CHANNELS)), 4 * CHANNELS, CHANNELS)
            y = w("Mul", y, w.random(1, CHANNELS, 1, 1))
        return w("Add", x, y)

    return block


def convnext_v2(w, x):
    """With global response normalization of NHWC (arXiv 2301.00808), as timm's export has it."""
    y = transposed_norm(w, w.conv(x, CHANNELS, CHANNELS, 7, group=CHANNELS))
    y = w.gelu(w.dense(w.transposed(y, 0, 2, 3, 1), CHANNELS, 4 * CHANNELS))
    norm = w("ReduceL2", y, [1, 2], keepdims=1)
    response = w("Div", norm, w("Add", w("ReduceMean", norm, [-1], keepdims=1), 1e-6))
    scaled = w("Mul", w.random(1, 1, 1, 4 * CHANNELS), w("Mul", y, response))
    y = w("Add", y, w("Add", w.random(1, 1, 1, 4 * CHANNELS), scaled))
    return w("Add", x, w.transposed(w.dense(y, 4 * CHANNELS, CHANNELS), 0, 3, 1, 2))


def swin(w, x):
    """Windows of 4x4, shifted by two: rolled, biased by relative positions, masked where pixels did not touch."""
    parts, count = SIZE // 4, 16

    def rolled(y, by):
        for axis in (1, 2):
            head, tail = w("Slice", y, [by], [SIZE], [axis]), w("Slice", y, [0], [by], [axis])
            y = w("Concat", head, tail, axis=axis)
        return y

    def bias(scores):
        scores = w("Add", scores, w.random(1, HEADS, count, count))
        mask = np.where(w.random(1, parts**2, 1, count, count) > 0.5, np.float32(-100), np.float32(0))
        mask[..., range(count), range(count)] = 0  # a pixel sees itself
        scores = w("Add", w.reshaped(scores, 1, parts**2, HEADS, count, count), mask)
        return w.reshaped(scores, parts**2, HEADS, count, count)

    y = rolled(w.norm(w.transposed(x, 0, 2, 3, 1), CHANNELS), 2)
    y = w.transposed(w.reshaped(y, 1, parts, 4, parts, 4, CHANNELS), 0, 1, 3, 2, 4, 5)
    y = attention(w, w.reshaped(y, parts**2, count, CHANNELS), parts**2, count, bias)
    y = w.transposed(w.reshaped(y, 1, parts, parts, 4, 4, CHANNELS), 0, 1, 3, 2, 4, 5)
    y = rolled(w.reshaped(y, 1, SIZE, SIZE, CHANNELS), SIZE - 2)
    return w("Add", x, w.transposed(y, 0, 3, 1, 2))


def pooling(w, x):
    """Pooling in place of attention, less what it pools (PoolFormer, EfficientFormer: arXiv 2206.01191)."""
    pool = w("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=0)
    mixed = w("Mul", w("Sub", pool, x), w.random(1, CHANNELS, 1, 1))
    return w("Add", x, mixed)


def tokens(w, x):
    """From four axes to three and back, as EfficientFormer's last stage."""
    y = w.transposed(w.reshaped(x, 1, CHANNELS, PIXELS), 0, 2, 1)
    y = transformer(w, y, 1, PIXELS)
    return w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE)


def projections(w, x):
    """Queries, keys and values by depthwise convolutions, keys and values at half the size (CvT, arXiv 2103.15808)."""

    def projected(stride):
        y = w.conv(x, CHANNELS, CHANNELS, 3, group=CHANNELS, strides=[stride, stride])
        y = w.transposed(w.reshaped(y, 1, CHANNELS, -1), 0, 2, 1)
        y = w.reshaped(w.dense(y, CHANNELS, CHANNELS), 1, -1, HEADS, HEAD)
        return w.transposed(y, 0, 2, 1, 3)

    q, k, v = projected(1), projected(2), projected(2)
    scores = w("Mul", w("MatMul", q, w.transposed(k, 0, 1, 3, 2)), float(CHANNELS**-0.5))
    mixed = w("MatMul", w("Softmax", scores, axis=-1), v)
    y = w.dense(w.reshaped(w.transposed(mixed, 0, 2, 1, 3), 1, PIXELS, CHANNELS), CHANNELS, CHANNELS)
    return w("Add", x, w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE))


def learned_queries(w, x):
    """Queries that the network has learned attend to the image (DETR's first, SigLIP's pooling)."""
    y = w.transposed(w.reshaped(x, 1, CHANNELS, PIXELS), 0, 2, 1)
    k, v = (w.reshaped(w.dense(y, CHANNELS, CHANNELS), 1, PIXELS, HEADS, HEAD) for _ in range(2))
    scores = w("MatMul", w.random(1, HEADS, PIXELS, HEAD), w.transposed(k, 0, 2, 3, 1))
    mixed = w.transposed(w("MatMul", w("Softmax", scores, axis=-1), w.transposed(v, 0, 2, 1, 3)), 0, 2, 1, 3)
    y = w.dense(w.reshaped(mixed, 1, PIXELS, CHANNELS), CHANNELS, CHANNELS)
    return w("Add", x, w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE))


def rotary(w, x):
    """Queries and keys turned by an angle for each place (arXiv 2104.09864), as EVA and DINOv3 have it."""
    angles = w.random(1, 1, PIXELS, HEAD // 2)
    cos, sin = (np.concatenate([f(angles)] * 2, -1) for f in (np.cos, np.sin))

    def turned(y):
        first, second = (w("Slice", y, [at], [at + HEAD // 2], [3]) for at in (0, HEAD // 2))
        return w("Add", w("Mul", y, cos), w("Mul", w("Concat", w("Neg", second), first, axis=3), sin))

    y = w.transposed(w.reshaped(x, 1, CHANNELS, PIXELS), 0, 2, 1)
    q, k, v = (w.reshaped(w.dense(y, CHANNELS, CHANNELS), 1, PIXELS, HEADS, HEAD) for _ in range(3))
    q, k, v = (w.transposed(part, 0, 2, 1, 3) for part in (q, k, v))
    scores = w("MatMul", turned(q), w.transposed(turned(k), 0, 1, 3, 2))
    mixed = w.transposed(w("MatMul", w("Softmax", w("Mul", scores, float(HEAD**-0.5)), axis=-1), v), 0, 2, 1, 3)
    y = w.dense(w.reshaped(mixed, 1, PIXELS, CHANNELS), CHANNELS, CHANNELS)
    return w("Add", x, w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE))


def batch_norm(w, x):
    normal = [w.random(CHANNELS, spread=0.2) + np.float32(1), *(w.random(CHANNELS, spread=0.2) for _ in range(2))]
    return w("BatchNormalization", x, *normal, np.abs(w.random(CHANNELS)) + np.float32(0.5))


def preactivated(w, x):
    """Batch norms that no layer is in front of, and a padded convolution behind (MaxViT, CoAtNet, XCiT)."""
    y = w.conv(silu(w, batch_norm(w, x)), CHANNELS, CHANNELS, 3)
    return w("Add", x, w.conv(batch_norm(w, w.gelu(y)), CHANNELS, CHANNELS, 3, group=CHANNELS))


def difference(w, x):
    """A convolution less a batch norm of what it reads, scaled (FastViT, arXiv 2303.14189)."""
    y = w("Sub", w.conv(x, CHANNELS, CHANNELS, 3, group=CHANNELS), batch_norm(w, x))
    return w("Add", x, w("Mul", y, w.random(CHANNELS, 1, 1)))


def one_group(w, x):
    """Normalization of all channels and pixels as one group (PoolFormer, MobileViT v2)."""
    ones, zeros = np.ones(1, "float32"), np.zeros(1, "float32")
    y = w("InstanceNormalization", w.reshaped(x, 1, 1, -1), ones, zeros)
    y = w("Mul", w.reshaped(y, 1, CHANNELS, SIZE, SIZE), w.random(CHANNELS, 1, 1, spread=0.2) + np.float32(1))
    return w("Add", x, w.conv(w("Add", y, w.random(CHANNELS, 1, 1)), CHANNELS, CHANNELS))


def unit(w, x, older):
    """torch.nn.functional.normalize over the last axis, by its older exporter or the newer one."""
    norm = w("ReduceL2", x, [-1], keepdims=1)
    bounded = w("Clip", norm, np.float32(1e-12)) if older else w("Max", norm, np.float32(1e-12))
    return w("Div", x, w("Expand", bounded, w("Shape", x)))


def cosine_attention(w, x):
    """Queries and keys of length 1, a temperature for each head, norms behind (Swin V2, arXiv 2111.09883)."""
    y = w.transposed(w.reshaped(x, 1, CHANNELS, PIXELS), 0, 2, 1)
    fused = w.reshaped(w.dense(y, CHANNELS, 3 * CHANNELS), 1, PIXELS, 3, HEADS, HEAD)
    q, k, v = (w("Gather", w.transposed(fused, 2, 0, 3, 1, 4), i, axis=0) for i in range(3))
    scores = w("MatMul", unit(w, q, True), w.transposed(unit(w, k, True), 0, 1, 3, 2))
    scores = w("Add", w("Mul", scores, np.exp(w.random(HEADS, 1, 1)) * 5), w.random(1, HEADS, PIXELS, PIXELS))
    mixed = w.transposed(w("MatMul", w("Softmax", scores, axis=-1), v), 0, 2, 1, 3)
    y = w.norm(w.dense(w.reshaped(mixed, 1, PIXELS, CHANNELS), CHANNELS, CHANNELS), CHANNELS)
    return w("Add", x, w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE))


def cross_covariance(w, x):
    """Channels attend to one another, each of length 1 over all tokens (XCiT, arXiv 2106.09681; EdgeNeXt)."""
    y = w.norm(w.transposed(w.reshaped(x, 1, CHANNELS, PIXELS), 0, 2, 1), CHANNELS)
    fused = w.reshaped(w.dense(y, CHANNELS, 3 * CHANNELS), 1, PIXELS, 3, HEADS, HEAD)
    q, k, v = (w("Gather", w.transposed(fused, 2, 0, 3, 4, 1), i, axis=0) for i in range(3))
    scores = w("MatMul", unit(w, q, False), w.transposed(unit(w, k, False), 0, 1, 3, 2))
    shares = w("Softmax", w("Mul", scores, np.exp(w.random(HEADS, 1, 1))), axis=-1)
    mixed = w.transposed(w("MatMul", shares, v), 0, 3, 1, 2)
    y = w.dense(w.reshaped(mixed, 1, PIXELS, CHANNELS), CHANNELS, CHANNELS)
    return w("Add", x, w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE))


def channels_first(share):
    """Values by transposed shares, as YOLO11 and EfficientViT (arXiv 2305.07027) mix; shares are never negative."""

    def block(w, x):
        fused = w.reshaped(w.conv(x, CHANNELS, 3 * CHANNELS), 1, HEADS, 3 * HEAD, PIXELS)
        q, k, v = w("Split", fused, [HEAD] * 3, axis=2, outputs=3)
        shares = share(w, w("Mul", w("MatMul", w.transposed(q, 0, 1, 3, 2), k), float(HEAD**-0.5)))
        mixed = w("MatMul", v, w.transposed(shares, 0, 1, 3, 2))
        return w("Add", x, w.conv(w.reshaped(mixed, 1, CHANNELS, SIZE, SIZE), CHANNELS, CHANNELS))

    return block


def rms_norm(w, x):
    """Tokens over their root mean square (arXiv 1910.07467), as Llama's networks write it."""
    y = w.transposed(w.reshaped(x, 1, CHANNELS, PIXELS), 0, 2, 1)
    mean = w("ReduceMean", w("Pow", y, 2.0), [-1], keepdims=1)
    normal = w("Mul", y, w("Div", 1.0, w("Sqrt", w("Add", mean, 1e-6))))
    y = w.dense(w("Mul", w.random(CHANNELS, spread=0.2) + np.float32(1), normal), CHANNELS, CHANNELS)
    return w("Add", x, w.reshaped(w.transposed(y, 0, 2, 1), 1, CHANNELS, SIZE, SIZE))


def distilled(path):
    """A class token and one of distillation, whose heads' scores are averaged (DeiT, arXiv 2012.12877)."""
    w = Writer(18)
    x = w.reshaped(w.conv("image", 3, CHANNELS, 4, strides=[4, 4], pads=[0] * 4), 1, CHANNELS, 16)
    given = (w("Expand", w.random(1, 1, CHANNELS), [1, 1, CHANNELS]) for _ in range(2))
    x = w("Concat", *given, w.transposed(x, 0, 2, 1), axis=1)
    x = transformer(w, w("Add", x, w.random(1, 18, CHANNELS, spread=0.3)), 1, 18)
    x = w.norm(x, CHANNELS)
    scores = [w.dense(w("Gather", x, i, axis=1), CHANNELS, 10) for i in range(2)]
    w.save(path, w("Div", w("Add", *scores), 2.0))
