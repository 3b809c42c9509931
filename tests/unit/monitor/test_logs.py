"""Following what jobs say."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from cloudseg.monitor import follow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(follow, "PERIOD_S", 0.01)
    return tmp_path


def latest(folder: Path) -> Path:
    return max(folder.glob("*.log"), key=lambda log: log.stat().st_mtime_ns)


def test_a_log_is_printed_to_its_last_line_whole_or_not(folder):
    log = folder / "frozen.log"
    log.write_text("one\ntwo")
    assert list(follow.lines(log, False, lambda: log, lambda: False)) == ["one\n", "two"]


def test_following_goes_on_to_the_next_stage_and_ends_when_all_is_done(folder):
    frozen, partial, done = folder / "frozen.log", folder / "partial.log", folder / "done"
    frozen.write_text("one\n")
    os.utime(frozen, (1, 1))

    def train() -> None:
        time.sleep(0.05)
        with frozen.open("a") as file:
            file.write("two\n")
        time.sleep(0.05)
        partial.write_text("three\n")
        time.sleep(0.05)
        with partial.open("a") as file:
            file.write("four\n")
        done.touch()

    thread = threading.Thread(target=train)
    thread.start()
    said = list(follow.lines(frozen, True, lambda: latest(folder), done.exists))
    thread.join()
    assert said == ["one\n", "two\n", f"==> {partial} <==\n", "three\n", "four\n"]


def test_one_stage_is_followed_until_all_is_done(folder):
    log = folder / "full.log"
    log.write_text("one\n")
    assert list(follow.lines(log, True, lambda: log, lambda: True)) == ["one\n"]
