"""From a trained run to scores, masks and pages, by the commands that users type."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from cloudseg.core.errors import UsageError
from cloudseg.core.run import open_run
from cloudseg.results import evaluation
from tests import processes
from tests.train.conftest import ROOT, done, environment, stage_folder, start_ranks

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"cloudseg.{name}", *map(str, arguments)]


def type_(name: str, *arguments: object, expect: int = 0) -> str:
    """Type a command; returns what it says."""
    process = processes.run(
        command(name, *arguments), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    assert process.returncode == expect, process.stdout
    return process.stdout


def metrics(run: Path) -> dict:
    return json.loads((run / "evaluate" / "metrics.json").read_text())


@pytest.fixture
def copy(chain, tmp_path):
    """The run, to be changed: as it was before it was evaluated."""
    run = tmp_path / "run"
    shutil.copytree(chain, run)
    for part in ("evaluate", "probabilities"):
        shutil.rmtree(run / part)
    (run / "report.html").unlink()
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    """Pictures of three kinds and sizes."""
    out = tmp_path_factory.mktemp("pictures")
    source = sorted((data.parent / "demo" / "train_images").glob("*.jpg"))[:3]
    shutil.copy(source[0], out / "a.jpg")
    Image.open(source[1]).resize((300, 200)).save(out / "b.png")
    Image.open(source[2]).resize((525, 350)).save(out / "c.tif")
    return out


def test_the_evaluation_scores_the_last_stage(chain):
    metrics = json.loads((chain / "evaluate" / "metrics.json").read_text())
    assert metrics["weights_sha256"] == done(chain, "full")["weights_sha256"]
    assert {"dice", "dice_per_class", "iou_per_class", "dice_all_empty"} <= metrics.keys()
    assert set(metrics["dice_per_class"]) == {"Fish", "Flower", "Gravel", "Sugar"}


def test_the_score_agrees_with_one_computed_by_other_means(chain, data):
    """OpenCV's resize and set arithmetic on pixels, an image at a time, against what the commands say."""
    import cv2

    from cloudseg.data.shards import Manifest, Shards
    from cloudseg.nets import models
    from cloudseg.training import checkpoint

    network = models.build("vanilla", (64, 96), pretrained=False)
    checkpoint.load_weights(stage_folder(chain, "full") / "best.weights.h5", network.model)
    shards = Shards(Manifest.load(data))
    dice = []
    for number in shards.manifest.indices(0, training=False):
        logits = network.model.predict(np.float32(shards.image(number))[None] / 127.5 - 1, verbose=0)[0]
        probabilities = cv2.resize(1 / (1 + np.exp(-logits)), (525, 350), interpolation=cv2.INTER_LINEAR)
        truth = shards.truth(number)
        for c in range(4):
            predicted = set(np.flatnonzero((probabilities[..., c] > 0.5) & (truth < 0x80)))
            actual = set(np.flatnonzero(truth & (1 << c)))
            total = len(predicted) + len(actual)
            dice.append(2 * len(predicted & actual) / total if total else 1.0)
    metrics = json.loads((chain / "evaluate" / "metrics.json").read_text())
    assert len(dice) == 4 * metrics["images"]
    assert metrics["dice_untuned"] == pytest.approx(np.mean(dice), abs=1e-3)


def probabilities(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in (run / "probabilities").rglob("*.h5")}


def stores(run: Path) -> set[str]:
    """The stores of probabilities of a run: one per stage, flips and source of images."""
    return {path.name for path in (run / "probabilities").iterdir()}


def test_one_rank_and_two_say_the_same(chain, copy):
    type_("evaluate", "--run", copy)
    assert len(stores(copy)) == 3
    ours, theirs = probabilities(copy), probabilities(chain)
    assert all(content == theirs[name] for name, content in ours.items())
    assert metrics(copy) == metrics(chain)


def test_the_untuned_score_is_that_of_training(chain):
    """But for pixels that are within a rounding of one half."""
    for stage, found in metrics(chain)["per_stage"].items():
        assert found["dice_untuned"] == pytest.approx(done(chain, stage)["dice"], abs=1e-4)


def test_the_report_needs_nothing_beside_it(chain):
    page = (chain / "report.html").read_text()
    assert f"{metrics(chain)['dice']:.3f}" in page
    assert page.count("data:image/") >= 5
    assert not any(f'{attribute}="{where}' in page for attribute in ("src", "href") for where in ("http", "/", "file"))


def test_an_evaluation_that_was_killed_keeps_what_it_had(copy):
    process = processes.Popen(
        command("evaluate", "--run", copy), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (first := list((copy / "probabilities").rglob("*.h5"))) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    written = first[0].stat().st_mtime_ns
    type_("evaluate", "--run", copy)
    assert first[0].stat().st_mtime_ns == written
    assert set(metrics(copy)["per_stage"]) == {"frozen", "partial", "full"}


def test_a_signal_stops_it_with_the_exit_code_of_work_left(copy):
    process = processes.Popen(
        command("evaluate", "--run", copy), cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "frozen: probabilities" in line:
            process.send_signal(signal.SIGUSR2)
            break
    said, _ = process.communicate()
    assert process.returncode == 75, said
    assert "the same command resumes from here" in said


def test_flips_are_another_prediction(chain, tmp_path):
    copy = shutil.copytree(chain, tmp_path / "run")
    plain, before = metrics(copy), stores(copy)
    assert "flipped in four ways" in type_("evaluate", "--run", copy, "--flips")
    assert (plain["flips"], metrics(copy)["flips"]) == (False, True)
    assert len(stores(copy) - before) == 3 and before < stores(copy)


def test_runs_of_several_folds_are_judged_on_what_they_did_not_see(chain, copy, data, tmp_path):
    """The copy says that it validates on fold 1; its weights do not matter here."""
    text = (copy / "run.toml").read_text()
    (copy / "run.toml").write_text(text.replace("fold = 0", "fold = 1"))
    type_("evaluate", "--run", chain, "--with", copy, "--out", tmp_path / "both")
    found = json.loads((tmp_path / "both" / "metrics.json").read_text())
    manifest = json.loads((data / "manifest.json").read_text())
    assert found["images"] == sum(sample["fold"] in (0, 1) for sample in manifest["samples"])
    assert found["folds"] == [0, 1]
    with pytest.raises(UsageError, match=r"the runs validate on folds \[0, 1\]"):
        evaluation._check_same_fold([open_run(chain), open_run(copy)])


def test_a_run_and_itself_are_the_run(chain, tmp_path):
    type_("evaluate", "--run", chain, "--with", chain, "--weights", 2, 1, "--out", tmp_path / "both")
    found = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert found["dice"] == metrics(chain)["dice"]
    said = type_("evaluate", "--run", chain, "--with", chain, "--choose-weights", "--out", tmp_path / "chosen")
    assert "chosen weights: 0.5 0.5" in said
    assert json.loads((tmp_path / "chosen" / "metrics.json").read_text())["weights"] == [0.5, 0.5]


def test_a_submission_from_one_rank_and_from_two_is_the_same(copy, chain, data, tmp_path):
    pictures, sample = data.parent / "demo" / "train_images", tmp_path / "sample_submission.csv"
    names = [path.name for path in sorted(pictures.glob("*.jpg"))][::-1]
    rows = "".join(f"{name}_{label},1 1\n" for name in names for label in CLASSES)
    sample.write_text("Image_Label,EncodedPixels\n" + rows)
    shutil.copytree(chain / "evaluate", copy / "evaluate")
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    said = type_("predict", "--run", copy, "--images", pictures, "--sample", sample, "--out", one)
    assert f"{4 * len(names)} rows" in said
    shutil.rmtree(copy / "probabilities")
    words = ("-m", "cloudseg.predict", "--run", copy, "--images", pictures, "--sample", sample, "--out", two)
    assert start_ranks(2, *map(str, words)) == 0
    assert one.read_bytes() == two.read_bytes()
    assert [row.partition(",")[0] for row in one.read_text().splitlines()[1:]] == [
        f"{name}_{label}" for name in names for label in CLASSES
    ]
    assert "correct, as" in type_("predict", "--check", one)
    weights = done(chain, "full")["weights_sha256"]
    predicted, evaluated = kept(copy, weights), kept(chain, weights)
    assert len(predicted) == len(names) and 0 < len(evaluated) < len(names)
    for name, probability in evaluated.items():  # predict sees what evaluate sees
        assert np.array_equal(predicted[name], probability)


def kept(run: Path, weights: str) -> dict[str, np.ndarray]:
    """Probabilities of the images that were predicted with some weights, by name."""
    found: dict[str, np.ndarray] = {}
    for about in (run / "probabilities").glob("*/about.json"):
        if json.loads(about.read_text())["weights_sha256"] == weights:
            for path in about.parent.glob("*.h5"):
                with h5py.File(path) as file:
                    found |= dict(zip(file["name"].asstr()[:].tolist(), file["probability"][:], strict=True))
    return found


@pytest.fixture(scope="module")
def competition(chain, tmp_path_factory):
    """As many pictures as the competition has to be predicted, all of them empty files, as their probabilities are on
    disk; and its sample file."""
    from cloudseg.core import run
    from cloudseg.results.probabilities import store_of
    from cloudseg.results.sources import Pictures, Prepared

    copy, folder = tmp_path_factory.mktemp("competition") / "run", tmp_path_factory.mktemp("pictures")
    shutil.copytree(chain, copy)
    names = [f"{7919 * i % 3698:07x}.jpg" for i in range(3698)]
    for name in names:
        (folder / name).touch()
    opened = run.open_run(copy)
    source = Pictures(folder, names)
    source.digests = [source.digest(number) for number in range(len(names))]
    store = store_of(opened, "full", source, False, opened.probabilities)
    store.prepare()
    said = np.zeros((16, 4, 350, 525), np.uint8)
    said[::2, ::2, 40:160, 50:300] = 230
    read = Prepared(np.zeros((64, 96, 3), np.uint8), np.ones((350, 525), bool), (1400, 2100))
    for part, numbers in enumerate(store.parts()):
        store.write(part, said[: len(numbers)], [read] * len(numbers))
    sample = copy / "sample_submission.csv"
    rows = "".join(f"{name}_{label},1 1\n" for name in names for label in CLASSES)
    sample.write_text("Image_Label,EncodedPixels\n" + rows)
    return copy, folder, sample


def test_a_submission_of_the_competitions_size_is_made_in_bounded_memory(competition, tmp_path):
    """Its probabilities are 2.7 GB, and its masks as much; TensorFlow alone takes 0.5 to 1.2, as the machine has it."""
    copy, folder, sample = competition
    rules, out = tmp_path / "rules.json", tmp_path / "submission.csv"
    rules.write_text(json.dumps({name: {} for name in CLASSES}))
    # Not ru_maxrss, which a process inherits from the one that starts it.
    program = "import re, runpy; runpy.run_module('cloudseg.predict')['main']()\n"
    program += "print('peak', int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    arguments = ("--run", copy, "--images", folder, "--sample", sample, "--thresholds", rules, "--out", out)
    said = processes.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, env=environment(), check=True,
        stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    assert "14792 rows, 3698 with a mask" in said
    assert int(said.rpartition("peak")[2]) < 1800
    assert "correct, as" in type_("predict", "--check", out, "--sample", sample)


def test_pictures_of_any_kind_become_masks_of_their_size(chain, folder, tmp_path):
    page = tmp_path / "page.html"
    type_("predict", "--run", chain, "--images", folder, "--format", "png", "--out", tmp_path / "png", "--report", page)
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "png").iterdir()}
    assert sizes == {"a.jpg.png": (2100, 1400), "b.png.png": (300, 200), "c.tif.png": (525, 350)}
    assert page.read_text().count("data:image/jpeg") == 3
    type_("predict", "--run", chain, "--images", folder, "--format", "geojson", "--out", tmp_path / "geojson")
    tables = [json.loads(path.read_text()) for path in sorted((tmp_path / "geojson").iterdir())]
    assert [table["image"] for table in tables] == ["a.jpg", "b.png", "c.tif"]


def test_a_damaged_picture_stops_it_and_loses_nothing(chain, folder, tmp_path):
    broken = tmp_path / "pictures"
    shutil.copytree(folder, broken)
    (broken / "d.jpg").write_bytes(b"no")
    arguments = ("predict", "--run", chain, "--images", broken, "--out", tmp_path / "out.csv")
    assert "d.jpg: is not a JPEG, PNG or TIFF picture; repair it" in type_(*arguments, expect=1)
    assert "d.jpg" in type_(*arguments, "--skip-damaged")
    assert "d.jpg_Fish,\n" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "x.csv"), "--images DIR --out submission.csv"),
        (("--images", "nowhere", "--out", "x.csv"), "nowhere is not a folder"),
        (("--images", ".", "--out", "x", "--format", "png", "--sample", "s.csv"), "--sample is for submissions"),
        (("--check", "nowhere.csv"), "nowhere.csv cannot be read"),
    ],
)
def test_wrong_commands_are_one_line(chain, arguments, said):
    lines = type_("predict", "--run", chain, *arguments, expect=2).splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_a_run_that_was_not_evaluated_has_no_rules(copy, folder, tmp_path):
    said = type_("predict", "--run", copy, "--images", folder, "--out", tmp_path / "x.csv", expect=2)
    assert "thresholds.json is not there; type: python -m cloudseg.evaluate --run" in said


def test_weights_that_are_not_those_of_the_stage_are_refused(copy):
    best = stage_folder(copy, "full") / "best.weights.h5"
    best.write_bytes(best.read_bytes()[:-1] + b"x")
    assert "is not what stage full wrote" in type_("evaluate", "--run", copy, expect=1)
