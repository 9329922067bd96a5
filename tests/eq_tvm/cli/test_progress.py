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
