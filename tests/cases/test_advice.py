"""Advice leads on: what an error says to type is typed, and gives no error again, or that of a later matter.

`COVERED` says of each error that names an option or a command which test follows it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import ROOT, StandIn

Said = tuple[int, str]
SETTINGS = "recipe=demo network=vanilla weights=none batch=2"
"""Of new runs, as CLOUDSEG_SET has them."""


@pytest.fixture
def here(demo: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands are typed, where names that messages use, as train.csv and DIR, are there."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name, target in {
        "train.csv": demo / "train.csv",
        "train_images": demo / "train_images",
        "DIR": demo / "train_images",
        "shards": data,
    }.items():
        (folder / name).symlink_to(target)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLOUDSEG_SET", SETTINGS)
    monkeypatch.setenv("CLOUDSEG_CACHE", str(tmp_path / "cache"))
    for name in ("CLOUDSEG_DATA", "CLOUDSEG_CONFIG", "CLOUDSEG_SITE", "SLURM_JOB_ID", "SBATCH_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def cluster(here: Path, slurm: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A Slurm that takes every job."""
    for name, value in slurm.environ.items():
        monkeypatch.setenv(name, value)
    return slurm


def typed(line: str) -> Said:
    """`MODULE WORDS` or any command of the shell, run; modules without TensorFlow, which are quick within a process."""
    words = shlex.split(line.removeprefix("python -m "))
    if not words[0].startswith(("cloudseg", "preprocess")):
        process = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        return process.returncode, process.stdout + process.stderr
    text, before = io.StringIO(), sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    sys.argv = words
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), pytest.raises(SystemExit) as ended:
            runpy.run_module(words[0], run_name="__main__", alter_sys=False)
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return int(ended.value.code or 0), text.getvalue()


def advice(pattern: str, message: str) -> str:
    found = re.search(pattern, message)
    assert found, message
    return found[1]


Follow = Callable[[str, str], list[str]]


def added(pattern: str) -> Follow:
    """The advice is added to what was typed."""
    return lambda line, said: [f"{line} {advice(pattern, said)}"]


def first(pattern: str) -> Follow:
    """The advice is typed, and then the same again."""
    return lambda line, said: [advice(pattern, said), line]


def instead(pattern: str) -> Follow:
    return lambda line, said: [advice(pattern, said)]


def without(words: str, add: str = "") -> Follow:
    return lambda line, said: [f"{line.replace(f' {words}', '')} {add}"]


LAUNCH = "cloudseg.launch --run r --data shards"
MAKE = "preprocess --csv train.csv --images DIR --size 64x96 --workers 1"
NEW = r"type: (--\S+ \S+)"

ROWS: dict[str, tuple[str, Follow, str]] = {
    # What is typed, how its advice is followed, and what is said then: "" if there is no error.
    "command-without-module": ("cloudseg status q", instead("type: (python.*)"), ""),
    "stages-before": (f"{LAUNCH} --stages full", added(NEW), ""),
    "stages-before-evaluate": (f"{LAUNCH} --stages full,evaluate", added(NEW), ""),
    "a-space-for-a-dot": ("cloudseg launch --stages all --run r --data shards", instead("python -m (.*)"), ""),
    "nothing-named": (LAUNCH, added("type: (--stages all)"), ""),
    "nothing-named-study": (LAUNCH, added(", or: (--study lr .*)"), ""),
    "values-alone": (f"{LAUNCH} --values 1e-2", added(r"add: (--.*)"), ""),
    "epochs-alone": (f"{LAUNCH} --epochs 1", added(r"add: (--.*)"), ""),
    "values-of-no-study": (f"{LAUNCH} --stages all --values 1e-2", without("--stages all", "--study lr"), ""),
    "study-and-stages": (f"{LAUNCH} --study lr --stages all --values 1e-2", without("--stages all"), ""),
    "study-without-rates": (f"{LAUNCH} --study lr", added("example: (--values .*)"), ""),
    "study-of-csv": (f"{LAUNCH} --study lr --values 1e-2 --csv train.csv", without("--csv train.csv"), ""),
    "study-of-folds": (
        f"{LAUNCH} --study lr --values 1e-2 --folds 0,1",
        lambda line, said: [f"{line.replace('--folds 0,1', '')} {advice('fold: (--set .*)', said)}"],
        "",
    ),
    "study-of-bad-rates": (f"{LAUNCH} --study lr --values x", added("example: (--values .*)"), ""),
    "study-of-no-epochs": (
        f"{LAUNCH} --study lr --values 1e-2 --epochs 0",
        lambda line, said: [line.replace("epochs 0", f"epochs {advice('at least ([0-9])', said)}")],
        "",
    ),
    "folds": (f"{LAUNCH} --stages all --folds x", added(", or: (--folds .*)"), ""),
    "folds-beyond": (f"{LAUNCH} --stages all --folds x", added("example: (--folds [^,]*)"), "has folds 0 to 3"),
    "no-data": (
        "cloudseg.launch --run r --stages all",
        lambda line, said: [advice(r"\((python -m preprocess.*?)\)", said), f"{line} {advice('add: (--.*)', said)}"],
        "",
    ),
    "shards-not-there": ("cloudseg.launch --run r --stages all --data 'a b'", first("first: (python.*)"), ""),
    "preprocess-from-nothing": ("cloudseg.launch --run r --stages preprocess,all", added("add: (--.*)"), ""),
    "not-a-setting": (f"{LAUNCH} --stages all --set seed", without("--set seed", "--set stage.full.lr=1e-5"), ""),
    "gpus-of-a-user": (f"{LAUNCH} --stages all --nodes 3", added(NEW), ""),
    "gpus-of-a-node": (f"{LAUNCH} --stages all --nodes 1 --tasks-per-node 16", added("type: (--.*)"), ""),
    "all-limits": (
        f"{LAUNCH} --stages all --nodes 20 --tasks-per-node 9 --time 99:00:00",
        added(r"type: (--[^(]*)"),
        "",
    ),
    "time": (f"{LAUNCH} --stages all --partition gpu_test", added(NEW), ""),
    "cpus": (f"{LAUNCH} --stages frozen --site own.toml --partition small", added("type: (--.*)"), ""),
    "more-gpus-a-node-than-a-user-may-have": (f"{LAUNCH} --stages frozen --site own.toml", added("type: (--.*)"), ""),
    "sites-file-too-large": (
        f"{LAUNCH} --stages frozen --site own.toml --partition tiny",
        added("name another with (--partition)"), "expected one argument",
    ),
    "site": (f"{LAUNCH} --stages all --site rouche", lambda line, said: [
        line.replace("rouche", advice("did you mean '(.*)'", said))], ""),
    "blanks-for-sbatch": (f"{LAUNCH} --stages all --run 'a b'", added("folder, with (--run)"), "expected one argument"),
    "other-settings": (
        f"{LAUNCH} --stages all --set seed=1",
        lambda line, said: [f"cloudseg.launch --stages all {advice('to resume it: (--run [^ ]*)', said)}"], ""),
    "other-settings-another": (f"{LAUNCH} --stages all --set seed=1", added("start another: (--run .*)"), ""),
    "own-network": (f"{LAUNCH} --stages all --set weights=imagenet", added("type: (--set .*)"), ""),
    "positive-weight": (f"{LAUNCH} --stages all --set positive_weight=[2.0]", added("add (--set .*)"), ""),
    "presence-weight": (f"{LAUNCH} --stages all --set presence_weight=0.2", added("add (--set .*)"), ""),
    "weight-decay": (
        f"{LAUNCH} --stages all --set stage.full.weight_decay=0.1 --set stage.frozen.weight_decay=0.1",
        added("add (--set .*)"), "",
    ),
    "decay-on": (f"{LAUNCH} --stages all --set stage.full.decay_on=kernels", added("add (--set .*)"), ""),
    "swa": (
        f"{LAUNCH} --stages all --set stage.full.swa=2 --set stage.full.early_stop=3", added("add (--set .*)"), ""),
    "crop": (f"{LAUNCH} --stages all --set crop=[96,96]", added(r"at most: (--set \S*\])"), ""),
    "crop-of-network": (f"{LAUNCH} --stages all --set crop=[32,32] --set network=pspnet-resnet18",
                        added("add (--set [^,]*)"), ""),
    "train-images": (f"{LAUNCH} --stages all --set train_images=999", added(r"at most: (--set [^,]*)"), ""),
    "small-images": (f"{LAUNCH} --stages all --set network=unet-inceptionv3", added("as: (--set .*)"), ""),
    "no-weights": (f"{LAUNCH} --stages all --set network=unet-resnet18 --set weights=imagenet",
                   added(r"(--set weights=none)\)"), ""),
    "no-weights-file": (f"{LAUNCH} --stages all --set network=unet-resnet18 --set weights=x.h5",
                        added(r"(--set weights=none)"), ""),
    "no-download": (f"{LAUNCH} --stages all --set network=unet-mobilenet --set weights=imagenet",
                    added(r"(--set weights=none)"), ""),
    "fetch-vanilla": ("cloudseg.weights fetch vanilla",
                      lambda line, said: [f"{LAUNCH} --stages all {advice('with (--set .*)', said)}"], ""),
    "fetch-unpublished": ("cloudseg.weights fetch mobilenet",
                          lambda line, said: [f"{LAUNCH} --stages all --set network=unet-mobilenet "
                                              + advice("launch: (--set .*)", said)], "FILE is not there"),
    "size-of-network": (f"{LAUNCH} --stages all --set network=pspnet-resnet18", added("as: (--set .*)"), ""),
    "no-study": ("cloudseg.study --run s", lambda line, said: [
        MAKE + " --out DATA", advice("first: (python.*)", said), line], ""),
    "run-not-a-study": (f"{LAUNCH} --study lr --values 1e-2 --run q", added("example: (--run .*)"), ""),
    "study-not-a-run": ("cloudseg.status t", instead("table: (python.*)"), ""),
    "study-not-a-run-launched": (
        "cloudseg.launch --stages all --data shards --run t", instead("table: (python.*)"), ""),
    "study-other-settings": (
        "cloudseg.launch --study lr --values 1e-3 --run t --set seed=3",
        lambda line, said: [f"{line.replace('--set seed=3', '')} {advice('to resume it: (--run [^ ]*)', said)}"], ""),
    "study-index": ("cloudseg.study --run t --index 9", lambda line, said: [line.replace(
        "--index 9", "")], ""),
    "run-not-there": ("cloudseg.status u", lambda line, said: [
        MAKE + " --out DATA", advice("first: (python.*)", said), line], ""),
    "fold-not-there": ("cloudseg.status c", first("first: (python.*)"), ""),
    "fold-of-other-settings": ("cloudseg.launch --stages all --run d",
                               instead("cross-validation: (python.*)"), ""),
    "open-to-all": ("cloudseg.status 'open run'", first("type: (chmod.*)"), ""),
    "no-log": ("cloudseg.logs q --stage full", instead("type: (python.*)"), ""),
    "watch-and-json": ("cloudseg.status q --json --watch", without("--watch"), ""),
    "ranks-of-a-checkpoint": ("cloudseg.launch --stages frozen --run q --nodes 1 --tasks-per-node 3",
                              added("type: (--.*)"), ""),
    "ranks-of-folds": ("cloudseg.launch --stages frozen --run e --nodes 1 --tasks-per-node 2",
                       instead("first: (python.*)"), ""),
    "status-of-a-run": ("cloudseg.status q", instead("start: (python.*)"), ""),
    "status-before-its-data": ("cloudseg.status f", instead("start: (python.*)"), ""),
    "preprocess-no-table": ("preprocess --csv none.csv --images DIR --out o --size 64x96",
                            added("(--csv train.csv)"), ""),
    "preprocess-no-images": ("preprocess --csv train.csv --images none --out o --size 64x96",
                             added("(--images DIR)"), ""),
    "preprocess-into-a-file": (f"{MAKE} --out train.csv", added("(--out DATA)"), ""),
    "preprocess-one-fold": (f"{MAKE} --out o --folds 1", lambda line, said: [
        line.replace("--folds 1", f"--folds {advice('at least ([0-9])', said)}")], ""),
    "preprocess-too-many": (f"{MAKE} --out o --folds 99 --shards 99", added("at most (--.*)"), ""),
    "preprocess-shard-index": (f"{MAKE} --out o --shards 2 --shard-index 2", lambda line, said: [
        line.replace("index 2", f"index {advice('numbered 0 to ([0-9])', said)}")], ""),
    "preprocess-otherwise": (f"{MAKE} --out 'o p' --folds 3", first(r"first: (rm .*)"), ""),
    "preprocess-otherwise-elsewhere": (f"{MAKE} --out 'o p' --folds 3", added("with (--out)"), "expected one argument"),
    "preprocess-runs-as-boxes": ("preprocess --boxes train.csv --images DIR --out o --size 64x96",
                                 lambda line, said: [line.replace("--boxes", advice("with (--csv)", said))], ""),
    "preprocess-strict": ("preprocess --csv train.csv --images some --out o --size 64x96 --strict --workers 1",
                          without("--strict"), ""),
    "sheet": ("preprocess --sheet shards --out o", without("--out o", "--out o.png"), ""),
    "links": ("cloudseg.scaling --gpus 1 --measured . --set network=unet-resnet18", first("type: (rm [^;]*);"), ""),
    "models-share": ("cloudseg.models --encoder 2", without("--encoder 2", "none"), "there is no 'none'"),
    "scaling-gpus": ("cloudseg.scaling --gpus 0", lambda line, said: [line.replace(
        "0", advice("at least ([0-9])", said)) + " --set network=unet-resnet18"], ""),
    "demo-into-a-file": ("cloudseg.demo --images 5 --out train.csv", added("with (--out)"), "expected one argument"),
    "thresholds-alone": ("cloudseg.evaluate --run q --thresholds x", added("goes with (--data)"),
                         "expected one argument"),
    "choose-weights-alone": ("cloudseg.evaluate --run q --choose-weights", added("goes with (--with)"),
                             "expected at least one argument"),
    "fetch-into-a-file": ("cloudseg.fetch --days 2009-01-22 --bounds -61 10 -40 24 --out train.csv",
                          lambda line, said: [line.replace("train.csv", "o --dry-run")], ""),
    "predict-nothing": ("cloudseg.predict --run q --format png", added("(--images DIR --out .*)"), "thresholds.json"),
    "predict-sample": ("cloudseg.predict --run q --format png --images DIR --out o --sample train.csv",
                       without("--sample train.csv"), "thresholds.json"),
    "predict-into-a-folder": ("cloudseg.predict --run q --images DIR --out .", added("file, (--out .*)"), "thresholds"),
    "predict-into-a-file": ("cloudseg.predict --run q --images DIR --format png --out train.csv",
                            added("files, (--out .*)"), "thresholds.json"),
}  # fmt: skip
"""Commands of no training."""

COVERED = {
    # A part of the message in the code -> a row or test here, or why there is none.
    "type: python -m {module}": "command-without-module",
    "starts from stage": "stages-before",
    "the stages are missing": "nothing-named",
    "are options of a study": "values-alone",
    "exclude each other; leave out --stages": "study-and-stages",
    "learning rates are missing": "study-without-rates",
    "--csv is for": "study-of-csv",
    "trains on one fold": "study-of-folds",
    "is no number above 0": "study-of-bad-rates",
    "is there twice": "names no way: of equal values one is left out",
    "--epochs: must be": "study-of-no-epochs",
    "--folds {text}": "folds",
    "no data set is named": "no-data",
    "from what? add": "preprocess-from-nothing",
    "must be key=value": "not-a-setting",
    "; {advice}": "all-limits",
    "--site {name}": "site",
    "sbatch takes no blanks": "blanks-for-sbatch",
    "has no pretrained encoder; type": "own-network",
    "positive_weight: loss": "positive-weight",
    "presence_weight: the network": "presence-weight",
    "weight_decay: ": "weight-decay",
    "there is no weight decay": "decay-on",
    "early stopping may end": "swa",
    "is larger than the stored images": "crop",
    "so it cannot train on crops": "crop-of-network",
    "images to train, not": "train-images",
    "takes images of at least": "small-images",
    "stages: pseudo has no pictures": "tests/unit/chain/test_preflight.py",
    "{key}: there are no pictures to label": "tests/unit/chain/test_preflight.py",
    "--stages pseudo: there are no pictures": "tests/unit/chain/test_launch.py",
    "the stage pseudo has no pictures": "tests/unit/core/test_config.py",
    "is sure enough to be labelled": "tests/train/test_pseudo.py",
    "goes with --data OTHER": "thresholds-alone",
    "goes with --with RUN": "choose-weights-alone",
    "the runs validate on folds": "tests/train/test_results.py",
    "--flips: the rules of": "tests/unit/results/test_other_data.py",
    "--weights: the rules of": "tests/unit/results/test_other_data.py",
    "the rules of several runs": "tests/train/test_other_data.py",
    "has no rules, as it has not": "tests/train/test_other_data.py",
    "were chosen for other weights than it": "tests/train/test_other_data.py",
    "holds another evaluation": "tests/unit/results/test_other_data.py",
    "uses the probability of a presence head": "tests/train/test_presence.py",
    "is for formats with coordinates": "tests/cases/test_places.py",
    "--bounds {' '.join": "tests/cases/test_places.py",
    "give the pictures, --images DIR, or atlases to merge": "tests/cases/test_atlas.py",
    "--merge A B --out DIR goes without --images": "tests/cases/test_atlas.py",
    "give folders of atlases: --merge A B": "tests/cases/test_atlas.py",
    "--cell {args.cell": "tests/cases/test_atlas.py",
    "give its place instead of --scale": "tests/cases/test_rasters.py",
    "--time {time}": "tests/unit/geo/test_georeference.py",
    "reproject it, and use the result": "tests/unit/geo/test_georeference.py",
    "--groups {NAMES}: no image": "tests/unit/preprocess/test_groups.py",
    "--groups: the image": "tests/unit/preprocess/test_groups.py",
    "the images form only": "tests/unit/preprocess/test_groups.py",
    "--groups {self.groups} is not there": "tests/unit/preprocess/test_groups.py",
    "pictures failed{rest}": "tests/unit/fetching/test_download.py",
    "--every is": "tests/unit/fetching/test_download.py",
    "--timeout is": "tests/unit/fetching/test_download.py",
    "--service {given.service}": "tests/unit/fetching/test_download.py",
    "; remove it, or choose another --out": "names no way but another folder",
    "type a coarser --resolution": "tests/unit/fetching/test_download.py",
    "the service has no layer": "tests/unit/fetching/test_download.py",
    "--out {out} cannot be made": "fetch-into-a-file",
    "It downloads the archive again": "tests/unit/fetching/test_kaggle.py",
    "Kaggle's client ended": "tests/unit/fetching/test_kaggle.py",
    "{archive} is damaged": "tests/unit/fetching/test_kaggle.py",
    "--resolution is": "tests/unit/fetching/test_plan.py",
    "ends before it begins": "tests/unit/fetching/test_plan.py",
    "--platform: there is no platform": "tests/unit/fetching/test_plan.py",
    "is in the future": "tests/unit/fetching/test_plan.py",
    "the first day of": "tests/unit/fetching/test_plan.py",
    "{typed}": "tests/unit/fetching/test_plan.py",
    "another --resolution": "tests/unit/fetching/test_plan.py",
    "is no day; type": "tests/unit/fetching/test_plan.py",
    "jobs do not download": "no-weights",
    "begin a new run from another": "no-weights-file",
    "no download is known": "no-download",
    "nothing to fetch": "fetch-vanilla",
    "no digest is published": "fetch-unpublished",
    "takes images whose height": "size-of-network",
    "start the study first": "no-study",
    "a study needs another folder": "run-not-a-study",
    "is a learning-rate study": "study-not-a-run",
    "has trials 0 to": "study-index",
    "start the run first": "run-not-there",
    "no job of this stage has started": "no-log",
    "--watch and --json": "watch-and-json",
    "everybody may write": "open-to-all",
    "or a divisor of": "ranks-of-a-checkpoint",
    "on different numbers of ranks": "ranks-of-folds",
    "--stages: there is no stage": "names no way but the stages",
    "give the competition's label table": "preprocess-no-table",
    "is not a folder: give the folder of the JPEGs": "preprocess-no-images",
    "give a folder for the shards": "preprocess-into-a-file",
    "one of them for validation": "preprocess-one-fold",
    "images, give at most": "preprocess-too-many",
    "should stay small": "tests/unit/preprocess/test_plan.py",
    "the shards are numbered": "preprocess-shard-index",
    "holds shards with other settings": "preprocess-otherwise",
    "not of boxes: give it with --csv": "preprocess-runs-as-boxes",
    "--shards {self.shards}: at least": "the command line refuses it before, as no whole number from 1 on",
    "no image of": "test_tables.py",
    "Give the table of the images as published": "test_tables.py",
    "give a .png or .jpg file": "sheet",
    "is no measurement of doctor": "links",
    "a share is between": "models-share",
    "--gpus and --images": "scaling-gpus",
    "give a folder with --out": "demo-into-a-file",
    "where the masks go": "predict-nothing",
    "--sample is for submissions": "predict-sample",
    "give the submission's file": "predict-into-a-folder",
    "is a file: give a folder for": "predict-into-a-file",
    "{thresholds} is not there": "test_a_run_that_is_not_scored_leads_to_masks",
    "python -m cloudseg.evaluate writes it": "test_a_run_that_is_not_scored_leads_to_masks, which is told before",
    "the loss is": "test_a_loss_that_is_nan_leads_to_a_run_with_a_lower_rate",
    "is not what it was when": "test_a_run_begun_anew_has_its_settings",
    "overflow in float16": "test_a_run_begun_anew_has_its_settings",
    "was made of": "test_an_image_that_changed_leads_to_a_new_shard",
    "--allow-resize, with": "test_images_of_other_sizes_lead_to_shards_of_them",
    "start it on as many": "test_a_local_chain_is_resumed_on_its_ranks",
    "no sbatch on this machine": "test_a_local_chain_is_resumed_on_its_ranks begins with --cluster local",
    "can be queued when that has ended": "tests/unit/chain/test_folds.py",
    "preprocessing refused this": "test_what_preprocessing_refuses_at_the_head_of_a_chain",
    "is a cross-validation; the app": "test_the_app_of_a_cross_validation",
    ": no stage is done yet": "tests/unit/showcase/test_showcase.py, and test_the_app_of_a_cross_validation",
    "is not scored yet": "test_a_run_that_is_not_scored_leads_to_masks has it evaluated",
    "was scored": "tests/unit/showcase/test_showcase.py",
    "{found.evaluation} is damaged": "tests/unit/showcase/test_showcase.py",
    "folds have not finished": "test_folds_that_have_come_to_different_stages_are_resumed",
    "give one from 1 to 65535": "tests/unit/showcase/test_showcase.py",
    "{address}:{port}": "tests/unit/showcase/test_showcase.py",
    "--weights: give": "names no way but the number",
    "--with RUN ... and": "tests/train/test_results.py",
    "or add --skip-damaged": "test_stale_results.py",
    "is damaged: type: ": "tests/data",
    "must be a whole number from": "tests/unit/training/test_placement.py",
    "must be seconds, above 0": "tests/unit/training/test_heartbeat.py",
    "is set by the launcher of ranks": "tests/unit/training/test_placement.py",
    "--check asks Slurm": "tests/unit/chain/test_slurm_check.py",
    "its last array index": "tests/unit/chain/test_slurm_check.py",
    "jobs, counting each task": "tests/unit/chain/test_slurm_check.py",
    "sbatch refused": "tests/unit/chain/test_launch.py; a laptop has no Slurm to be refused by",
    "to wait longer": "tests/cluster; a number, as the option takes one",
    "the code is": "tests/unit/chain/test_snapshot.py",
    "does not say what the layers": "make costs takes a quarter of an hour",
    "cannot be unpacked into": "test_tables.py",
    "must be at least {least}, not {getattr": "names no way but the number",
    "a worker process was killed": "the same command with another number",
    "has other content; move it": "demo-into-a-file",
    "holds another data set": "demo-into-a-file",
    "holds a demo data set": "demo-into-a-file",
    "is damaged; give a new folder": "demo-into-a-file",
    "is damaged, or of another encoder": "tests/unit/nets/test_weights.py",
    "Horovod sees": "needs another MPI",
    "ranks must fill": "tests/cluster",
}
"""Each error that names an option or a command, and what follows its advice."""

SITE = """
gpus_per_user = 2
[train]
partition = "gpu"
time = "1:00:00"
tasks_per_node = 8
gpus_per_node = 8
cpus_per_task = 2
[evaluate]
partition = "gpu"
time = "1:00:00"
[preprocess]
partition = "cpu"
time = "1:00:00"
[partitions.small]
cpus_per_node = 3
[partitions.tiny]
cpus_per_node = 1
"""
"""Of one node, of which a user may have a part."""


def furnish(here: Path, line: str) -> None:
    """Make the runs and files that rows are about, those that `line` names."""
    from cloudseg.chain import begin
    from cloudseg.core import run

    def new(name: str, **settings: object) -> run.Run:
        return begin.run(here / name, [("--data", {"data": "shards", **settings})], data_to_come=name == "f")

    def ranks(of: Path, number: int) -> None:
        (of / "1-frozen" / "checkpoints").mkdir(parents=True)
        (of / "1-frozen" / "checkpoints" / "step-0000200.json").write_text(f'{{"ranks": {number}, "step": 200}}')

    words = shlex.split(line)
    if "r" in words and "--set seed=1" in line:
        new("r")
    for name in {"q", "open run"} & set(words):
        new(name)
    if "open run" in words:
        (here / "open run").chmod(0o777)
    if "tasks-per-node 3" in line:
        ranks(here / "q", 8)
    if "t" in words:
        assert typed("cloudseg.launch --study lr --values 1e-2 --run t --data shards")[0] == 0
    if "f" in words:
        new("f", data="none yet")
    for name in {"c", "d", "e"} & set(words):
        whole = new(name, folds=[0, 1])
        if name != "c":
            from cloudseg.chain import folds

            folds.prepare(whole, data_to_come=False)
    if "d" in words:
        edited = here / "d" / "fold-1" / "run.toml"
        edited.write_text(edited.read_text().replace("seed = 0", "seed = 7"))
    if "e" in words:
        ranks(here / "e" / "fold-0", 4)
        ranks(here / "e" / "fold-1", 6)
    if "own.toml" in words:
        (here / "own.toml").write_text(SITE)
    if "o p" in words:
        assert typed(f"{MAKE} --out 'o p'")[0] == 0
    if "some" in words:
        (here / "some").mkdir()
        for image in sorted((here / "DIR").iterdir())[:6]:
            (here / "some" / image.name).symlink_to(image)
    if "--measured" in words:
        (here / "links-ruche-1x1-0.json").write_text("{")


@pytest.mark.parametrize("row", ROWS)
def test_what_an_error_says_to_type_leads_on(row, here, cluster):
    line, follow, then = ROWS[row]
    furnish(here, line)
    cluster.forget()
    code, said = typed(line)
    if not row.startswith("status-"):
        assert code == 2, said
    *before, last = follow(line, said)
    for command in before:
        shown = typed(command)
        assert shown[0] == 0, (command, shown)
    code, after = typed(last)
    assert (then in after) if then else (code == 0), (said, last, after)
    assert not code or after != said


def test_a_site_limit_is_named_with_all_options_at_once(here, cluster):
    said = typed(f"{LAUNCH} --stages all --nodes 20 --tasks-per-node 9 --time 99:00:00")[1]
    assert "type: --nodes 2 --tasks-per-node 4 --time 24:00:00 (" in said


@pytest.mark.parametrize("whole", [False, True])
def test_a_run_begun_anew_has_its_settings(whole, here, cluster):
    from cloudseg.chain import begin
    from cloudseg.core import config, run

    more = {"folds": [0, 1]} if whole else {"fold": 1}
    old = begin.run(here / "a run", [("--data", {"data": "shards", "seed": 5, **more})])
    code, said = typed(old.relaunch("stage.full.lr=0.001", "precision=mixed"))
    assert code == 0, said
    new = run.open_run(here / run.OTHER)
    assert [line.partition(":")[0] for line in config.differences(old.settings, new.settings)] == [
        "precision", "stage.full.lr",
    ]  # fmt: skip


def test_a_loss_that_is_nan_leads_to_a_run_with_a_lower_rate(type_, here, cluster):
    words = shlex.split(f"{LAUNCH} --cluster local --stages frozen --set stage.frozen.lr=1e38")
    said = type_(*words, "--set", "stage.frozen.epochs=3", expect=1, cwd=here, CLOUDSEG_SET=SETTINGS).stderr
    code, after = typed(advice("a new run: (python.*)", said))
    assert code == 0, after
    assert "lr = 1e37" in (here / "runs" / "OTHER" / "run.toml").read_text().replace("+", "")


def test_a_local_chain_is_resumed_on_its_ranks(type_, here):
    """Where there is no Slurm too."""
    options = ("--stages", "frozen", "--tasks-per-node", 2, "--set", "stage.frozen.epochs=1", "--data", "shards")
    type_("cloudseg.launch", *options, "--cluster", "local", cwd=here, CLOUDSEG_SET=SETTINGS)
    done = here / "runs" / "default" / "1-frozen" / "DONE.json"
    done.unlink()  # as if it had been stopped just before
    said = type_("cloudseg.train", "--stage", "frozen", cwd=here, expect=2).stderr
    environ = advice("export (CLOUDSEG_RANKS=[0-9]*)", said).split("=")
    type_("cloudseg.train", "--stage", "frozen", cwd=here, **{environ[0]: environ[1]})
    done.unlink()
    shutil.rmtree(here / "runs" / "default" / "2-partial", ignore_errors=True)
    type_("cloudseg.resume", "--stages", "frozen", cwd=here)
    assert done.exists()


def test_a_run_that_is_not_scored_leads_to_masks(type_, run, here):
    copy = here / "a copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "evaluate")
    words = ("cloudseg.predict", "--run", copy, "--images", "DIR", "--out", "out.csv")
    said = type_(*words, cwd=here, expect=2).stderr
    type_(*shlex.split(advice("type: python -m (.*)", said)), cwd=here)
    type_(*words, cwd=here)


def test_damaged_shards_lead_to_the_same_shards(here):
    """Also where they are not as preprocess makes them unless told."""
    assert (
        typed("preprocess --csv train.csv --images DIR --out 'o p' --size 96x128 --folds 3 --seed 4 --shards 2")[0] == 0
    )
    (shard, _) = sorted((here / "o p").glob("*.h5"))
    for damage in (b"", shard.read_bytes()[:-1], shard.read_bytes().replace(b"\xff", b"\xfe")):
        shard.write_bytes(damage)
        said = typed("preprocess --verify 'o p'")[1]
        again = advice("make it again: (python.*)", said)
        shard.unlink()
        shard.with_suffix(".json").unlink()
        assert typed(again)[0] == 0
        assert typed("preprocess --verify 'o p'")[0] == 0
    (here / "o p" / "manifest.json").write_text("{")
    again = advice("writes it again: (python.*)", typed("preprocess --verify 'o p'")[1])
    assert typed(again)[0] == 0
    assert typed("preprocess --verify 'o p'")[0] == 0


def test_an_image_that_changed_leads_to_a_new_shard(here):
    images = here / "my images"
    shutil.copytree((here / "DIR").resolve(), images)
    make = "preprocess --csv train.csv --images 'my images' --out 'o p' --size 64x96 --workers 1"
    assert typed(make)[0] == 0
    first_image = sorted(images.iterdir())[0]
    content = bytearray(first_image.read_bytes())
    content[-40] ^= 1
    first_image.write_bytes(content)
    code, said = typed(make)
    assert code == 2
    assert typed(advice("first: (rm .*)", said))[0] == 0
    code, said = typed(make)
    assert code == 0 or "images is good" in said, said


def test_images_of_other_sizes_lead_to_shards_of_them(here):
    from PIL import Image

    images = here / "small"
    images.mkdir()
    for path in (here / "DIR").iterdir():
        Image.open(path).resize((525, 350)).save(images / path.name)
    make = "preprocess --csv train.csv --images small --size 64x96 --workers 1"
    assert "all images are rejected" in typed(f"{make} --out o")[1]
    rejected = (here / "o" / "rejected.csv").read_text()
    option = advice("(--allow-resize), with a new folder as --out", rejected)
    assert typed(f"{make} --out o2 {option}")[0] == 0


def test_one_image_is_not_told_to_be_one_fold(here):
    images = here / "one"
    images.mkdir()
    (images / "a").touch()
    first_image = sorted((here / "DIR").iterdir())[0]
    (images / first_image.name).symlink_to(first_image)
    code, said = typed("preprocess --csv train.csv --images one --out o --folds 5")
    assert code == 2
    assert "--folds" not in said
    assert "at least 2 images" in said


def test_what_preprocessing_refuses_at_the_head_of_a_chain(type_, here):
    """Its options are not all those of launch."""
    (here / "few").mkdir()
    for image in sorted((here / "DIR").iterdir())[:3]:
        (here / "few" / image.name).symlink_to(image)
    words = ("cloudseg.launch", "--stages", "preprocess,all", "--cluster", "local", "--data", "DATA", "--run", "r")
    source = ("--csv", "train.csv", "--images", "few", "--shards", 1)
    said = type_(*words, *source, cwd=here, expect=2, CLOUDSEG_SET=SETTINGS).stderr
    command = advice("type first: (python.*)", said)
    assert typed(f"{command} --folds {advice('at most --folds ([0-9]*)', said)}")[0] == 0


@pytest.mark.parametrize("done", [0, 1])
def test_folds_that_have_come_to_different_stages_are_resumed(done, here, cluster):
    from cloudseg.chain import begin, folds
    from cloudseg.core.errors import UsageError
    from cloudseg.results import evaluation

    whole = begin.run(here / "cross", [("--data", {"data": "shards", "folds": [1, 2]})])
    for member in folds.prepare(whole, data_to_come=False)[:done]:
        member.stage("frozen").mkdir()
        member.done_file("frozen").write_text("{}")
    with pytest.raises(UsageError, match="folds have not finished") as refused:
        evaluation._check_same_stage(whole.members())
    code, said = typed(advice("type: (python.*)", str(refused.value)))
    assert code == 0, said


def test_the_app_of_a_cross_validation(here):
    """It shows one of the folds."""
    from cloudseg.chain import begin, folds
    from cloudseg.core.errors import UsageError
    from cloudseg.showcase import evaluated

    whole = begin.run(here / "w", [("--data", {"data": "shards", "folds": [1, 2]})])
    folds.prepare(whole, data_to_come=False)
    with pytest.raises(UsageError, match="--run") as refused:
        evaluated.load(whole.path)
    fold = shlex.split(str(refused.value).partition("folds: ")[2])[1]
    with pytest.raises(UsageError, match="no stage is done yet"):
        evaluated.load(Path(fold))


ADVISES = re.compile(r"--[a-z]|type: |python -m |to_type\(|relaunch\(|export |\brm\b|chmod")


def advising() -> dict[str, str]:
    """Where -> the message, of every error in the code that names an option or a command; what names in it stand for
    is taken from the function around it."""
    found = {}
    for path in sorted(path for part in ("cloudseg", "preprocess") for path in (ROOT / part).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            values: dict[str, list[ast.expr]] = {}
            for node in ast.walk(function):
                for target in node.targets if isinstance(node, ast.Assign) else ():
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            values.setdefault(name.id, []).append(node.value)
            for node in ast.walk(function):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    parts: list[ast.expr] = [node.exc]
                    for _ in range(2):
                        names = {name.id for part in parts for name in ast.walk(part) if isinstance(name, ast.Name)}
                        parts += [value for name in sorted(names) for value in values.get(name, ())]
                    if ADVISES.search(" ".join(map(ast.unparse, parts))):
                        found[f"{path.relative_to(ROOT)}:{node.lineno}"] = ast.unparse(node.exc)
    return found


def test_each_error_that_advises_is_followed_by_a_test():
    messages = advising()
    missing = {where: text for where, text in messages.items() if not any(part in text for part in COVERED)}
    assert not missing
    assert not [part for part in COVERED if not any(part in text for text in messages.values())]
    here = set(ROWS) | {name for name in globals() if name.startswith("test_")}
    named = {followed.split(",")[0].split(" ")[0] for followed in COVERED.values()}
    assert not {name for name in named if name.startswith("test_") and not name.endswith(".py")} - here
    assert not [
        name for name in named if name.startswith("tests/") and name.endswith(".py") and not (ROOT / name).exists()
    ]
