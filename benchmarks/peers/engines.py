"""How each engine loads a network and runs it. Runs in a process of its own: see worker.py."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Engine:
    """What is timed.

    Attributes
    ----------
    library : str
        What it is called here; `module` is the Python package.
    scheme : str
        int7, int8, float32 or float16.
    activation_range : str
        Of eq_tvm: as its option.
    """

    library: str
    scheme: str
    activation_range: str = "unsigned"

    @property
    def name(self) -> str:
        return f"{self.library}-{self.form}"

    @property
    def module(self) -> str:
        """The Python module of the library."""
        return _MODULES.get(self.library, self.library)

    @property
    def form(self) -> str:
        """What is special about the network it runs."""
        return self.scheme + "-symmetric" * (self.activation_range == "symmetric")

    @property
    def title(self) -> str:
        symmetric = " symmetric" * (self.activation_range == "symmetric")
        return f"{_TITLES[self.library]} {self.scheme.upper().replace('FLOAT', 'float')}{symmetric}"

    @property
    def half(self) -> bool:
        """Whether it computes in half precision, which takes a processor that does."""
        return self.scheme == "float16"

    @property
    def obeys_isa(self) -> bool:
        """Whether it can be kept from using AVX-512. The others have no such switch."""
        return self.library in ("eq_tvm", "openvino")


_TITLES = {
    "eq_tvm": "eq_tvm",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "ncnn": "ncnn",
    "litert": "LiteRT",
    "mnn": "MNN",
}
_MODULES = {"litert": "ai_edge_litert", "mnn": "MNN"}  # where they are called otherwise

ENGINES = {
    engine.name: engine
    for engine in (
        Engine("eq_tvm", "int7"),
        Engine("eq_tvm", "int8"),
        Engine("eq_tvm", "float32"),
        Engine("eq_tvm", "int7", "symmetric"),
        Engine("eq_tvm", "int8", "symmetric"),
        Engine("openvino", "int8"),
        Engine("openvino", "float32"),
        Engine("onnxruntime", "int8"),
        Engine("onnxruntime", "float32"),
        Engine("ncnn", "float32"),
        Engine("litert", "int8"),
        Engine("litert", "float32"),
        Engine("mnn", "float32"),
        Engine("openvino", "float16"),
        Engine("ncnn", "float16"),
        Engine("mnn", "float16"),
    )
}
USUAL = [name for name, engine in ENGINES.items() if engine.activation_range == "unsigned" and not engine.half]


@dataclass(frozen=True)
class Loaded:
    """A network that is ready: `run` computes it once; `ran_as` says with which instructions, as far as is known."""

    run: Callable[[], object]
    ran_as: str


def load(engine: Engine, model: Path, threads: int) -> Loaded:
    """Load what `models.prepare` made for an engine, with noise as its input."""
    return _LOADERS[engine.library](engine, model, threads)


def how(engine: Engine) -> str:
    """The source of what `load` does for an engine: if it changes, what was measured is void."""
    return inspect.getsource(_LOADERS[engine.library])


def _noise(shape) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(tuple(shape), dtype=np.float32)


def _eq_tvm(engine: Engine, model: Path, threads: int) -> Loaded:
    """TVM takes the number of threads from the environment."""
    import tvm

    from eq_tvm.artifacts import bundle
    from eq_tvm.running import runtime

    description = bundle.read(model)
    network = runtime.load(description)
    inputs = [tvm.runtime.tensor(_noise(info.shape)) for info in network.inputs]
    ran_as = f"LLVM for {description.target['name']}"
    if engine.scheme != "float32":
        ran_as += f": {', '.join(description.target['instructions'])}"
    return Loaded(lambda: network.main(*inputs), ran_as)


def _openvino(engine: Engine, model: Path, threads: int) -> Loaded:
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
    if engine.scheme in _PRECISIONS:
        options["INFERENCE_PRECISION_HINT"] = _PRECISIONS[engine.scheme]
    compiled = openvino.Core().compile_model(str(model), "CPU", options)
    request = compiled.create_infer_request()
    for tensor in compiled.inputs:
        request.set_tensor(tensor, openvino.Tensor(_noise(tensor.shape)))
    return Loaded(lambda: request.infer(share_outputs=True), _openvino_primitives(compiled))


_PRECISIONS = {"float32": "f32", "float16": "f16"}  # as OpenVINO calls them


def _openvino_primitives(compiled) -> str:
    """What OpenVINO calls the code of its convolutions, with their number."""
    counts: Counter[str] = Counter()
    for operation in compiled.get_runtime_model().get_ordered_ops():
        notes = operation.get_rt_info()
        if "layerType" in notes and notes["layerType"].astype(str) in ("Convolution", "GroupConvolution"):
            counts[notes["primitiveType"].astype(str)] += 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _onnxruntime(engine: Engine, model: Path, threads: int) -> Loaded:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for tensor in session.get_inputs():
        binding.bind_cpu_input(tensor.name, _noise(tensor.shape))
    for tensor in session.get_outputs():
        binding.bind_output(tensor.name)
    return Loaded(lambda: session.run_with_iobinding(binding), _BY_ITSELF)


def _ncnn(engine: Engine, model: Path, threads: int) -> Loaded:
    import ncnn
    import onnx

    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = engine.half
    network.opt.blob_allocator = blobs = ncnn.UnlockedPoolAllocator()
    network.opt.workspace_allocator = workspace = ncnn.PoolAllocator()
    if network.load_param(str(model)) or network.load_model(str(model.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn can't load {model}")
    graph = onnx.load(model.with_name(f"{model.stem}.onnx"), load_external_data=False).graph
    image = ncnn.Mat(_noise(axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim)[0])
    inputs, outputs = network.input_names(), network.output_names()

    def run(keep=(blobs, workspace)):
        extractor = network.create_extractor()
        extractor.input(inputs[0], image)
        return [extractor.extract(name) for name in outputs]

    return Loaded(run, _BY_ITSELF)


def _litert(engine: Engine, model: Path, threads: int) -> Loaded:
    """XNNPACK computes what it can, as by default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], _noise(tensor["shape"]))
    return Loaded(interpreter.invoke, f"XNNPACK {_BY_ITSELF}")


def _mnn(engine: Engine, model: Path, threads: int) -> Loaded:
    import MNN

    interpreter = MNN.Interpreter(str(model))
    precision = "low" if engine.half else "high"
    session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": precision})
    image = interpreter.getSessionInput(session)
    noise = MNN.Tensor(
        image.getShape(), MNN.Halide_Type_Float, _noise(image.getShape()), MNN.Tensor_DimensionType_Caffe
    )
    image.copyFrom(noise)
    return Loaded(lambda: interpreter.runSession(session), _BY_ITSELF)


_BY_ITSELF = "chooses its instructions by itself, without a switch"

_LOADERS = {
    "eq_tvm": _eq_tvm,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "ncnn": _ncnn,
    "litert": _litert,
    "mnn": _mnn,
}
