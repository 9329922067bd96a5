"""Instructions that are counted under qemu, and cycles that llvm-mca estimates for them."""

import shutil
import subprocess

import pytest

from emulated import cycles
from emulated.arm_cpus import CPUS
from emulated.cycles import Block
from emulated.emulation import CACHES, plugin, read_lines
from emulated.loops import multiply_cycles

COMPILER = "aarch64-linux-gnu-gcc"
TURNS = 1000

# A loop of four instructions between the marks of blockcount.c (system call 4242), and one before them.
PROGRAM = f"""
.globl _start
.macro call number, argument
    mov x8, \\number
    mov x0, \\argument
    svc 0
.endm
.macro turns
    mov x1, {TURNS}
1:  fmla v0.4s, v2.4s, v3.4s
    fmla v1.4s, v2.4s, v3.4s
    subs x1, x1, 1
    b.ne 1b
.endm
_start:
    turns
    call 4242, 1
    turns
    call 4242, 2
    call 93, 0
"""

# One load for each so many bytes of 64 KiB: before the marks, and between them.
WALK = """
.globl _start
.macro call number, argument
    mov x8, \\number
    mov x0, \\argument
    svc 0
.endm
.macro walk
    adrp x1, buffer
    add x1, x1, :lo12:buffer
    mov x2, 65536
    mov x4, STEP
1:  ldr x3, [x1]
    add x1, x1, x4
    subs x2, x2, x4
    b.gt 1b
.endm
_start:
    walk
    call 4242, 1
    walk
    call 4242, 2
    call 93, 0
.bss
.balign 65536
buffer: .skip 65536
"""


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> list[Block]:
    """What runs between the marks of PROGRAM."""
    _need("qemu-aarch64", COMPILER, "gcc")
    folder = tmp_path_factory.mktemp("count")
    (folder / "loop.s").write_text(PROGRAM)
    subprocess.run([COMPILER, "-nostdlib", "-static", "loop.s", "-o", "loop"], cwd=folder, check=True)
    counter = f"{plugin(folder)},out={folder / 'blocks'}"
    subprocess.run(["qemu-aarch64", "-plugin", counter, folder / "loop"], check=True)
    return cycles.read_blocks(folder / "blocks")


def test_only_what_runs_between_the_marks_is_counted(blocks):
    loop = max(blocks, key=lambda block: block.runs)
    # The first turn may be in the block that begins before the loop.
    assert (loop.runs, loop.instructions) in ((TURNS, 4), (TURNS - 1, 4))
    assert sum(block.executed for block in blocks) == pytest.approx(4 * TURNS, abs=10)


@pytest.mark.parametrize("cpu", CPUS)
def test_estimate(blocks, cpu):
    _need_llvm()
    estimate = cycles.estimate(blocks, cpu)
    assert estimate.instructions == sum(block.executed for block in blocks)
    # Both chains wait for their sums: 2 to 11 cycles a turn on these processors.
    assert 2 * TURNS < estimate.cycles < 12 * TURNS
    assert TURNS / 2 <= estimate.least <= 3 * TURNS
    looked_at = sum(block.executed for block, _ in estimate.of_block)
    assert looked_at >= cycles.SHARE * estimate.instructions
    assert sum(taken for _, taken in estimate.of_block) == pytest.approx(
        estimate.cycles * looked_at / estimate.instructions
    )


@pytest.mark.parametrize(
    "caches, step, expected",
    [
        ("32:2/1024:16", 8, [(1024, 1023), (0, 0)]),  # each line once, one behind the other
        ("32:2/1024:16", 256, [(256, 254), (0, 0)]),  # two steps are seen before the third is foreseen
        ("32:2/1024:16", 8192, [(8, 0), (0, 0)]),  # all in one set of two ways, too far for a prefetcher
        ("64:8/1024:16", 8192, [(0, 0), (0, 0)]),
        ("64:4/64:4", 8, [(0, 0), (0, 0)]),
        ("16:2/32:4", 64, [(1024, 1023), (1024, 1023)]),  # a cache that is too small keeps nothing of what goes round
    ],
)
def test_lines_of_a_model_of_caches(tmp_path, caches, step, expected):
    _need("qemu-aarch64", COMPILER, "gcc")
    (tmp_path / "walk.s").write_text(WALK.replace("STEP", str(step)))
    subprocess.run([COMPILER, "-nostdlib", "-static", "walk.s", "-o", "walk"], cwd=tmp_path, check=True)
    watched = f"{plugin(tmp_path, CACHES)},caches={caches},out={tmp_path / 'lines'}"
    subprocess.run(["qemu-aarch64", "-plugin", watched, tmp_path / "walk"], check=True)
    assert read_lines(tmp_path / "lines") == expected


def test_caches_that_are_none_are_refused(tmp_path):
    _need("qemu-aarch64", "gcc")
    refused = subprocess.run(["qemu-aarch64", "-plugin", f"{plugin(tmp_path, CACHES)},caches=32", "true"])
    assert refused.returncode


def test_hottest_blocks():
    blocks = [Block(0, 1, 5, "a"), Block(1, 90, 1, "b"), Block(2, 1, 5, "c")]
    assert cycles.hottest(blocks, 0.9) == [blocks[1]]
    assert cycles.hottest(blocks, 0.91) == [blocks[1], blocks[0]]
    assert len(cycles.hottest(blocks, 1)) == 3


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize(
    "instruction",
    [
        "usmmla v{}.4s, v30.16b, v31.16b",
        "sdot v{}.4s, v30.16b, v31.16b",
        "smlal v{}.8h, v30.8b, v31.8b",
        "smlal2 v{}.4s, v30.8h, v31.8h",
        "mla v{}.8h, v30.8h, v31.8h",
        "fmla v{}.4s, v30.4s, v31.4s",
    ],
)
def test_bounds_are_those_of_the_cost_model(cpu, instruction):
    """Multiplications that wait for nothing take as long as `multiply_cycles` says."""
    _need_llvm()
    source = [instruction.format(i) for i in range(24)]
    if not multiply_cycles(source, cpu):
        pytest.skip(f"{cpu} does not have it")
    ((taken, least),) = cycles.cycles_per_run([source], cpu)
    assert taken == pytest.approx(multiply_cycles(source, cpu), rel=0.05)
    assert least == multiply_cycles(source, cpu)


def test_other_instructions_than_ran_are_noticed():
    _need_llvm()
    with pytest.raises(cycles.CyclesError, match="other instructions"):
        cycles.disassemble({"1f2003d5": 2})  # one nop


def _need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


def _need_llvm() -> None:
    _need(*(f"{name}-{cycles.LLVM}" for name in ("llvm-mc", "llvm-mca")))
