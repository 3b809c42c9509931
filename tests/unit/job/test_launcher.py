from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudseg.core.errors import UsageError
from cloudseg.job import launcher


def python(code: str) -> list[str]:
    return ["-c", code]


def test_every_rank_is_told_its_number(tmp_path):
    code = "import os, pathlib; pathlib.Path(os.environ['OUT'], os.environ['CLOUDSEG_RANK']).touch()"
    os.environ["OUT"] = str(tmp_path)
    try:
        assert launcher.local(python(code), 3) == 0
    finally:
        del os.environ["OUT"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(75)", 75), ("raise SystemExit(2)", 2)])
def test_the_ranks_exit_code_is_the_steps(code, expected):
    assert launcher.local(python(code), 2) == expected


def test_a_rank_that_is_killed_ends_the_step_as_a_shell_would_say(monkeypatch):
    monkeypatch.setattr(launcher, "GRACE_S", 0.2)
    code = "import os, time; os.kill(os.getpid(), 9) if os.environ['CLOUDSEG_RANK'] == '1' else time.sleep(60)"
    began = time.monotonic()
    assert launcher.local(python(code), 2) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 30


def test_ranks_do_not_outlive_what_started_them(tmp_path):
    rank = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    starter = subprocess.Popen(
        [sys.executable, "-c", f"from cloudseg.job import launcher; launcher.local(['-c', {rank!r}], 1)"]
    )
    try:
        pid = wait_for(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else "")
    finally:
        starter.kill()
        starter.wait()
    assert wait_for(lambda: not runs(int(pid)))


def test_a_stop_signal_reaches_the_ranks_and_is_waited_for(tmp_path):
    rank = (
        "import pathlib, time\n"
        "from cloudseg.core.signals import stop\n"
        "stop.exit_at_once()\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", f"from cloudseg.job import launcher; exit(launcher.local(['-c', {rank!r}], 1))"]
    )
    try:
        assert wait_for((tmp_path / "ready").exists)
        starter.terminate()
        assert starter.wait(30) == 75
    finally:
        starter.kill()


def test_a_second_ctrl_c_ends_ranks_that_do_not_leave(tmp_path):
    rank = f"import pathlib, time; pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(60)"
    code = (
        "from cloudseg.job import launcher\nfrom cloudseg.core.errors import run_command\n"
        f"run_command(lambda: launcher.local(['-c', {rank!r}], 1))"
    )
    starter = subprocess.Popen([sys.executable, "-c", code])
    try:
        assert wait_for((tmp_path / "ready").exists)
        starter.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            starter.wait(1)
        starter.send_signal(signal.SIGINT)
        assert starter.wait(30) == 75
    finally:
        starter.kill()


def test_srun_takes_cpus_from_the_job_and_the_sites_options():
    command = launcher.srun_command({"SLURM_CPUS_PER_TASK": "10"}, ["--exclusive"])
    assert command[0] == "srun"
    assert {"--cpus-per-task=10", "--wait=30", "--mpi=none", "--exclusive"} <= set(command)


@pytest.mark.parametrize(("nodes", "used"), [(4, 4), (3, 2), (2, 2), (1, 1)])
def test_an_elastic_step_uses_the_most_nodes_that_share_the_work_evenly(nodes, used):
    environ = {"CLOUDSEG_RANKS": "16", "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_NTASKS_PER_NODE": "4"}
    assert {f"--nodes={used}", f"--ntasks={4 * used}"} <= set(launcher.srun_command(environ, []))


def test_work_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UsageError, match="9 ranks cannot be divided evenly among nodes with 4 ranks"):
        launcher.usable_nodes(9, 2, 4)


def wait_for(condition, seconds: float = 20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
