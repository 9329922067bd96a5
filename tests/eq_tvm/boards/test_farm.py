"""Boards that share out jobs, and fail in every way. The boards are objects of this process."""

import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.boards import farm
from eq_tvm.boards.farm import Farm, Job, Unfit
from eq_tvm.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(farm, "PAUSE", 0.02)


class Board:
    def __init__(self, name, fleet):
        self.name, self._fleet = name, fleet

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._fleet.free(self.name)


class Fleet:
    """A tracker: gives boards that are free, until they are gone."""

    def __init__(self, *names):
        self._free, self.gone, self._lock = list(names), set(), threading.Lock()

    def connect(self):
        with self._lock:
            if not self._free:
                raise UserError("no board became free")
            return Board(self._free.pop(0), self)

    def free(self, name):
        with self._lock:
            if name not in self.gone:
                self._free.append(name)


def jobs(*groups):
    return [Job(group, (group, number)) for group, count in groups for number in range(count)]


def run(fleet, found, do, count, check=lambda board: None):
    sharing = Farm(found, do, fleet.connect, count, check)
    return list(sharing.results()), sharing


def test_each_job_is_done_once_and_a_group_by_one_board():
    both = threading.Barrier(2)
    done = []

    def do(board, work):
        both.wait(5)
        done.append((board.name, work[0]))
        return work

    results, sharing = run(Fleet("a", "b"), jobs(("x", 5), ("y", 5)), do, 2)
    assert sorted(result for _, result in results) == [(group, i) for group in "xy" for i in range(5)]
    assert len(set(done)) == 2 and not sharing.lost and not sharing.at_work


def test_who_has_nothing_left_helps_the_others():
    done = Counter()
    both = threading.Barrier(2)

    def do(board, work):
        both.wait(5)
        done[board.name] += 1

    run(Fleet("a", "b"), jobs(("x", 6)), do, 2)
    assert done == {"a": 3, "b": 3}


def test_a_board_that_is_gone_in_the_middle():
    fleet = Fleet("a", "b")
    started = threading.Barrier(2)

    def do(board, work):
        if work[1] == 0 and not fleet.gone:
            started.wait(5)
        if board.name == "a":
            fleet.gone.add("a")
            raise UserError("closed the connection")
        return board.name

    results, sharing = run(fleet, jobs(("x", 3), ("y", 3)), do, 2)
    assert [result for _, result in results] == ["b"] * 6
    assert sharing.lost == {"a": "closed the connection"}


def test_a_board_that_comes_back_is_used_again():
    fleet = Fleet("a")
    failed = []

    def do(board, work):
        if not failed:
            failed.append(board.name)
            raise UserError("did not answer in time")
        return work

    results, sharing = run(fleet, jobs(("x", 3)), do, 1)
    assert len(results) == 3 and not sharing.lost and failed == ["a"]


def test_an_unfit_board_is_left_out_and_not_given_again():
    given_to = []

    def check(board):
        given_to.append(board.name)
        if board.name == "a":
            raise Unfit("it is of another kind")

    results, sharing = run(Fleet("a", "b"), jobs(("x", 4)), lambda board, work: board.name, 2, check)
    assert [result for _, result in results] == ["b"] * 4
    assert sharing.lost == {"a": "it is of another kind"} and given_to.count("a") == 1


def test_wrong_results_are_made_anew_elsewhere():
    def do(board, work):
        if board.name == "a":
            raise Unfit("it computes something else")
        while not sharing.lost:
            time.sleep(0.01)
        return board.name

    sharing = Farm(jobs(("x", 2), ("y", 2)), do, Fleet("a", "b").connect, 2, lambda board: None)
    assert [result for _, result in sharing.results()] == ["b"] * 4
    assert sharing.lost == {"a": "it computes something else"}


def test_after_some_failures_a_board_is_left_out():
    tries = Counter()

    def do(board, work):
        tries[board.name] += 1
        raise UserError("fails")

    with pytest.raises(UserError, match="no board is left: a: fails"):
        run(Fleet("a"), jobs(("x", 1), ("y", 9)), do, 1)
    assert tries == {"a": farm.FAILURES}


def test_a_job_that_fails_everywhere_is_given_up():
    def do(board, work):
        if work == ("bad", 0):
            raise UserError("closed the connection")
        return work

    results, _ = run(Fleet("a", "b", "c"), jobs(("bad", 1), ("x", 4)), do, 3)
    assert {job.work: result for job, result in results} == {("bad", 0): None} | {("x", i): ("x", i) for i in range(4)}


def test_all_gone_after_some_results():
    fleet = Fleet("a")
    results = []

    def do(board, work):
        if work[1] == 2:
            fleet.gone.add("a")
            raise UserError("closed the connection")
        return work

    with pytest.raises(UserError, match="no board is left: a: closed the connection"):
        results.extend(Farm(jobs(("x", 5)), do, fleet.connect, 1, lambda board: None).results())
    assert [result for _, result in results] == [("x", 0), ("x", 1)]
    with pytest.raises(UserError, match="no board is left: no board: no board became free"):
        run(Fleet(), jobs(("x", 1)), do, 2)


def test_faults_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(Fleet("a", "b"), jobs(("x", 3)), lambda board, work: 1 // 0, 2)


def test_no_jobs():
    assert run(Fleet("a"), [], None, 1)[0] == []


def test_a_job_that_each_board_has_failed():
    """One of them tries again: no other is there that could."""
    tried = []

    def do(board, work):
        tried.append(board.name)
        if len(tried) < 3:
            raise UserError("fails")
        return work

    results, _ = run(Fleet("a", "b"), jobs(("x", 1)), do, 2)
    assert [result for _, result in results] == [("x", 0)] and set(tried[:2]) == {"a", "b"}


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4), st.lists(st.integers(1, 4), max_size=4), st.sets(st.integers(0, 30), max_size=6), st.booleans()
)
def test_whatever_fails(boards, groups, failures, gone):
    """Each job ends once, or the error says that no board is left."""
    fleet = Fleet(*map(str, range(boards)))
    found = jobs(*((str(i), count) for i, count in enumerate(groups)))
    calls = iter(range(10**6))

    def do(board, work):
        if next(calls) in failures:
            if gone:
                fleet.gone.add(board.name)
            raise UserError("fails")
        return work

    ended = []
    try:
        for job, result in Farm(found, do, fleet.connect, boards, lambda board: None).results():
            assert result == job.work or (result is None and len(job.failed_on) == farm.FAILURES)
            ended.append(job.work)
    except UserError as e:
        assert "no board is left" in str(e) and len(failures) >= min(boards, farm.FAILURES)
    else:
        assert sorted(ended) == sorted(job.work for job in found)
    assert len(set(ended)) == len(ended)
