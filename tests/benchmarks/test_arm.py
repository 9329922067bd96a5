"""What stands around the estimates for ARM: functions, loops, the files of a processor, tables."""

import json
import platform
import subprocess

import pytest

from emulated.arm_cpus import CPUS, files
from emulated.arm_report import Cost, Result, summary, write_json
from emulated.cycles import Block, Estimate
from emulated.functions import Addresses, Function, functions
from emulated.loops import busiest_loop, macs, multiply_cycles
from eq_tvm import host

MAPS = """\
5500000000-5500004000 r--p 00000000 fe:00 7    /lib/a.so
5500010000-5500014000 r-xp 00008000 fe:00 7    /lib/a.so
5500020000-5500024000 rw-p 00000000 00:00 0
5500030000-5500034000 r-xp 00000000 fe:00 8    {library}
"""

ASSEMBLY = """
kernel:
	ldr	q5, [x1]
.LBB0_1:
	mov	x9, xzr
.LBB0_2:                                // =>  inner loop
	ldp	d1, d2, [x0]
	smull	v3.8h, v1.8b, v2.8b
	smlal2	v3.8h, v1.16b, v2.16b
	sadalp	v0.4s, v3.8h
	.p2align	2
	subs	x9, x9, #1
	b.ne	.LBB0_2
	smlal	v3.8h, v1.8b, v2.8b
	cbnz	x8, .LBB0_1
	ret
"""


def test_busiest_loop():
    loop = busiest_loop(ASSEMBLY)
    assert [line.split()[0] for line in loop] == ["ldp", "smull", "smlal2", "sadalp", "subs", "b.ne"]
    assert macs(loop) == 16
    assert multiply_cycles(loop, "cortex-a72") == 2
    assert multiply_cycles(loop, "cortex-a53") == 3  # sadalp takes the same pipe there
    with pytest.raises(ValueError):
        busiest_loop("kernel:\n\tret\n")


def test_addresses(tmp_path):
    addresses = Addresses(MAPS.format(library=tmp_path))
    assert str(addresses.find(0x5500010010)[0]) == "/lib/a.so"
    assert addresses.find(0x5500010010)[1] == 0x10010
    assert addresses.find(0x5500020000) is None


def test_functions(tmp_path, monkeypatch):
    """Blocks go to the functions that they stand in, with what the bundle knows of them."""
    (tmp_path / "model.so").touch()
    kernel = {"function": "conv", "macs": 640, "cycles": 100, "kernel": "direct"}
    (tmp_path / "bundle.json").write_text(json.dumps({"kernels": [kernel]}))
    symbols = "0000 t $x\n0100 T __tvm_ffi_conv\n0200 t conv_compute_\n0300 t pool_compute_\n"
    monkeypatch.setattr("emulated.functions.tool", lambda name: name)
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: symbols)
    base = 0x5500030000
    blocks = [
        Block(base + 0x110, 2, 5, "a"),
        Block(base + 0x200, 2, 5, "b"),
        Block(base + 0x210, 50, 4, "c"),
        Block(base + 0x308, 3, 2, "d"),
        Block(0x5500010010, 1, 7, "e"),
    ]
    estimate = Estimate(227, 120.0, 90.0, [(blocks[2], 100.0)])
    found = functions(blocks, estimate, Addresses(MAPS.format(library=tmp_path / "model.so")), tmp_path, inferences=2)
    assert found[0] == Function("conv", 1, 110, 50, 640, 100, "direct")
    assert {function.name: function.instructions for function in found[1:]} == {"pool": 3, "a.so": 3.5}


@pytest.mark.parametrize("cpu", CPUS.values(), ids=CPUS)
def test_processors_are_recognized(cpu, tmp_path, monkeypatch):
    """eq_tvm finds in the made-up files what its target needs."""
    from eq_tvm.targets import get_target

    text = files(cpu)["proc/cpuinfo"]
    assert f"CPU part\t: {cpu.midr >> 4 & 0xFFF:#05x}" in text
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(host, "Path", lambda _: tmp_path / "cpuinfo")
    host.cpu_features.cache_clear()
    try:
        assert not host.missing_features(get_target(cpu.target).instructions)
    finally:
        host.cpu_features.cache_clear()


def test_summary_names_the_best_peer():
    costs = {
        "eq_tvm-int7": (10.0, 8.0),
        "onnxruntime-int8": (15.0, 14.0),
        "eq_tvm-float32": (1.0, 1.0),
        "ncnn-float32": (20.0, 4.0),
    }
    result = Result("net", "cortex-a72", {name: Cost(1.0, *cost) for name, cost in costs.items()})
    assert result.best_peer() == "onnxruntime-int8"
    assert "1.50 (ONNX Runtime INT8) / 0.50 (ncnn float32)" in summary([result])
    result.engines["litert-int8"] = Cost(1.0, 12.0, 9.0)
    assert result.best_peer() == "litert-int8"
    assert "without caches" in summary([result])
    assert Result("net", "cortex-a72").best_peer() is None
    assert "with what comes from behind" not in summary([result])
    result.engines["eq_tvm-int7"].cached, result.engines["ncnn-float32"].cached = 20.0, 25.0
    assert result.best_peer("cached") == "ncnn-float32"
    assert "/ 0.50 (ncnn float32) / 1.25 (ncnn float32)" in summary([result])
    assert "with what comes from behind" in summary([result])


def test_json_holds_everything(tmp_path):
    costs = {"eq_tvm-int7": Cost(1.0, 2.0, 2.0, [Function("conv")])}
    result = Result("net", "cortex-a72", costs, {"ncnn-float32": "no"})
    write_json(tmp_path / "arm.json", {"date": "today"}, [result])
    written = json.loads((tmp_path / "arm.json").read_text())
    (record,) = written["results"]
    assert written["date"] == "today" and "without caches" in written["note"]
    assert record["engines"]["eq_tvm-int7"]["functions"][0]["name"] == "conv"
    assert record["failed"] == {"ncnn-float32": "no"}
    assert record["ratio"] == {}
