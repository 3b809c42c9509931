"""How long stages will take, told by those that are done."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from cloudseg import launch
from cloudseg.core import provenance
from cloudseg.core.config import resolve, to_table, toml
from cloudseg.monitor import estimate
from cloudseg.performance import stage_time
from cloudseg.slurm.sites import Resources

GPUS, CPUS = Resources("gpu", "24:00:00", gpus_per_node=4), Resources("cpu", "24:00:00")
GIVEN = {"data": "/DATA", "network": "unet-resnet18"}


def settings(**more):
    return resolve([("test", GIVEN | more)])


def estimated(folder, of: str, ranks: int, where: Resources = GPUS, **more) -> float | None:
    return estimate.stage_seconds(settings(**more), of, ranks, where, folder)


def finished(folder, name: str, ranks: int, seconds: float, at: float = 1.0, told=(), **more) -> None:
    """A run beside others whose first stage is done, epochs of so many seconds; `told` is in its stage.json."""
    run = folder / name
    (run / "1-frozen").mkdir(parents=True)
    (run / "run.toml").write_text(toml(to_table(settings(**more))))
    (run / "1-frozen" / "history.csv").write_text(
        f"epoch,seconds,images_per_s\n1,999,1\n2,{seconds},{600 / seconds}\n3,{seconds},{600 / seconds}\n"
    )
    (run / "1-frozen" / "stage.json").write_text(
        json.dumps({"ranks": ranks, "device": "/physical_device:GPU:0", **dict(told)})
    )
    (run / "1-frozen" / "DONE.json").write_text("{}")
    os.utime(run / "1-frozen" / "DONE.json", (at, at))


def test_twice_the_ranks_take_half_the_time(tmp_path):
    finished(tmp_path, "a", ranks=4, seconds=60)
    assert estimated(tmp_path, "frozen", 8) == 25 * 30 + estimate.START_S


def test_nothing_like_it_tells_nothing(tmp_path):
    finished(tmp_path, "a", ranks=4, seconds=60, network="unet-resnet34")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.toml").write_text("damaged")
    assert estimated(tmp_path, "frozen", 4) is None
    finished(tmp_path, "c", ranks=4, seconds=60)
    assert estimated(tmp_path, "full", 4) is None


def test_the_same_number_of_ranks_tells_more_than_a_later_run(tmp_path):
    finished(tmp_path, "a", ranks=8, seconds=10, at=1.0)
    finished(tmp_path, "b", ranks=4, seconds=99, at=2.0)
    assert estimated(tmp_path, "frozen", 8) == 25 * 10 + estimate.START_S


@pytest.mark.parametrize(
    "more",
    [
        {"batch": 2},
        {"precision": "mixed"},
        {"augment": "none"},
        {"train_images": 100},
        {"augment_also": ["cutmix"]},
        {"crop": [32, 32]},
        {"stage": {"frozen": {"train_bn": True}}},
    ],
)
def test_a_run_of_other_settings_that_take_time_tells_nothing(tmp_path, more):
    finished(tmp_path, "a", ranks=4, seconds=60, **more)
    assert estimated(tmp_path, "frozen", 4) is None
    assert estimated(tmp_path, "frozen", 4, **more) is not None


def test_what_ran_on_cpus_tells_nothing_of_gpus(tmp_path):
    finished(tmp_path, "a", ranks=4, seconds=900, told={"device": "4 CPU threads"})
    assert estimated(tmp_path, "frozen", 4) is None
    assert estimated(tmp_path, "frozen", 4, CPUS) == 25 * 900 + estimate.START_S


def test_another_partition_may_have_other_gpus(tmp_path):
    finished(tmp_path, "a", ranks=4, seconds=60, told={"partition": "gpu_a100"})
    assert estimated(tmp_path, "frozen", 4) is None
    finished(tmp_path, "b", ranks=4, seconds=99)  # by a version that did not say in which
    assert estimated(tmp_path, "frozen", 4) == 25 * 99 + estimate.START_S


def test_data_that_were_made_anew_in_the_same_folder_are_others_and_moved_ones_the_same(tmp_path):
    data, moved = tmp_path / "data", tmp_path / "moved"
    data.mkdir()
    (data / "manifest.json").write_text("64x96")
    digest = provenance.data_digest(str(data))
    finished(tmp_path / "runs", "a", ranks=4, seconds=60, told={"data_sha256": digest}, data=str(data))
    shutil.copytree(data, moved)
    for folder in (data, moved):
        assert estimated(tmp_path / "runs", "frozen", 4, data=str(folder)) == 25 * 60 + estimate.START_S
    (data / "manifest.json").write_text("1400x2100")
    assert estimated(tmp_path / "runs", "frozen", 4, data=str(data)) is None


@pytest.mark.parametrize(
    ("seconds", "asked"), [(60, "00:30:00"), (7200, "03:00:00"), (7201, "03:01:00"), (1e6, "24:00:00")]
)
def test_the_walltime_has_a_margin_and_the_sites_limit(seconds, asked):
    assert estimate.walltime(seconds, "24:00:00") == asked


def test_the_plan_shows_what_starts_from_what_and_for_how_long(tmp_path, capsys, monkeypatch):
    finished(tmp_path, "a", ranks=8, seconds=240)
    asked = []

    def predict(settings, jobs, machine, size, images):
        asked.extend(jobs)
        return {"full": 600.0}

    monkeypatch.setattr(stage_time, "seconds", predict)
    options = [option for key, value in GIVEN.items() if key != "data" for option in ("--set", f"{key}={value}")]
    launch.main(["--stages", "all", "--plan", "--site", "ruche", "--data", "/DATA", "--run", f"{tmp_path}/b", *options])
    frozen, partial, full, evaluate, _, legend = capsys.readouterr().out.splitlines()[3:]
    assert asked == ["partial", "full", "evaluate"]
    assert frozen.split() == [
        "frozen", "decoder", "25", "2", "x", "4", "gpu", "02:33:00", "1", "h", "42", "weights:", "imagenet",
        "1-frozen/",
    ]  # fmt: skip
    assert "20% of the encoder" in partial and "24:00:00" in partial and "frozen" in partial
    assert "partial" in full and "3-full/" in full and "> 10 min" in full
    assert "lower bound from the model of cloudseg.scaling" in legend
    assert "full" in evaluate and "report.html" in evaluate


def test_mail_is_slurms_own(tmp_path, capsys):
    launch.main(["--stages", "frozen", "--dry-run", "--site", "ruche", "--run", f"{tmp_path}/b", "--mail", "me@x.org"])
    text = capsys.readouterr().out
    assert "#SBATCH --mail-user=me@x.org\n#SBATCH --mail-type=END,FAIL\n" in text


def test_a_stage_that_labels_pictures_has_no_estimate_and_tells_nothing_of_others(tmp_path):
    finished(tmp_path, "a", ranks=4, seconds=60)
    stage = {"pseudo": {"encoder": 0.0}}
    assert estimated(tmp_path, "pseudo", 4, unlabelled="/new", stage=stage) is None
    shutil.rmtree(tmp_path / "a")
    finished(tmp_path, "b", ranks=4, seconds=60, stages=["pseudo"], stage=stage)
    (tmp_path / "b" / "1-frozen").rename(tmp_path / "b" / "1-pseudo")
    assert estimated(tmp_path, "frozen", 4) == 25 * 60 + estimate.START_S  # a stage of that name, as others
    file = tmp_path / "b" / "run.toml"
    file.write_text('unlabelled = "/new"\n' + file.read_text())
    assert estimated(tmp_path, "frozen", 4) is None
