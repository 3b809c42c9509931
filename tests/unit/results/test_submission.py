"""A submission is what the sample file asks for; whatever is wrong with one is named with its line."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES
from cloudseg.results import submission

IMAGES = ("a.jpg", "b_c.jpg", "d.jpg")


@pytest.fixture
def sample(tmp_path):
    return write_sample(tmp_path / "sample_submission.csv", IMAGES)


def write_sample(path, images):
    rows = "".join(f"{image}_{label},1 1\n" for image in images for label in CLASSES)
    path.write_text("Image_Label,EncodedPixels\n" + rows)
    return path


def mask(image: str, label: str) -> np.ndarray:
    out = np.zeros(submission.SIZE, bool)
    if label != "Fish":
        out[10:20, 30:40] = True
    return out


@pytest.fixture
def written(tmp_path, sample):
    assert submission.write(tmp_path / "submission.csv", submission.names(sample), mask) == (12, 9)
    return tmp_path / "submission.csv"


def test_rows_come_in_the_order_of_the_sample_and_empty_masks_are_empty(written):
    lines = written.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == [f"{i}_{label}" for i in IMAGES for label in CLASSES]
    assert lines[1] == "a.jpg_Fish,"
    # Column 30, row 10, counted from 1 down the columns.
    assert lines[2].startswith(f"a.jpg_Flower,{30 * 350 + 11} 10 {31 * 350 + 11} 10 ")


def test_what_was_written_passes(written, sample):
    assert submission.check(written, sample) == []


def changed(name: str, lines: list[str]) -> list[str]:
    """The lines of a submission with one thing wrong."""
    match name:
        case "order":
            lines[2], lines[3] = lines[3], lines[2]
        case "missing row":
            del lines[5]
        case "0-indexed":
            lines[2] = "a.jpg_Flower,0 5"
        case "out of range":
            lines[2] = f"a.jpg_Flower,{350 * 525} 2"
        case "overlap":
            lines[2] = "a.jpg_Flower,10 5 12 3"
        case "NaN":
            lines[1] = "a.jpg_Fish,NaN"
        case "wrong size":
            lines[2] = "a.jpg_Flower,2000000 700"
        case "duplicate":
            lines[3] = lines[2]
        case "trailing blank":
            lines[2] += " "
        case "unknown":
            lines[2] = "z.jpg_Flower,1 1"
    return lines


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("order", "line 4: a.jpg_Flower comes after a.jpg_Gravel, and before it in sample_submission.csv"),
        ("missing row", "b_c.jpg_Fish, line 6 of sample_submission.csv, is missing"),
        ("0-indexed", "starts at 0: the first pixel is number 1"),
        ("out of range", "leaves the image of 183750 pixels"),
        ("overlap", "overlaps the run before it"),
        ("NaN", "holds the text 'NaN'; write an empty field"),
        ("wrong size", "masks are of 350x525 pixels"),
        ("duplicate", "line 4: a.jpg_Flower is there twice, first in line 3"),
        ("trailing blank", "line 3: a.jpg_Flower has superfluous blanks"),
        ("unknown", "'z.jpg_Flower' is not in sample_submission.csv"),
    ],
)
def test_each_fault_is_named(written, sample, name, said):
    written.write_text("\n".join(changed(name, written.read_text().splitlines())) + "\n")
    assert said in "; ".join(submission.check(written, sample))


def test_windows_line_ends_are_one_fault(written, sample):
    written.write_bytes(written.read_bytes().replace(b"\n", b"\r\n"))
    assert submission.check(written, sample) == [
        "line 1: ends with CR LF, as on Windows; write the file with LF line ends"
    ]


def test_without_a_sample_the_form_is_checked_and_that_no_class_is_missing(written):
    assert submission.check(written, None) == []
    lines = written.read_text().splitlines()
    written.write_text("\n".join([*lines[:3], "a.jpg_Whale,", *lines[4:-1]]) + "\n")
    assert submission.check(written, None) == [
        "line 4: 'a.jpg_Whale' does not end in a class, as in 0011165.jpg_Fish",
        "a.jpg_Gravel is missing",
        "d.jpg_Sugar is missing",
    ]


def test_of_many_faults_the_first_are_told(written, sample):
    written.write_text("Image_Label,EncodedPixels\n" + "x\n" * 100)
    faults = submission.check(written, sample)
    assert len(faults) == submission.MAX_PROBLEMS + 1 and faults[-1] == "and more"


def test_a_sample_that_is_none_is_refused_with_its_line(tmp_path, written):
    (tmp_path / "other.csv").write_text("Image_Label,EncodedPixels\na.jpg,1 1\n")
    with pytest.raises(UsageError, match="other.csv, line 2"):
        submission.check(written, tmp_path / "other.csv")


def test_a_full_submission_takes_little_memory(tmp_path):
    """Of masks that would be 147 MB together; what grows with their number is the names."""
    sample = write_sample(tmp_path / "sample_submission.csv", [f"{i:07x}.jpg" for i in range(200)])
    tracemalloc.start()
    try:
        assert submission.write(tmp_path / "submission.csv", submission.names(sample), mask) == (800, 600)
        assert submission.check(tmp_path / "submission.csv", sample) == []
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_names_that_need_quotes_are_written_as_csv_and_pass(tmp_path):
    sample = tmp_path / "sample.csv"
    names = ['"a,b.jpg', "c_d.jpg", '"e""f.jpg']
    rows = [f"{name}_{label}" for name in names for label in CLASSES]
    sample.write_text("Image_Label,EncodedPixels\n" + "".join(f"{r}{chr(34) * (r[0] == chr(34))},1 1\n" for r in rows))
    submission.write(tmp_path / "submission.csv", submission.names(sample), mask)
    assert '\n"a,b.jpg_Fish",\n' in (tmp_path / "submission.csv").read_text()
    assert submission.check(tmp_path / "submission.csv", sample) == []


def test_a_row_that_the_sample_has_twice_is_named(tmp_path, sample):
    sample.write_text(sample.read_text() + "a.jpg_Fish,1 1\n")
    with pytest.raises(UsageError, match="line 14: a.jpg_Fish is on line 2 already"):
        list(submission.names(sample))


def test_rows_that_an_image_lacks_are_listed():
    assert submission.missing([("a.jpg", "Fish"), ("a.jpg", "Gravel"), ("a.jpg", "Flower")]) == ["a.jpg_Sugar"]


@pytest.mark.parametrize(
    ("size", "said"), [((320, 480), "320 pixels high, not 350"), ((525, 350), "along the rows"), ((350, 525), "")]
)
def test_masks_of_another_size_that_fit_are_told(tmp_path, size, said):
    masks = [np.zeros(size, bool) for _ in range(6)]
    for number, each in enumerate(masks):
        each[20 + number : 90, 30 + number : 200] = True
    rows = [f"{number}.jpg_{label}," for number in range(6) for label in CLASSES]
    rows[::4] = [f"{row}{submission.rle.encode(each)}" for row, each in zip(rows[::4], masks, strict=True)]
    (tmp_path / "submission.csv").write_text("\n".join(["Image_Label,EncodedPixels", *rows]) + "\n")
    faults = submission.check(tmp_path / "submission.csv", None)
    assert len(faults) == bool(said) and said in "".join(faults)
