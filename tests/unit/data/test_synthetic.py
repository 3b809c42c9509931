"""The generated data set: what a user finds in its folder, and what happens to a folder that is in use."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cloudseg import demo
from cloudseg.core.errors import CloudsegError, DataError, UsageError
from cloudseg.data.rle import decode
from cloudseg.data.synthetic import dataset, painter
from cloudseg.data.synthetic import folder as folder_module
from cloudseg.data.synthetic.dataset import Recipe, image_name, pictures, write_dataset
from cloudseg.data.synthetic.layout import plan

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]
RECIPE = Recipe(images=4, test_images=2, seed=3)
ARGUMENTS = ["--images", "4", "--test-images", "2", "--seed", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole data set, made once; tests only read it."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    assert write_dataset(folder, RECIPE)
    return folder


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    """The same data set, for a test to spoil."""
    for file in contents(data):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((data / file).read_bytes())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def times(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def rows(table: Path) -> list[tuple[str, str, str]]:
    """Image, class and runs of each row, split without the project's own reader."""
    lines = table.read_text().splitlines()
    assert lines[0] == "Image_Label,EncodedPixels"
    return [re.fullmatch(r"(.+)_([A-Za-z]+),([0-9 ]*)", line).groups() for line in lines[1:]]


# What is in the folder


def test_the_folder_looks_like_the_competitions(data: Path) -> None:
    found = contents(data)
    names = {kind: sorted(file.name for file in (data / kind).iterdir()) for kind in ("train_images", "test_images")}
    assert len(names["train_images"]) == 4 and len(names["test_images"]) == 2
    assert len(found) == 4 + 2 + 3 and {"train.csv", "sample_submission.csv", "demo.json"} < set(found)
    for kind, files in names.items():
        for name in files:
            assert re.fullmatch(r"[0-9a-f]{7}\.jpg", name)
            assert found[f"{kind}/{name}"].startswith(b"\xff\xd8")
            assert cv2.imread(str(data / kind / name)).shape == (1400, 2100, 3)
    assert not set(names["train_images"]) & set(names["test_images"])


def test_train_csv_has_four_rows_an_image_sorted_by_name(data: Path) -> None:
    names = sorted(file.name for file in (data / "train_images").iterdir())
    assert [row[:2] for row in rows(data / "train.csv")] == [(name, label) for name in names for label in CLASSES]
    assert data.joinpath("train.csv").read_bytes().endswith(b"\n")
    for _, _, runs in rows(data / "train.csv"):
        assert runs == "" or re.fullmatch(r"\d+ \d+( \d+ \d+)*", runs)


def test_sample_submission_has_a_dummy_mask_in_every_row(data: Path) -> None:
    names = sorted(file.name for file in (data / "test_images").iterdir())
    expected = [(name, label, "1 1") for name in names for label in CLASSES]
    assert rows(data / "sample_submission.csv") == expected


def test_masks_are_the_boxes_without_the_black_pixels(data: Path) -> None:
    train, _ = pictures(RECIPE)
    table = {(name, label): runs for name, label, runs in rows(data / "train.csv")}
    hidden = 0
    for one in train:
        black = cv2.imread(str(data / one.file)).sum(axis=2) < 10
        boxes = plan(one.seed, one.index).boxes
        assert set(boxes) == {label for label in CLASSES if table[one.name, label]}
        for label, group in boxes.items():
            union = np.zeros((1400, 2100), bool)
            for box in group:
                union[box.y1 : box.y2, box.x1 : box.x2] = True
            np.testing.assert_array_equal(decode(table[one.name, label], 1400, 2100), union & ~black)
            hidden += int((union & black).sum())
    assert hidden > 10_000, "no box of these images meets a black band: choose another seed"


def test_clouds_are_in_the_boxes_and_the_sea_is_open_elsewhere(data: Path) -> None:
    seen = set()
    for one in pictures(RECIPE)[0]:
        bright = cv2.imread(str(data / one.file)).min(axis=2) > 110
        inside = np.zeros((1400, 2100), bool)
        share = {}
        for name, label, runs in rows(data / "train.csv"):
            if name == one.name and runs:
                mask = decode(runs, 1400, 2100)
                inside |= mask
                share[label] = bright[mask].mean()
        seen |= set(share)
        assert min(share.values()) > 3 * bright[~inside].mean()
        assert min(share.values()) > 0.03
    assert seen == set(CLASSES)


def test_every_image_has_one_to_four_classes_and_about_two() -> None:
    layouts = [plan(seed, index) for seed in range(3) for index in range(200)]
    counts = np.bincount([len(layout.boxes) for layout in layouts], minlength=5)
    assert counts[0] == 0 and counts[1:].min() > 0 and len(counts) == 5
    assert 1.8 < counts @ np.arange(5) / len(layouts) < 2.2
    for layout in layouts:
        assert list(layout.boxes) == [label for label in CLASSES if label in layout.boxes]
        assert all(1 <= len(group) <= 4 for group in layout.boxes.values())


def test_boxes_are_inside_the_image_overlap_and_are_large() -> None:
    areas = []
    for index in range(200):
        for group in plan(0, index).boxes.values():
            union = np.zeros((140, 210), np.uint8)
            for box in group:
                assert 0 <= box.x1 < box.x2 <= 2100 and 0 <= box.y1 < box.y2 <= 1400
                union[box.y1 // 10 : box.y2 // 10, box.x1 // 10 : box.x2 // 10] = 1
            assert cv2.connectedComponents(union)[0] == 2, "the boxes of a class hang together"
            areas.append(union.mean())
    assert min(areas) > 0.08 and max(areas) < 0.6
    assert 0.15 < np.median(areas) < 0.4


def test_any_four_images_in_a_row_show_all_four_classes() -> None:
    for first in range(20):
        shown = {label for index in range(first, first + 4) for label in plan(5, index).boxes}
        assert shown == set(CLASSES)


def test_names_never_repeat_within_a_seed() -> None:
    names = [image_name(1, index) for index in range(3_000)]
    assert len(set(names)) == len(names)


# The same again


def test_an_image_depends_on_nothing_but_seed_and_number(data: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, Recipe(images=2, test_images=1, seed=3), processes=2)
    fewer, more = contents(tmp_path), contents(data)
    images = [file for file in fewer if file.endswith(".jpg")]
    assert len(images) == 3
    for file in images:
        assert fewer[file] == more[file]
    assert len(rows(tmp_path / "train.csv")) == 8
    assert set(rows(tmp_path / "train.csv")) < set(rows(data / "train.csv"))


def test_opencv_paints_with_one_thread_as_more_round_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(painter, "paint", lambda layout, rng: threads.append(cv2.getNumThreads()))
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        painter.picture(0, 0)
        threads.append(cv2.getNumThreads())
    finally:
        cv2.setNumThreads(before)
    assert threads == [1, 2]


def test_another_seed_gives_other_names_and_other_clouds(data: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, Recipe(images=1, test_images=0, seed=4))
    (image,) = (tmp_path / "train_images").iterdir()
    assert image.name not in {file.name for file in (data / "train_images").iterdir()}
    assert image.read_bytes() not in contents(data).values()


def test_the_same_command_again_changes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(data)
    demo.main(["--out", str(data), *ARGUMENTS])
    assert "already complete" in capsys.readouterr().out
    assert times(data) == before


def test_an_interrupted_data_set_is_completed(data: Path, copy: Path) -> None:
    lost = [copy / "demo.json", copy / "train.csv", min((copy / "train_images").iterdir())]
    for file in lost:
        file.unlink()
    kept = times(copy)
    assert write_dataset(copy, RECIPE)
    assert contents(copy) == contents(data)
    assert {file: time for file, time in times(copy).items() if file not in lost} == kept


def test_a_lost_image_is_painted_again(data: Path, copy: Path) -> None:
    max((copy / "test_images").iterdir()).unlink()
    assert write_dataset(copy, RECIPE)
    assert contents(copy) == contents(data)


def test_a_failed_write_leaves_no_file_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CloudsegError, match=r"\.jpg cannot be written: No space left on device"):
        demo.main(["--out", str(tmp_path), "--images", "1", "--test-images", "0", "--processes", "1"])
    assert contents(tmp_path) == {}


# Folders that are somebody else's


@pytest.mark.parametrize(
    "file", ["train_images/0011165.jpg", "test_images/a.png", "train.csv", "sample_submission.csv"]
)
def test_a_folder_with_another_data_set_is_refused_untouched(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("Image_Label,EncodedPixels\n0011165.jpg_Fish,1 1\n")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds another data set"):
        write_dataset(tmp_path, RECIPE)
    assert contents(tmp_path) == before


def test_other_settings_are_refused_with_both_values(data: Path) -> None:
    before = times(data)
    with pytest.raises(UsageError, match=r"other settings \(images 4, not 5; seed 3, not 9\)"):
        write_dataset(data, Recipe(images=5, test_images=2, seed=9))
    assert times(data) == before


def test_an_edited_table_is_not_overwritten(copy: Path) -> None:
    (copy / "demo.json").unlink()
    table = copy / "train.csv"
    table.write_text(table.read_text().replace("_Fish,", "_Fish,1 1 ", 1))
    edited = table.read_bytes()
    with pytest.raises(UsageError, match="train.csv has other content"):
        write_dataset(copy, RECIPE)
    assert table.read_bytes() == edited and not (copy / "demo.json").exists()


def test_a_truncated_image_is_named(copy: Path) -> None:
    (copy / "demo.json").unlink()
    image = min((copy / "train_images").iterdir())
    image.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="is damaged; remove it") as raised:
        write_dataset(copy, RECIPE)
    assert str(image) in str(raised.value)


@pytest.mark.parametrize("content", ["", "[]", "3", "{"])
def test_a_damaged_record_is_a_users_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        write_dataset(tmp_path, RECIPE)


def test_the_record_is_written_last(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    publish = folder_module.publish
    monkeypatch.setattr(
        "cloudseg.data.synthetic.dataset.publish",
        lambda path, content: (order.append(path.name), publish(path, content)),
    )
    write_dataset(tmp_path, Recipe(images=1, test_images=0, seed=3))
    assert len(order) == 4 and order[-1] == "demo.json"
    assert json.loads((tmp_path / "demo.json").read_text())["images"] == 1


# The command


def test_a_refusal_is_one_line_and_exit_code_2(data: Path) -> None:
    command = [sys.executable, "-m", "cloudseg.demo", "--out", str(data), "--images", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {data} holds a demo data set with other settings")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [("--images", "0", 1), ("--test-images", "-1", 0), ("--seed", "-1", 0), ("--processes", "0", 1)],
)
def test_impossible_numbers_are_refused(tmp_path: Path, option: str, value: str, least: int) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{option} must be at least {least}, not {value}")):
        demo.main(["--out", str(tmp_path), option, value])


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        demo.main(["--out", str(tmp_path / "data")])


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        demo.main(["--help"])
    assert leaving.value.code == 0
    assert "python -m cloudseg.demo --out DIR --images 8 --seed 1" in capsys.readouterr().out


@pytest.mark.parametrize("total", [3, 10, 132])
def test_a_log_gets_about_ten_lines_of_progress(total: int) -> None:
    log = io.StringIO()
    show = dataset.progress_on(log)
    for done in range(1, total + 1):
        show(done, total)
    lines = log.getvalue().splitlines()
    assert len(lines) == min(total, 10) and lines[-1] == f"{total} of {total} images"


def test_a_terminal_gets_one_growing_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    show = dataset.progress_on(terminal)
    for done in range(1, 5):
        show(done, 4)
    *_, last = terminal.getvalue().split("\r")
    assert last == f"[{'#' * 40}] 4/4 images\n" and terminal.getvalue().count("\n") == 1


def test_the_contact_sheet_is_a_small_picture(data: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "docs" / "sheet.jpg"
    demo.main(["--out", str(data), *ARGUMENTS, "--contact-sheet", str(sheet)])
    assert cv2.imread(str(sheet)).shape[1] == 1400
    assert 50_000 < sheet.stat().st_size < 400_000
