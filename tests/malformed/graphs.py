"""ONNX files that are wrong: by their bytes, by what the graph says, by what its constants claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

Make = Callable[[Random, Path], None]  # writes net.onnx, and perhaps more, into a folder


def network(random: Random) -> onnx.ModelProto:
    """A small sound network, as a start: convolutions, a pool, an addition, a dense layer."""
    numbers = np.random.default_rng(random.getrandbits(32))

    def weights(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(numbers.standard_normal(shape).astype(np.float32) * 0.2, name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("MaxPool", ["r1"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w2"], ["c2"], "conv2", pads=[1, 1, 1, 1], group=2),
        helper.make_node("Add", ["c2", "p"], ["a"], "add"),
        helper.make_node("Reshape", ["a", "shape"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "dense", transB=1),
    ]
    initializers = [
        weights("w1", 8, 3, 3, 3),
        weights("b1", 8),
        weights("w2", 8, 4, 3, 3),
        weights("w3", 5, 128),
        weights("b3", 5),
        numpy_helper.from_array(np.array([1, -1]), "shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _write(folder: Path, content: bytes | onnx.ModelProto) -> None:
    if isinstance(content, onnx.ModelProto):
        content = content.SerializeToString()
    (folder / "net.onnx").write_bytes(content)


# ---- bytes


def truncated(random: Random, folder: Path) -> None:
    """Cut anywhere."""
    content = network(random).SerializeToString()
    _write(folder, content[: random.randrange(len(content))])


def flipped(random: Random, folder: Path) -> None:
    """Some bits flipped."""
    content = bytearray(network(random).SerializeToString())
    for _ in range(random.choice([1, 1, 2, 10, 100])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    _write(folder, bytes(content))


def flipped_structure(random: Random, folder: Path) -> None:
    """Bits flipped where the graph is described, not in the weights."""
    model = network(random)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(np.ones(tensor.dims, np.float32), tensor.name))
    content = bytearray(model.SerializeToString())
    places = [i for i, byte in enumerate(content) if byte not in (0, 0x80, 0x3F)]  # 1.0 is 00 00 80 3F
    for _ in range(random.choice([1, 2, 3, 5])):
        content[random.choice(places)] ^= 1 << random.randrange(8)
    _write(folder, bytes(content))


def spliced(random: Random, folder: Path) -> None:
    """Parts left out, twice there, or put in at random."""
    content = network(random).SerializeToString()
    a, b = sorted(random.randrange(len(content)) for _ in range(2))
    middle = random.choice([b"", content[a:b] * 2, random.randbytes(random.randrange(1, 100)), content])
    _write(folder, content[:a] + middle + content[b:])


def another_format(random: Random, folder: Path) -> None:
    """What is no ONNX file at all."""
    _write(
        folder,
        random.choice(
            [
                b"",
                b"\x89PNG\r\n\x1a\n" + random.randbytes(100),
                b"PK\x03\x04" + random.randbytes(100),
                b"\x1f\x8b\x08" + random.randbytes(50),
                b"\x7fELF" + random.randbytes(200),
                b"\x80\x04cos\nsystem\n(S'touch harm'\ntR.",
                b'{"nodes": []}',
                b"<html></html>" * 10,
                b"\n" * 1000,
                b"\xff" * 4096,
                random.randbytes(random.randrange(1, 5000)),
            ]
        ),
    )


# ---- shapes and constants


_EXTENTS = [0, -1, -(2**31), -(2**63), 2**15, 2**20, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1]


def extents_of_initializers(random: Random, folder: Path) -> None:
    """Dimensions that the data don't fill, or that nobody could hold."""
    model = network(random)
    tensor = random.choice(model.graph.initializer)
    for _ in range(random.choice([1, 1, 3])):
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(_EXTENTS)
    if random.random() < 0.3:
        tensor.dims.extend([random.choice([1, *_EXTENTS])] * random.choice([1, 2, 50]))
    _write(folder, model)


def extents_of_inputs(random: Random, folder: Path) -> None:
    """The same for the input or output of the graph."""
    model = network(random)
    value = random.choice([model.graph.input[0], model.graph.output[0]])
    shape = value.type.tensor_type.shape
    what = random.randrange(5)
    if what == 0:
        value.type.tensor_type.ClearField("shape")
    elif what == 1:
        shape.dim.add().dim_value = random.choice(_EXTENTS)
    elif what == 2:
        shape.dim[random.randrange(len(shape.dim))].dim_param = random.choice(["N", "", "a b", "é" * 100])
    else:
        shape.dim[random.randrange(len(shape.dim))].dim_value = random.choice(_EXTENTS)
    _write(folder, model)


def contents_of_initializers(random: Random, folder: Path) -> None:
    """Data that are too few, too many, of another type, or twice there."""
    model = network(random)
    tensor = random.choice(model.graph.initializer)
    what = random.randrange(9)
    if what == 0:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data))]
    elif what == 1:
        tensor.raw_data += random.randbytes(random.randrange(1, 64))
    elif what == 2:
        tensor.data_type = random.choice([0, 99, -1, *range(1, 24)])
    elif what == 3:
        tensor.float_data.extend([1.0] * random.randrange(1, 9))
    elif what == 4:
        tensor.ClearField("raw_data")
        tensor.float_data.extend([1.0] * random.randrange(9))
    elif what == 5:
        tensor.ClearField("raw_data")
        tensor.data_type = TensorProto.STRING
        tensor.string_data.extend([b"cat"] * int(np.prod(tensor.dims)))
    elif what == 6:
        tensor.name = random.choice(["", "x", "w2", "nobody"])
    elif what == 7:
        model.graph.initializer.append(tensor)
    else:
        values = np.array(numpy_helper.to_array(tensor), copy=True)
        values.flat[random.randrange(values.size)] = (
            random.choice([np.nan, np.inf, 3e38]) if values.dtype == np.float32 else -7
        )
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    _write(folder, model)


def external_data(random: Random, folder: Path) -> None:
    """Weights in a file that is missing, too short, somewhere else, or none."""
    model = network(random)
    tensor = random.choice([tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 100])
    size = len(tensor.raw_data)
    inside = folder / "weights.bin"
    inside.write_bytes(tensor.raw_data if random.random() < 0.5 else tensor.raw_data[: size // 2])
    (folder.parent / "secret.bin").write_bytes(tensor.raw_data)
    (folder / "folder").mkdir()
    (folder / "link.bin").symlink_to("/etc/passwd")
    location = random.choice(
        [
            *("weights.bin", "none.bin", "../secret.bin", "/etc/passwd", "folder", "link.bin", "", "/dev/zero", "a\0b"),
            *(".", "folder/../../secret.bin", "x" * 5000, "weights.bin/", "file:///etc/passwd"),
        ]
    )
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    offset = random.choice([None, "0", "-1", "4", str(size), str(2**63), "x", ""])
    length = random.choice([None, str(size), "-1", str(2 * size), str(2**62), "0", "y"])
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None and random.random() < 0.95:
            tensor.external_data.add(key=key, value=value)
    _write(folder, model)


def large_constants(random: Random, folder: Path) -> None:
    """A few bytes that ask for gigabytes."""
    big = random.choice([50_000, 2**17, 2**20, 2**31, 2**40])
    shape = [1, 3, big, big] if random.random() < 0.7 else [big, big]
    one = numpy_helper.from_array(np.float32([1]), "one")
    ints = {"big": np.array(shape), "scales": np.float32([1, 1, big, big])}
    ints |= {"zero": np.array(0), "step": np.array(1), "pads": np.array([0, 0, 0, 0, 0, 0, big, big])}
    ints |= {"tiles": np.array([1, 1, big, big]), "seed": np.ones((1, 3, 1, 1), np.float32)}
    ints |= {"values": np.float32([0, 1]), "depth": np.array(big), "index": np.arange(100)}
    kinds = [
        [helper.make_node("ConstantOfShape", ["big"], ["k"])],
        [helper.make_node("Expand", ["one", "big"], ["k"])],
        [helper.make_node("Tile", ["seed", "tiles"], ["k"])],
        [helper.make_node("Resize", ["seed", "", "scales"], ["k"], mode="nearest")],
        [helper.make_node("Pad", ["seed", "pads"], ["k"])],
        [helper.make_node("OneHot", ["index", "depth", "values"], ["k"])],
        [helper.make_node("Resize", ["x", "", "scales"], ["k"], mode="linear")],
        [helper.make_node("Tile", ["x", "tiles"], ["k"])],
        [helper.make_node("Pad", ["x", "pads"], ["k"])],
        [helper.make_node("RandomNormal", [], ["k"], shape=[min(big, 2**31)] * 2)],
        [
            helper.make_node("Range", ["zero", "depth", "step"], ["r"]),
            helper.make_node("Cast", ["r"], ["k"], to=TensorProto.FLOAT),
        ],
        [
            helper.make_node("EyeLike", ["x2"], ["k"]),
            helper.make_node("Expand", ["one", "big"], ["x2"]),
        ][::-1],
        [
            helper.make_node("Concat", [f"d{i}" if i else "seed"] * 2, [f"d{i + 1}" if i < 39 else "k"], axis=3)
            for i in range(40)
        ],
    ]
    nodes = [*random.choice(kinds), helper.make_node("ReduceMean", ["k"], ["m"], keepdims=0)]
    nodes.append(helper.make_node("Add", ["x", "m"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "bomb",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [one, *(numpy_helper.from_array(value, name) for name, value in ints.items())],
    )
    _write(folder, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


# ---- the graph


def edges(random: Random, folder: Path) -> None:
    """Cycles, names that nobody makes or two do, and the like."""
    model = network(random)
    nodes = model.graph.node
    node = random.choice(nodes)
    what = random.randrange(12)
    if what == 0:
        node.input[0] = nodes[-1].output[0]
    elif what == 1:
        node.input[random.randrange(len(node.input))] = random.choice(["nobody", "", node.output[0], "x"])
    elif what == 2:
        node.output[0] = random.choice(["x", "", "w1", nodes[0].output[0], "elsewhere"])
    elif what == 3:
        model.graph.output[0].name = random.choice(["nobody", "x", "w1", "", "c1"])
    elif what == 4:
        node.input.append(random.choice(["x", "w1", "nobody"]))
    elif what == 5:
        del node.input[random.randrange(len(node.input)) :]
    elif what == 6:
        nodes.remove(node)
    elif what == 7:
        copies = list(nodes)
        random.shuffle(copies)
        del nodes[:]
        nodes.extend(copies)
    elif what == 8:
        del nodes[:]
    elif what == 9:
        del model.graph.output[:]
    elif what == 10:
        del model.graph.input[:]
    else:
        nodes.append(node)
    _write(folder, model)


def attributes(random: Random, folder: Path) -> None:
    """Attributes out of range, or of another type."""
    model = network(random)
    node = random.choice([node for node in model.graph.node if node.op_type in ("Conv", "MaxPool", "Gemm", "Reshape")])
    names = {
        "Conv": ["kernel_shape", "pads", "strides", "dilations", "group", "auto_pad"],
        "MaxPool": ["kernel_shape", "pads", "strides", "dilations", "ceil_mode", "storage_order", "auto_pad"],
        "Gemm": ["alpha", "beta", "transA", "transB"],
        "Reshape": ["allowzero"],
    }
    name = random.choice(names[node.op_type])
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    numbers = [0, -1, 1, 2, 3, 7, 1000, 2**31, 2**62, -(2**63)]
    value = random.choice(
        [
            random.choice(numbers),
            [random.choice(numbers) for _ in range(random.choice([1, 2, 2, 2, 4, 4, 9]))],
            float("nan"),
            1e30,
            "SAME_UPPER",
            "nonsense",
            numpy_helper.from_array(np.ones(3, np.float32)),
        ]
    )
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
    if random.random() < 0.1:
        node.attribute[-1].type = random.choice([0, AttributeProto.GRAPH, AttributeProto.TENSOR])
    _write(folder, model)


def operators(random: Random, folder: Path) -> None:
    """Operators that nobody has, or in the place of others."""
    model = network(random)
    node = random.choice(model.graph.node)
    standard = sorted(schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain)
    node.op_type = random.choice(["", "Nonsense", "conv", *standard])
    if random.random() < 0.2:
        node.domain = random.choice(["nobody", "com.microsoft", "ai.onnx.ml", "é"])
    _write(folder, model)


def versions(random: Random, folder: Path) -> None:
    """Opsets and versions that are none."""
    model = network(random)
    what = random.randrange(4)
    if what == 0:
        model.ir_version = random.choice([0, -1, 99, 2**40])
    elif what == 1:
        model.opset_import[0].version = random.choice([0, -1, 1, 2, 5, 6, 99, 2**40])
    elif what == 2:
        del model.opset_import[:]
    else:
        model.opset_import.add(domain=random.choice(["", "ai.onnx", "x"]), version=random.choice([-5, 7, 17, 2**33]))
    _write(folder, model)


def names(random: Random, folder: Path) -> None:
    """Names that are long, empty, the same, no UTF-8, or look like something else."""
    model = network(random)
    new = random.choice(
        [
            "",
            "a" * 100_000,
            "../../x",
            "a\nb",
            "a\0b",
            "'; rm -rf /",
            "🦆",
            "main",
            "x",
            "\x1b[31m",
            "%s%n",
            "{0}",
            "[b]",
        ]
    )
    what = random.randrange(4)
    if what == 0:
        for node in model.graph.node:
            node.name = new
    elif what == 1:
        model.graph.node[0].output[0] = model.graph.node[1].input[0] = new
    elif what == 2:
        model.graph.input[0].name = model.graph.node[0].input[0] = new
    else:
        model.graph.output[0].name = model.graph.node[-1].output[0] = new
    content = model.SerializeToString()
    if random.random() < 0.3:
        content = content.replace(b"conv1", b"\xff\xfe\x80\x81\x82").replace(b"relu1", b"\xc3\x28abc")
    _write(folder, content)


def depths(random: Random, folder: Path) -> None:
    """Deep nesting, long chains, many nodes."""
    what = random.randrange(5)
    if what == 0:  # nested messages, as bytes: GraphProto in AttributeProto in NodeProto in ...
        content = b""
        for _ in range(random.choice([50, 200, 5000])):
            content = _field(7, _field(1, _field(5, _field(6, content)))) if len(content) < 1 << 20 else content
        _write(folder, content)
        return
    model = network(random)
    if what == 1:
        count = random.choice([100, 1000])
        for i in range(count):
            model.graph.node.append(helper.make_node("Add", [f"z{i}" if i else "y"] * 2, [f"z{i + 1}"]))
        model.graph.output[0].name = f"z{count}"
    elif what == 2:
        graph = model.graph
        for _ in range(random.choice([2, 30])):
            inner = onnx.GraphProto()
            inner.CopyFrom(graph)
            del inner.input[:]
            node = helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner)
            if inner.ByteSize() > 1 << 22:
                break
            graph = helper.make_graph(
                [node],
                "outer",
                list(model.graph.input),
                list(model.graph.output),
                [numpy_helper.from_array(np.array(True), "condition")],
            )
        model.graph.CopyFrom(graph)
    elif what == 3:
        function = onnx.FunctionProto(name="F", domain="f", input=["a"], output=["b"])
        function.opset_import.add(domain="f", version=1)
        function.node.append(helper.make_node("F", ["a"], ["b"], domain="f"))
        model.functions.append(function)
        model.opset_import.add(domain="f", version=1)
        model.graph.node[1].CopyFrom(helper.make_node("F", ["c1"], ["r1"], domain="f"))
    else:
        for i in range(20_000):
            model.graph.node.append(helper.make_node("Identity", ["y"], [f"i{i}"]))
    _write(folder, model)


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    size, length = len(content), bytearray()
    while True:
        length.append(size & 127 | (128 if size > 127 else 0))
        size >>= 7
        if not size:
            return bytes([number << 3 | 2]) + bytes(length) + content


KINDS: tuple[Make, ...] = (
    truncated,
    flipped,
    flipped_structure,
    spliced,
    another_format,
    extents_of_initializers,
    extents_of_inputs,
    contents_of_initializers,
    external_data,
    large_constants,
    edges,
    attributes,
    operators,
    versions,
    names,
    depths,
)
