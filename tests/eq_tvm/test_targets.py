"""targets.yaml and files like it."""

import platform
from pathlib import Path

import pytest
import yaml

from eq_tvm import host
from eq_tvm.errors import UserError
from eq_tvm.targets import DEFAULT_FILE, check_llvm, get_target, load_targets

AMX = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "amx-tile", "amx-int8"}
RPI4 = yaml.safe_load(DEFAULT_FILE.read_text())["rpi4"]


def write(path, **entries):
    path.write_text(yaml.safe_dump(entries))
    return path


def test_shipped_targets():
    targets = load_targets()
    assert {"x86", "x86-vnni", "x86-zen4", "x86-amx", "native"} <= targets.keys()
    assert {"arm", "rpi3", "rpi4", "rpi5", "rpi-zero2"} <= targets.keys()
    assert {"graviton2", "ampere", "graviton3", "arm-i8mm", "android-i8mm"} <= targets.keys()
    assert targets["arm"].name == "arm"
    assert targets["arm"].tvm_target().attrs["mcpu"] == "cortex-a72"
    assert {t.cross_package for t in targets.values() if (t.triple or "").startswith("aarch64-linux-gnu")} == {
        "g++-aarch64-linux-gnu"
    }


@pytest.mark.parametrize("name", list(load_targets()))
def test_llvm_knows_the_target_and_its_instructions(name):
    from tvm.target import codegen

    spec = get_target(name)
    features = set(map(str, codegen.llvm_get_cpu_features(spec.tvm_target())))
    check_llvm(spec)
    for instruction in spec.instructions:
        assert features.issuperset(host.NEEDED_FEATURES[instruction]), instruction


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x86", {"triple": "foo-bar"}, "pmaddubsw is an instruction of x86_64, but the triple is foo-bar"),
        ("x86", {"triple": "aarch64-linux-gnu"}, "pmaddubsw is an instruction of x86_64"),
        ("x86", {"instructions": {"smlal": 8}}, "smlal is an instruction of aarch64, but the triple is x86_64-"),
        ("rpi4", {"instructions": {"vmlal": 8}}, "vmlal is an instruction of arm, but the triple is aarch64-"),
        ("x86", {"cpu": "nosuch"}, "LLVM knows no processor nosuch for x86_64-linux-gnu"),
        ("x86", {"cpu": "x86-64"}, "has no pmaddubsw for x86-64, which lacks avx2: take pmaddubsw out of"),
        ("x86", {"attrs": ["-avx2"]}, "which lacks avx2"),
        ("x86", {"instructions": {"vpdpbusd-512": 128}}, "which lacks avx512bw, avx512f, avx512vl, avx512vnni"),
        ("rpi4", {"instructions": {"sdot": 30}}, r"or \[\+dotprod\] into attrs if it is there"),
        ("graviton2", {"instructions": {"smmla": 64}}, r"no smmla for neoverse-n1, which lacks i8mm: .*\[\+i8mm\]"),
        ("x86", {"instructions": {"smmla": 64}}, "smmla is an instruction of aarch64"),
    ],
)
def test_what_llvm_would_end_the_process_for(tmp_path, name, change, message):
    entry = yaml.safe_load(DEFAULT_FILE.read_text())[name]
    with pytest.raises(UserError, match=f"target t: .*{message}"):
        check_llvm(get_target("t", write(tmp_path / "t.yaml", t={**entry, **change})))


def test_native_is_this_machine():
    native = get_target("native")
    assert native.architecture == platform.machine() and not native.is_cross
    assert not host.missing_features(native.instructions)


def test_own_file(tmp_path):
    path = write(tmp_path / "boards.yaml", board={**RPI4, "cpu": "cortex-a55", "attrs": ["+dotprod"]})
    assert get_target("board", path).tvm_target().attrs["mcpu"] == "cortex-a55"
    with pytest.raises(UserError, match="unknown target rpi4; there are: board"):
        get_target("rpi4", path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpus": 4}, "target t in .* has the unknown key cpus; there are: .*threads"),
        ({"l2": None}, "target t in .* lacks l2; it needs .*threads"),
        ({"threads": "four"}, "target t in .*: threads must be a whole number, not 'four'"),
        ({"threads": True}, "threads must be a whole number"),
        ({"l1": 0}, "l1 must be a whole number"),
        ({"instructions": {"mmla": 3}}, "unknown instruction mmla; there are: .*sdot"),
        ({"instructions": {"sdot": -3}}, "throughput of sdot must be positive, not -3"),
        ({"instructions": {"sdot": float("nan")}}, "throughput of sdot must be positive, not nan"),
        ({"l1": 10**400}, "l1 must be a whole number"),
        ({"instructions": {}}, "instructions must map some of"),
        ({"attrs": "+dotprod"}, "attrs must be a list"),
        ({"cpu": 7}, "cpu must be text, not 7"),
        ({"cpuinfo": "AuthenticAMD"}, "cpuinfo must map names of lines to what they say, not 'AuthenticAMD'"),
        ({"alias": "x"}, "unknown key cpu; there are: alias"),
    ],
)
def test_bad_entry(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as error:
        load_targets(write(tmp_path / "t.yaml", t={**RPI4, **change}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: 3", "a: {b: [", "a: {alias: b}", "\0", "a: 2001-99-99", "a: 1\na: 2"]
)
def test_bad_file(tmp_path, text):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"t\.yaml") as error:
        load_targets(path)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"can't read the targets file .*none\.yaml: No such file"):
        load_targets(tmp_path / "none.yaml")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the features are x86's")
@pytest.mark.parametrize(
    ("features", "first"),
    [
        ({"avx2", "fma"}, "pmaddubsw"),
        ({"avx2", "fma", "avxvnni"}, "vpdpbusd-256"),
        ({"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512vnni"}, "vpdpbusd-512"),
        (AMX, "vpdpbusd-512"),
    ],
)
def test_native_believes_linux_more_than_the_name_of_the_processor(monkeypatch, features, first):
    from tvm.target import codegen

    monkeypatch.setattr(host, "cpu_features", lambda: features)
    native = get_target("native")
    assert next(iter(native.instructions)) == first
    modelled = set(map(str, codegen.llvm_get_cpu_features(native.tvm_target())))
    assert {f for f in modelled if "vnni" in f} == {f for f in features if "vnni" in f}
    assert ("avx512f" in modelled) == ("avx512f" in features)
    assert ("amx-int8" in modelled) == ("amx-int8" in features)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the features are x86's")
def test_native_has_figures_of_the_processors_maker(monkeypatch):
    monkeypatch.setattr(host, "cpu_features", lambda: {"avx2", "avx512f", "avx512bw", "avx512vl", "avx512vnni"})
    zen4, described_by = load_targets()["x86-zen4"], host.is_described_by
    for found, like in (("25", "x86-zen4"), ("26", "x86-vnni")):
        text = f"processor : 0\nvendor_id\t: AuthenticAMD\ncpu family\t: {found}\n\nprocessor : 1\ncpu family\t: 25\n"
        monkeypatch.setattr(host, "is_described_by", lambda lines, text=text: described_by(lines, text))
        native = get_target("native")
        assert described_by(zen4.cpuinfo, text) == (like == "x86-zen4")
        assert (native.instructions, native.loads) == (load_targets()[like].instructions, load_targets()[like].loads)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the features are x86's")
def test_linux_grants_amx_where_the_processor_has_it():
    flags = host.features_of(Path("/proc/cpuinfo").read_text(), "x86_64")
    assert host.tiles_granted() == ("amx-tile" in flags)
    assert ("amx-tile" in host.cpu_features()) == host.tiles_granted()
    assert host.features_of("flags : avx2 amx_tile amx_int8", "x86_64") == {"avx2", "amx-tile", "amx-int8"}


def test_native_on_a_processor_without_kernels(monkeypatch):
    monkeypatch.setattr(host.platform, "machine", lambda: "riscv64")
    assert "native" in load_targets()
    with pytest.raises(UserError, match=r"no kernels for this processor \(riscv64"):
        get_target("native")


def test_32_bit_arm():
    """Named by its system's triple; the hard-float ABI is Debian's."""
    for name, cpu in (("rpi2-32", "cortex-a7"), ("rpi3-32", "cortex-a53"), ("rpi4-32", "cortex-a72")):
        spec = get_target(name)
        attrs = spec.tvm_target().attrs
        assert (spec.architecture, attrs["mcpu"], attrs["mfloat-abi"]) == ("armv7l", cpu, "hard")
        assert attrs["mtriple"] == "armv7l-unknown-linux-gnueabihf"  # LLVM looks for the ABI in the fourth part only
    assert "mfloat-abi" not in get_target("rpi4").tvm_target().attrs


@pytest.mark.parametrize(
    ("machine", "features", "like"),
    [
        ("x86_64", {"avx2", "fma"}, "x86"),
        ("aarch64", {"dotprod", "i8mm"}, "arm-i8mm"),
        ("aarch64", {"dotprod"}, "rpi5"),
        ("aarch64", set(), "rpi4"),
    ],
)
def test_native_has_the_figures_of_a_target(tmp_path, monkeypatch, machine, features, like):
    """There is one figure for each; a file of one's own need not repeat them."""
    monkeypatch.setattr(host.platform, "machine", lambda: machine)
    monkeypatch.setattr(host, "cpu_features", lambda: features)
    mine = tmp_path / "mine.yaml"
    mine.write_text("here: {host: true}")
    monkeypatch.setattr(host, "is_described_by", lambda lines: not lines)
    expected = load_targets()[like].instructions
    assert get_target("native").instructions == get_target("here", mine).instructions == expected


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ("[x86]", "must map architectures to lists"),
        ("{x86_64: [p4]}", "there is no target p4"),
        ("{x86_64: [{mmla: 3}]}", "unknown instruction mmla"),
    ],
)
def test_wrong_instructions_of_a_host(tmp_path, monkeypatch, instructions, message):
    monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"here: {{host: true, instructions: {instructions}}}")
    with pytest.raises(UserError, match=message):
        load_targets(mine)
