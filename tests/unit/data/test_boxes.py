"""The published box table: what its rows mean, what becomes of wrong ones, and the union of boxes."""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudseg.core.errors import CloudsegError
from cloudseg.data import rle
from cloudseg.data.boxes import Box, BoxTable, union
from cloudseg.data.labels import CLASSES, SOURCE_SIZE, ImageLabels, Row

ROOT = Path(__file__).resolve().parents[3]
REAL = Path(os.environ.get("CLOUDSEG_REAL_DATA", ROOT.parent / "shared" / "data")) / "boxes.csv"
HEIGHT, WIDTH = SOURCE_SIZE


def table_of(folder: Path, *rows: str) -> BoxTable:
    (folder / "boxes.csv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return BoxTable(folder / "boxes.csv")


def painted(boxes: Iterable[tuple[int, int, int, int]]) -> np.ndarray:
    """The definition: bool (1400, 2100), every box (x1, y1, x2, y2) filled in."""
    mask = np.zeros(SOURCE_SIZE, bool, order="F")
    for x1, y1, x2, y2 in boxes:
        mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    return mask


def assert_is(runs: rle.Runs, mask: np.ndarray) -> None:
    """Ascending, disjoint, no run empty; and, those that touch joined up, the runs of the mask."""
    starts, ends = runs
    assert starts.dtype == ends.dtype == np.int64
    assert (ends > starts).all()
    assert (starts[1:] >= ends[:-1]).all()
    apart = starts[1:] > ends[:-1]
    expected = rle.find(mask)
    np.testing.assert_array_equal(starts[np.r_[True, apart][: len(starts)]], expected.starts)
    np.testing.assert_array_equal(ends[np.r_[apart, True][: len(ends)]], expected.ends)


def spans(size: int) -> st.SearchStrategy[tuple[int, int]]:
    """Start and end, often on a border or on one of a few places so that boxes share edges."""
    edges = st.one_of(st.integers(0, size), st.sampled_from((0, 1, size // 2, size - 1, size)))
    return st.tuples(edges, edges).map(sorted).filter(lambda span: span[0] < span[1]).map(tuple)


boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), spans(WIDTH), spans(HEIGHT))


@given(st.lists(boxes, max_size=8))
def test_the_union_is_what_painting_gives(drawn: list[Box]) -> None:
    assert_is(union(drawn), painted(drawn))


def test_the_union_of_no_boxes_is_empty() -> None:
    assert_is(union([]), painted([]))


def test_boxes_that_meet_share_their_runs() -> None:
    runs = union([Box(1, 0, 3, 10), Box(1, 10, 3, 20), Box(2, 5, 3, 30), Box(5, 0, 6, HEIGHT)])
    assert runs.starts.tolist() == [HEIGHT, 2 * HEIGHT, 5 * HEIGHT]
    assert runs.ends.tolist() == [HEIGHT + 20, 2 * HEIGHT + 30, 6 * HEIGHT]


def test_boxes_of_a_class_add_up_whoever_drew_them(tmp_path: Path) -> None:
    table = table_of(
        tmp_path, "1,d/b.jpg,0,0,2,3,Fish", "2,a.jpg,5,6,7,8,Sugar", "3,d/b.jpg,1,1,4,5,Fish", "4,d/b.jpg,0,0,1,1,Sugar"
    )
    images, rejected, _ = table.read()
    assert rejected == []
    assert images == [
        ImageLabels("a.jpg", 2, ((), (), (), (Row(2, 23, 21),))),
        ImageLabels("b.jpg", 1, ((Row(1, 0, 22), Row(3, 45, 22)), (), (), (Row(4, 68, 23),))),
    ]
    assert_is(table.runs(images[1], 0), painted([(0, 0, 2, 3), (1, 1, 4, 5)]))
    assert_is(table.runs(images[1], 1), painted([]))
    assert_is(table.runs(images[1], 3), painted([(0, 0, 1, 1)]))
    assert_is(pickle.loads(pickle.dumps(table)).runs(images[0], 3), painted([(5, 6, 7, 8)]))


def test_an_image_in_which_nothing_was_seen_is_known(tmp_path: Path) -> None:
    images, rejected, _ = table_of(tmp_path, "1,a.jpg,,,,,", "2,b.jpg,,,,,", "3,b.jpg,1,2,3,4,Fish").read()
    assert [(labels.name, labels.line, labels.combination) for labels in images] == [("a.jpg", 1, 0), ("b.jpg", 2, 1)]
    assert rejected == []


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ("12.0,13.9,14.0,15.2", (12, 13, 14, 15)),
        ("-0.5,-21,10,11", (0, 0, 10, 11)),
        ("2000,1300,2200,1e9", (2000, 1300, WIDTH, HEIGHT)),
        ('"1", 2 ,+3,4', (1, 2, 3, 4)),
    ],
)
def test_corners_are_cut_to_whole_pixels_of_the_image(
    tmp_path: Path, corners: str, box: tuple[int, int, int, int]
) -> None:
    table = table_of(tmp_path, f"1,a.jpg,{corners},Fish")
    (labels,), rejected, _ = table.read()
    assert rejected == []
    assert_is(table.runs(labels, 0), painted([box]))


def test_a_byte_order_mark_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_bytes(b"\xef\xbb\xbf1,a.jpg,1,2,3,4,Fish\r\n\r\n2,a.jpg,3,2,4,4,Fish")
    table = BoxTable(tmp_path / "boxes.csv")
    (labels,), rejected, _ = table.read()
    assert rejected == []
    assert_is(table.runs(labels, 0), painted([(1, 2, 4, 4)]))


@pytest.mark.parametrize(
    ("row", "image", "field", "reason"),
    [
        ("2,a.jpg,1,2,3,Fish", "a.jpg", "class", "6 fields instead of 7"),
        ("2,a.jpg,1,2,3,4,Fish,", "a.jpg", "class", "8 fields instead of 7"),
        ("2", "", "class", "1 fields instead of 7"),
        ("2,a.jpg,1,2,3,4,fish", "a.jpg", "class", 'the class "fish" is none of Fish, Flower, Gravel, Sugar'),
        ("2,a.jpg,1,2,3,4,", "a.jpg", "class", 'the class "" is none of Fish, Flower, Gravel, Sugar'),
        ("2,a.jpg,,,,,Fish", "a.jpg", "x1", '"" is not a number of pixels'),
        ("2,a.jpg,x,2,3,4,Fish", "a.jpg", "x1", '"x" is not a number of pixels'),
        ("2,a.jpg,1,nan,3,4,Fish", "a.jpg", "y1", '"nan" is not a number of pixels'),
        ("2,a.jpg,1,2,inf,4,Fish", "a.jpg", "x2", '"inf" is not a number of pixels'),
        ("2,a.jpg,1,2,3,1e999,Fish", "a.jpg", "y2", '"1e999" is not a number of pixels'),
        ("2,a.jpg,1_0,2,30,4,Fish", "a.jpg", "x1", '"1_0" is not a number of pixels'),
        ("2,a.jpg,1,2,1.9,4,Fish", "a.jpg", "x2", "1 is not beyond x1 = 1"),
        ("2,a.jpg,1,2,3,1,Fish", "a.jpg", "y2", "1 is not beyond y1 = 2"),
        ("2,a.jpg,2100,2,2101,4,Fish", "a.jpg", "x1", "the box lies outside the image of 2100x1400 pixels"),
        ("2,a.jpg,1,-9,3,-0.5,Fish", "a.jpg", "y1", "the box lies outside the image of 2100x1400 pixels"),
        ("2,e/a.jpg,1,2,3,4,Fish", "a.jpg", "file", "line 1 has an image of this name in another folder"),
        ("2,d/,1,2,3,4,Fish", "d/", "file", "an image is named by a file name without a folder"),
        ("2,,1,2,3,4,Fish", "", "file", "an image is named by a file name without a folder"),
        ("2,d/..,1,2,3,4,Fish", "..", "file", "an image is named by a file name without a folder"),
        ('2,a.jpg,"1,2,3,4,Fish', "a.jpg", "file", "not a row of a CSV file: unexpected end of data"),
        ("2,a.jpg,1\r,2,3,4,Fish", "a.jpg", "file", "not a row of a CSV file: there is a carriage return within"),
    ],
)
def test_a_wrong_row_is_rejected_and_leaves_its_image_out(
    tmp_path: Path, row: str, image: str, field: str, reason: str
) -> None:
    table = table_of(tmp_path, "1,a.jpg,1,2,3,4,Fish", "1,b.jpg,1,2,3,4,Fish")
    with table.path.open("ab") as file:
        file.write(row.encode() + b"\n")
    images, (rejection,), _ = table.read()
    assert (rejection.line, rejection.image, rejection.field) == (3, image, field)
    assert rejection.reason.startswith(reason)
    assert [labels.name for labels in images] == (["b.jpg"] if image == "a.jpg" else ["a.jpg", "b.jpg"])


@pytest.mark.parametrize("row", ["1,b.jpg,1,2,3,4,Fish", "1,a.jpg,,,,,,,,,,,,,", "11,a.jpg,,,,,       ", ""])
def test_a_table_that_changed_since_it_was_read_is_noticed(tmp_path: Path, row: str) -> None:
    table = table_of(tmp_path, "1,a.jpg,1,2,3,4,Fish")
    (labels,), _, _ = table.read()
    table_of(tmp_path, row)
    with pytest.raises(CloudsegError, match="boxes.csv changed while it was read: run the command again"):
        table.runs(labels, 0)


def test_two_hundred_images_of_the_published_table_agree_with_painting() -> None:
    if not REAL.is_file():
        pytest.skip(f"the published boxes are not at {REAL} (set CLOUDSEG_REAL_DATA)")
    with REAL.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    drawn: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for _, path, *corners, label in rows:
        if label:
            drawn.setdefault((Path(path).name, label), []).append(tuple(int(float(corner)) for corner in corners))
    table = BoxTable(REAL)
    images, rejected, _ = table.read()
    empty = {Path(path).name for _, path, x1, _, x2, _, _ in rows if x1 and x1 == x2}
    assert {rejection.image for rejection in rejected} == empty
    assert {labels.name for labels in images} == {Path(row[1]).name for row in rows} - empty
    outside = {name for (name, _), boxes in drawn.items() if min(map(min, boxes)) < 0}
    checked = images[::58] + [labels for labels in images if labels.name in outside]
    assert len(checked) >= 150 + len(outside) and outside
    for labels in checked:
        for i, label in enumerate(CLASSES):
            runs = table.runs(labels, i)
            assert bool(labels.combination >> i & 1) == bool(len(runs.starts)) == ((labels.name, label) in drawn)
            if len(runs.starts):
                assert_is(runs, painted(drawn[labels.name, label]))
