"""Writing on file systems that fail now and then."""

from __future__ import annotations

import os

import pytest

from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError, Lost


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(atomic, "RETRY_WAITS_S", (0.0, 0.0))


def failing(times: int, error: Exception):
    """Fails so often, then gives the number of calls."""
    calls = []

    def do() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return do


@pytest.mark.parametrize("error", [CloudsegError("no room"), OSError(116, "Stale file handle")])
def test_what_fails_now_and_then_is_tried_again_with_a_warning(error, capsys):
    assert atomic.with_retries(failing(2, error)) == 3
    assert capsys.readouterr().err.count("trying again") == 2


def test_what_goes_on_failing_is_an_error():
    with pytest.raises(CloudsegError, match="Stale file handle"):
        atomic.with_retries(failing(3, OSError(116, "Stale file handle")))


def test_who_may_write_no_more_does_not_try_again():
    with pytest.raises(Lost):
        atomic.with_retries(failing(1, Lost("taken over")))


def test_processes_are_told_apart_from_later_ones_of_the_same_number():
    assert atomic.process_start(os.getpid()).isdecimal()
    assert atomic.process_start(2**22 + 1) == ""
