"""One float network in four formats: an ONNX file of convolutions, poolings and sums, written as the others."""

import struct

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tflite_files import SAME, VALID, T, const
from tflite_files import write as write_flatbuffer

POOLS = {"MaxPool": ("max", "MAX_POOL_2D"), "AveragePool": ("avg", "AVERAGE_POOL_2D")}


def folded(model):
    """Without batch norms: TFLite has none, and each exporter would fold them by a formula of its own."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    kept, renamed = [], {}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type != "BatchNormalization":
            kept.append(node)
            continue
        conv = made[node.input[0]]
        gamma, beta, mean, variance = (values[name].astype(np.float64) for name in node.input[1:])
        factor = gamma / np.sqrt(variance + attributes(node)["epsilon"])
        weight, bias = conv.input[1], f"{conv.input[1]}.bias"
        values[weight] = (values[weight] * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
        values[bias] = (beta - mean * factor).astype(np.float32)
        conv.input[:] = [conv.input[0], weight, bias]
        renamed[node.output[0]] = conv.output[0]
    used = {name for node in kept for name in node.input}
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in values.items() if name in used)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred anew
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    return model


class Network:
    """What the writers below ask of such a model."""

    def __init__(self, model):
        graph = model.graph
        self.nodes = [node for node in graph.node if node.op_type != "Constant"]
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.input, self.output = graph.input[0].name, graph.output[0].name
        computed = {self.input} | {name for node in self.nodes for name in node.output}
        self.shapes = {
            value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.name in computed
        }


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def to_torch(net):
    import torch
    import torch.nn.functional as F

    functions = {
        "Conv": lambda a, x, *w: F.conv2d(x, *w, stride=a["strides"], padding=a["pads"][:2], groups=a["group"]),
        "Gemm": lambda a, x, *w: F.linear(x, *w),
        "Relu": lambda a, x: F.relu(x),
        "Clip": lambda a, x: F.relu6(x),
        "Add": lambda a, x, y: x + y,
        "Concat": lambda a, *xs: torch.cat(xs, 1),
        "MaxPool": lambda a, x: F.max_pool2d(x, a["kernel_shape"], a["strides"], a["pads"][:2]),
        "AveragePool": lambda a, x: F.avg_pool2d(
            x, a["kernel_shape"], a["strides"], a["pads"][:2], count_include_pad=False
        ),
        "GlobalAveragePool": lambda a, x: F.adaptive_avg_pool2d(x, 1),
        "Flatten": lambda a, x: torch.flatten(x, 1),
    }

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, array in net.weights.items():
                self.register_buffer(name.replace(".", "_"), torch.from_numpy(array.copy()))

        def forward(self, image):
            values = {net.input: image} | {name: getattr(self, name.replace(".", "_")) for name in net.weights}
            for node in net.nodes:
                operands = [values[name] for name in node.input if name in values]
                values[node.output[0]] = functions[node.op_type](attributes(node), *operands)
            return values[net.output]

    return Module().eval()


def to_relay(net, path):
    """As text, with the parameters beside it."""
    lines = []
    for node in net.nodes:
        a, result = attributes(node), _variable(node.output[0])
        read = [_variable(name) for name in node.input if name in net.shapes or name in net.weights]
        x = read[0]
        if node.op_type in ("Conv", "Gemm"):
            lines.append(f"{result}_sums = {_layer(net, node, a, x, read[1])};")
            text = f"nn.bias_add({result}_sums, {read[2]})"
        elif node.op_type in POOLS:
            text = (
                f"nn.{POOLS[node.op_type][0]}_pool2d({x}, pool_size={a['kernel_shape']}, strides={a['strides']}, "
                f"padding={a['pads']})"
            )
        else:
            text = {
                "Relu": f"nn.relu({x})",
                "Clip": f"clip({x}, a_min=0f, a_max=6f)",
                "Add": f"add({', '.join(read)})",
                "Concat": f"concatenate(({', '.join(read)}), axis=1)",
                "GlobalAveragePool": f"nn.global_avg_pool2d({x})",
                "Flatten": f"nn.batch_flatten({x})",
            }[node.op_type]
        lines.append(f"{result} = {text};")
    shapes = {net.input: net.shapes[net.input]} | {name: array.shape for name, array in net.weights.items()}
    parameters = ", ".join(f"{_variable(name)}: Tensor[{_tuple(shape)}, float32]" for name, shape in shapes.items())
    body = "\n".join(f"  {line}" for line in [*lines, _variable(net.output)])
    path.write_text(f'#[version = "0.0.5"]\ndef @main({parameters}) {{\n{body}\n}}\n')
    path.with_suffix(".params").write_bytes(_params({_variable(n)[1:]: array for n, array in net.weights.items()}))
    return path


def _layer(net, node, a, x, weight):
    if node.op_type == "Gemm":
        return f"nn.dense({x}, {weight}, units={net.weights[node.input[1]].shape[0]})"
    return (
        f"nn.conv2d({x}, {weight}, strides={a['strides']}, padding={a['pads']}, groups={a['group']}, "
        f"channels={net.weights[node.input[1]].shape[0]}, kernel_size={a['kernel_shape']})"
    )


def _variable(name):
    return "%" + name.strip("/").replace("/", "_").replace(".", "_")


def _tuple(shape):
    return f"({', '.join(map(str, shape))})"


def _params(arrays):
    """As relay.save_param_dict writes them."""
    names = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)
    tensors = b"".join(
        struct.pack("<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, array.ndim, 2, 32, 1)
        + struct.pack(f"<{array.ndim}qq", *array.shape, array.nbytes)
        + array.tobytes()
        for array in arrays.values()
    )
    count = struct.pack("<Q", len(arrays))
    return struct.pack("<QQ", 0xF7E58D4F05049CB7, 0) + count + names + count + tensors


def to_tflite(net, path):
    """In NHWC, as TFLite has images."""
    tensors = {net.input: T(_nhwc(net.shapes[net.input]))}
    operators = []
    for node in net.nodes:
        a, result = attributes(node), node.output[0]
        read = [name for name in node.input if name in net.shapes]
        tensors[result] = T(_nhwc(net.shapes[result]))
        if node.op_type in ("Conv", *POOLS):
            if same := _is_same(node.op_type, a):
                padding = SAME
            else:
                read[0], padding = _padded(operators, tensors, read[0], a["pads"]), VALID
            options = {"Padding": padding, "StrideH": a["strides"][0], "StrideW": a["strides"][1]}
            assert same or node.op_type != "AveragePool"
        if node.op_type == "Conv":
            weight = net.weights[node.input[1]]
            depthwise = a["group"] > 1
            order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
            tensors[node.input[1]] = const(np.ascontiguousarray(weight.transpose(order)))
            tensors[node.input[2]] = const(net.weights[node.input[2]])
            options |= {"DilationHFactor": 1, "DilationWFactor": 1} | ({"DepthMultiplier": 1} if depthwise else {})
            kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
            read += node.input[1:]
        elif node.op_type in POOLS:
            kind = POOLS[node.op_type][1]
            options |= {"FilterHeight": a["kernel_shape"][0], "FilterWidth": a["kernel_shape"][1]}
        elif node.op_type == "Gemm":
            kind, options = "FULLY_CONNECTED", {}
            for name in node.input[1:]:
                tensors[name] = const(net.weights[name])
            read += node.input[1:]
        elif node.op_type == "GlobalAveragePool":
            kind, options = "MEAN", {"KeepDims": True}
            tensors["axes"] = const([1, 2], np.int32)
            read.append("axes")
        elif node.op_type == "Flatten":
            kind, options = "RESHAPE", {}
            tensors["shape"] = const([1, -1], np.int32)
            read.append("shape")
        else:
            kind, options = {
                "Relu": ("RELU", {}),
                "Clip": ("RELU6", {}),
                "Add": ("ADD", {}),
                "Concat": ("CONCATENATION", {"Axis": 3}),
            }[node.op_type]
        operators.append((kind, " ".join(read), result, options))
    return write_flatbuffer(path, operators, tensors, net.input, net.output)


def _nhwc(shape):
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _is_same(kind, a):
    """Whether padding is what TensorFlow calls so, whatever the size."""
    return not any(a["pads"]) or (a["strides"] == [1, 1] and a["pads"] == [k // 2 for k in a["kernel_shape"]] * 2)


def _padded(operators, tensors, name, pads):
    """By zeros: also in front of a MaxPool, behind a ReLU."""
    n, h, w, c = tensors[name].shape
    top, left, bottom, right = pads
    tensors[f"{name}_pads"] = const([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    tensors[f"{name}_padded"] = T((n, h + top + bottom, w + left + right, c))
    operators.append(("PAD", f"{name} {name}_pads", f"{name}_padded", {}))
    return f"{name}_padded"
