"""The matrix of `bench science`, its statistics and its tables. Trainings themselves are those of `cloudseg.launch`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bench.science import matrix, statistics, table, trainings
from bench.science.trainings import Result
from cloudseg.chain import preflight
from cloudseg.core import config
from cloudseg.core.errors import CloudsegError, UsageError

TEXT = """
about = "A question."
seeds = [0, 1, 2]
compare = [["staged", "one_stage"]]
[settings]
network = "unet-mobilenetv2"
[settings.stage.full]
epochs = 5
[runs.staged]
[runs.one_stage]
weights = "none"
stages = ["full"]
[runs.one_stage.stage.full]
epochs = 8
"""


def read(tmp_path: Path, text: str = TEXT, rounds: int = 5) -> matrix.Matrix:
    file = tmp_path / "matrix.toml"
    file.write_text(text)
    return matrix.read(file, "encoder.h5", rounds)


def test_a_matrix_has_every_run_for_each_seed_seed_by_seed(tmp_path):
    trainings = read(tmp_path).trainings
    assert [each.id for each in trainings[:3]] == ["staged-seed0", "one_stage-seed0", "staged-seed1"]
    assert len(trainings) == 6
    assert [each.id for each in read(tmp_path, rounds=1).trainings] == ["staged-seed0", "one_stage-seed0"]


def test_a_run_changes_the_common_settings(tmp_path):
    staged, one_stage = read(tmp_path, rounds=1).trainings
    assert staged.settings == {
        "weights": "encoder.h5", "network": "unet-mobilenetv2", "stage": {"full": {"epochs": 5}}, "seed": 0
    }  # fmt: skip
    assert one_stage.settings["weights"] == "none"
    assert one_stage.settings["stage"] == {"full": {"epochs": 8}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [0, 1, 2]", "", "seeds must be a list of whole numbers"),
        ("compare =", "compares =", "there is no key 'compares'"),
        ('"one_stage"]', '"other"]', "must be two of the runs staged, one_stage"),
        ("[runs.", "[settings.", "no runs; add a table"),
        ("about =", "about", "not TOML"),
    ],
)
def test_what_is_no_matrix_is_named(tmp_path, old, new, said):
    with pytest.raises(UsageError, match=said):
        read(tmp_path, TEXT.replace(old, new))


def result(dice: list[list[float]], settings: str = "") -> Result:
    stages = ["frozen", "full"][-len(dice) :]
    per_class = {stage: dict.fromkeys(("Fish", "Flower", "Gravel", "Sugar"), 0.5) for stage in stages}
    by_stage = dict(zip(stages, dice, strict=True))
    means = {stage: float(np.mean(each)) for stage, each in by_stage.items()}
    return Result(settings, "digest of three names", by_stage, means, means, per_class, 12000, 600.0)


def test_a_difference_is_of_the_same_images_and_seeds():
    first = [result([[0.5, 0.6, 0.7]]), result([[0.4, 0.6, 0.8]])]
    second = [result([[0.4, 0.5, 0.6]]), result([[0.2, 0.4, 0.6]])]
    found = statistics.difference(first, second)
    assert found.value == pytest.approx(0.15)
    assert found.seeds == pytest.approx((0.1, 0.2))
    assert found.images == pytest.approx((0.15, 0.15)), "each image gains the same in the mean over the seeds"


def test_runs_on_other_images_are_not_compared():
    other = dataclasses.replace(result([[0.4, 0.5, 0.6]]), images="digest of others")
    with pytest.raises(ValueError, match="different validation images"):
        statistics.difference([result([[0.4, 0.5, 0.6]])], [other])


def test_the_table_has_a_row_for_each_stage_and_comparison(tmp_path):
    results = {"staged": [result([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])], "one_stage": [result([[0.4, 0.5, 0.6]])]}
    text = table.markdown(results, [("staged", "one_stage"), ("staged", "to come")])
    assert "| staged | frozen | 1 | 0.2000 |" in text
    assert "| staged | full | 1 | 0.6000 |" in text
    assert "| staged - one_stage | 1 | +0.1000 | +0.1000 to +0.1000 |" in text
    assert "to come" not in text
    table.draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_result_is_used_again_until_the_settings_or_the_data_change(tmp_path, monkeypatch):
    training = read(tmp_path).trainings[0]
    started: list[list[str]] = []

    def run(command: list[str], **options: object) -> object:
        started.append(command)
        return type("Process", (), {"returncode": 1})

    monkeypatch.setattr(trainings.subprocess, "run", run)
    digest = trainings._digest(training, "data", 2)
    (tmp_path / "results").mkdir()
    kept = result([[0.5, 0.6, 0.7]], digest)
    (tmp_path / "results" / f"{training.id}.json").write_text(json.dumps(dataclasses.asdict(kept)))
    known = trainings.result(training, Path("DATA"), "data", 2, tmp_path, tmp_path / "results")
    assert known == kept
    assert not started
    with pytest.raises(CloudsegError, match="the same command continues"):
        trainings.result(training, Path("DATA"), "other data", 2, tmp_path, tmp_path / "results")
    assert "--stages" in started[0]


@pytest.mark.parametrize("file", sorted((Path(matrix.__file__).parent).glob("*.toml")), ids=lambda file: file.stem)
def test_the_runs_of_our_matrices_can_be_launched(file):
    for training in matrix.read(file, "encoder.h5", 1).trainings:
        preflight.check_settings(
            dataclasses.replace(config.resolve([(training.id, training.settings)], "DATA"), weights="none")
        )
