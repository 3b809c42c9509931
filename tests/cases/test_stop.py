"""A stop signal is a stop at every moment: the command ends soon, with 75, and nothing trains on or starts again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.cases.conftest import ONE_EPOCH, ROOT, TINY, clean_environment, settings

LONG = (*TINY, "stage.frozen.epochs=100000", "checkpoint.every_steps=1")
MOMENTS = int(os.environ.get("CLOUDSEG_STOP_MOMENTS", "6"))
SEED = int(os.environ.get("CLOUDSEG_STOP_SEED", "1"))
PATIENCE_S = 60
"""On a busy machine; far below the 300 s for which ranks wait for each other."""

Begin = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start `python -m WORDS` in a process group of its own, of which nothing is left after the test; it prints to the
    file `said`. `fresh` as in `processes`: a signal may come while modules are imported."""
    started: list[subprocess.Popen[bytes]] = []

    def begin_command(*words: object, fresh: bool = True, **environ: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "said").open("wb") as said:
            started.append(
                processes.Popen(
                    [sys.executable, "-m", *map(str, words)],
                    fresh=fresh,
                    cwd=ROOT,
                    env={**clean_environment(), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **environ},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # Tests may run under nohup. The server of processes sees to it by itself.
                    preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)) if fresh else None,
                )
            )
        return started[-1]

    yield begin_command
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def ranks(process: subprocess.Popen[bytes]) -> list[int]:
    """Children that have become a rank."""
    found = []
    for pid in children(process):
        with contextlib.suppress(OSError):
            if b"cloudseg.train" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def group(number: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, own, *_ = path.read_text().rpartition(")")[2].split()
            if int(own) == number and state != "Z":
                found.append(int(path.parent.name))
    return found


def takes_signals(pid: int) -> bool:
    """Whether SIGTERM no longer has its default effect: our first line has run."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def launch(run: Path, data: Path, *chosen: str, stages: str = "frozen") -> list[object]:
    """The command line of two ranks on this machine."""
    options = ["--stages", stages, "--cluster", "local", "--tasks-per-node", 2, "--run", run, "--data", data]
    return ["cloudseg.launch", *options, *settings(*chosen)]


def ended(run: Path) -> list[str]:
    """How each try of the first stage ended."""
    file = run / "jobs" / "frozen.attempts.jsonl"
    return [json.loads(line)["how"] for line in file.read_text().splitlines()] if file.exists() else []


def assert_stopped(process: subprocess.Popen[bytes], said: Path) -> None:
    assert process.wait(PATIENCE_S) == 75, said.read_text()
    assert_nothing_left(process)
    assert "Traceback" not in said.read_text()


def assert_nothing_left(process: subprocess.Popen[bytes]) -> None:
    """What a dead parent leaves behind sees that it is gone, and ends."""
    deadline = time.monotonic() + PATIENCE_S
    while left := group(process.pid):
        assert time.monotonic() < deadline, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_while_ranks_start_does_not_start_them_again(begin, data, tmp_path, number):
    process = begin(*launch(tmp_path / "run", data, *LONG))
    wait_for(lambda: ranks(process), process)
    process.send_signal(number)
    assert_stopped(process, tmp_path / "said")
    assert ended(tmp_path / "run") == ["stopped"]


def test_a_second_early_stop_is_no_failed_stage(begin, data, tmp_path):
    for _ in range(3):
        process = begin(*launch(tmp_path / "run", data, *LONG))
        wait_for(lambda process=process: ranks(process), process)
        process.terminate()
        assert_stopped(process, tmp_path / "said")
    assert ended(tmp_path / "run") == ["stopped"] * 3


def test_a_rank_that_waits_for_another_that_never_comes_can_be_stopped(begin, data, tmp_path):
    words = ["cloudseg.train", "--run", tmp_path / "new", "--stage", "frozen", "--data", data, *settings(*LONG)]
    process = begin(*words, CLOUDSEG_RANK="0", CLOUDSEG_SIZE="2", CLOUDSEG_ATTEMPT="attempt")
    wait_for((tmp_path / "new" / "jobs" / "attempts" / "attempt" / "rendezvous.json").exists, process)
    process.terminate()
    assert_stopped(process, tmp_path / "said")


def test_one_rank_told_to_stop_before_ranks_have_met_stops_all(begin, data, tmp_path):
    process = begin(*launch(tmp_path / "run", data, *LONG))
    wait_for(lambda: len(ranks(process)) == 2 and takes_signals(ranks(process)[1]), process)
    os.kill(ranks(process)[1], signal.SIGTERM)
    assert_stopped(process, tmp_path / "said")
    assert ended(tmp_path / "run") == ["stopped"]


def test_a_stop_while_the_launcher_reads_its_settings_is_no_crash(begin, data, tmp_path):
    os.mkfifo(tmp_path / "settings.toml")
    process = begin(*launch(tmp_path / "run", data), "--config", tmp_path / "settings.toml")
    wait_for(lambda: opened_to_read(tmp_path / "settings.toml"), process)
    process.terminate()
    assert_stopped(process, tmp_path / "said")


def opened_to_read(fifo: Path) -> bool:
    """Whether a process reads the FIFO; it then waits for more for as long as this one lives."""
    with contextlib.suppress(OSError):  # nobody does
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        return True
    return False


def test_a_stop_between_two_stages_begins_no_other(begin, data, tmp_path):
    once = [f"stage.{stage}.epochs=1" for stage in ("frozen", "partial")]
    words = launch(tmp_path / "run", data, *TINY, *once, stages="frozen,partial")
    process = begin(*words, fresh=False, CLOUDSEG_HOOK="kill -TERM $PPID; sleep 600")
    assert process.wait(240) == 75, (tmp_path / "said").read_text()
    assert not (tmp_path / "run" / "2-partial").exists()
    assert (tmp_path / "run" / "1-frozen" / "DONE.json").exists()


def test_a_stop_while_jobs_are_queued_leaves_none_that_would_be_queued_twice(begin, data, tmp_path):
    (tmp_path / "sbatch").write_text("#!/bin/sh\nkill -TERM $PPID\nsleep 0.5\necho Submitted batch job 4$$\n")
    for name in ("squeue", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\n")
    for name in ("sbatch", "squeue", "srun"):
        (tmp_path / name).chmod(0o755)
    words = ["cloudseg.launch", "--stages", "frozen,partial", "--cluster", "slurm", "--no-snapshot",
             "--run", tmp_path / "run", "--data", data, *settings(*TINY)]  # fmt: skip
    process = begin(*words, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert process.wait(PATIENCE_S) == 0, (tmp_path / "said").read_text()
    assert set(json.loads((tmp_path / "run" / "jobs" / "queued.json").read_text())) == {"frozen", "partial"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("to_all", [False, True])
def test_preprocessing_stops_without_a_rest_and_goes_on(begin, type_, demo, tmp_path, number, to_all):
    out = tmp_path / "out"
    words = ["preprocess", "--csv", demo / "train.csv", "--images", demo / "train_images", "--out", out,
             "--size", "64x96", "--folds", 4, "--workers", 2, "--shards", 4]  # fmt: skip
    process = begin(*words)
    wait_for(lambda: list(out.glob("shard-*.json")), process)
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert_stopped(process, tmp_path / "said")
    assert not list(out.glob(".tmp-*"))
    type_(*words)
    assert (out / "manifest.json").exists()


def test_ctrl_c_ends_what_only_looks_on_without_a_traceback(begin, type_, data, tmp_path):
    run = tmp_path / "run"
    # Makes the run, and then refuses the stage.
    type_("cloudseg.job", "--run", run, "--data", data, "--stage", "none", *settings(*TINY), expect=2)
    process = begin("cloudseg.status", run, "--watch")
    wait_for(lambda: "start:" in (tmp_path / "said").read_text(), process)
    process.send_signal(signal.SIGINT)
    assert_stopped(process, tmp_path / "said")


def test_stopped_at_random_moments_from_its_first_line_on_it_ends_soon(begin, data, tmp_path):
    """CLOUDSEG_STOP_MOMENTS of them, drawn from CLOUDSEG_STOP_SEED. Each launch goes on where the one before ended."""
    draw, number, took = random.Random(SEED), 0, []

    def start(fresh: bool) -> subprocess.Popen[bytes]:
        words = launch(tmp_path / f"run{number}", data, *TINY, *ONE_EPOCH, stages="frozen,evaluate")
        return begin(*words, fresh=fresh)

    began = time.monotonic()
    assert start(fresh=False).wait(600) == 0, (tmp_path / "said").read_text()
    whole_s = time.monotonic() - began
    for moment in range(MOMENTS):
        number += not moment or took[-1][0] == 0
        at_any_time = moment % 3 == 0
        process = start(fresh=not at_any_time)
        wait_for(lambda process=process: takes_signals(process.pid), process)
        # Two thirds of them while it starts, and imports its modules, some within its first milliseconds.
        after_s = whole_s * (draw.random() if at_any_time else 0.4 * draw.random() ** 2)
        time.sleep(after_s)
        sent = time.monotonic()
        process.terminate()
        took.append((process.wait(PATIENCE_S), time.monotonic() - sent))
        print(f"{after_s:.3f} s of {whole_s:.1f} s: exit code {took[-1][0]} after {took[-1][1]:.1f} s", flush=True)
        assert_nothing_left(process)
        said = (tmp_path / "said").read_text()
        assert took[-1][0] in (0, 75), said
        assert "Traceback" not in said
