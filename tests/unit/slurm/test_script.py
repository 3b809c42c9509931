from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cloudseg import launch
from cloudseg.chain import plan
from cloudseg.core import attempt
from cloudseg.core.errors import UsageError
from cloudseg.slurm import durations, script, sites

ROOT = Path(__file__).resolve().parents[3]
RUCHE = sites.load("ruche")


@pytest.mark.parametrize("name", sorted(script.jobs_files(RUCHE)))
def test_the_files_in_jobs_are_what_the_launcher_renders(name):
    assert (ROOT / "jobs" / name).read_text() == script.jobs_files(RUCHE)[name], "make jobs-files writes them again"


def test_jobs_holds_nothing_else():
    assert {path.name for path in (ROOT / "jobs").iterdir()} == set(script.jobs_files(RUCHE))


@pytest.mark.parametrize(("stage", "file"), [("frozen", "train_stage1.slurm"), ("evaluate", "evaluate.slurm")])
def test_a_launched_job_differs_from_the_submitted_one_only_in_paths_and_what_runs_it(stage, file, tmp_path):
    args = launch.parser().parse_args(["--stages", stage, "--run", str(tmp_path), "--site", "ruche"])
    launched = script.script(plan.stage_jobs(tmp_path, [stage], args, "CODE")[stage]).splitlines()
    by_hand = [line for line in (ROOT / "jobs" / file).read_text().splitlines() if not line.startswith("# ")]
    by_hand = [line for line in by_hand if line != "#"]
    only = ("#SBATCH --job-name=", "#SBATCH --output=", "export ", "exec ")
    assert [line for line in launched if not line.startswith(only)] == [
        line for line in by_hand if not line.startswith(only)
    ]


def test_a_dependent_is_cancelled_when_what_it_waits_for_fails():
    job = script.stage_job("full", RUCHE, "runs/r", "log")
    text = script.script(dataclasses.replace(job, dependency=script.afterok("41")))
    assert "#SBATCH --dependency=afterok:41\n#SBATCH --kill-on-invalid-dep=yes\n" in text


def test_options_come_before_the_first_command():
    lines = script.script(script.preprocess_job(RUCHE, "0-3")).splitlines()
    last_option = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[: last_option + 1])


@pytest.mark.parametrize("name", sorted(path.stem for path in sites.FOLDER.glob("*.toml")))
def test_every_site_file_loads(name):
    assert sites.load(name).train.partition


def test_an_unknown_site_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'ruche'"):
        sites.load("rouche")


def test_a_wrong_key_in_a_site_file_is_named(tmp_path):
    (tmp_path / "x.toml").write_text(
        (sites.FOLDER / "ruche.toml").read_text().replace("cpus_per_task", "cpus_per_tasks")
    )
    with pytest.raises(UsageError, match="did you mean 'cpus_per_task'"):
        sites.load(str(tmp_path / "x.toml"))


def test_a_task_of_an_array_requeues_itself_and_not_the_array():
    ours = {"SLURM_JOB_ID": "7", "CLOUDSEG_JOB": "7"}
    assert attempt.cloudseg_job(ours) == "7"
    assert attempt.cloudseg_job({**ours, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}) == "7_1"


@pytest.mark.parametrize("marked", [{}, {"CLOUDSEG_JOB": "6"}, {"CLOUDSEG_JOB": ""}])
def test_a_job_that_cloudseg_did_not_submit_is_not_ours(marked):
    assert attempt.cloudseg_job({"SLURM_JOB_ID": "7", **marked}) is None


def test_every_script_says_that_its_job_is_ours():
    assert "\nexport CLOUDSEG_JOB=$SLURM_JOB_ID\n" in script.script(script.preprocess_job(RUCHE, "0-3"))


def test_two_commands_in_one_shell_of_a_session_do_not_share_a_folder():
    shell = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}
    assert attempt.current_key(shell) != attempt.current_key(shell)
    step = {**shell, "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
    assert attempt.current_key(step) == attempt.current_key(step)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800), ("2:30", 150), ("1:00:00", 3600), ("1-12", 129600), ("1-12:30:00", 131400), ("24:00:00", 86400),
        ("UNLIMITED", None), ("INVALID", None), ("", None), ("1:2:3:4", None),
    ],
)  # fmt: skip
def test_slurms_times(text, seconds):
    assert durations.seconds(text) == seconds


def test_a_short_job_is_signalled_late_enough_to_have_done_something():
    job = script.stage_job("full", RUCHE, "runs/r", "log", time="00:04:00")
    assert "--signal=USR2@60\n" in script.script(job)
    assert "export CLOUDSEG_LEAD_S=60" in script.script(job)


def test_an_elastic_job_takes_fewer_nodes_and_knows_how_many_ranks_it_was_meant_to_have():
    job = script.stage_job("full", RUCHE, "runs/r", "log", nodes=4)
    assert "--nodes=4\n" in script.script(job)
    text = script.script(dataclasses.replace(job, elastic=True))
    assert "--nodes=1-4\n" in text
    assert "export CLOUDSEG_RANKS=16" in text


@pytest.mark.parametrize("path", ["runs/a b", "runs/a\n#SBATCH --wrap=evil", 'runs/"a'])
def test_a_path_that_would_become_other_options_is_refused(path):
    with pytest.raises(UsageError, match="choose another folder, with --run"):
        script.script(script.stage_job("full", RUCHE, "runs/r", f"{path}/log"))


def test_what_jobs_export_is_text_and_no_command():
    job = dataclasses.replace(script.stage_job("full", RUCHE, "r", "log"), exports=(("CLOUDSEG_HOME", "$(touch x) y"),))
    assert "export CLOUDSEG_HOME='$(touch x) y'\n" in script.script(job)
