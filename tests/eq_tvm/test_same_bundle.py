"""The same input, versions and seed give the same bundle, byte for byte, whatever computes it."""

import os
import subprocess
import sys

import pytest

# Of each process: what BLAS and numpy compute with, threads, the order of sets.
PROCESSES = [
    {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
    {
        "OPENBLAS_CORETYPE": "Nehalem",
        "OPENBLAS_NUM_THREADS": "2",
        "PYTHONHASHSEED": "2",
        "TVM_NUM_THREADS": "1",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
    },
    {"OPENBLAS_CORETYPE": "SkylakeX", "PYTHONHASHSEED": "3"},
    {"OPENBLAS_CORETYPE": "Zen", "TVM_NUM_THREADS": "2", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SKX"},
]


def bundle(folder, variables, *arguments):
    """The files of a bundle that a process of its own compiles in a folder of its own."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "eq_tvm", "compile", *arguments, "--target", "x86", "--output", "net.eqtvm"]
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {file.name: file.read_bytes() for file in sorted((folder / "net.eqtvm").iterdir())}


def check_same(tmp_path, processes, *arguments):
    folders = [tmp_path / "some" / "folder", *(tmp_path / f"another {i}" for i in range(1, len(processes)))]
    first, *others = (bundle(*each, *arguments) for each in zip(folders, processes, strict=True))
    assert {"model.so", "bundle.json", "network.onnx"} <= first.keys()
    for other in others:
        assert other.keys() == first.keys()
        assert [name for name in first if first[name] != other[name]] == []


def test_the_example(tmp_path):
    check_same(tmp_path, PROCESSES[:2], "--images", "8", "--scheme", "int7")


TRAINED = [
    ("mobilenetv2_tiny_cifar10", "--scheme", "int8"),
    ("resnet20_cifar10", "--method", "easyquant", "--images", "10"),
    ("vit_cifar10", "--images", "20"),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "options"), [(name, options) for name, *options in TRAINED])
def test_a_trained_network(name, options, tmp_path, shared_data):
    model = shared_data.models[name]
    data = ("--calibration", shared_data.path / "cifar10" / "calib.npz")
    check_same(tmp_path, PROCESSES, model, "--preprocess", model.with_suffix(".preprocess.yaml"), *data, *options)
