"""The promise, on whole networks: every target computes exactly the integer program.

Module on x86 == numpy interpreter == module on aarch64 under qemu, bit for bit. The same for standalone libraries, on
32-bit ARM, too.
"""

import functools
import itertools
from pathlib import Path

import c_programs
import numpy as np
import pytest
import tiles as emulated_tiles
import tvm
from aarch64 import export, machine
from covering import covering, usual
from interpreter import run_annotated
from tvm import relax

from eq_tvm import data, example, host, pipeline
from eq_tvm.importer import import_onnx
from eq_tvm.passes.graph.network import QUANTIZED_OPS, read_network
from eq_tvm.passes.lower.join_in_place import JOINS
from eq_tvm.preprocess import Preprocess
from eq_tvm.targets import get_target

SMALL = ["example", "resnet20_cifar10", "mobilenetv2_tiny_cifar10"]
LARGE = {
    "resnet56_cifar10": "cifar10/calib.npz",
    "vgg16_block3_cifar10": "cifar10/calib.npz",
    "mobilenet_v2_cifar10": "cifar10/calib.npz",
    "squeezenet1_1": "imagenet/calib_labels.csv",
    "mobilenet_v1_075": "imagenet/calib_labels.csv",
    "ultraface_rfb_320": "faces/calib_files.csv",
    "vit_cifar10": "cifar10/calib.npz",
}
ON_A_BOARD = {"mobilenet_v1_075", "vit_cifar10"}  # of the large ones, in every run
W8A12 = ("w8a12", "unsigned")
SCHEMES = [("int7", "unsigned"), ("int7", "symmetric"), ("int8", "unsigned"), ("int8", "symmetric")]
INT6 = ("int6", "unsigned")
W4A8 = ("w4a8", "unsigned")
EMULATED = {"rpi3": "cortex-a53", "rpi4": "cortex-a72", "rpi5": "cortex-a76", "arm-i8mm": "max", "graviton3": "max"}
EMULATED_32 = {"rpi2-32": "cortex-a7", "rpi4-32": "max"}  # of ARMv8, qemu-arm has no other
CALIBRATION_IMAGES, TEST_IMAGES = 4, 2


@pytest.fixture(params=SMALL)
def files(request):
    """(model, preprocessing, images) of the embedded example or of a real network."""
    if request.param == "example":
        return example.MODEL, example.PREPROCESS, example.CALIBRATION
    shared = request.getfixturevalue("shared_data")
    model = shared.models[request.param]
    return model, model.with_suffix(".preprocess.yaml"), shared.path / "cifar10" / "calib.npz"


def _name(how):
    """Of a test, by what it does how."""
    return how if isinstance(how, str) else "-".join(map(str, how))


EXAMPLE_OR_MORE = pytest.mark.parametrize(
    "files", [pytest.param(name, marks=usual(name == "example")) for name in SMALL], indirect=True
)


@pytest.mark.parametrize("target", ["x86", "x86-vnni", "x86-zen4"])
@pytest.mark.parametrize("files, scheme", covering(SMALL, [*SCHEMES, INT6]), ids=_name, indirect=["files"])
def test_x86_computes_the_integer_program(files, scheme, target):
    if target != "x86" and host.missing_features(["vpdpbusd-512"]):
        pytest.skip("this processor has no AVX-512 VNNI")
    annotated, images, expected = _program(files, *scheme)
    executable, record = pipeline.build(annotated, get_target(target))
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    assert any("_sums_" in kernel["kernel"] for kernel in record) == (target == "x86-zen4" and scheme[0] != "int8")
    for image, result in zip(images, expected, strict=True):
        np.testing.assert_array_equal(main(tvm.runtime.tensor(image)).numpy(), result[0], strict=True)


@pytest.mark.parametrize(
    "files, scheme, target", covering(SMALL, SCHEMES[:3], ["module", "library"]), ids=_name, indirect=["files"]
)
def test_amx_computes_the_integer_program(files, scheme, target, tmp_path, tiles):
    """By its own instructions, emulated where the processor lacks them; a library asks for the permission, too."""
    annotated, images, expected = _program(files, *scheme)
    spec = emulated_tiles.target()
    if target == "module":
        executable, record = pipeline.build(annotated, spec)
        main = relax.VirtualMachine(executable, tvm.cpu())["main"]
        results = [main(tvm.runtime.tensor(image)).numpy() for image in images]
    else:
        written = c_programs.write(annotated, spec, tmp_path / "library")
        record = written.network.kernels
        results = [c_programs.run(written, spec, [image], threads=2, preload=tiles)[0][0] for image in images]
    assert any("tile" in kernel["kernel"] for kernel in record)
    for got, result in zip(results, expected, strict=True):
        np.testing.assert_array_equal(got, result[0], strict=True)


@pytest.mark.parametrize(
    "files, scheme, target", covering(SMALL, [*SCHEMES[:3], INT6], [*EMULATED]), ids=_name, indirect=["files"]
)
def test_arm_computes_the_integer_program(files, scheme, target, tmp_path, aarch64):
    del aarch64  # skips, or fails in CI, where nothing can be emulated
    annotated, images, expected = _program(files, *scheme)
    library = export(pipeline.build(annotated, get_target(target))[0], tmp_path / "network.so")
    for results, result in zip(
        machine(EMULATED[target]).run_vm_batch(library, [[image] for image in images]), expected, strict=True
    ):
        np.testing.assert_array_equal(results[0], result[0], strict=True)


@pytest.mark.parametrize(
    "files, target",
    [
        pytest.param(name, target, marks=usual((name, target) == ("example", "rpi4")))
        for name, target in itertools.product(SMALL, ("x86-vnni", *EMULATED))
    ],
    indirect=["files"],
)
def test_weights_of_4_bits_compute_the_integer_program(files, target, tmp_path, aarch64):
    """Two to a byte wherever a layer has such weights, as bundles are made small."""
    del aarch64
    annotated, images, expected = _program(files, *W4A8)
    lowered, record = pipeline.build(annotated, get_target(target), optimize="size")
    assert any(kernel["kernel"].endswith("nibbles") for kernel in record)
    if target in EMULATED:
        library = export(lowered, tmp_path / "network.so")
        results = machine(EMULATED[target]).run_vm_batch(library, [[image] for image in images])
    elif host.missing_features(["vpdpbusd-512"]):
        pytest.skip("this processor has no AVX-512 VNNI")
    else:
        main = relax.VirtualMachine(lowered, tvm.cpu())["main"]
        results = [[main(tvm.runtime.tensor(image)).numpy()] for image in images]
    for got, result in zip(results, expected, strict=True):
        np.testing.assert_array_equal(got[0], result[0], strict=True)


@pytest.mark.parametrize("network", LARGE)
def test_large_networks(network, shared_data, tmp_path, aarch64):
    """On this machine, and two on a board; the others are in `test_every_network_on_every_board`."""
    model = shared_data.models[network]
    files = model, model.with_suffix(".preprocess.yaml"), shared_data.path / LARGE[network]
    annotated, (image,), (expected,) = _program(files, *SCHEMES[0], images=1)
    result = relax.VirtualMachine(pipeline.build(annotated, get_target("native"))[0], tvm.cpu())["main"](
        tvm.runtime.tensor(image)
    )
    results = [_arrays(result)]
    if network in ON_A_BOARD:
        library = export(pipeline.build(annotated, get_target("rpi4"))[0], tmp_path / "network.so")
        results.append(aarch64.run_vm(library, [image]))
    for got in results:
        for array, reference in zip(got, expected, strict=True):
            _check(network, array, reference)


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", [*EMULATED, *EMULATED_32])
@pytest.mark.parametrize("network", [*SMALL[1:], *LARGE])
def test_every_network_on_every_board(network, target, shared_data, tmp_path, aarch64):
    """The integer program: by the bundle, where TVM's runtime can be emulated, and by the standalone library."""
    del aarch64
    model = shared_data.models[network]
    files = model, model.with_suffix(".preprocess.yaml"), shared_data.path / LARGE.get(network, "cifar10/calib.npz")
    annotated, (image,), (expected,) = _program(files, *SCHEMES[0], images=1)
    results = []
    if target in EMULATED:
        library = export(pipeline.build(annotated, get_target(target))[0], tmp_path / "network.so")
        results.append(machine(EMULATED[target]).run_vm(library, [image]))
    cpu, library = (EMULATED | EMULATED_32)[target], c_programs.write(annotated, target, tmp_path / "library")
    results += [c_programs.run(library, get_target(target), [image], threads=n, cpu=cpu)[0] for n in (1, 3)]
    for result in results:
        for array, reference in zip(result, expected, strict=True):
            _check(network, array.reshape(reference.shape), reference)


def _check(network, array, reference):
    """Equal, but for the last bits of the scores of ultraface: their softmax is a float operator."""
    if network == "ultraface_rfb_320" and array.shape[-1] == 2:
        np.testing.assert_array_max_ulp(array, reference, 4)
    else:
        np.testing.assert_array_equal(array, reference, strict=True)


STANDALONE = [(t, *SCHEMES[0]) for t in ("x86", "rpi5", *EMULATED_32)] + [(t, *W8A12) for t in EMULATED_32]


@pytest.mark.parametrize("files, how", covering(SMALL, STANDALONE), ids=_name, indirect=["files"])
def test_standalone_computes_the_integer_program(files, how, tmp_path):
    target, *scheme = how
    annotated, images, expected = _program(files, *scheme)
    library, cpu = c_programs.write(annotated, target, tmp_path / "library"), (EMULATED | EMULATED_32).get(target)
    for image, result, threads in zip(images, expected, (1, 3), strict=True):
        results, _ = c_programs.run(library, get_target(target), [image], threads=threads, cpu=cpu)
        np.testing.assert_array_equal(results[0], result[0], strict=True)


@pytest.mark.parametrize("target", ["x86", "rpi4"])
def test_standalone_squeezenet_is_small(shared_data, tmp_path, target):
    model = shared_data.models["squeezenet1_1"]
    files = model, model.with_suffix(".preprocess.yaml"), shared_data.path / LARGE["squeezenet1_1"]
    annotated, (image,), ((expected,),) = _program(files, *SCHEMES[0], images=1)
    library = c_programs.write(annotated, target, tmp_path / "library", optimize="size")
    (result,), _ = c_programs.run(library, get_target(target), [image], cpu=EMULATED.get(target))
    np.testing.assert_array_equal(result, expected, strict=True)
    assert library.library.stat().st_size < 1.6e6  # 1.24 MB of weights
    assert library.workspace + image.nbytes < 2e6
    assert all(kernel["weight_bytes"] == kernel["small_weight_bytes"] for kernel in library.network.kernels)


MIXED = [(0, "int8", "rpi4"), (1, "int8", "rpi5"), (0, "w8a12", "rpi5"), (1, "w8a12", "rpi4")]


@pytest.mark.parametrize("files, how", covering(SMALL, MIXED), ids=_name, indirect=["files"])
def test_networks_of_mixed_types(files, how, tmp_path, aarch64):
    """Every other layer is kept wider."""
    del aarch64
    first, kind, board = how
    nodes = read_network(_canonical(files[0])).nodes
    kept = tuple((node.name, kind) for node in nodes if node.op in QUANTIZED_OPS)[first::2]
    annotated, images, expected = _program(files, *SCHEMES[0], kept)
    main = relax.VirtualMachine(pipeline.build(annotated, get_target("x86"))[0], tvm.cpu())["main"]
    library = export(pipeline.build(annotated, get_target(board))[0], tmp_path / "network.so")
    emulated = machine(EMULATED[board]).run_vm_batch(library, [[image] for image in images])
    for image, (on_arm, *_), (result,) in zip(images, emulated, expected, strict=True):
        np.testing.assert_array_equal(main(tvm.runtime.tensor(image)).numpy(), result, strict=True)
        np.testing.assert_array_equal(on_arm, result, strict=True)


def test_squeezenet_copies_nothing(shared_data):
    module = _canonical(shared_data.models["squeezenet1_1"])
    images = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("float32")
    annotated, _ = pipeline.calibrate(module, {module["main"].params[0].name: images}, method="minmax")
    for target in ("x86", "x86-vnni", "rpi4", "rpi5", "rpi4-32"):
        lowered, _ = pipeline.lower(annotated, get_target(target))
        assert not any(JOINS in (function.attrs or {}) for _, function in lowered.functions_items())


@EXAMPLE_OR_MORE
def test_threads_do_not_change_the_bits(files):
    annotated, images, expected = _program(files, *SCHEMES[0])
    main = relax.VirtualMachine(pipeline.build(annotated, get_target("native"))[0], tvm.cpu())["main"]
    for threads in (2, 1, 3):
        tvm.get_global_func("runtime.config_threadpool")(1, threads)
        result = main(tvm.runtime.tensor(images[0])).numpy()
        np.testing.assert_array_equal(result, expected[0][0], strict=True)


@EXAMPLE_OR_MORE
def test_the_integer_program_is_close_to_float(files):
    _, images, expected = _program(files, *SCHEMES[2])
    main = relax.VirtualMachine(pipeline.build(_canonical(files[0]), get_target("native"))[0], tvm.cpu())["main"]
    for image, (result,) in zip(images, expected, strict=True):
        real = main(tvm.runtime.tensor(image)).numpy()
        assert np.vdot(real, result) > 0.98 * np.linalg.norm(real) * np.linalg.norm(result)


def _arrays(result):
    return [result.numpy()] if isinstance(result, tvm.runtime.Tensor) else [field.numpy() for field in result]


@functools.cache
def _canonical(model: Path):
    return pipeline.canonicalize(import_onnx(model))


@functools.cache
def _program(files, scheme, activation_range, kept=(), images=TEST_IMAGES):
    """(annotated module, so many images (1, C, H, W), the interpreter's results)."""
    model, preprocess, calibration = files
    module = _canonical(model)
    name, shape = module["main"].params[0].name, tuple(int(n) for n in module["main"].params[0].ty.shape)
    dataset, steps = data.read(calibration), Preprocess.read(preprocess)
    inputs = [dataset.input(i, shape, steps) for i in range(CALIBRATION_IMAGES + images)]
    annotated, _ = pipeline.calibrate(
        module,
        {name: np.concatenate(inputs[:CALIBRATION_IMAGES])},
        scheme=scheme,
        method="minmax",
        activation_range=activation_range,
        kept=dict(kept),
    )
    tested = inputs[CALIBRATION_IMAGES:]
    return annotated, tested, [run_annotated(annotated, {name: image}) for image in tested]
