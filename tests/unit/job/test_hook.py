"""What a user's command is told when a stage has ended."""

from __future__ import annotations

import pytest

from cloudseg.core.config import Settings
from cloudseg.core.errors import CloudsegError
from cloudseg.core.run import Run
from cloudseg.job import batch, hook
from cloudseg.job.restarts import Outcome

TELLS = 'echo "$CLOUDSEG_STAGE $CLOUDSEG_ENDED $CLOUDSEG_REASON in $CLOUDSEG_RUN" >> {}'


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A file to which the hook writes, and a run."""
    file = tmp_path / "told.txt"
    monkeypatch.setenv("CLOUDSEG_HOOK", TELLS.format(file))
    return file


@pytest.fixture
def opened(tmp_path, monkeypatch):
    opened = Run(tmp_path / "run", Settings(data="DATA"))
    monkeypatch.setattr(batch.run, "open_run", lambda path: opened)
    return opened


def test_it_is_told_of_a_stage_that_is_done(told, opened, monkeypatch):
    monkeypatch.setattr(batch, "_run_attempt", lambda *_: Outcome("done"))
    batch.run_stage(opened.path, "frozen", 1)
    assert told.read_text() == f"frozen done  in {opened.path}\n"


def test_it_is_told_why_a_stage_failed_and_the_failure_goes_on(told, opened, monkeypatch):
    monkeypatch.setattr(batch, "_run_attempt", lambda *_: Outcome("failed", "the loss is nan"))
    with pytest.raises(CloudsegError, match="the loss is nan"):
        batch.run_stage(opened.path, "full", 1)
    assert told.read_text() == f"full failed stage full failed: the loss is nan in {opened.path}\n"


def test_one_that_fails_is_a_warning(opened, monkeypatch, capfd):
    monkeypatch.setenv("CLOUDSEG_HOOK", "exit 3")
    hook.run(opened, "full", "done")
    assert "warning: the hook failed (exit code 3): exit 3" in capfd.readouterr().err


def test_one_that_hangs_is_ended(opened, monkeypatch, capfd):
    monkeypatch.setenv("CLOUDSEG_HOOK", "sleep 60")
    monkeypatch.setattr(hook, "TIMEOUT_S", 0.2)
    hook.run(opened, "full", "done")
    assert "killed after 0 s" in capfd.readouterr().err
