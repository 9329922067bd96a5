"""Small networks in the canonical form, made by hand, and a look into what became of them."""

import numpy as np
import tvm
from tvm import relax

from eq_tvm.passes.graph.rewrite import operator_name


def build(make, shape=(1, 3, 8, 8)):
    """A module in the canonical form: `make(emit, x)` returns the outputs."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            results = make(lambda expr, name: builder.emit(expr, name_hint=name), x)
            outputs = [builder.emit_output(r) for r in results]
        builder.emit_func_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
    return builder.get()


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(emit, x, name, out=4, bias=True, weight=None, **attrs):
    channels = int(x.ty.shape[1])
    weight = random(out, channels, 3, 3, seed=len(name)) if weight is None else weight
    y = emit(relax.op.nn.conv2d(x, relax.const(weight), padding=1, **attrs), name)
    return emit(relax.op.add(y, relax.const(random(1, len(weight), 1, 1))), f"{name}_sum") if bias else y


def relu(emit, x, name):
    return emit(relax.op.nn.relu(x), name)


def bindings(mod):
    return {b.var.name: b.value for b in mod["main"].body.blocks[0].bindings}


def pairs(mod):
    """{name of the quantized variable: (dtype, lo, hi, scale)} of all activation pairs."""
    found, values = {}, bindings(mod)
    for value in values.values():
        if operator_name(value) == "relax.quantize":
            name = value.args[0].name
            dtype = value.attrs.out_dtype
            clip = values.get(f"{name}_clipped")
            limits = (
                (np.iinfo(dtype).min, np.iinfo(dtype).max) if clip is None else [int(a.value) for a in clip.args[1:]]
            )
            found[name] = (str(dtype), *map(int, limits), float(value.args[1].value.numpy()))
    return found


def run(mod, x):
    """The module's output (or list of outputs) for one image (1, ...)."""
    return run_all(mod, x)[0]


def run_all(mod, images):
    """As `run`, for each of the images (N, ...)."""
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    results = [machine["main"](tvm.runtime.tensor(image[None])) for image in images]
    return [r.numpy() if hasattr(r, "numpy") else [field.numpy() for field in r] for r in results]


LAYERS = ["a", "bb", "c", "add", "d", "mean", "fc"]  # of `network`


def network(emit, x):
    """One of every kind of layer: convolutions, a depthwise one, a residual, an average and a dense layer."""
    a = relu(emit, conv(emit, x, "a", out=8), "ra")
    b = emit(relax.op.clip(conv(emit, a, "bb", weight=random(8, 1, 3, 3, seed=3), groups=8), 0, 6), "rb")
    c = relu(emit, emit(relax.op.add(conv(emit, b, "c", out=8), a), "add"), "rc")
    d = relu(emit, conv(emit, emit(relax.op.nn.max_pool2d(c, (2, 2), (2, 2)), "pool"), "d", bias=False), "rd")
    flat = emit(relax.op.reshape(emit(relax.op.mean(d, [2, 3], keepdims=True), "mean"), (1, 4)), "flat")
    logits = emit(relax.op.matmul(flat, relax.const(random(4, 5))), "fc")
    return [emit(relax.op.add(logits, relax.const(random(5))), "y")]
