"""What the benchmarks do with numbers, processes and their command line; no TensorFlow."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import kernel, ranks, source
from bench.__main__ import BENCHMARKS
from bench.checkpoint import raw
from bench.checkpoint.job import Saved, Trained
from bench.checkpoint.run import add_saving, add_training
from bench.contender import Contender, alternate, contenders
from bench.machine import file_system, machine
from bench.memory import Peak
from bench.report import Report, figure, number, ratio
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.data import rle

ROOT = Path(__file__).resolve().parents[2]
MISSING = "a_package_that_nobody_has"


def contender(job: str) -> Callable[[], float]:
    """This module as a contender; it runs in a process of its own."""
    if job == "missing":
        __import__(MISSING)
    if job == "fails":
        raise ValueError("no luck")
    held = np.ones(64 << 20, np.uint8) if job == "heavy" else None
    return lambda: float(os.getpid() if held is None else held[0])


@dataclasses.dataclass(frozen=True)
class Question:
    number: int


@dataclasses.dataclass(frozen=True)
class Reply:
    doubled: list[int]
    ranks: str


def measure(folder: Path) -> None:
    """This module as the ranks of a benchmark."""
    question, rank = ranks.read_job(folder, Question), os.environ["CLOUDSEG_RANK"]
    if question.number < 0:
        raise ValueError("no luck")
    (folder / f"rank-{rank}").touch()
    if rank == "0":
        ranks.write_answer(folder, Reply([2 * question.number], os.environ["CLOUDSEG_SIZE"]))


class Scripted:
    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log

    def measure(self) -> float:
        self._log.append(self._name)
        return float(len(self._log))


@pytest.mark.parametrize("arguments", [(), *((name,) for name in BENCHMARKS)])
def test_help_has_examples_and_imports_nothing_slow(arguments):
    command = [sys.executable, "-X", "importtime", "-m", "bench", *arguments, "--help"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert "usage: python -m bench" in process.stdout
    assert "  python -m bench" in process.stdout
    rows = (line.rsplit("|", 1)[-1].strip() for line in process.stderr.splitlines())
    assert not {row.split(".")[0] for row in rows} & {"tensorflow", "numpy", "cv2", "h5py", "albumentations"}


def test_a_wrong_option_is_exit_code_2():
    command = [sys.executable, "-m", "bench", "feed", "--size", "big"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_a_figure_is_median_and_spread():
    assert figure([3.0, 1.0, 2.0], "images/s", 10.04).__dict__ == {
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "unit": "images/s",
        "peak_mib": 10.0,
    }


def test_a_ratio_is_taken_pair_by_pair():
    # The machine slowed down tenfold between the pairs: no matter.
    found = ratio([(20.0, 10.0), (2.0, 1.0), (6.0, 2.0)])
    assert (found.median, found.min, found.max, found.pairs) == (2.0, 2.0, 3.0, 3)
    assert ratio([(6.0, 2.0)], times=2).median == 1.5


def test_every_baseline_follows_a_measurement_of_ours():
    log: list[str] = []
    pairs = alternate(Scripted("ours", log), {"a": Scripted("a", log), "b": Scripted("b", log)}, rounds=2)
    assert log == ["ours", "a", "ours", "b"] * 2
    assert pairs == {"a": [(1.0, 2.0), (5.0, 6.0)], "b": [(3.0, 4.0), (7.0, 8.0)]}


def test_json_holds_what_readers_look_for():
    report = Report({"ours": figure([1.0], "s")}, {"over_bare": ratio([(1.0, 2.0)])}, ["a note"])
    content = json.loads(json.dumps(report.content("feed", machine(), {"rounds": 5})))
    assert set(content) == {"benchmark", "machine", "settings", "figures", "ratios", "notes"}
    assert set(content["machine"]) == {"cpu", "cores", "versions"}
    assert set(content["figures"]["ours"]) == {"median", "min", "max", "unit", "peak_mib"}
    assert content["ratios"]["over_bare"] == {"median": 0.5, "min": 0.5, "max": 0.5, "pairs": 1}


def test_the_table_shows_all_of_it():
    table = Report({"ours": figure([1.0, 12345.0], "s", 99.6)}, {"over_bare": ratio([(1.0, 3.0)])}, ["a note"]).table()
    assert [line.split() for line in table.splitlines()] == [
        ["median", "min..max", "unit", "peak", "MiB"],
        ["ours", "6173", "1..12345", "s", "100"],
        [],
        ["ratio", "median", "min..max", "pairs"],
        ["over_bare", "0.333", "0.333..0.333", "1"],
        [],
        ["-", "a", "note"],
    ]


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (9.876, "9.88"), (12345.6, "12346")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_contenders_run_in_processes_of_their_own_and_missing_packages_become_a_note():
    notes: list[str] = []
    modules = {name: (__name__, name) for name in ("light", "heavy", "missing")}
    with contenders(modules, notes) as running:
        assert list(running) == ["light", "heavy"]
        assert running["light"].values == []  # the warm-up does not count
        assert running["light"].measure() not in (os.getpid(), 0)
        assert running["heavy"].peak.total_mib > running["light"].peak.total_mib + 60
    assert notes == [f"missing is left out: {MISSING} is not installed (env/setup.sh brings it)"]


def test_a_contender_that_fails_says_why():
    with pytest.raises(CloudsegError, match="no luck"):
        Contender(__name__, "fails")


def test_peak_memory_holds_the_processes_that_were_started():
    script = "import sys; held = bytearray(50 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        peak = Peak(os.getpid())
        peak.update()
        assert peak.process_mib[child.pid] > 50
        assert peak.total_mib >= peak.process_mib[child.pid] + peak.process_mib[os.getpid()] - 1
        child.communicate()


def test_few_images_are_used_again_under_other_names(tmp_path):
    images = tmp_path / "data" / "train_images"
    images.mkdir(parents=True)
    for name in ("a_b.jpg", "c.jpg", "without_row.jpg"):
        (images / name).write_bytes(name.encode())
    table = "Image_Label,EncodedPixels\na_b.jpg_Fish,1 2\na_b.jpg_Sugar,\nc.jpg_Fish,3 4\n"
    (tmp_path / "data" / "train.csv").write_text(table)
    notes: list[str] = []
    taken = source.take(tmp_path / "data", 3, tmp_path / "out", notes)
    assert [path.read_bytes() for path in taken.paths()] == [b"a_b.jpg", b"c.jpg", b"a_b.jpg"]
    assert taken.rows() == {
        "00000-a_b.jpg": [("Fish", "1 2"), ("Sugar", "")],
        "00001-c.jpg": [("Fish", "3 4")],
        "00002-a_b.jpg": [("Fish", "1 2"), ("Sugar", "")],
    }
    assert notes == [f"3 images, 2 of them distinct, from {tmp_path / 'data'}"]
    with taken.table.open(newline="") as handle:
        assert next(csv.reader(handle)) == ["Image_Label", "EncodedPixels"]


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"train\.csv"):
        source.take(tmp_path, 3, tmp_path / "out", [])


def test_the_kernel_baseline_decodes_what_we_decode():
    mask = np.random.default_rng(0).random((14, 21)) < 0.3
    runs = rle.encode(mask)
    assert np.array_equal(kernel.rle_decode(runs, 14, 21), mask)


def test_ranks_are_told_a_job_and_rank_0_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert ranks.run_ranks(__name__, Question(21), Reply, 2, tmp_path / "new") == Reply([42], "2")
    assert {path.name for path in (tmp_path / "new").glob("rank-*")} == {"rank-0", "rank-1"}


def test_a_benchmark_whose_ranks_fail_is_an_error(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    with pytest.raises(CloudsegError, match="exit code 1"):
        ranks.run_ranks(__name__, Question(-1), Reply, 2, tmp_path)
    assert "no luck" in capfd.readouterr().err


def test_a_raw_write_is_the_bytes_and_nothing_else(tmp_path):
    for content in (b"before", bytes(range(256)) * 1000):
        raw.write(tmp_path / "file", content)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", content)]
    raw.forget(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content


def test_a_benchmark_names_the_file_system_it_wrote_to():
    assert file_system(Path("/proc/self")) == "proc at /proc"


def test_saving_is_compared_with_raw_writing():
    report = Report()
    found = Saved(
        300.0, [0.1, 0.2], save=[3.0, 8.0], cpu=[1.0, 1.0], restore=[1.0, 2.0], raw=[2.0, 2.0], device="1 CPU"
    )
    add_saving(report, found)
    assert report.ratios["save_over_raw_write"] == ratio([(3.0, 2.0), (8.0, 2.0)])
    assert report.figures["size"].median == 300
    assert report.figures["save_speed"].max == 100
    assert report.figures["restore_speed"].min == 150


def test_training_with_checkpoints_is_compared_with_training_without():
    report = Report()
    found = Trained(
        10, without=[50.0, 40.0], having=[51.0, 44.0], writing=[2.0, 3.0], peak_mib=[900.0, 600.0], device="1 CPU"
    )
    add_training(report, found)
    assert report.ratios["training_with_over_without"] == ratio([(51.0, 50.0), (44.0, 40.0)])
    assert (report.figures["checkpoint_delays"].min, report.figures["checkpoint_delays"].max) == (1.0, 4.0)
    assert report.figures["training_with"].max == 5.1
