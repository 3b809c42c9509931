"""The label table: what its rows mean, and what becomes of wrong ones."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from pathlib import Path

import pytest

from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.data.labels import CLASSES, NO_DATA, ImageLabels, Rejection, Row, RowError, RunTable

HEADER = b"Image_Label,EncodedPixels\n"


def table_of(folder: Path, *rows: str) -> RunTable:
    (folder / "train.csv").write_text("\n".join((HEADER.decode().strip(), *rows)) + "\n", encoding="utf-8")
    return RunTable(folder / "train.csv")


def read(folder: Path, *rows: str) -> tuple[list[ImageLabels], list[Rejection]]:
    return table_of(folder, *rows).read()[:2]


def pairs(table: RunTable, labels: ImageLabels, label: str) -> list[tuple[int, int]]:
    """Start and end of each run of a class."""
    return [(int(start), int(end)) for start, end in zip(*table.runs(labels, CLASSES.index(label)), strict=True)]


def test_bits_of_classes_and_of_no_data_do_not_meet() -> None:
    assert CLASSES == ("Fish", "Flower", "Gravel", "Sugar")
    assert NO_DATA == 1 << 7


def test_rows_go_to_their_class(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a.jpg_Sugar,1 2", "a.jpg_Fish,3 40", "a.jpg_Flower,", "a.jpg_Gravel,")
    images, rejected, _ = table.read()
    assert images == [ImageLabels("a.jpg", 2, ((Row(3, 42, 15),), (), (), (Row(2, 26, 15),)))]
    assert rejected == []
    assert [pairs(table, images[0], label) for label in CLASSES] == [[(2, 42)], [], [], [(0, 2)]]


def test_combination_has_the_bits_of_the_classes(tmp_path: Path) -> None:
    images, _ = read(tmp_path, "a.jpg_Flower,1 2", "a.jpg_Sugar,1 2", "b.jpg_Fish,")
    assert [image.combination for image in images] == [0b1010, 0]


def test_a_missing_row_is_an_absent_class(tmp_path: Path) -> None:
    images, rejected = read(tmp_path, "a.jpg_Gravel,5 6")
    assert images == [ImageLabels("a.jpg", 2, ((), (), (Row(2, 26, 16),), ()))]
    assert rejected == []


@pytest.mark.parametrize("absent", ["", "NaN", "nan", "-1", " ", '""', '"-1"', " NAN ", '" "'])
def test_ways_to_write_absent(tmp_path: Path, absent: str) -> None:
    images, rejected = read(tmp_path, f"a.jpg_Fish,{absent}")
    assert images == [ImageLabels("a.jpg", 2, ((), (), (), ()))]
    assert rejected == []


def test_the_label_splits_at_its_last_underscore(tmp_path: Path) -> None:
    images, _ = read(tmp_path, "Aqua_Corrected.20071227_-61--40_10-24.jpeg_Fish,1 1")
    assert images[0].name == "Aqua_Corrected.20071227_-61--40_10-24.jpeg"


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    images, _ = read(tmp_path, "b.jpg_Fish,", "a.jpg_Fish,")
    assert [image.name for image in images] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("row", "image", "field", "reason"),
    [
        ("a.jpgFish,1 2", "a.jpgFish", "Image_Label", "there is no underscore between image and class"),
        ("_Fish,1 2", "", "Image_Label", "an image is named by a file name without a folder"),
        ("../a.jpg_Fish,1 2", "../a.jpg", "Image_Label", "an image is named by a file name without a folder"),
        ("d\\a.jpg_Fish,1 2", "d\\a.jpg", "Image_Label", "an image is named by a file name without a folder"),
        (".._Fish,1 2", "..", "Image_Label", "an image is named by a file name without a folder"),
        ("a.jpg_Fisch,1 2", "a.jpg", "Image_Label", 'the class "Fisch" is none of Fish, Flower, Gravel, Sugar'),
        ("a.jpg_Sugar,1 2", "a.jpg", "Image_Label", "Sugar of this image is on line 2 already"),
        ("a.jpg_Fish", "a.jpg", "EncodedPixels", "1 fields instead of 2"),
        ("a.jpg_Fish,1 2,3", "a.jpg", "EncodedPixels", "3 fields instead of 2"),
    ],
)
def test_a_wrong_row_is_rejected_with_line_image_field_and_reason(
    tmp_path: Path, row: str, image: str, field: str, reason: str
) -> None:
    _, rejected = read(tmp_path, "a.jpg_Sugar,1 2", "b.jpg_Fish,1 2", row)
    assert rejected == [Rejection(4, image, field, reason)]


def test_an_image_with_a_wrong_row_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    images, _ = read(tmp_path, "a.jpg_Sugar,1 2", "b.jpg_Fish,1 2", "a.jpg_Fisch,1 2")
    assert [image.name for image in images] == ["b.jpg"]


@pytest.mark.parametrize(
    ("row", "image", "reason"),
    [
        (b"b\0.jpg_Fish,1 2", "b\0.jpg", "an image is named by a file name without a folder"),
        (b"b\xff.jpg_Fish,1 2", "b\\xff.jpg", "an image is named by a file name without a folder"),
        (b"a.jpg_Fi\xe9sh,1 2", "a.jpg", 'the class "Fi\\xe9sh" is none of Fish, Flower, Gravel, Sugar'),
        (b"a.jpg_Fish\r,1 2", "a.jpg", "not a row of a CSV file: there is a carriage return within the row"),
        (b'"a.jpg_Fish,1 2', "a.jpg", "not a row of a CSV file: unexpected end of data"),
        (b'a.jpg_Fish,"1 2', "a.jpg", "not a row of a CSV file: unexpected end of data"),
        (b'"a.jpg_Fish"x,1 2', "a.jpg", "not a row of a CSV file: ',' expected after '\"'"),
        (b"a.jpg_Fish1 2 " + b"3 4 " * 999, "a.jpg", 'the class "Fish1 2 3 4'),
        (b"b" * 300 + b"_Fish,", "b" * 255, "a file name has at most 255 characters"),
    ],
)
def test_damaged_bytes_are_a_rejection_that_can_be_printed(tmp_path: Path, row: bytes, image: str, reason: str) -> None:
    (tmp_path / "train.csv").write_bytes(HEADER + b"a.jpg_Sugar,1 2\n" + row + b"\nc.jpg_Fish,\n")
    images, (rejection,), _ = RunTable(tmp_path / "train.csv").read()
    assert [labels.name for labels in images] == (["c.jpg"] if image == "a.jpg" else ["a.jpg", "c.jpg"])
    assert (rejection.line, rejection.image, rejection.field) == (3, image, "Image_Label")
    assert rejection.reason.startswith(reason) and len(rejection.reason) < 120
    str(rejection).encode()


def test_blank_lines_a_byte_order_mark_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(
        b"\xef\xbb\xbfImage_Label,EncodedPixels\r\n\r\n\na.jpg_Fish,1 2\r\n\nb.jpg_Fish,-1\r\nb.jpg_Sugar,3 4"
    )
    table = RunTable(path)
    images, rejected, _ = table.read()
    assert [(labels.name, labels.line) for labels in images] == [("a.jpg", 4), ("b.jpg", 6)]
    assert rejected == []
    assert pairs(table, images[0], "Fish") == [(0, 2)]
    assert [pairs(table, images[1], label) for label in ("Fish", "Sugar")] == [[], [(2, 6)]]


def test_quoted_fields_are_read_even_beyond_the_csv_modules_usual_limit(tmp_path: Path) -> None:
    runs = " ".join(f"{2 * i + 1} 1" for i in range(60_000))
    table = table_of(tmp_path, f'"a.jpg_Fish","{runs}"', '"b"".jpg_Fish"," 1 2 "')
    images, rejected, _ = table.read()
    assert pairs(table, images[0], "Fish") == [(2 * i, 2 * i + 1) for i in range(60_000)]
    assert (images[1].name, pairs(table, images[1], "Fish"), rejected) == ('b".jpg', [(0, 2)], [])


def test_the_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    table = table_of(tmp_path, "", "a.jpg_Fish,1 2", "wrong")
    assert table.read()[2] == hashlib.sha256(table.path.read_bytes()).hexdigest()


def test_wrong_runs_are_found_when_they_are_read(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a.jpg_Fish,1 2", "a.jpg_Gravel,1 2 2 1", "a.jpg_Sugar,1 2\u00e9")
    images, rejected, _ = table.read()
    assert (images[0].combination, rejected) == (0b1101, [])
    assert pairs(table, images[0], "Fish") == [(0, 2)]
    for label, line, reason in ((2, 3, 'Gravel: run 2 ("2 1") overlaps'), (3, 4, "Sugar: '2é' is not a positive")):
        with pytest.raises(RowError) as raised:
            table.runs(images[0], label)
        assert raised.value.line == line
        assert raised.value.reason.startswith(reason)
        assert str(pickle.loads(pickle.dumps(raised.value))) == raised.value.reason


def test_a_table_travels_by_pickle_without_its_open_file(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a.jpg_Fish,1 2")
    (labels,), _, _ = table.read()
    closed = pickle.dumps(table)
    assert pairs(table, labels, "Fish") == [(0, 2)]
    assert pickle.dumps(table) == closed
    assert pickle.loads(closed) == table
    assert pairs(pickle.loads(closed), pickle.loads(pickle.dumps(labels)), "Fish") == [(0, 2)]


def test_the_file_is_closed_with_its_table(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    table = table_of(tmp_path, "a.jpg_Fish,1 2")
    (labels,), _, _ = table.read()
    assert open_files() == before
    table.runs(labels, 0)
    table.runs(labels, 0)
    assert open_files() == before + 1
    del table
    assert open_files() == before


@pytest.mark.parametrize(
    "row",
    [
        b"b.jpg_Fish,1 2",
        b"a.jpg_Gish,1 2",
        b"a.jpg_Fish,1 23",
        b"a.jpg_Fish,1",
        b"a.jpg_Fish,-1\n",
        b"a.jpg_Fish,   ",
        b'"a.jpg_Fish,12',
        b"\na.jpg_Fish,1 ",
        b"",
    ],
)
def test_a_table_that_changed_since_it_was_read_is_noticed(tmp_path: Path, row: bytes) -> None:
    table = table_of(tmp_path, "a.jpg_Fish,1 2")
    (labels,), _, _ = table.read()
    table.path.write_bytes(HEADER + row + b"\n")
    with pytest.raises(CloudsegError, match="train.csv changed while it was read: run the command again"):
        table.runs(labels, 0)


def test_a_table_that_is_gone_since_it_was_read_is_a_usage_error(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a.jpg_Fish,1 2")
    (labels,), _, _ = table.read()
    table.path.unlink()
    assert table.runs(labels, 1).starts.size == 0
    with pytest.raises(UsageError, match="cannot be read"):
        table.runs(labels, 0)


def test_memory_does_not_grow_with_the_runs(tmp_path: Path) -> None:
    table = table_of(tmp_path, *(f"{i}.jpg_Fish,{'1 1 ' * 25_000}" for i in range(100)))
    tracemalloc.start()
    try:
        images = table.read()[0]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == 100 and table.path.stat().st_size > 10_000_000
    assert most < 3_000_000


@pytest.mark.parametrize("text", ["", "Image,Label\na.jpg_Fish,1 2\n", "a.jpg_Fish,1 2\n", '"Image'])
def test_another_header_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="Image_Label,EncodedPixels"):
        RunTable(tmp_path / "train.csv").read()


def test_a_table_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        RunTable(tmp_path / "train.csv").read()


@pytest.mark.parametrize(
    ("length", "cut"), [(32_767, True), (32_766, True), (32_759, True), (65_535, True), (32_765, False)]
)
def test_the_longest_fields_are_rejected_if_they_are_as_long_as_a_cell(tmp_path: Path, length: int, cut: bool) -> None:
    runs = "1 " + "1" * (length - 2)
    _, rejected = read(tmp_path, f"a.jpg_Fish,{runs}", "b.jpg_Fish,1 2", f"c.jpg_Fish,{runs}")
    assert [rejection.line for rejection in rejected] == ([2, 4] if cut else [])
    _, rejected = read(tmp_path, f"a.jpg_Fish,{runs}", f"b.jpg_Fish,{runs}{'1' * 9}")
    assert rejected == []


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert str(Rejection(2, "\x1b[2J.jpg", "image", "wrong")) == "line 2, \\x1b[2J.jpg, image: wrong"
