"""How a process of a step ends, and what that is taken for."""

from __future__ import annotations

import gc

import pytest
import tensorflow as tf

from cloudseg.core.attempt import Attempt
from cloudseg.core.config import Settings
from cloudseg.core.errors import CloudsegError
from cloudseg.core.run import Run
from cloudseg.core.signals import StopFlag
from cloudseg.training import comm, rank


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (tf.errors.InternalError(None, None, "CUDA error: uncorrectable ECC error"), "lost"),
        (tf.errors.UnknownError(None, None, "OSError: [Errno 116] Stale file handle"), "lost"),
        (OSError(5, "Input/output error"), "lost"),
        (tf.errors.InvalidArgumentError(None, None, "shapes differ"), "failed"),
        (tf.errors.ResourceExhaustedError(None, None, "out of memory"), "failed"),
        (CloudsegError("the loss is no number"), "failed"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_a_fault_of_the_machine_is_worth_another_try_and_one_of_the_program_is_not(tmp_path, monkeypatch, error, how):
    run = Run(tmp_path, Settings(data="d"))
    monkeypatch.setenv("CLOUDSEG_ATTEMPT", Attempt.of(run.jobs, "try").key)
    monkeypatch.setattr(comm, "start", lambda own: None)
    with pytest.raises(type(error)), rank.started(run, StopFlag()) as own:
        raise error
    assert [end.how for end in own.attempt.ends()] == [how]


def test_what_a_rank_imports_is_never_searched_for_garbage(tmp_path, monkeypatch):
    run = Run(tmp_path, Settings(data="d"))
    monkeypatch.setenv("CLOUDSEG_ATTEMPT", Attempt.of(run.jobs, "try").key)
    monkeypatch.setattr(comm, "start", lambda own: None)
    gc.unfreeze()
    with rank.started(run, StopFlag()):
        assert gc.isenabled()
        assert not any(each is tf for each in gc.get_objects())
