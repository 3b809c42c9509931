"""Ranks that hang: who is to blame, and that a process ends itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudseg.core.attempt import Attempt, End
from cloudseg.core.errors import UsageError
from cloudseg.training import heartbeat

ROOT = Path(__file__).resolve().parents[3]


def sign(rank: int, number: int, beats: int = 3) -> dict:
    return {"rank": rank, "host": f"node{rank}", "pid": 7, "sign": number, "at": f"step {beats}", "beats": beats}


def test_a_rank_without_signs_of_life_is_named_with_its_host():
    said = heartbeat.diagnose(0, 3, {1: sign(1, 5), 2: sign(2, 5)}, {1: sign(1, 5), 2: sign(2, 7)}, [])
    assert said == "rank 1 on node1 (process 7) died or hangs: its last heartbeat is from step 3"


def test_a_rank_that_lives_and_was_left_behind_is_named():
    now = {0: sign(0, 8), 1: sign(1, 8, beats=2), 2: sign(2, 8)}
    before = {rank: sign(rank, 5) for rank in now}
    assert heartbeat.diagnose(0, 3, before, now, []) == "rank 1 on node1 hangs at step 2"


def test_a_rank_that_failed_is_the_reason_whatever_else_is_seen():
    ends = [End(1, "node1", "failed", "loss is nan"), End(2, "node2", "lost", "x")]
    assert heartbeat.diagnose(0, 3, {}, {}, ends) == "rank 1 on node1 failed: loss is nan"


def test_a_rank_that_explained_itself_is_not_the_silent_one():
    said = heartbeat.diagnose(0, 3, {}, {}, [End(1, "node1", "lost", "x")])
    assert said == "rank 2 ended without a reason, or never started"


@pytest.mark.parametrize("text", ["-1", "0", "soon"])
def test_a_limit_that_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match=f"CLOUDSEG_SILENCE_S={text}"):
        heartbeat.watchdog_limit({"CLOUDSEG_SILENCE_S": text})


def rank(folder: Path, code: str, grace: float = 30.0) -> subprocess.CompletedProcess[str]:
    """A process that is rank 0 of 2, and then does `code`."""
    program = f"""
import time
from pathlib import Path
from cloudseg.core.attempt import Attempt
from cloudseg.training import heartbeat
heartbeat.GRACE_S = {grace}
p = heartbeat.Heartbeat(Attempt(Path({str(folder)!r})), 0, 2, 1.0)
p.start()
for i in range(3):
    p.report_step("past the start", i)
{code}
"""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_whose_training_stands_still_ends_with_its_stack_and_the_reason(tmp_path):
    attempt = Attempt.of(tmp_path, "a")
    ended = rank(attempt.folder, "def loop_for_ever():\n    while True: pass\nloop_for_ever()")
    assert ended.returncode == 75
    assert "loop_for_ever" in ended.stderr
    assert "rank 1 ended without a reason, or never started" in ended.stderr
    (end,) = attempt.ends()
    assert (end.rank, end.how) == (0, "lost")


def test_a_process_in_which_no_python_runs_any_more_ends_too(tmp_path):
    attempt = Attempt.of(tmp_path, "a")
    # A regular expression that backtracks for ever holds the interpreter's lock.
    ended = rank(attempt.folder, "time.sleep(0.6)\nimport re\nre.match(r'(a|a)*$', 'a' * 64 + 'b')", grace=1.0)
    assert ended.returncode != 0
    assert "Timeout" in ended.stderr


def test_a_process_that_gets_on_lives(tmp_path):
    code = "for i in range(30):\n    time.sleep(0.1); p.report_step(f'step {i}', i)\np.stop()"
    assert rank(Attempt.of(tmp_path, "a").folder, code).returncode == 0


def test_preparation_is_in_the_heartbeat_and_leaves_the_first_step_its_time(tmp_path):
    attempt = Attempt.of(tmp_path, "key")
    beat = heartbeat.Heartbeat(attempt, 0, 1, limit_s=0.4)
    beat.start()
    try:
        for report, expected in (
            (lambda: beat.report_preparation("predicts 40 pictures"), ("predicts 40 pictures", 0)),
            (lambda: beat.report_step("step 0", 0), ("", 1)),
        ):
            report()
            deadline = time.monotonic() + 30
            while (found := attempt.heartbeats().get(0, {}).get("preparation")) != expected[0]:
                assert time.monotonic() < deadline, found
                time.sleep(0.01)
            assert attempt.heartbeats()[0]["beats"] == expected[1]
    finally:
        beat.stop()
