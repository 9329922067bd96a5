"""Named targets: what LLVM is told about a machine, and what the choice of kernels needs to know of it."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eq_tvm import host
from eq_tvm.errors import UserError
from eq_tvm.files.yaml_file import read_yaml

if TYPE_CHECKING:
    import tvm

    from eq_tvm.schedules.processor.machine import Machine

DEFAULT_FILE = Path(__file__).with_name("targets.yaml")
INSTRUCTIONS = tuple(host.NEEDED_FEATURES)
_HAVE_TVM = ("x86_64", "aarch64")


@dataclass(frozen=True)
class TargetSpec:
    """One machine. The fields are those of ``targets.yaml``, which explains them."""

    name: str
    description: str
    triple: str | None  # None: the machine that compiles
    cpu: str | None  # None: the processor that compiles
    instructions: Mapping[str, float]  # name -> multiply-accumulates per cycle and core
    l1: int  # bytes
    l2: int
    l3: int
    threads: int
    attrs: list[str] = field(default_factory=list)
    cpuinfo: Mapping[str, str | int] = field(default_factory=dict)  # lines of /proc/cpuinfo, by their names
    cross_compiler: str | None = None
    cross_package: str | None = None
    issue: float = 3.75  # per cycle, in all
    loads: float = 1.75
    ghz: float | None = None  # its clock

    @property
    def architecture(self) -> str:
        """``x86_64``, ``aarch64``, ...: the first part of the triple."""
        return self.triple.split("-")[0] if self.triple else platform.machine()

    @property
    def machine(self) -> Machine:
        """What the choice of kernels knows of it."""
        from eq_tvm.schedules.processor.machine import Machine

        return Machine(self.instructions, self.issue, self.loads, self.l1, self.l2, self.l3)

    @property
    def is_cross(self) -> bool:
        """Whether this machine can neither link for the target nor run the result."""
        return self.architecture != platform.machine() or self.is_android

    @property
    def is_android(self) -> bool:
        """Whether it has Android's C library, which its NDK links for."""
        return "android" in (self.triple or "")

    def tvm_target(self) -> tvm.target.Target:
        """The target as TVM's LLVM back end takes it."""
        import tvm

        options: dict[str, Any] = {"kind": "llvm"}
        if self.triple is None:
            options["mcpu"], options["mattr"] = host.llvm_cpu()
        else:
            options |= {"mtriple": _with_vendor(self.triple), "mcpu": self.cpu, "mattr": self.attrs}
        options["cl-opt"] = X86_LLVM_OPTIONS if self.architecture == "x86_64" else ARM_LLVM_OPTIONS
        if self.triple is not None and self.triple.endswith("eabihf"):
            options["mfloat-abi"] = "hard"
        return tvm.target.Target(options)


def _with_vendor(triple: str) -> str:
    """As LLVM reads it, which takes the second part for the vendor, and without the fourth does not know the ABI.

    On 32-bit ARM, it then calls functions of the compiler's library (from int64 to float32, for example) with numbers
    in other registers than they look for them in.
    """
    first, second, *rest = [*triple.split("-"), ""]
    return "-".join(filter(None, [first, "unknown", second, *rest])) if second == "linux" else triple


# LLVM 22 turns short loops over bytes into masked AVX-512 stores that write too much (llvm-project issue 179489): such
# loops stay as they are. The machine combiner reassociates sums, for which there are then too few registers.
X86_LLVM_OPTIONS = ["-vectorizer-min-trip-count:uint=1", "-x86-machine-combiner:bool=false"]

# LLVM 22 crashes on bytes of eight vectors, narrowed from 32 bits, that it stores in turn, as a loop over the pixels of
# eight channels does once it has vectorized it. NEON itself takes four at most.
ARM_LLVM_OPTIONS = ["-max-interleave-group-factor:uint=4"]


def has_tvm(target: Mapping[str, Any]) -> bool:
    """Whether there are packages of TVM, which runs bundles, for what a bundle's `target` describes."""
    return target["architecture"] in _HAVE_TVM and "android" not in (target["triple"] or "")


def load_targets(path: str | Path | None = None) -> dict[str, TargetSpec]:
    """Read and validate a targets file.

    Parameters
    ----------
    path : str or Path, optional
        A YAML file in the form of ``targets.yaml``, which is the default.

    Raises
    ------
    UserError
        The file can't be read, or an entry has an unknown key, lacks a field or has a value that makes no sense.
    """
    path = Path(path or DEFAULT_FILE)
    entries = _default_entries() if path == DEFAULT_FILE else read_yaml(path, "targets file")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{path} must map the names of targets to their descriptions, as {DEFAULT_FILE} does")

    targets: dict[str, TargetSpec] = {}
    hosts: dict[str, tuple[dict[str, Any], str]] = {}
    aliases: dict[str, str] = {}
    for name, entry in entries.items():
        where = f"target {name} in {path}"
        if not isinstance(entry, dict):
            raise UserError(f"{where} must be a mapping with the keys {_listed(_KEYS)}")
        if "alias" in entry:
            _only_keys(entry, ("alias",), where)
            aliases[str(name)] = str(entry["alias"])
        elif "host" in entry:
            hosts[str(name)] = entry, where
        else:
            targets[str(name)] = _target(str(name), entry, where)
    targets |= {name: _host_target(name, *found, targets) for name, found in hosts.items()}
    for name, other in aliases.items():
        if other not in targets:
            raise UserError(f"target {name} in {path} is an alias of {other}, which is not there: {_listed(targets)}")
    targets |= {name: replace(targets[other], name=name) for name, other in aliases.items()}
    return {str(name): targets[str(name)] for name in entries}


@functools.cache
def _default_entries() -> Any:
    """Of the file that comes with eq_tvm: reading it takes 40 ms, and a command may need several targets."""
    return read_yaml(DEFAULT_FILE, "targets file")


def get_target(name: str, path: str | Path | None = None) -> TargetSpec:
    """One target by its name; an unknown name is a `UserError` that lists those there are."""
    targets = load_targets(path)
    if name not in targets:
        raise UserError(f"unknown target {name}; there are: {_listed(targets)}")
    if not targets[name].instructions:
        raise UserError(
            f"target {name}: eq_tvm has no kernels for this processor ({platform.machine()}; x86 needs AVX2)"
        )
    return targets[name]


def check_llvm(spec: TargetSpec) -> None:
    """Raise a UserError where LLVM does not know the processor, or knows that it lacks an instruction.

    It would end the process when it comes to code for them.
    """
    from tvm.target import codegen

    if spec.triple is None:
        return
    for name in spec.instructions:
        if not spec.architecture.startswith(needed := host.ARCHITECTURES.get(name, "x86_64")):
            raise UserError(
                f"target {spec.name}: {name} is an instruction of {needed}, but the triple is {spec.triple}"
            )
    if not codegen.llvm_is_valid_cpu(spec.cpu, spec.triple):
        raise UserError(f"target {spec.name}: LLVM knows no processor {spec.cpu} for {spec.triple}")
    present = set(map(str, codegen.llvm_get_cpu_features(spec.tvm_target())))
    for name in spec.instructions:
        if missing := host.missing_features([name], present):
            raise UserError(
                f"target {spec.name}: LLVM has no {name} for {spec.cpu}, which lacks {', '.join(missing)}: take {name} "
                f"out of instructions, or [{', '.join(f'+{feature}' for feature in missing)}] into attrs if it is there"
            )


_POSITIVE = ("l1", "l2", "threads")
_KEYS = tuple(f.name for f in fields(TargetSpec) if f.name != "name")
_REQUIRED = tuple(f.name for f in fields(TargetSpec) if f.name != "name" and f.default_factory is f.default is MISSING)


def _target(name: str, entry: dict[str, Any], where: str) -> TargetSpec:
    _only_keys(entry, _KEYS, where)
    missing = [key for key in _REQUIRED if entry.get(key) is None]
    if missing:
        raise UserError(f"{where} lacks {_listed(missing)}; it needs {_listed(_REQUIRED)}")

    for key in ("description", "triple", "cpu", "cross_compiler", "cross_package"):
        if not isinstance(entry.get(key, ""), str):
            raise UserError(f"{where}: {key} must be text, not {entry[key]!r}")
    attrs = entry.get("attrs", [])
    if not isinstance(attrs, list) or not all(isinstance(a, str) and a[:1] in ("+", "-") for a in attrs):
        raise UserError(f"{where}: attrs must be a list such as [+dotprod], not {attrs!r}")
    if not isinstance(entry.get("cpuinfo", {}), dict):
        raise UserError(f"{where}: cpuinfo must map names of lines to what they say, not {entry['cpuinfo']!r}")
    for key in ("l1", "l2", "l3", "threads"):
        if not _is_number(entry[key], int) or entry[key] < (key in _POSITIVE):
            raise UserError(f"{where}: {key} must be a whole number, not {entry[key]!r}")
    for key in ("issue", "loads", "ghz"):
        if not _is_number(entry.get(key, 1), (int, float)) or entry.get(key, 1) <= 0:
            raise UserError(f"{where}: {key} must be a positive number, not {entry[key]!r}")
    _check_instructions(entry["instructions"], where)
    return TargetSpec(name=name, **entry)


def _check_instructions(instructions: Any, where: str) -> None:
    if not isinstance(instructions, dict) or not instructions:
        raise UserError(f"{where}: instructions must map some of {_listed(INSTRUCTIONS)} to a throughput")
    for instruction, throughput in instructions.items():
        if instruction not in INSTRUCTIONS:
            raise UserError(f"{where}: unknown instruction {instruction}; there are: {_listed(INSTRUCTIONS)}")
        if not _is_number(throughput, (int, float)) or throughput <= 0:
            raise UserError(f"{where}: the throughput of {instruction} must be positive, not {throughput!r}")


def _host_target(name: str, entry: dict[str, Any], where: str, targets: Mapping[str, TargetSpec]) -> TargetSpec:
    _only_keys(entry, ("description", "host", "instructions"), where)
    l1, l2, l3 = host.cache_sizes()
    core = _host_core(entry["instructions"], where, targets) if "instructions" in entry else load_targets()["native"]
    description = str(entry.get("description", "this machine"))
    return replace(core, name=name, description=description, l1=l1, l2=l2, l3=l3, threads=host.cores())


def _host_core(choices: Any, where: str, targets: Mapping[str, TargetSpec]) -> TargetSpec:
    """The first of the choices for this architecture whose instructions the processor has; without any if it has none.

    A choice is a mapping as of any target, or the name of a target, whose instructions, issue and loads it stands for
    (where /proc/cpuinfo says what its `cpuinfo` does).
    """
    here = TargetSpec("", "", None, None, {}, l1=0, l2=0, l3=0, threads=0)
    if not isinstance(choices, dict) or not all(isinstance(here, list) for here in choices.values()):
        raise UserError(f"{where}: instructions of a host must map architectures to lists, not {choices!r}")
    for choice in choices.get(platform.machine(), []):
        if isinstance(choice, str) and choice not in targets:
            raise UserError(f"{where}: there is no target {choice}, only {_listed(targets)}")
        core = targets[choice] if isinstance(choice, str) else here
        instructions = core.instructions if isinstance(choice, str) else choice
        _check_instructions(instructions, where)
        if host.is_described_by(core.cpuinfo) and not host.missing_features(instructions):
            return replace(here, instructions=instructions, issue=core.issue, loads=core.loads)
    return here


def _only_keys(entry: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise UserError(f"{where} has the unknown key {unknown[0]}; there are: {_listed(known)}")


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < 2**63  # nor NaN


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
