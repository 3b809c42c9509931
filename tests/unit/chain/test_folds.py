"""A cross-validation: which jobs it makes, and what is left of it when it is launched again."""

from __future__ import annotations

import json
import re
import sys

import pytest

from cloudseg import launch, resume
from cloudseg.chain import folds, preflight
from cloudseg.core import provenance, run
from cloudseg.core.errors import CloudsegError, UsageError


def test_folds_are_a_range_or_a_list():
    assert folds.parse("0-4") == (0, 1, 2, 3, 4)
    assert folds.parse("3") == (3,)
    assert folds.parse("0,2") == (0, 2)


@pytest.mark.parametrize("text", ["", "a", "4-0", "0-", "0,,1", "-1"])
def test_what_names_no_folds_is_refused_with_what_to_type(text):
    with pytest.raises(UsageError, match="--folds 0-4"):
        folds.parse(text)


def test_folds_of_which_the_same_is_left_share_their_arrays():
    left = {0: ["full"], 1: [], 2: ["partial", "full"], 3: ["full"]}
    assert folds.groups(left) == [folds.Group((0, 3), ("full",)), folds.Group((2,), ("partial", "full"))]


@pytest.fixture
def whole(slurm, tmp_path, monkeypatch):
    """The folder of a cross-validation of three folds, on a machine with these commands of Slurm."""
    monkeypatch.setattr(preflight, "check", lambda settings: None)
    monkeypatch.setattr(provenance, "made", lambda data: {"data_sha256": "0"})
    return tmp_path / "cv"


def type_(whole, *options, stages="all"):
    launch.main(
        ["--stages", stages, "--run", str(whole), "--data", "/shards", "--folds", "0-2", "--nodes", "1", *options]
    )


def calls(slurm) -> list[str]:
    return (slurm / "calls").read_text().splitlines()


def option(whole, script: str, name: str) -> str | None:
    found = re.search(rf"^#SBATCH --{name}=(.*)$", (whole / "jobs" / f"{script}.sbatch").read_text(), re.MULTILINE)
    return found and found[1]


def finish(whole, fold: int, *stages: str) -> None:
    member = run.open_run(whole / f"fold-{fold}")
    for stage in stages:
        member.stage(stage).mkdir()
        member.done_file(stage).write_text(json.dumps({"stage": stage}))


def test_stages_are_arrays_each_task_after_its_own_fold_and_the_evaluation_after_all(whole, slurm):
    type_(whole)
    assert len(calls(slurm)) == 4
    assert [option(whole, f"{stage}-1", "array") for stage in ("frozen", "partial", "full")] == ["0,1,2"] * 3
    assert option(whole, "frozen-1", "dependency") is None
    assert option(whole, "partial-1", "dependency") == "aftercorr:41"
    assert option(whole, "full-1", "dependency") == "aftercorr:42"
    assert option(whole, "evaluate", "dependency") == "afterok:43"
    assert option(whole, "full-1", "output") == f"{whole}/fold-%a/jobs/full.log"
    assert run.open_run(whole / "fold-1").queued() == {"frozen": "41_1", "partial": "42_1", "full": "43_1"}
    assert run.open_run(whole).queued() == {"evaluate": "44"}


def test_each_fold_is_a_run_that_validates_on_it_and_the_rest_is_as_it_was_given(whole):
    type_(whole, "--set", "seed=7")
    settings = [run.open_run(whole / f"fold-{fold}").settings for fold in range(3)]
    assert [(each.fold, each.folds, each.seed) for each in settings] == [(fold, (), 7) for fold in range(3)]
    assert run.open_run(whole).settings.folds == (0, 1, 2)


def test_what_is_left_of_a_broken_fold_is_queued_and_the_evaluation_waits_for_the_others_too(whole, slurm, capsys):
    type_(whole)
    finish(whole, 0, "frozen", "partial", "full")
    finish(whole, 1, "frozen")
    waiting = "|PENDING|None|0:00|1:00||(null)"
    (slurm / "queue").write_text(f"42_2|RUNNING|None|0:00|1:00|n1|(null)\n43_2{waiting}\n44{waiting}\n")
    type_(whole)
    assert "fold 2 is queued already, and not queued twice: partial 42_2, full 43_2" in capsys.readouterr().out
    assert option(whole, "partial-1", "array") == option(whole, "full-1", "array") == "1"
    assert option(whole, "partial-1", "dependency") is None
    assert option(whole, "evaluate", "dependency") == "afterok:43_2:46"
    assert calls(slurm)[-1] == "scancel 44"
    assert run.open_run(whole / "fold-1").queued() == {"frozen": "41_1", "partial": "45_1", "full": "46_1"}


def test_folds_whose_first_stages_are_in_the_queue_are_not_judged_without_the_last(whole, slurm, capsys):
    type_(whole, stages="frozen")
    (slurm / "queue").write_text("".join(f"41_{fold}|PENDING|None|0:00|1:00||(null)\n" for fold in range(3)))
    with pytest.raises(UsageError, match="fold 0 has frozen in the queue; partial, full can be queued when"):
        type_(whole)
    assert len(calls(slurm)) == 1


def test_a_fold_goes_on_with_the_options_of_the_launch(whole, slurm, monkeypatch):
    type_(whole, "--time", "07:00:00")
    monkeypatch.setattr(sys, "argv", ["resume", str(whole / "fold-2"), "--dry-run"])
    launched = []
    monkeypatch.setattr(resume.launch, "main", launched.extend)
    resume.main()
    assert launched[launched.index("--time") + 1] == "07:00:00"


def test_what_is_all_queued_is_not_queued_again(whole, slurm, capsys):
    type_(whole)
    held = [f"{array}_{fold}" for array in (41, 42, 43) for fold in range(3)] + ["44"]
    (slurm / "queue").write_text("".join(f"{number}|PENDING|None|0:00|1:00||(null)\n" for number in held))
    type_(whole)
    assert "to stop them: python -m cloudseg.cancel" in capsys.readouterr().out
    assert len(calls(slurm)) == 4


def test_an_array_that_sbatch_refuses_takes_those_before_with_it(whole, slurm):
    (slurm / "bin" / "sbatch").write_text(
        f"#!/bin/sh\ncd {slurm}\necho called >>calls\n[ $(wc -l <calls) -lt 3 ] && echo 41 || (echo no >&2; exit 1)\n"
    )
    with pytest.raises(CloudsegError, match="sbatch refused"):
        type_(whole)
    assert calls(slurm)[-1] == "scancel 41 41"


def test_a_dry_run_prints_arrays_and_evaluation_and_makes_nothing(whole, capsys):
    type_(whole, "--dry-run")
    text = capsys.readouterr().out
    assert re.findall("^# sbatch script of (.*)$", text, re.MULTILINE) == [
        "stage frozen of folds 0, 1, 2", "stage partial of folds 0, 1, 2", "stage full of folds 0, 1, 2",
        "the evaluation of all folds",
    ]  # fmt: skip
    assert "#SBATCH --dependency=aftercorr:JOB_ID_OF_PARTIAL\n" in text
    assert "#SBATCH --dependency=afterok:JOB_ID_OF_FULL\n" in text
    assert not whole.exists()


def test_status_names_the_stages_of_each_fold_and_cancel_ends_them_all(whole, slurm, monkeypatch, capsys):
    from cloudseg import cancel, status

    type_(whole)
    finish(whole, 0, "frozen")
    waiting = "|PENDING|Dependency|0:00|1:00||aftercorr:41_*(unfulfilled)"
    (slurm / "queue").write_text(f"41_1|RUNNING|None|0:10|1:00|n1|(null)\n42_1{waiting}\n44{waiting}\n")
    monkeypatch.setattr(sys, "argv", ["status", str(whole), "--json"])
    capsys.readouterr()
    status.main()
    stages = json.loads(capsys.readouterr().out)["stages"]
    found = {(each["run"].rpartition("/")[2], each["stage"]): each for each in stages}
    assert len(found) == 10
    assert found["fold-0", "frozen"]["state"] == "done"
    assert found["fold-1", "frozen"]["state"] == "running"
    assert found["fold-1", "partial"]["why"] == "waits for frozen"
    assert found["fold-2", "full"]["state"] == "lost"
    assert found["cv", "evaluate"]["state"] == "queued"
    monkeypatch.setattr(sys, "argv", ["cancel", str(whole)])
    cancel.main()
    assert calls(slurm)[-1] == "scancel 44 42_1 41_1"
