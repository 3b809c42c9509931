"""A learning-rate study up to where trials train: its command line, its folder, what Slurm is sent, its table."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cloudseg import launch
from cloudseg.chain import begin, preflight, study, trials
from cloudseg.core import provenance, run
from cloudseg.core.errors import CloudsegError, Stopped, UsageError
from cloudseg.job import batch
from tests.unit.chain.test_launch import cloudseg, imported

HEAVY = {"tensorflow", "horovod", "keras", "submitit", "matplotlib", "pandas"}
DATA = [("--data", {"data": "/shards"})]


@pytest.fixture(autouse=True)
def no_data_needed(monkeypatch):
    monkeypatch.setattr(preflight, "check", lambda settings: None)
    monkeypatch.setattr(provenance, "made", lambda data: {"data_sha256": "0"})
    for name in [name for name in os.environ if name.startswith(("CLOUDSEG_", "SLURM_"))]:
        monkeypatch.delenv(name)


def made(folder: Path, *rates: float, given=DATA, epochs: int | None = None) -> trials.Study:
    planned = trials.plan(folder, rates, given)
    trials.prepare(planned, given, epochs)
    return planned


def typed(monkeypatch, folder: Path, *arguments: str) -> None:
    """`launch --study lr`, in this process."""
    monkeypatch.setattr("sys.argv", ["launch", "--study", "lr", "--run", str(folder), *arguments])
    launch.main()


def finish(of: trials.Study, index: int, dices=(0.2, 0.4, 0.3)) -> None:
    """Leave what a trial leaves that has trained to its end."""
    epochs(of, index, dices)
    run.open_run(of.trial(index)).done_file(of.stage).write_text("{}")


def epochs(of: trials.Study, index: int, dices) -> None:
    history = run.open_run(of.trial(index)).history(of.stage)
    history.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{epoch},{dice},{1 - dice:g}" for epoch, dice in enumerate(dices, 1)]
    history.write_text("\n".join(["epoch,dice,val_loss", *rows, ""]))


def test_help_of_the_jobs_command_imports_nothing_heavy(tmp_path):
    process = cloudseg("cloudseg.study", "--help", cwd=tmp_path)
    assert process.returncode == 0
    assert "usage: python -m cloudseg.study" in process.stdout
    assert not imported(process) & HEAVY


def test_rates_are_numbers_above_zero():
    assert trials.parse_rates("1e-2,0.001") == (0.01, 0.001)


@pytest.mark.parametrize("text", ["", "1e-2,", "1e-2,x", "0", "-1e-3", "inf", "nan"])
def test_what_is_no_learning_rate_is_refused(text):
    with pytest.raises(UsageError, match="is no number above 0"):
        trials.parse_rates(text)


def test_a_rate_that_is_there_twice_is_refused():
    with pytest.raises(UsageError, match="0.01 is there twice"):
        trials.parse_rates("1e-2,1e-3,0.01")


def test_a_dry_run_prints_two_scripts_and_needs_no_slurm_and_no_tensorflow(tmp_path):
    process = cloudseg(
        "cloudseg.launch", "--study", "lr", "--values", "1e-2,1e-3", "--dry-run", cwd=tmp_path, PATH="/nowhere"
    )
    assert process.returncode == 0
    array, comparison = process.stdout.split("#!/usr/bin/env bash")[1:]
    folder = tmp_path / "runs" / "study-lr"
    assert "#SBATCH --array=0,1\n" in array
    assert f"#SBATCH --output={folder}/jobs/trial-%a.log\n" in array
    assert f'exec python -u -m cloudseg.study --run {folder} --index "$SLURM_ARRAY_TASK_ID"\n' in array
    assert "#SBATCH --dependency=afterany:JOB_ID_OF_TRIALS\n" in comparison
    assert f"exec python -u -m cloudseg.study --run {folder}\n" in comparison
    assert "--array" not in comparison
    assert "--gres" not in comparison
    assert "without --dry-run this would fail: no data set is named" in process.stderr
    assert not imported(process) & HEAVY
    assert list(tmp_path.iterdir()) == []


def test_trials_are_runs_that_differ_only_in_the_rate_of_the_first_stage(tmp_path):
    study = made(tmp_path / "s", 1e-2, 1e-5, given=[*DATA, ("--set", {"seed": 7})], epochs=3)
    one, other = (run.open_run(study.trial(index)).settings for index in (0, 1))
    assert study.trial(1).name == "lr-1e-05"
    assert (one.stage["frozen"].lr, one.stage["frozen"].epochs, one.seed) == (1e-2, 3, 7)
    assert (other.stage["frozen"].lr, other.stage["frozen"].epochs, other.seed) == (1e-5, 3, 7)
    assert one.stages == ("frozen", "partial", "full")
    assert {key: one.stage[key] for key in ("partial", "full")} == {
        key: other.stage[key] for key in ("partial", "full")
    }


def test_the_stage_is_the_first_of_the_recipe(tmp_path):
    study = made(tmp_path / "s", 1e-2, given=[*DATA, ("--set", {"recipe": "paper-vanilla"})])
    assert study.stage == "full"


def test_more_rates_join_a_study_behind_those_it_has_and_with_its_settings(tmp_path):
    before = made(tmp_path / "s", 1e-2, 1e-3, given=[*DATA, ("--set", {"seed": 7})], epochs=3)
    finish(before, 0)
    files = {path: path.read_bytes() for path in before.path.rglob("*") if path.is_file()}
    after = made(tmp_path / "s", 1e-1, 1e-2, given=[])
    assert after.rates == (1e-2, 1e-3, 1e-1)
    assert json.loads((after.path / "study.json").read_text())["trials"][2] == {"lr": 0.1, "run": "lr-0.1"}
    assert trials.open_study(after.path) == after
    new = run.open_run(after.trial(2)).settings
    assert (new.data, new.seed, new.stage["frozen"].epochs) == ("/shards", 7, 3)
    assert study.remaining(after, (1e-1, 1e-2)) == [2]
    del files[before.path / "study.json"]
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize("given", [[("--set", {"seed": 8})], [("--set", {"recipe": "v100x8"}), *DATA]])
def test_a_study_refuses_other_settings_before_it_makes_a_trial_with_them(given, tmp_path):
    made(tmp_path / "s", 1e-2)
    with pytest.raises(UsageError, match="has other settings"):
        made(tmp_path / "s", 1e-3, given=given)
    assert len(trials.open_study(tmp_path / "s").rates) == 1
    assert not (tmp_path / "s" / "lr-0.001").exists()


def test_a_study_does_not_mix_with_a_run(tmp_path):
    begin.run(tmp_path / "r", DATA)
    with pytest.raises(UsageError, match="is a run; a study needs another folder"):
        trials.plan(tmp_path / "r", (1e-2,), DATA)


def test_a_study_that_is_not_there_says_how_to_start_it(tmp_path):
    with pytest.raises(UsageError, match="python -m cloudseg.launch --study lr"):
        trials.open_study(tmp_path)


def test_the_array_task_of_an_index_trains_the_trial_of_that_rate(tmp_path, monkeypatch):
    study = made(tmp_path / "s", 1e-2, 1e-3)
    trained = []
    monkeypatch.setattr(batch, "run_stage", lambda *call: trained.append(call))
    trials.train(study, 1, ranks=2)
    assert trained == [(tmp_path / "s" / "lr-0.001", "frozen", 2)]


def test_here_a_trial_that_fails_does_not_stop_the_others_and_is_named_with_its_log(tmp_path, monkeypatch, capfd):
    def run_stage(path, stage, ranks):
        subprocess.run(["echo", "what training prints"], check=True)
        if path.name == "lr-1":
            raise CloudsegError("diverged")
        finish(trials.open_study(tmp_path / "s"), 1)

    monkeypatch.setattr(batch, "run_stage", run_stage)
    typed(monkeypatch, tmp_path / "s", "--values", "1,1e-3", "--data", "/shards", "--cluster", "local")
    text = capfd.readouterr().out
    log = tmp_path / "s" / "jobs" / "trial-0.log"
    assert [line.split() for line in text.splitlines()[-4:-1]] == [
        ["learning", "rate", "best", "dice", "epoch", "final", "val.", "loss"],
        ["0.001", "0.4000", "2", "0.7000"],
        f"1 - - - failed, 0 of 25 epochs: {log}".split(),
    ]
    assert "what training prints" in log.read_text()
    assert "what training prints" not in text
    assert (tmp_path / "s" / "study.png").stat().st_size


def test_it_fails_only_if_no_trial_succeeds(tmp_path, monkeypatch, capfd):
    def run_stage(*call):
        raise CloudsegError("diverged")

    monkeypatch.setattr(batch, "run_stage", run_stage)
    with pytest.raises(CloudsegError, match="no trial is done"):
        typed(monkeypatch, tmp_path / "s", "--values", "1,2", "--data", "/shards", "--cluster", "local")
    assert capfd.readouterr().out.count("failed, 0 of 25 epochs") == 2
    assert not (tmp_path / "s" / "study.png").exists()


def test_here_a_signal_stops_the_study_and_not_only_the_trial(tmp_path, monkeypatch):
    trained = []

    def run_stage(path, *_):
        trained.append(path.name)
        raise Stopped("saved")

    monkeypatch.setattr(batch, "run_stage", run_stage)
    with pytest.raises(Stopped):
        typed(monkeypatch, tmp_path / "s", "--values", "1,2", "--data", "/shards", "--cluster", "local")
    assert trained == ["lr-1"]
    assert not list((tmp_path / "s" / "jobs").glob("*.failed"))


def test_a_study_that_is_done_is_only_compared(tmp_path, monkeypatch, capfd):
    finish(made(tmp_path / "s", 1e-2), 0)
    monkeypatch.setattr(batch, "run_stage", lambda *call: pytest.fail("trains again"))
    typed(monkeypatch, tmp_path / "s", "--values", "1e-2", "--cluster", "local")
    assert "all done" in capfd.readouterr().out
    typed(monkeypatch, tmp_path / "s", "--values", "1e-2", "--dry-run")
    assert "#SBATCH" not in capfd.readouterr().out


def test_a_trial_that_still_trains_is_compared_as_far_as_it_is(tmp_path, capsys):
    study = made(tmp_path / "s", 1e-2, 1e-3)
    epochs(study, 1, [0.5])
    trials.compare(study)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["0.001", "0.5000", "1", "0.5000"]
    assert "not done, 1 of 25 epochs" in lines[1]
    assert "not done, 0 of 25 epochs" in lines[2]


def test_a_loss_that_is_no_number_is_drawn_as_none(tmp_path, capsys):
    study = made(tmp_path / "s", 1e-2)
    epochs(study, 0, [float("nan")])
    trials.compare(study)
    assert "nan" in capsys.readouterr().out
    assert study.figure.exists()


def test_a_study_is_an_array_and_a_job_after_it(slurm, tmp_path, monkeypatch, capsys):
    typed(monkeypatch, tmp_path / "s", "--values", "1e-2,1e-3", "--data", "/shards", "--nodes", "1")
    jobs = tmp_path / "s" / "jobs"
    assert (slurm / "calls").read_text().splitlines() == [
        f"--parsable {jobs}/study.sbatch",
        f"--parsable {jobs}/study-table.sbatch",
    ]
    assert "#SBATCH --dependency=afterany:41\n" in (jobs / "study-table.sbatch").read_text()
    text = capsys.readouterr().out
    assert "trials   job 41: 2 tasks of 1 node x 4 ranks, gpu" in text
    assert "stop all: scancel 41 42" in text


def test_trials_are_not_queued_where_jobs_must_name_an_account(slurm, tmp_path, monkeypatch):
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    with pytest.raises(UsageError, match="type first: export SBATCH_ACCOUNT=PROJECT@v100"):
        typed(monkeypatch, tmp_path / "s", "--values", "1e-2", "--data", "/shards", "--site", "jeanzay")
    assert (slurm / "calls").read_text() == ""


def test_trials_that_are_queued_are_not_queued_twice_and_new_ones_are(slurm, tmp_path, monkeypatch, capsys):
    typed(monkeypatch, tmp_path / "s", "--values", "1e-2,1e-3", "--data", "/shards")
    (slurm / "queue").write_text("40_7|RUNNING\n41_1|PENDING\n42|PENDING\n")
    finish(trials.open_study(tmp_path / "s"), 0)
    typed(monkeypatch, tmp_path / "s", "--values", "1e-2,1e-3,1e-4")
    assert "learning rate 0.001 is queued already, job 41_1" in capsys.readouterr().out
    assert "#SBATCH --array=2\n" in (tmp_path / "s" / "jobs" / "study.sbatch").read_text()
    typed(monkeypatch, tmp_path / "s", "--values", "1e-3")
    assert "scancel 41_1" in capsys.readouterr().out
    assert len((slurm / "calls").read_text().splitlines()) == 4


def test_what_sbatch_refuses_is_said_in_its_words(slurm, tmp_path, monkeypatch):
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: gpu' >&2; exit 1\n")
    with pytest.raises(CloudsegError, match="invalid partition specified: gpu") as refused:
        typed(monkeypatch, tmp_path / "s", "--values", "1e-2", "--data", "/shards")
    assert refused.value.exit_code == 1


def test_trials_whose_comparison_is_refused_are_cancelled(slurm, tmp_path, monkeypatch):
    text = '#!/bin/sh\ncase "$*" in *table*) echo no >&2; exit 1;; *) echo 41;; esac\n'
    (slurm / "bin" / "sbatch").write_text(text)
    with pytest.raises(CloudsegError, match="sbatch refused"):
        typed(monkeypatch, tmp_path / "s", "--values", "1e-2", "--data", "/shards")
    assert (slurm / "calls").read_text() == "scancel 41\n"
