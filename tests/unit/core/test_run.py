from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudseg.chain import begin, preflight
from cloudseg.core import atomic, config, provenance, run
from cloudseg.core.errors import UsageError
from cloudseg.core.run import Run

GIVEN = [("--data", {"data": "/shards", "seed": 3})]


@pytest.fixture(autouse=True)
def only_these_settings(monkeypatch):
    """Nothing from the environment, and shards need not be there."""
    monkeypatch.setattr(preflight, "check", lambda settings: None)
    monkeypatch.setattr(provenance, "made", lambda data: {"data_sha256": "0"})
    for name in ("CLOUDSEG_DATA", "CLOUDSEG_CONFIG", "CLOUDSEG_SET"):
        monkeypatch.delenv(name, raising=False)


def test_a_new_run_keeps_the_settings_it_began_with(tmp_path):
    made = begin.run(tmp_path / "r", GIVEN)
    assert run.open_run(tmp_path / "r").settings == made.settings
    assert made.settings.seed == 3


def test_the_same_settings_again_are_fine(tmp_path):
    first = begin.run(tmp_path / "r", GIVEN)
    assert begin.run(tmp_path / "r", GIVEN).settings == first.settings
    assert begin.run(tmp_path / "r", []).settings == first.settings


def test_other_settings_are_refused_with_the_difference(tmp_path):
    begin.run(tmp_path / "r", GIVEN)
    with pytest.raises(UsageError, match="seed: 3 -> 4"):
        begin.run(tmp_path / "r", [("--set", {"seed": 4})])


def test_another_recipe_is_refused_by_what_it_changes(tmp_path):
    begin.run(tmp_path / "r", GIVEN)
    with pytest.raises(UsageError, match=r"stage\.full\.epochs: 5 -> 9"):
        begin.run(tmp_path / "r", [("--set", {"recipe": "demo"})])


def test_the_environment_fills_in_for_a_new_run_only(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOUDSEG_DATA", "/shards")
    monkeypatch.setenv("CLOUDSEG_SET", "batch=2 network=unet-resnet18")
    made = begin.run(tmp_path / "r", [])
    assert (made.settings.data, made.settings.batch, made.settings.network) == ("/shards", 2, "unet-resnet18")
    monkeypatch.setenv("CLOUDSEG_SET", "batch=9")
    assert begin.run(tmp_path / "r", []).settings.batch == 2


def test_many_ranks_that_start_a_run_at_once_agree(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: begin.run(tmp_path / "r", GIVEN), range(32)))
    assert {m.settings_digest() for m in made} == {made[0].settings_digest()}
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["run.toml"]


def test_a_run_that_is_not_there_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match="python -m cloudseg.launch --stages all --run"):
        run.open_run(tmp_path / "nothing")


def test_a_runs_file_is_enough_to_begin_it_again(tmp_path):
    made = begin.run(tmp_path / "r", [*GIVEN, ("--set", {"recipe": "paper-vgg16", "weights": "none"})])
    assert made.made == {"data_sha256": "0"}
    assert run.open_run(tmp_path / "r").made == made.made
    again = argparse.Namespace(config=tmp_path / "r" / "run.toml", data=None, unlabelled=None, set=[])
    assert begin.run(tmp_path / "again", config.from_arguments(again)).settings == made.settings


def test_a_stage_is_found_by_name_and_by_number(tmp_path):
    made = begin.run(tmp_path / "r", GIVEN)
    assert [made.find(stage) for stage in ("2", "partial", "evaluate")] == ["partial", "partial", "evaluate"]
    assert (made.previous_stage("frozen"), made.previous_stage("full")) == (None, "partial")
    with pytest.raises(UsageError, match="no stage '4'"):
        made.find("4")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "DONE.json"
    atomic.write_json(file, {"dice": 0.5})
    with pytest.raises(TypeError):
        atomic.write_json(file, {"dice": object()})
    assert file.read_text() == '{\n  "dice": 0.5\n}\n'
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_that_everybody_may_write_to_is_refused(tmp_path):
    prepared = begin.run(tmp_path / "run", GIVEN)
    prepared.path.chmod(0o777)
    with pytest.raises(UsageError, match="chmod o-w"):
        run.open_run(prepared.path)


def test_the_ranks_of_a_stage_are_those_of_its_newest_checkpoint(tmp_path):
    run = Run(tmp_path, config.resolve(GIVEN))
    assert run.saved_ranks("frozen") is None
    folder = run.checkpoints("frozen")
    folder.mkdir(parents=True)
    (folder / "step-0000200.json").write_text('{"ranks": 8}')
    (folder / "step-0000400.json").write_text('{"ran')
    assert run.saved_ranks("frozen") == 8


def test_the_saved_step_is_in_the_names_of_checkpoints(tmp_path):
    run = Run(tmp_path, config.resolve(GIVEN))
    assert run.saved_step("frozen") == 0
    folder = run.checkpoints("frozen")
    folder.mkdir(parents=True)
    for name in ("step-0000200.json", "step-0001000.json", "step-0002000.npz"):
        (folder / name).touch()
    assert run.saved_step("frozen") == 1000
