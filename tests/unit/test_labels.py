"""The label table: what its rows mean, and what becomes of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseg.data.labels import CLASSES, NO_DATA, ImageLabels, Rejection, read_labels
from cloudseg.errors import UsageError


def read(folder: Path, *rows: str) -> tuple[list[ImageLabels], list[Rejection]]:
    table = folder / "train.csv"
    table.write_text("\n".join(("Image_Label,EncodedPixels", *rows)) + "\n", encoding="utf-8")
    return read_labels(table)


def test_bits_of_classes_and_of_no_data_do_not_meet() -> None:
    assert CLASSES == ("Fish", "Flower", "Gravel", "Sugar")
    assert NO_DATA == 1 << 7


def test_runs_go_to_their_class_with_their_line(tmp_path: Path) -> None:
    images, rejected = read(tmp_path, "a.jpg_Sugar,1 2", "a.jpg_Fish,3 4", "a.jpg_Flower,", "a.jpg_Gravel,")
    assert images == [ImageLabels("a.jpg", ("3 4", "", "", "1 2"), (3, 4, 5, 2))]
    assert rejected == []


def test_combination_has_the_bits_of_the_classes(tmp_path: Path) -> None:
    images, _ = read(tmp_path, "a.jpg_Flower,1 2", "a.jpg_Sugar,1 2", "b.jpg_Fish,")
    assert [image.combination for image in images] == [0b1010, 0]


def test_a_missing_row_is_an_absent_class(tmp_path: Path) -> None:
    images, rejected = read(tmp_path, "a.jpg_Gravel,5 6")
    assert images == [ImageLabels("a.jpg", ("", "", "5 6", ""), (0, 0, 2, 0))]
    assert images[0].line == 2
    assert rejected == []


@pytest.mark.parametrize("absent", ["", "NaN", "nan", "-1", " ", '""'])
def test_ways_to_write_absent(tmp_path: Path, absent: str) -> None:
    images, rejected = read(tmp_path, f"a.jpg_Fish,{absent}")
    assert images[0].runs == ("", "", "", "")
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
        ("a.jpg_Fish", "a.jpg", "EncodedPixels", "1 fields in place of 2"),
        ("a.jpg_Fish,1 2,3", "a.jpg", "EncodedPixels", "3 fields in place of 2"),
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


def test_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("\ufeffImage_Label,EncodedPixels\n\na.jpg_Fish,1 2\n\n", encoding="utf-8")
    images, rejected = read_labels(table)
    assert (images[0].name, images[0].line, rejected) == ("a.jpg", 3, [])


def test_runs_longer_than_the_csv_modules_usual_limit_are_read(tmp_path: Path) -> None:
    runs = " ".join(f"{2 * i + 1} 1" for i in range(60_000))
    images, _ = read(tmp_path, f"a.jpg_Fish,{runs}")
    assert images[0].runs[0] == runs


@pytest.mark.parametrize("text", ["", "Image,Label\na.jpg_Fish,1 2\n", "a.jpg_Fish,1 2\n"])
def test_another_header_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="Image_Label,EncodedPixels"):
        read_labels(tmp_path / "train.csv")


def test_a_table_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(tmp_path / "train.csv")
