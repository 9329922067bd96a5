"""A small transformer in the canonical form, made by hand."""

import numpy as np
from small_networks import conv, random
from tvm import relax

SHAPE = (1, 3, 6, 5)
TOKENS, WIDTH, HEADS = 31, 24, 3


def transformer(emit, x):
    """Two blocks on patches, a class token and embedded positions, as vision transformers have them."""

    def dense(y, name, out):
        weight = random(int(y.ty.shape[-1]), out, seed=len(name)) / np.float32(np.sqrt(int(y.ty.shape[-1])))
        return emit(
            relax.op.add(emit(relax.op.matmul(y, relax.const(weight)), name), relax.const(random(out, seed=3))),
            f"{name}_sum",
        )

    def norm(y, name):
        gamma, beta = (relax.const(random(WIDTH, seed=seed) + seed) for seed in (1, 0))
        return emit(relax.op.nn.layer_norm(y, gamma, beta, axes=[-1], epsilon=1e-5), name)

    def attention(y, name):
        split = emit(relax.op.reshape(dense(y, f"{name}_qkv", 3 * WIDTH), (TOKENS, 3, HEADS, WIDTH // HEADS)), "split")
        parts = []
        for i in range(3):
            part = emit(relax.op.strided_slice(split, [1], [i], [i + 1]), f"{name}_part{i}")
            part = emit(relax.op.reshape(part, (TOKENS, HEADS, WIDTH // HEADS)), f"{name}_rows{i}")
            parts.append(emit(relax.op.permute_dims(part, [1, 2, 0] if i == 1 else [1, 0, 2]), f"{name}_heads{i}"))
        scores = emit(relax.op.matmul(parts[0], parts[1]), f"{name}_scores")
        shares = emit(relax.op.nn.softmax(scores, axis=-1), f"{name}_shares")
        mixed = emit(relax.op.permute_dims(emit(relax.op.matmul(shares, parts[2]), f"{name}_mixed"), [1, 0, 2]), "back")
        return dense(emit(relax.op.reshape(mixed, (TOKENS, WIDTH)), "joined"), f"{name}_out", WIDTH)

    patches = emit(relax.op.reshape(conv(emit, x, "patches", out=WIDTH), (1, WIDTH, TOKENS - 1)), "flat")
    padded = emit(
        relax.op.nn.pad(emit(relax.op.permute_dims(patches, [0, 2, 1]), "rows"), [0, 0, 1, 0, 0, 0]), "padded"
    )
    stream = emit(relax.op.add(padded, relax.const(random(1, TOKENS, WIDTH, seed=5))), "positions")
    stream = emit(relax.op.reshape(stream, (TOKENS, WIDTH)), "stream")
    for name in "ab":
        stream = emit(relax.op.add(stream, attention(norm(stream, f"{name}_norm"), name)), f"{name}_attended")
        hidden = emit(relax.op.nn.gelu(dense(norm(stream, f"{name}_norm2"), f"{name}_fc1", 2 * WIDTH)), f"{name}_gelu")
        stream = emit(relax.op.add(stream, dense(hidden, f"{name}_fc2", WIDTH)), f"{name}_block")
    token = emit(relax.op.strided_slice(stream, [0], [0], [1]), "token")
    bounded = emit(relax.op.clip(norm(token, "last_norm"), -1, 2), "bounded")
    return [dense(bounded, "head", 7)]
