from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json

import pytest

from cloudseg.core import config
from cloudseg.core.errors import UsageError
from cloudseg.core.recipes import PSEUDO_STAGE


def resolve(*layers: dict) -> config.Settings:
    return config.resolve([("given", {"data": "/shards"}), *(("given", layer) for layer in layers)])


def test_the_paper_recipe_is_the_default():
    stages = resolve().stage
    assert [stages[name].encoder for name in ("frozen", "partial", "full")] == [0.0, 0.2, 1.0]
    assert sum(stage.epochs for stage in stages.values()) == 35


def test_later_layers_win_and_leave_the_rest_of_a_stage_alone():
    settings = resolve({"stage": {"full": {"lr": 1e-4, "epochs": 7}}}, config.parse_assignment("stage.full.lr=1e-5"))
    assert (settings.stage["full"].lr, settings.stage["full"].epochs) == (1e-5, 7)
    assert settings.stage["partial"].epochs == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [("batch=4", 4), ("network=unet-resnet18", "unet-resnet18"), ("augment=none", "none"), ("stage.full.lr=1", 1.0)],
)
def test_set_reads_toml_values_and_plain_words(text, value):
    settings = config.flatten(config.to_table(resolve(config.parse_assignment(text))))
    assert settings[text.partition("=")[0]] == value


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="no setting 'netwrok'; did you mean 'network'"):
        resolve({"netwrok": "unet-resnet18"})


def test_an_unknown_key_of_a_stage_is_refused():
    with pytest.raises(UsageError, match=r"stage\.full: there is no setting 'epoch'; did you mean 'epochs'"):
        resolve({"stage": {"full": {"epoch": 3}}})


def test_an_unknown_stage_is_refused():
    with pytest.raises(UsageError, match="no stage 'ful'; did you mean 'full'"):
        resolve({"stage": {"ful": {"epochs": 3}}})


def test_a_recipe_brings_its_network_and_loss_which_settings_still_change():
    settings = resolve({"recipe": "paper-vanilla"})
    assert (settings.network, settings.weights, settings.loss) == ("vanilla", "none", "weighted_bce")
    assert (settings.stages, settings.stage["full"].epochs) == (("full",), 40)
    assert resolve({"recipe": "paper-vanilla", "loss": "dice"}).loss == "dice"


def test_a_file_may_list_stages_of_its_own(tmp_path):
    (tmp_path / "my.toml").write_text(
        'stages = ["warm", "full"]\n[stage.warm]\nencoder = 0.5\nepochs = 2\nlr = 1e-3\nschedule = "one-cycle"\n'
    )
    settings = resolve(config.read_toml(tmp_path / "my.toml"))
    assert list(settings.stage) == ["warm", "full"]
    assert (settings.stage["warm"].schedule, settings.stage["full"].epochs) == ("one-cycle", 5)


def test_a_stage_that_is_not_listed_is_refused():
    with pytest.raises(UsageError, match=r"no stage 'warm'; there are: frozen, partial, full \(`stages` lists them"):
        resolve({"stage": {"warm": {"epochs": 3}}})


def test_a_listed_stage_without_its_settings_says_what_is_missing():
    with pytest.raises(UsageError, match=r"stage\.warm: encoder, epochs, lr missing"):
        resolve({"stages": ["warm"]})


def test_the_stages_of_a_run_come_back_from_its_file_in_their_order(tmp_path):
    from cloudseg.core.config import toml

    settings = resolve({"stages": ["full", "frozen"]})
    (tmp_path / "run.toml").write_text(toml(config.to_table(settings)))
    assert config.build(config.Settings, config.read_toml(tmp_path / "run.toml"), "it") == settings


def test_a_wrong_type_names_the_setting():
    with pytest.raises(UsageError, match="batch: must be a whole number, not 'many'"):
        resolve({"batch": "many"})


def test_no_data_says_what_to_type_in_one_line():
    with pytest.raises(UsageError) as caught:
        config.resolve([])
    assert "python -m preprocess --csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "my.toml").write_text("batch = = 3")
    with pytest.raises(UsageError, match=r"my\.toml: not TOML"):
        config.read_toml(tmp_path / "my.toml")


def test_differences_name_each_setting_once():
    assert config.differences(resolve(), resolve({"batch": 3, "seed": 1})) == ["batch: 8 -> 3", "seed: 0 -> 1"]


BEFORE = """
data = "/shards"
recipe = "paper"
network = "unet-resnet34"
weights = "imagenet"
batchnorm = true
precision = "float32"
loss = "bce_dice"
positive_weight = []
batch = 8
seed = 0
fold = 0
augment = "standard"
stages = ["frozen"]
[checkpoint]
every_steps = 200
every_minutes = 5.0
keep = 3
[stage.frozen]
encoder = 0.0
epochs = 25
lr = 0.01
scale_lr = false
optimizer = "adam"
momentum = 0.9
weight_decay = 0.0
schedule = "exponential"
hold = 10
decay = 1000.0
patience = 5
factor = 0.1
warmup_steps = 0
early_stop = 0
clip = 0.0
accumulate = 1
ema = 0.0
train_bn = false
"""
"""A run.toml of a version in which `hold_epochs` was `hold`."""


def test_a_run_of_a_version_before_keeps_its_settings_and_their_digest(tmp_path):
    (tmp_path / "run.toml").write_text(BEFORE)
    table = config.read_toml(tmp_path / "run.toml")
    settings = config.build(config.Settings, table, "run.toml")
    assert settings.stage["frozen"].hold_epochs == 10
    # What that version wrote into DONE.json and compares when the next stage starts.
    before = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    assert config.digest(settings) == before


def test_a_setting_may_be_given_by_its_earlier_name():
    given = [("--set", config.parse_assignment("stage.full.hold=7")), ("--data", {"data": "/shards"})]
    assert config.resolve(given).stage["full"].hold_epochs == 7


def test_pictures_to_label_add_the_stage_that_labels_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = resolve({"unlabelled": "new"})
    assert settings.unlabelled == str(tmp_path / "new")
    assert settings.stages == ("frozen", "partial", "full", "pseudo")
    assert settings.stage["pseudo"] == PSEUDO_STAGE
    assert [name for name in settings.stages if settings.labels_pictures(name)] == ["pseudo"]
    assert config.build(config.Settings, config.to_table(settings), "it") == settings


def test_the_stage_that_labels_may_have_another_place_and_settings_of_its_own():
    settings = resolve(
        {"unlabelled": "/new", "stages": ["frozen", "pseudo", "full"], "stage": {"pseudo": {"lr": 1e-6}}}
    )
    assert settings.stages == ("frozen", "pseudo", "full")
    assert settings.stage["pseudo"] == dataclasses.replace(PSEUDO_STAGE, lr=1e-6)


def test_without_pictures_there_is_no_stage_that_labels_and_no_setting_of_it_in_the_file():
    settings = resolve()
    assert "pseudo" not in settings.stages
    assert not {"unlabelled", "pseudo_sure", "pseudo_weight"} & config.to_table(settings).keys()


def test_settings_of_the_stage_that_labels_need_pictures():
    with pytest.raises(UsageError, match="the stage pseudo has no pictures to label; add: --unlabelled DIR"):
        resolve({"stage": {"pseudo": {"lr": 1e-6}}})


def test_the_option_of_the_command_line_is_the_setting():
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    layers = config.from_arguments(parser.parse_args(["--data", "/shards", "--unlabelled", "/new"]))
    assert config.resolve(layers) == resolve({"unlabelled": "/new"})
