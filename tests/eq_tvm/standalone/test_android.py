"""The library for Android: what it needs of Android's C library, and that it computes the same.

There is no NDK here. Its place takes a clang that is told of Android, with the headers of glibc, and with libraries
that have nothing but names of bionic's functions: what links with them needs no others. glibc then runs it, under qemu.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_programs import EMULATED
from onnx_models import random, write_model

import eq_tvm
from eq_tvm import cli
from eq_tvm.targets import get_target

# Of bionic's libc.map.txt and libm.map.txt, since Android 5
LIBC = """memcpy memmove memset memcmp strcmp strlen malloc calloc free abort getauxval __stack_chk_fail __cxa_finalize
pthread_attr_destroy pthread_attr_init pthread_attr_setstacksize pthread_cond_broadcast pthread_cond_destroy
pthread_cond_init pthread_cond_wait pthread_create pthread_getspecific pthread_join pthread_key_create
pthread_key_delete pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock
pthread_once pthread_setspecific"""
LIBM = "exp expf log logf pow powf tanh tanhf sin sinf cos cosf tan tanf erf erff sqrt sqrtf floorf ceilf roundf fmodf"
SYSTEM = EMULATED["aarch64"][1]
CLANG = ["clang", "--target=aarch64-linux-android24", "-fuse-ld=lld", "-nostdlib"]


@pytest.fixture
def ndk(tmp_path, monkeypatch):
    """A directory like the NDK's, to which the environment points."""
    if not shutil.which("clang") or not shutil.which("ld.lld") or not Path(SYSTEM, "include").is_dir():
        pytest.skip("clang, lld or the headers for aarch64 are not here")
    place = tmp_path / "ndk" / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin"
    place.mkdir(parents=True)
    for name, symbols in (("libc.so", LIBC), ("libm.so", LIBM)):
        source = "".join(f"void {symbol}(void) {{}}\n" for symbol in symbols.split())
        command = [*CLANG, "-fno-builtin", "-w", "-shared", "-x", "c", "-", f"-Wl,-soname,{name}", "-o", place / name]
        subprocess.run(command, input=source, text=True, check=True)
    compiler = place / "aarch64-linux-android24-clang"
    compiler.write_text(f'#!/bin/sh\nexec {" ".join(CLANG)} -isystem {SYSTEM}/include -L{place} "$@" -lc\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "ndk"))
    return tmp_path / "ndk"


@pytest.fixture
def model(tmp_path):
    nodes = [
        ("Conv", "x w", "c", {"pads": [1, 1, 1, 1]}),
        ("Relu", "c", "r", {}),
        ("Conv", "r v", "d", {"pads": [1, 1, 1, 1]}),
        ("GlobalAveragePool", "d", "m", {}),
        ("Softmax", "m", "y", {"axis": 1}),
    ]
    weights = {"w": random(16, 3, 3, 3), "v": random(8, 16, 3, 3, seed=1)}
    return write_model(tmp_path / "net.onnx", nodes, {"x": [1, 3, 20, 20]}, ["y"], weights)


def test_needs_nothing_but_bionic_and_computes_the_same(ndk, model, tmp_path):
    options = {"calibration": "random", "images": 2, "artifact": "standalone", "verify": False}
    written = eq_tvm.compile(model, target="android-arm64", output=tmp_path / "android", **options)
    dynamic = subprocess.run(["readelf", "-dlW", written.library], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"NEEDED.*\[(.*?)\]", dynamic)) <= {"libc.so", "libm.so"}
    assert "soname: [libnet.so]" in dynamic
    assert set(re.findall(r"^ +LOAD .* (0x\w+)$", dynamic, re.M)) == {"0x4000"}

    # Linux's names for the libraries that it asks for
    for name in ("libc.so", "libm.so"):
        (tmp_path / name).symlink_to(f"{SYSTEM}/lib/{name}.6")
    qemu, compiler = EMULATED["aarch64"][0], get_target("rpi4").cross_compiler
    if not shutil.which(qemu) or not shutil.which(compiler):
        pytest.skip(f"{qemu} or {compiler} is not here")
    subprocess.run(
        [compiler, "-x", "c", "main.c", "-x", "none", "libnet.so", "-L..", "-o", "main"], cwd=written.path, check=True
    )
    x = random(1, 3, 20, 20, seed=2)
    x.tofile(written.path / "x.raw")
    place = f"LD_LIBRARY_PATH={tmp_path}:{written.path}"
    command = [qemu, "-E", f"{place},THREADS=2", "-L", SYSTEM, "main", "x.raw", "y.raw"]
    subprocess.run(command, cwd=written.path, check=True, capture_output=True)
    bundle = eq_tvm.load(eq_tvm.compile(model, output=tmp_path / "here", calibration="random", images=2, verify=False))
    np.testing.assert_array_equal(np.fromfile(written.path / "y.raw", "float32"), bundle.run(x)["y"].ravel())


@pytest.mark.parametrize("place", [None, "", "nowhere"])
def test_without_the_ndk(model, monkeypatch, capsys, place):
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    if place is not None:
        monkeypatch.setenv("ANDROID_NDK_HOME", place)
    options = ["--calibration", "random", "--target", "android-arm64", "--artifact", "standalone"]
    assert cli.main(["compile", str(model), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: target android-arm64 needs aarch64-linux-android24-clang of Android's NDK")
    assert error.endswith("set ANDROID_NDK_HOME to its directory")
