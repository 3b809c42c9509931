"""Whether a stage that did not end well is tried again."""

from __future__ import annotations

import pytest

from cloudseg.core.attempt import End
from cloudseg.core.config import Settings
from cloudseg.core.run import EVALUATE, Run
from cloudseg.job import batch
from cloudseg.job.restarts import Outcome, limit_attempts, outcome, record


def end(how: str, reason: str = "r", rank: int = 0) -> End:
    return End(rank, "node1", how, reason)


@pytest.mark.parametrize(
    ("code", "ends", "done", "how"),
    [
        (0, [], True, "done"),
        (139, [], True, "done"),
        (0, [], False, "lost"),
        (75, [end("stopped")], False, "stopped"),
        (75, [end("lost"), end("failed", rank=1)], False, "failed"),
        (137, [end("lost")], False, "lost"),
        (137, [], False, "lost"),
        (1, [], False, "lost"),
        (2, [], False, "failed"),
        (75, [], False, "stopped"),
        (75, [end("lost"), end("stopped", rank=1)], False, "stopped"),
    ],
)
def test_what_ranks_said_decides_and_else_the_exit_code(code, ends, done, how):
    assert outcome(code, ends, done).how == how


def test_the_reason_is_that_of_the_rank_that_failed():
    assert outcome(75, [end("lost", "rank 1 failed"), end("failed", "loss is nan", 1)], False).reason == "loss is nan"


def test_the_reason_tells_that_a_rank_was_killed():
    assert outcome(137, [end("lost", "rank 1 died")], False).reason == "rank 1 died (exit code 137)"


def test_progress_allows_any_number_of_tries():
    earlier = [{"how": "lost", "from_step": 5, "to_step": 5}]
    assert limit_attempts(Outcome("lost"), (5, 6), earlier).restart


def test_no_progress_twice_in_a_row_is_a_failure_that_says_why():
    lost = {"how": "lost", "from_step": 5, "to_step": 5}
    assert limit_attempts(Outcome("lost"), (5, 5), []).restart
    failed = limit_attempts(Outcome("lost", "rank 1 died"), (5, 5), [lost])
    assert failed.how == "failed"
    assert failed.reason == "no progress in 2 attempts in a row, at step 5; the last ended because rank 1 died"


@pytest.mark.parametrize("between", ["interrupted"])
def test_tries_that_slurm_ended_neither_count_nor_hide_others(between):
    earlier = [{"how": "lost", "from_step": 5, "to_step": 5}, {"how": between, "from_step": 5, "to_step": 5}]
    assert not limit_attempts(Outcome("lost"), (5, 5), earlier).restart
    assert limit_attempts(Outcome("lost"), (5, 5), earlier[1:]).restart


def test_after_a_failure_the_count_begins_anew():
    earlier = [{"how": "lost", "from_step": 5, "to_step": 5}, {"how": "failed", "from_step": 5, "to_step": 5}]
    assert limit_attempts(Outcome("lost"), (5, 5), earlier).restart


def test_tries_are_kept_in_order_and_a_half_written_line_does_not_count(tmp_path):
    run = Run(tmp_path, Settings(data="d"))
    run.jobs.mkdir()
    assert run.past_attempts("frozen") == []
    record(run.attempts("frozen"), Outcome("lost", "why"), (0, 4), 6, 1.0)
    record(run.attempts("frozen"), Outcome("done"), (4, 9), 0, 2.0)
    with run.attempts("frozen").open("a") as file:
        file.write('{"how": "lo')
    keys = ("how", "from_step", "to_step", "reached")
    expected = [("lost", 0, 4, 6), ("done", 4, 9, 9)]
    assert [tuple(line[key] for key in keys) for line in run.past_attempts("frozen")] == expected
    record(run.attempts("frozen"), Outcome("done"), (9, 10), 0, 3.0)
    assert [tuple(line[key] for key in keys) for line in run.past_attempts("frozen")] == [
        *expected,
        ("done", 9, 10, 10),
    ]


def test_files_of_probabilities_are_an_evaluations_progress(tmp_path):
    run = Run(tmp_path, Settings(data="d"))
    for number, part in enumerate(("a/00000.h5", "a/00001.h5", "b/00000.h5"), 1):
        file = run.probabilities / part
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        assert batch.steps_done(run, EVALUATE) == number


def test_files_of_probabilities_and_shards_are_progress_of_a_stage_that_labels_pictures(tmp_path):
    run = Run(tmp_path, Settings(data="d", unlabelled="/new", stages=("frozen", "pseudo")))
    files = (run.probabilities / "a" / "00000-1.h5", run.pseudo_labels("pseudo") / "shard-00000-of-00001.h5")
    for number, file in enumerate(files, 1):
        file.parent.mkdir(parents=True)
        file.touch()
        assert (batch.steps_done(run, "pseudo"), batch.steps_done(run, "frozen")) == (number, 0)
    run.checkpoints("pseudo").mkdir()
    (run.checkpoints("pseudo") / "step-0000004.json").touch()
    assert batch.steps_done(run, "pseudo") == 6
