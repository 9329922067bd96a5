"""Progress on stderr."""

import time

from eq_tvm.cli import progress


def test_plain_lines_where_stderr_is_no_terminal(monkeypatch, capsys):
    with progress.show_progress() as show:
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
        for done, message in [(0.0, "importing"), (0.5, "scales of conv1"), (1.0, "done")]:
            show(done, message)
        monkeypatch.undo()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["[  0%] importing", "[ 50%] scales of conv1, about 0 s left", "[100%] done"]


def test_lines_do_not_come_too_often(capsys):
    with progress.show_progress() as show:
        for i in range(1000):
            show(i / 1000, "working")
        show(1.0, "done")
    assert capsys.readouterr().err.splitlines() == ["[100%] done"]


def test_the_last_line_comes_again_while_nothing_is_told(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.01)
    with progress.show_progress() as show:
        show(0.01, "a large layer")
        time.sleep(0.1)
        show(1.0, "done")
        time.sleep(0.05)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2
    assert set(lines[:-1]) == {"[  1%] a large layer"}
    assert lines[-1] == "[100%] done"


def test_goes_on_while_nothing_is_told(monkeypatch):
    """At the pace so far, ever slower, and never back."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    estimate = progress._Estimate()
    clock[0] = 8.0
    estimate.tell(0.8, "compiling")
    assert estimate.now() == (0.8, "compiling", "about 2 s left")
    seen = []
    for clock[0] in (8.5, 9.0, 10.0, 12.0, 1000.0):
        done, message, left = estimate.now()
        assert message == "compiling" and left in ("about 2 s left", "about 1 s left", "about 0 s left")
        seen.append(done)
    assert seen == sorted(seen) and 0.8 < seen[0] < seen[2] < 0.95 and seen[-1] == 0.99
    estimate.tell(0.9, "linking")
    assert estimate.now()[0] == 0.99
    estimate.tell(1.0, "done")
    assert estimate.now() == (1.0, "done", "")
