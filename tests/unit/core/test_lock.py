"""Locks, and how a stale one is told."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading

import pytest

from cloudseg.core import lock
from cloudseg.core.errors import Lost, UsageError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "frozen.lock"


def left_by(file, **changes) -> None:
    file.write_text(json.dumps({**dataclasses.asdict(lock.Owner.current("a")), **changes}))


def hold(file, silent=lambda owner: False):
    return lock.hold(file, "mine", silent, "wait")


def test_a_lock_is_gone_after_its_use(file):
    with hold(file) as held:
        held.check()
        assert file.exists()
    assert not file.exists()


def test_a_lock_whose_owner_lives_is_refused_and_its_owner_named(file):
    left_by(file)
    with pytest.raises(UsageError, match=rf"process {os.getpid()} of \w+ on .+ is at work here .+wait"), hold(file):
        pass
    assert file.exists()


def test_a_lock_of_a_process_that_is_gone_is_taken_over(file):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left_by(file, pid=ended.pid)
    with hold(file) as held:
        held.check()


def test_a_process_id_that_is_used_again_is_no_owner(file):
    left_by(file, born="1")
    with hold(file) as held:
        held.check()


def test_a_requeued_job_takes_over_its_own_lock_on_whatever_node(file, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CLOUDSEG_JOB", "7")
    left_by(file, host="other", job="7")
    with hold(file) as held:
        held.check()


def test_in_a_job_of_the_users_another_command_does_not_take_the_lock_of_one_at_work(file, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with hold(file), pytest.raises(UsageError, match="is at work here"), hold(file):
        pass


@pytest.mark.parametrize("silent", [True, False])
def test_on_another_node_signs_of_life_decide(file, silent):
    left_by(file, host="other")
    if silent:
        with hold(file, lambda owner: silent):
            pass
    else:
        with pytest.raises(UsageError, match="on other is at work here"), hold(file, lambda owner: silent):
            pass


def test_an_owner_that_was_taken_for_gone_may_write_no_more(file):
    with hold(file) as held:
        left_by(file, host="other", attempt="theirs")
        with pytest.raises(Lost, match="now belongs to process .+ on other"):
            held.check()
    assert file.exists()


@pytest.fixture
def hurried_threads():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # a hundred times as often as usual
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("turn", range(30))
def test_of_many_that_find_a_stale_lock_one_gets_it_at_a_time(file, hurried_threads, turn):
    left_by(file, born="1")
    inside, most, refused = [], [], []

    def contend() -> None:
        try:
            with lock.hold(file, threading.current_thread().name, lambda owner: False, "wait") as held:
                inside.append(1)
                most.append(len(inside))
                held.check()
                inside.pop()
        except UsageError:
            refused.append(1)

    threads = [threading.Thread(target=contend) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) + len(refused) == 16
    assert list(file.parent.iterdir()) == []


def test_a_file_that_is_no_lock_is_left_alone(file):
    file.write_text("notes")
    with pytest.raises(UsageError, match="is not a lock file of cloudseg"), hold(file):
        pass
    assert file.read_text() == "notes"
