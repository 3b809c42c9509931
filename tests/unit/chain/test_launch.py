from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudseg import launch, resume
from cloudseg.chain import begin, launch_options, plan, preflight, selection, submission
from cloudseg.core import errors, lock, provenance, run, signals
from cloudseg.core.errors import UsageError
from cloudseg.slurm import sites
from cloudseg.slurm.script import Job

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ("launch", "job", "train", "evaluate", "weights", "models", "recipes", "study", "demo")


def cloudseg(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("CLOUDSEG_", "SLURM_"))}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *arguments],
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def said(process: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of stderr that are the command's own."""
    return [line for line in process.stderr.splitlines() if not line.startswith("import time:")]


def imported(process: subprocess.CompletedProcess[str]) -> set[str]:
    rows = (line.rsplit("|", 1) for line in process.stderr.splitlines() if line.startswith("import time:"))
    return {row[-1].strip().split(".")[0] for row in rows}


@pytest.mark.parametrize("module", [*(f"cloudseg.{name}" for name in COMMANDS), "preprocess"])
def test_help_needs_no_tensorflow(module, tmp_path):
    process = cloudseg(module, "--help", cwd=tmp_path)
    assert process.returncode == 0
    assert "usage: python -m" in process.stdout
    assert not imported(process) & {"tensorflow", "horovod", "keras"}


def test_a_dry_run_prints_the_four_scripts_and_needs_no_slurm_and_no_tensorflow(tmp_path):
    process = cloudseg("cloudseg.launch", "--stages", "all", "--dry-run", cwd=tmp_path, PATH="/nowhere")
    assert process.returncode == 0
    assert process.stdout.count("#!/usr/bin/env bash") == 4
    assert process.stdout.count("#SBATCH --dependency=afterok:JOB_ID_OF_") == 3
    assert not imported(process) & {"tensorflow", "horovod", "keras", "submitit"}
    assert list(tmp_path.iterdir()) == []


def test_without_data_one_line_says_what_to_type(tmp_path):
    process = cloudseg("cloudseg.launch", "--stages", "all", cwd=tmp_path)
    assert process.returncode == 2
    assert len(said(process)) == 1
    assert "python -m preprocess --csv" in said(process)[0]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Type `launch` in this process, in an empty folder, as users should not; returns the one line of the error."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("CLOUDSEG_", "SLURM_"))]:
        monkeypatch.delenv(name)

    def typed(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["launch", *arguments])
        with pytest.raises(SystemExit) as ended, contextlib.ExitStack() as after:
            after.enter_context(contextlib.redirect_stdout(io.StringIO()))
            said = after.enter_context(contextlib.redirect_stderr(io.StringIO()))
            for number in signals.STOP_SIGNALS:  # which `run_command` takes
                after.callback(signal.signal, number, signal.getsignal(number))
            after.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
            errors.run_command(launch.main)
        assert ended.value.code == 2
        (line,) = said.getvalue().splitlines()
        return line

    return typed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "the stages are missing"),
        ("--study lr --values 1e-2 --stages all", "exclude each other"),
        ("--study lr", "learning rates are missing"),
        ("--stages all --values 1e-2", "add: --study lr"),
        ("--study lr --values 1e-2 --epochs 0", "must be at least 1, not 0"),
        ("--study lr --values 1e-2,0.01", "is there twice"),
        ("--study lr --values 1e-2", "no data set is named"),
        ("--study lr --values 1e-2 --data nothing", "nothing/manifest.json is not there"),
        ("--stages all --data nothing", "nothing/manifest.json is not there"),
        ("--stages frozen,ful", "no stage 'ful'"),
        ("--stages full,pseudo --data d", "there are no pictures to label; begin a run with: --unlabelled DIR"),
        ("--stages full,pseudo --data d --unlabelled none", "manifest.json is not there"),
        ("--stages preprocess,all --data d", "--csv train.csv --images train_images"),
    ],
)
def test_a_wrong_command_is_one_line_and_writes_nothing(refusal, arguments, expected, tmp_path):
    assert expected in refusal(*arguments.split())
    assert list(tmp_path.iterdir()) == []


def test_stages_run_in_the_order_of_the_chain_however_they_are_named():
    assert selection.parse_stages("evaluate,full,frozen", ("frozen", "partial", "full", "evaluate")) == [
        "frozen",
        "full",
        "evaluate",
    ]


@pytest.fixture
def prepared(tmp_path, monkeypatch) -> run.Run:
    monkeypatch.setattr(preflight, "check", lambda settings: None)
    monkeypatch.setattr(provenance, "made", lambda data: {"data_sha256": "0"})
    return begin.run(tmp_path / "r", [("--data", {"data": "/shards"})])


def finish(prepared: run.Run, stage: str) -> None:
    prepared.stage(stage).mkdir()
    prepared.done_file(stage).write_text(json.dumps({"stage": stage}))


def test_a_chain_goes_on_from_the_first_stage_that_is_not_done(prepared):
    finish(prepared, "frozen")
    assert selection.remaining(prepared, ["frozen", "partial", "full"]) == ["partial", "full"]


def test_after_stages_that_are_left_the_evaluation_is_made_again(prepared):
    finish(prepared, "frozen")
    prepared.evaluation.mkdir()
    prepared.metrics.write_text('{"dice": 0.5}')
    assert selection.remaining(prepared, ["frozen", "evaluate"]) == []
    assert selection.remaining(prepared, ["frozen", "partial", "evaluate"]) == ["partial", "evaluate"]


def test_a_stage_that_was_submitted_by_hand_and_runs_is_not_queued_beside(prepared, slurm):
    prepared.jobs.mkdir()
    (slurm / "queue").write_text("100|RUNNING\n")
    with lock.hold(prepared.lock("frozen"), "a", lambda owner: False, ""):
        owner = json.loads(prepared.lock("frozen").read_text())
        prepared.lock("frozen").write_text(json.dumps({**owner, "job": "100"}))
        assert submission.queued(prepared) == {"frozen": "100"}
        (slurm / "queue").write_text("")
        assert submission.queued(prepared) == {}


@pytest.mark.parametrize(
    ("shape", "planned"), [((2, 4), None), ((1, 4), "8"), ((1, 3), UsageError), ((4, 4), UsageError)]
)
def test_a_stage_that_goes_on_with_fewer_ranks_has_them_do_the_work_of_all(prepared, shape, planned):
    prepared.checkpoints("frozen").mkdir(parents=True)
    (prepared.checkpoints("frozen") / "step-0000200.json").write_text('{"ranks": 8}')
    resources = sites.load("ruche").train
    job = Job("frozen", dataclasses.replace(resources, nodes=shape[0], tasks_per_node=shape[1]), "true", "log")
    if planned is UsageError:
        with pytest.raises(UsageError, match="started on 8 ranks"):
            plan.rank_exports(prepared.path, "frozen", prepared.settings, job)
    else:
        exports = plan.rank_exports(prepared.path, "frozen", prepared.settings, job)
        assert dict(exports).get("CLOUDSEG_RANKS") == planned


def test_a_stage_whose_start_is_missing_is_refused_with_what_to_type(prepared):
    with pytest.raises(UsageError, match="--stages frozen,partial,full,evaluate$"):
        selection.require_before([prepared], ["full", "evaluate"], preprocessing=False)
    with pytest.raises(UsageError, match="--stages preprocess,frozen,partial$"):
        selection.require_before([prepared], ["partial"], preprocessing=True)
    finish(prepared, "frozen")
    with pytest.raises(UsageError, match="--stages partial,full$"):
        selection.require_before([prepared], ["full"], preprocessing=False)
    selection.require_before([prepared], ["partial", "full", "evaluate"], preprocessing=False)


@pytest.fixture
def labels(tmp_path) -> tuple[str, ...]:
    """What names images and labels, which are there, and shards, which are not."""
    (tmp_path / "train.csv").touch()
    (tmp_path / "images").mkdir()
    data = tmp_path / "shards"
    return "--csv", str(tmp_path / "train.csv"), "--images", str(tmp_path / "images"), "--data", str(data)


@pytest.fixture
def head(slurm, tmp_path, labels):
    """Queues a chain that begins with preprocessing."""

    def launch_(*options: str) -> None:
        fixed = ("--stages", "preprocess,all", "--run", str(tmp_path / "r"), *labels, "--nodes", "1")
        launch.main([*fixed, "--set", "weights=none", *options])

    return launch_


def test_preprocessing_is_an_array_at_the_head_of_the_chain(head, slurm, tmp_path, capsys):
    head("--shards", "4", "--dry-run")
    text = capsys.readouterr().out
    assert text.startswith("# sbatch script of preprocess\n")
    assert "#SBATCH --array=0-3\n" in text
    assert f'--out {tmp_path}/shards --size 320x480 --shards 4 --shard-index "$SLURM_ARRAY_TASK_ID"\n' in text
    assert "#SBATCH --dependency=afterok:JOB_ID_OF_PREPROCESS\n" in text
    assert not (tmp_path / "r").exists()


def options(text: str) -> list[list[str]]:
    """The sbatch options of each script in the output of a dry run."""
    scripts = text.split("#!/usr/bin/env bash")[1:]
    return [[line.split()[1] for line in script.splitlines() if line.startswith("#SBATCH")] for script in scripts]


def test_reservation_excluded_nodes_and_begin_reach_the_jobs_that_they_are_for(head, capsys):
    head("--reservation", "clouds", "--exclude", "n[1-2]", "--begin", "now+2hours", "--throttle", "8", "--dry-run")
    preprocess, *stages = options(capsys.readouterr().out)
    assert {"--exclude=n[1-2]", "--begin=now+2hours", "--array=0-31%8"} <= set(preprocess)
    assert "--reservation=clouds" not in preprocess  # it may have no node of this partition
    assert all({"--reservation=clouds", "--exclude=n[1-2]", "--begin=now+2hours"} <= set(each) for each in stages)
    assert not any(option.startswith("--array") for each in stages for option in each)


def test_arrays_of_folds_and_trials_have_the_throttle_too(head, tmp_path, capsys):
    head("--folds", "0-4", "--throttle", "2", "--dry-run")
    arrays = [option for each in options(capsys.readouterr().out) for option in each if option.startswith("--array")]
    assert arrays == ["--array=0-31%2", *["--array=0,1,2,3,4%2"] * 3]
    launch.main(["--study", "lr", "--values", "1,2", "--throttle", "1", "--dry-run", "--run", str(tmp_path / "s")])
    assert "--array=0,1%1" in options(capsys.readouterr().out)[0]


def test_resume_asks_again_for_the_throttle_and_the_reservation_but_not_for_the_begin(head, tmp_path, monkeypatch):
    head("--folds", "0,1", "--throttle", "8", "--reservation", "clouds", "--begin", "20:00")
    words = launch_options.load(tmp_path / "r" / "jobs")
    assert "--begin" not in words
    assert words[words.index("--throttle") + 1] == "8" and words[words.index("--reservation") + 1] == "clouds"


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_a_throttle_is_a_number_of_tasks(number, capsys):
    with pytest.raises(SystemExit) as ended:
        launch.parser().parse_args(["--stages", "all", f"--throttle={number}"])
    assert ended.value.code == 2
    assert "is not a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize("folds", [(), ("--folds", "0,1")])
def test_preprocessing_alone_is_queued(slurm, tmp_path, labels, folds, capsys):
    fixed = ("--stages", "preprocess", "--run", str(tmp_path / "r"), *labels, *folds)
    launch.main([*fixed, "--set", "weights=none"])
    assert run.open_run(tmp_path / "r").queued() == {"preprocess": "41"}
    assert "32 tasks" in capsys.readouterr().out


def test_each_fold_waits_for_preprocessing_too(head, tmp_path):
    head("--folds", "0,1")
    script = (tmp_path / "r" / "jobs" / "frozen-1.sbatch").read_text()
    assert "#SBATCH --dependency=afterok:41\n" in script
    assert run.open_run(tmp_path / "r").queued() == {"preprocess": "41", "evaluate": "45"}


def test_resume_asks_for_preprocessing_again_as_long_as_there_are_no_shards(head, slurm, tmp_path, monkeypatch):
    head("--folds", "0,1", "--shards", "4")
    monkeypatch.setattr("sys.argv", ["resume", str(tmp_path / "r")])
    resume.main()
    assert (slurm / "calls").read_text().splitlines()[5] == f"--parsable {tmp_path}/r/jobs/preprocess.sbatch"


@pytest.mark.parametrize("command", ["cloudseg.launch", "cloudseg.status", "preprocess"])
def test_a_python_without_the_packages_is_told_to_activate_the_environment(command, tmp_path):
    without = subprocess.run(  # -S: no site-packages
        [sys.executable, "-S", "-m", command], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert without.returncode == 2
    assert without.stderr.startswith("error: ") and "type: source .venv/bin/activate" in without.stderr
    assert without.stderr.count("\n") == 1
