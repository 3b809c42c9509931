from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from starlette.requests import HTTPConnection

from cloudseg.chain import begin, preflight
from cloudseg.core.errors import DataError, UsageError
from cloudseg.data.bitmask import pack
from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.nets import scores
from cloudseg.results import postprocess
from cloudseg.results.postprocess import Rule
from cloudseg.results.probabilities import store_of
from cloudseg.results.sources import Samples
from cloudseg.showcase import access, browsing, comparison, drawing, evaluated, exploration, live, server, upload
from preprocess.images import ImageError
from tests.random_shards import random_shards

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of which one stage is done and scored, without ever a network."""
    monkeypatch.setattr(preflight, "check", lambda settings: None)
    for name in ("CLOUDSEG_DATA", "CLOUDSEG_CONFIG", "CLOUDSEG_SET"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "shards").mkdir()
    shards = random_shards(tmp_path / "shards", (5,))
    made = begin.run(tmp_path / "r", [("--data", {"data": str(tmp_path / "shards")})])
    made.stage("frozen").mkdir()
    made.done_file("frozen").write_text(json.dumps({"weights_sha256": "0" * 64}))
    samples = Samples(shards, shards.manifest.indices(0, training=False))
    store = store_of(made, "frozen", samples, False, made.probabilities)
    store.prepare()
    random = np.random.default_rng(0)
    read = [samples.read(number, shards.manifest.size) for number in range(len(store))]
    store.write(0, random.integers(0, 256, (len(store), len(CLASSES), *TRUTH_SIZE), np.uint8), read)
    made.evaluation.mkdir()
    table = pd.DataFrame({"image": samples.names, "stage": "frozen"})
    for name in CLASSES:
        table[[f"{what}_{name.lower()}" for what in ("dice", "predicted", "truth")]] = 0.5, 1, 1
    table.to_csv(made.evaluation / "images.csv", index=False)
    (made.evaluation / "thresholds.json").write_text(json.dumps(postprocess.to_table([Rule()] * len(CLASSES))))
    made.metrics.write_text(json.dumps({"stage": "frozen", "flips": False, "per_stage": {"frozen": {}}}))
    return made.path


def test_scored_run_opens_with_images_truths_and_probabilities(scored):
    found = evaluated.load(scored)
    assert (found.stage, list(found.samples.names)) == ("frozen", ["000.jpg", "002.jpg", "004.jpg"])
    assert found.picture("002.jpg").shape == (64, 96, 3)
    assert found.truth("002.jpg").shape == TRUTH_SIZE
    assert found.probability("002.jpg", "frozen").shape == (len(CLASSES), *TRUTH_SIZE)


def test_run_that_is_not_scored_says_what_to_type(scored):
    (scored / "evaluate" / "metrics.json").unlink()
    with pytest.raises(UsageError, match=r"not scored yet; type: python -m cloudseg\.evaluate --run"):
        evaluated.load(scored)


def test_run_of_which_nothing_is_done_says_what_to_type(scored):
    (scored / "1-frozen" / "DONE.json").unlink()
    with pytest.raises(UsageError, match=r"no stage is done yet; type: python -m cloudseg\.launch"):
        evaluated.load(scored)


def test_run_that_was_trained_again_since_it_was_scored_says_what_to_type(scored):
    (scored / "1-frozen" / "DONE.json").write_text(json.dumps({"weights_sha256": "1" * 64}))
    with pytest.raises(UsageError, match=r"other weights or data than it has now; type: python -m cloudseg\.eval"):
        evaluated.load(scored)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"per_stage": 3}'])
def test_damaged_scores_are_an_error_in_a_line(scored, content):
    (scored / "evaluate" / "metrics.json").write_text(content)
    with pytest.raises(DataError, match="is damaged"):
        evaluated.load(scored)


def test_app_is_ready_to_serve_without_tensorflow():
    code = (
        "import sys, cloudseg.showcase.evaluated, cloudseg.showcase.server, cloudseg.showcase.page_images, "
        "cloudseg.showcase.page_upload, cloudseg.showcase.page_compare, cloudseg.showcase.page_data, "
        "cloudseg.showcase.page_about; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_server_listens_on_the_given_address_only_and_sends_no_statistics():
    options = server.options("127.0.0.1", 8501)
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert options["server.enableXsrfProtection"] is True
    assert options["server.maxUploadSize"] == upload.MAX_MB


def test_every_start_of_the_app_has_a_token_of_its_own_that_nobody_guesses():
    first, second = access.new_token(), access.new_token()
    assert first != second and len(first) == 43  # 256 bits, six a character


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:9000", "cloudseg-app-9000"),  # as with ssh -L 9000:localhost:8501
        ("[::1]:9000", "cloudseg-app-9000"),
        ("[::1]", "cloudseg-app-default"),
        ("app.site.fr", "cloudseg-app-default"),
        ("localhost:9;x=1", "cloudseg-app-default"),
        ("", "cloudseg-app-default"),
    ],
)
def test_apps_on_two_ports_of_a_host_keep_two_cookies(host, name):
    request = HTTPConnection({"type": "http", "headers": [(b"host", host.encode())]})
    assert access.cookie_name(request) == name


def test_port_that_is_taken_says_what_to_type():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="--port [0-9]+$") as refused:
            server.check("127.0.0.1", port)
        server.check("127.0.0.1", int(str(refused.value).split()[-1]))


@pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 0), ("127.0.0.1", 65536), ("192.0.2.1", 8501)])
def test_place_where_nobody_can_listen_is_a_usage_error(address, port):
    with pytest.raises(UsageError):
        server.check(address, port)


# ---------------------------------------------------------------- browsing
def table() -> pd.DataFrame:
    """Fish: a is right, b missed, c invented, d has none; the other classes are nowhere."""
    rows = pd.DataFrame({"image": list("abcd"), "stage": "full"})
    rows[["dice_fish", "predicted_fish", "truth_fish"]] = [(0.8, 9, 9), (0.0, 0, 9), (0.0, 9, 0), (1.0, 0, 0)]
    for name in ("flower", "gravel", "sugar"):
        rows[[f"dice_{name}", f"predicted_{name}", f"truth_{name}"]] = 1.0, 0, 0
    return pd.concat([rows, rows.assign(stage="frozen", dice_fish=0.5)])


@pytest.mark.parametrize(
    ("kind", "worst_first", "images"),
    [
        (browsing.EVERY, True, "bcad"),
        (browsing.EVERY, False, "dabc"),
        (browsing.LABELLED, True, "ba"),
        (browsing.PREDICTED, True, "ca"),
        (browsing.FALSE_NEGATIVE, True, "b"),
        (browsing.FALSE_POSITIVE, True, "c"),
    ],
)
@pytest.mark.parametrize("label", ["Fish", None])
def test_images_are_chosen_by_class_and_kind_in_order_of_dice(label, kind, worst_first, images):
    assert "".join(browsing.select(table(), "full", label, kind, worst_first).index) == images


def test_dice_is_of_the_class_or_the_mean_of_all():
    assert browsing.select(table(), "full", "Fish", browsing.LABELLED, False)["a"] == pytest.approx(0.8)
    assert browsing.select(table(), "full", None, browsing.LABELLED, False)["a"] == pytest.approx(0.95)


# ---------------------------------------------------------------- scores
def images(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    return [
        (random.integers(0, 256, (len(CLASSES), 20, 30), np.uint8), random.integers(0, 16, (20, 30), np.uint8))
        for _ in range(count)
    ]


RULES = (Rule(), Rule(0.3, min_area=40), Rule(0.8, min_peak=0.9), Rule(0.6, shape="box"))


@pytest.mark.parametrize("memory", [0, 10_000, live.MEMORY])
def test_means_are_those_of_every_image_by_itself(memory):
    given = images(40)
    means = live.Means(given.__getitem__, len(given), memory)
    assert not means.known(RULES)
    assert list(means.compute(RULES))[-1] == 1.0
    expected = np.mean([live.dice(postprocess.masks(probability, RULES), bits) for probability, bits in given], axis=0)
    np.testing.assert_allclose(means.of(RULES), expected)


def test_means_follow_the_presence_of_each_image():
    given, rules = images(5), (Rule(min_presence=0.5), *RULES[1:])
    presence = np.linspace(0, 1, 20).reshape(5, 4)
    means = live.Means(given.__getitem__, len(given), presence=presence)
    list(means.compute(rules))
    dice = [
        live.dice(postprocess.masks(probability, rules, chances), bits)
        for (probability, bits), chances in zip(given, presence, strict=True)
    ]
    np.testing.assert_allclose(means.of(rules), np.mean(dice, axis=0))


def test_a_mean_is_computed_once():
    given, read = images(3), []
    means = live.Means(lambda i: (read.append(i), given[i])[1], len(given), memory=0)
    for rules in (RULES, RULES, (Rule(0.1), *RULES[1:]), RULES):
        if not means.known(rules):
            list(means.compute(rules))
    assert len(read) == 2 * len(given)


def test_leaving_in_the_middle_leaves_nothing_half_known():
    given = images(live.CHUNK + 1)
    means = live.Means(given.__getitem__, len(given))
    assert next(means.compute(RULES)) < 1
    assert not means.known(RULES)


def test_dice_of_an_image_is_the_competitions():
    probability, bits = images(1)[0]
    masks = postprocess.masks(probability, [Rule()] * len(CLASSES))
    truth = np.stack([bits >> c & 1 == 1 for c in range(len(CLASSES))])
    counts = np.stack([(masks & truth).sum((1, 2)), masks.sum((1, 2)), truth.sum((1, 2))], axis=-1)
    np.testing.assert_array_equal(live.dice(masks, pack(truth)), scores.dice(counts))


# ---------------------------------------------------------------- pictures
def square(label: str) -> np.ndarray:
    masks = np.zeros((len(CLASSES), *TRUTH_SIZE), bool)
    masks[CLASSES.index(label), 100:200, 100:200] = True
    return masks


@pytest.mark.parametrize("label", CLASSES)
def test_prediction_is_tinted_and_truth_outlined_in_the_colour_of_the_class(label):
    grey = np.full((64, 96, 3), 100, np.uint8)
    predicted = drawing.draw(grey, predicted=square(label))
    outlined = drawing.draw(grey, truth=square(label))
    inside, edge, outside = (300, 300), (200, 300), (50, 50)
    np.testing.assert_allclose(predicted[inside], 55 + 0.45 * np.array(COLOURS[label]), atol=1)
    assert tuple(outlined[edge]) == COLOURS[label]
    assert tuple(outlined[inside]) == tuple(predicted[outside]) == (100, 100, 100)


def test_what_comes_in_is_not_drawn_on():
    image = np.full((*drawing.SIZE, 3), 100, np.uint8)
    drawing.draw(image, square("Fish"), square("Sugar"))
    assert (image == 100).all()


def test_legend_names_every_class():
    assert all(name in drawing.legend(truth=True) for name in CLASSES)
    assert "labelled" not in drawing.legend(truth=False)


# ---------------------------------------------------------------- data
SHARES = np.array([[0.5, 0.1, 0, 0], [0.2, 0, 0, 0], [0, 0, 0, 0]])


def test_counts_are_by_class_and_part():
    found = exploration.counts(SHARES, np.array([True, False, False])).set_index(["class", "part"])["images"]
    assert (found["Fish", "training"], found["Fish", "validation"], found["Flower", "training"]) == (1, 1, 0)


def test_together_counts_images_with_both():
    found = exploration.cooccurrence(SHARES).set_index(["class", "other"])["images"]
    assert (found["Fish", "Fish"], found["Fish", "Flower"], found["Flower", "Fish"]) == (2, 1, 1)
    assert found["Sugar", "Fish"] == 0


def test_classes_per_image_counts_images_without_any():
    assert list(exploration.classes_per_image(SHARES)["images"]) == [1, 1, 1, 0, 0]


def test_distribution_counts_each_image_that_has_the_class_once():
    found = exploration.distribution(SHARES).groupby("class")["images"].sum()
    assert (found["Fish"], found["Flower"], found["Sugar"]) == (2, 1, 0)


def test_areas_are_shares_of_what_has_data(tmp_path):
    shards = random_shards(tmp_path, (2,))
    expected = [np.count_nonzero(shards.mask(0) >> c & 1) / (64 * 96) for c in range(len(CLASSES))]
    np.testing.assert_allclose(exploration.areas(shards.manifest)[0], expected)


def test_comparison_has_a_row_for_each_stage_of_each_run():
    stage = {
        "dice": 0.6, "dice_interval": [0.5, 0.7], "dice_untuned": 0.4, "dice_untuned_interval": [0.3, 0.5],
        "dice_per_class": dict.fromkeys(CLASSES, 0.6),
    }  # fmt: skip
    both, one = {"per_stage": {"frozen": stage, "full": stage}}, {"per_stage": {"full": stage}}
    found = comparison.table([("a", both), ("b", one)])
    assert list(zip(found["run"], found["stage"], strict=True)) == [("a", "frozen"), ("a", "full"), ("b", "full")]
    assert list(found.loc[0, ["dice", "low", "high", "untuned"]]) == [0.6, 0.5, 0.7, 0.4]


@pytest.mark.parametrize(
    ("paths", "titles"),
    [(("/runs/a", "/runs/b"), ["a", "b"]), (("/runs/a", "/old/a"), ["/runs/a", "/old/a"])],
)
def test_runs_are_called_by_their_names_unless_two_have_the_same(paths, titles):
    assert comparison.titles([Path(path) for path in paths]) == titles


# ---------------------------------------------------------------- uploads
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (bytes(upload.MAX_MB * 1_000_000 + 1), "more than 20"),
        (b"no picture", "is not a JPEG, PNG or TIFF picture"),
    ],
    ids=["empty", "large", "text"],
)
def test_file_that_is_no_picture_is_refused_with_the_reason(content, reason):
    with pytest.raises(ImageError, match=reason):
        upload.decode(content, (64, 96))
