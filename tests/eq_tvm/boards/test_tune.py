"""Tuning on boards behind a tracker, which fall out in the middle. Boards are processes here."""

import json
import signal
import subprocess
from dataclasses import replace
from functools import partial

import pytest
from onnx_models import canonical, random, write_model
from rpc_servers import Server

import eq_tvm
from eq_tvm import host, pipeline
from eq_tvm.boards import connection, farm, tune
from eq_tvm.boards.places import Boards
from eq_tvm.boards.session import Session
from eq_tvm.building import tuning
from eq_tvm.building.kernel_timing import arguments_of, time_kernel
from eq_tvm.building.tuning import Tuner
from eq_tvm.errors import UserError
from eq_tvm.running import workers
from eq_tvm.targets import get_target


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(tuning, "TRIED", 4)
    monkeypatch.setattr(farm, "PAUSE", 0.1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Two convolutions, of which one has floats as its result."""
    return write_model(
        tmp_path_factory.mktemp("two") / "two.onnx",
        [("Conv", "x w", "a", {"pads": [1] * 4}), ("Conv", "a v", "y", {"pads": [1] * 4})],
        {"x": [1, 16, 8, 8]},
        ["y"],
        {"w": random(16, 16, 3, 3), "v": random(16, 16, 3, 3, seed=1)},
    )


@pytest.fixture(scope="module")
def module(network):
    return pipeline.calibrate(canonical(network), {"x": random(2, 16, 8, 8)}, scheme="int7", method="minmax")[0]


class Fleet:
    """A tracker with boards of the key pc."""

    def __init__(self, folder, count):
        self._folder, self._count = folder, count

    def __enter__(self):
        self.tracker = Server("rpc_tracker", self._folder / "tracker")
        options = ("--tracker", self.tracker.address, "--key", "pc")
        self.servers = [Server("rpc_server", self._folder / f"log{i}", *options) for i in range(self._count)]
        self.tracker.wait_for_board(self._count)
        self.boards = Boards(tracker=self.tracker.address, key="pc")
        return self

    def __exit__(self, *_):
        for server in (*self.servers, self.tracker):
            server.signal(signal.SIGKILL)
            server.process.wait()

    def tune(self, module, file, seconds=20.0, progress=lambda done, message: None):
        chosen = Tuner(None, "", file, measure=False)
        connect = partial(self.boards.connect, seconds)
        tune.tune(module, get_target("native"), "speed", chosen, connect, self.boards.count(), progress)
        return json.loads(file.read_text())[chosen.processor]


@pytest.fixture(scope="module")
def two_boards(tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("fleet"), 2) as fleet:
        yield fleet


@pytest.fixture
def fleet(two_boards):
    """Free, whatever the test before has left."""
    two_boards.tracker.wait_for_board(2, free=True)
    return two_boards


def is_whole(entries):
    return len(entries) == 2 and all(
        len(entry["us"]) == 4 and entry["kernel"] == min(entry["us"], key=entry["us"].get) for entry in entries.values()
    )


def test_compile(network, fleet, tmp_path, monkeypatch):
    """All kernels are measured, by both boards, kept, and used again."""
    said = []
    options = {
        "calibration": "random",
        "images": 2,
        "tune": True,
        "tracker": fleet.tracker.address,
        "key": "pc",
        "output": tmp_path / "two.eqtvm",
        "tuning_file": tmp_path / "tuning.json",
    }
    bundle = eq_tvm.compile(network, **options, progress=lambda done, message: said.append(message))
    ((kind, entries),) = json.loads((tmp_path / "tuning.json").read_text()).items()
    assert is_whole(entries) and kind.startswith(f"native on {host.model_name()}, code for ")
    assert {kernel["kernel"] for kernel in bundle.kernels} <= {entry["kernel"] for entry in entries.values()}
    assert any("of 8 kernels, boards at work: 2, about " in message for message in said)
    monkeypatch.setattr(Session, "time_kernel", lambda *_: pytest.fail("measured again"))
    assert eq_tvm.compile(network, **options).kernels == bundle.kernels


@pytest.mark.parametrize(("fate", "said"), [("SIGKILL", "closed the connection"), ("SIGSTOP", "did not answer in ti")])
def test_a_board_falls_out_in_the_middle(module, tmp_path, monkeypatch, fate, said):
    """The first one to get a second kernel; the other does the rest."""
    time_kernel, used, lost = Session.time_kernel, set(), []

    def fall_out(board, *kernel):
        if board.name in used and not lost:
            lost.append(board.name)
            next(server for server in fleet.servers if server.address == board.name).signal(getattr(signal, fate))
        used.add(board.name)
        return time_kernel(board, *kernel)

    monkeypatch.setattr(connection, "SECONDS", 1.0)
    monkeypatch.setattr(Session, "time_kernel", fall_out)
    with Fleet(tmp_path, 2) as fleet, pytest.warns(UserWarning) as told:
        entries = fleet.tune(module, tmp_path / "tuning.json", 6.0)  # on a busy machine, both boards are there later
    assert is_whole(entries)
    assert [str(each.message) for each in told][-1].startswith(f"boards that were left out: {lost[0]}: the board")
    assert said in str(told[-1].message)


def test_all_fall_out_and_a_rerun_goes_on(module, fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS", 1.0)
    file = tmp_path / "tuning.json"
    with Fleet(tmp_path, 1) as other:
        message = r"no board is left: .* closed the .* \(5 of 8 kernels are measured and kept in .*: the same command"
        with pytest.raises(UserError, match=message):
            other.tune(
                module,
                file,
                progress=lambda done, _: other.servers[0].signal(signal.SIGKILL) if done == 5 / 8 else None,
            )
    (kept,) = json.loads(file.read_text()).values()
    assert [(len(entry["us"]), "kernel" in entry) for entry in kept.values()] == [(4, True), (1, False)]
    measured = []
    assert is_whole(fleet.tune(module, file, progress=lambda done, _: measured.append(done)))
    assert measured == [1 / 3, 2 / 3, 1.0]


def test_an_interrupt_keeps_what_was_measured(module, fleet, tmp_path):
    def interrupt(done, _):
        if done > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.tune(module, tmp_path / "tuning.json", progress=interrupt)
    (kept,) = json.loads((tmp_path / "tuning.json").read_text()).values()
    assert sum(len(entry["us"]) for entry in kept.values()) == 3
    fleet.tracker.wait_for_board(2, free=True)


def test_kernels_that_crash(module, fleet, tmp_path, monkeypatch):
    """They are left out; the board goes on, and its server too."""
    (tmp_path / "trap.c").write_text("int __tvm_ffi_main(void) { __builtin_trap(); }")
    trap = tmp_path / "trap.so"
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "trap.c", "-o", trap], check=True)
    compiled = tune._Measuring._compiled

    def crashing(self, candidate):
        library, *rest = compiled(self, candidate)
        return (trap.read_bytes() if candidate.algorithm == "F(4,3)" else library), *rest

    monkeypatch.setattr(tune._Measuring, "_compiled", crashing)
    with pytest.warns(UserWarning, match=r"the kernel F\(4,3\) .* is left out, as it crashes \(SIGILL\)"):
        entries = fleet.tune(module, tmp_path / "tuning.json")
    for entry in entries.values():
        assert [name for name, us in entry["us"].items() if us is None] == [
            name for name in entry["us"] if name.startswith("F(4,3)")
        ]
        assert entry["us"][entry["kernel"]] is not None
    fleet.tracker.wait_for_board(2, free=True)


def test_a_board_that_computes_wrong_bits(module, fleet, tmp_path, monkeypatch):
    """It is named and left out; the other does all of the work."""
    wrong = fleet.servers[1].address
    time_kernel = Session.time_kernel

    def other_bits(self, *arguments):
        timing = time_kernel(self, *arguments)
        return replace(timing, sha256="0" * 64) if self.name == wrong else timing

    monkeypatch.setattr(Session, "time_kernel", other_bits)
    with pytest.warns(UserWarning, match=rf"left out: {wrong}: .* computes something else there than on this machine"):
        assert is_whole(fleet.tune(module, tmp_path / "tuning.json"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"processor": "Cortex-A72"}, r"it is of another kind \(native on Cortex-A72, code for .*\) than the first"),
        ({"eq_tvm": "0.0.1"}, r"it has eq_tvm 0\.0\.1, this machine .*: install that there"),
        ({"architecture": "riscv64"}, "it is riscv64, target native is"),
        ({"features": []}, "it lacks .*, which target native needs"),
        (None, "it has no eq_tvm to measure kernels: install it there"),
    ],
)
def test_boards_that_do_not_fit(fleet, change, said):
    spec = get_target("native")
    with fleet.boards.connect() as board:
        kind = tune.processor_of(board, spec)
        tune._check(board, spec, kind)
        board._description = change and board._description | change
        with pytest.raises(farm.Unfit, match=said):
            tune._check(board, spec, kind)


def test_no_board_fits(module, fleet, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise farm.Unfit("it lacks dotprod")

    monkeypatch.setattr(tune, "_check", refuse)
    fleet.tracker.wait_for_board(2, free=True)  # both are free again after the test before
    with pytest.raises(UserError, match=r"no board can be used: 127.*: it lacks dotprod; 127.*: it lacks dotprod$"):
        fleet.tune(module, tmp_path / "tuning.json")


@pytest.mark.parametrize(
    "scheme",
    ["int7", *(pytest.param(scheme, marks=pytest.mark.exhaustive) for scheme in ("int6", "int8", "w8a12"))],
)
def test_all_kernels_of_a_layer_compute_the_same(tmp_path, scheme):
    """On what `arguments_of` gives, so that none is taken for a board's fault: with a residual, and uneven ranges."""
    path = write_model(
        tmp_path / "net.onnx",
        [
            ("Conv", "x w", "a", {"pads": [1] * 4}),
            ("HardSwish", "a", "h", {}),
            ("Conv", "h v", "b", {"pads": [1] * 4}),
            ("Add", "b h", "c", {}),
            ("Relu", "c", "r", {}),
            ("Conv", "r u", "y", {"strides": [2, 2]}),
        ],
        {"x": [1, 8, 8, 8]},
        ["y"],
        {"w": random(16, 8, 3, 3), "v": random(16, 16, 3, 3, seed=1), "u": random(8, 16, 1, 1, seed=2)},
    )
    module, _ = pipeline.calibrate(canonical(path), {"x": random(4, 8, 8, 8)}, scheme=scheme, method="minmax")
    layers = tune.candidates_of(module, get_target("native"), "speed")
    assert len(layers) == 3 and any(" plus " in key for key in layers)
    for key, candidates in layers.items():
        digests = set()
        for candidate in tuning.tried(candidates)[:3]:
            function = candidate.make()
            run = tune._compile(function, get_target("native"))
            digests.add(workers.call(lambda: time_kernel(run, *arguments_of(candidate, function.params)))[1])  # noqa: B023
        assert len(digests) == 1, key


def test_what_is_remembered_of_boards():
    spec = get_target("rpi4")
    here, other = "rpi4 on A, code for cortex-a72, threads: 4", "rpi4 on B, code for cortex-a72, threads: 4"
    assert tune.remembered_processor(["x", here, here.replace("rpi4", "rpi5")], spec) == here
    assert tune.remembered_processor([here, other], spec) == tune.remembered_processor(["x"], spec) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tracker": "a:1", "key": "rpi4"}, "are for --tune: pass it, too"),
        ({"tune": True, "target": "rpi4"}, "--tune measures on this machine, but target rpi4 is for .* --tracker HOST"),
        ({"tune": True, "target": "rpi4-32", "rpi": "a:1"}, "no packages for target rpi4-32"),
        ({"tune": True, "boards": 2}, "--boards goes with --tracker"),
        ({"tune": True, "tracker": "a:1", "key": "k", "boards": 0}, "--boards must be at least 1, not 0"),
        ({"tune": True, "tracker": "a:1"}, "--tracker needs --key"),
        ({"tune": True, "tracker": "a:1", "rpc": "b:1"}, "exclude each other"),
        ({"tune": True, "key": "k"}, "--key goes with --tracker"),
    ],
)
def test_options(network, options, said):
    if "rpi" in options:
        options["rpc"] = options.pop("rpi")
    with pytest.raises(UserError, match=said):
        eq_tvm.compile(network, calibration="random", **options)


def test_one_board_by_its_address(module, tmp_path):
    with Server("rpc_server", tmp_path / "log") as server:
        boards = Boards(rpc=server.address)
        assert boards.count() == 1
        chosen = Tuner(None, "", tmp_path / "t.json", measure=False)
        tune.tune(module, get_target("native"), "size", chosen, boards.connect, 1, lambda *_: None)
    (entries,) = json.loads((tmp_path / "t.json").read_text()).values()
    assert all(key.endswith(", small weights") for key in entries)
