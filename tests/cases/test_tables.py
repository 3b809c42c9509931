"""Tables taken for others, and names and fields that a table cannot hold: read right, or refused before the work."""

from __future__ import annotations

import csv
import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cloudseg.data import rle
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import Manifest

FULL = (1400, 2100)
HEADER = "Image_Label,EncodedPixels\n"
PRETENDED = {
    "gzip in gzip": (gzip.compress(gzip.compress(HEADER.encode())), "gzip file"),
    "bzip2": (b"BZh91AY&SY", "bzip2 file: unpack it with bunzip2"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "7z archive"),
    "Parquet": (b"PAR1" + bytes(64), "Parquet file"),
    "Excel 97": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), "Excel workbook"),
    "login page": (b"\n<!DOCTYPE html><html><title>Sign in", "web page"),
    "JSON": (b'{"detail": "unauthorised"}', "JSON"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "UTF-16": (HEADER.encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 unmarked": (HEADER.encode("utf-16-le"), "UTF-16"),
    "cut gzip": (gzip.compress(HEADER.encode())[:-9], "damaged or incomplete"),
    "cut zip": (b"PK\x03\x04" + bytes(60), "damaged or incomplete"),
    "empty": (b"", "is empty"),
    "escape sequences": (b"\x1b[2J\x1b[31m,x\n", "\\x1b[2J"),
}
OTHER_SHAPES: dict[str, tuple[Callable[[list[list[str]]], str], str]] = {
    "semicolons": (lambda rows: joined(rows, ";"), "separated by semicolons"),
    "tabs": (lambda rows: joined(rows, "\t"), "separated by tabs"),
    "lower case": (
        lambda rows: joined(rows).replace("Image_Label", "image_label"),
        "write the header exactly like this",
    ),
    "swapped": (lambda rows: joined([row[::-1] for row in rows]), "columns are swapped"),
    "index column": (lambda rows: joined([[str(i), *row] for i, row in enumerate(rows)]), "index=False"),
    "no header": (lambda rows: joined(rows[1:]), "it has no header"),
    "transposed": (lambda rows: joined([list(column) for column in zip(*rows, strict=True)]), "exchanged"),
    "old Mac": (lambda rows: joined(rows).replace("\n", "\r"), "carriage return"),
    "boxes": (lambda rows: "1,a.jpg,1,2,300,400,Fish\n", "give it with --boxes"),
}


def joined(rows: list[list[str]], separator: str = ",") -> str:
    return "".join(separator.join(row) + "\n" for row in rows)


def rows_of(path: Path) -> list[list[str]]:
    csv.field_size_limit(1 << 24)
    with path.open(newline="") as file:
        return list(csv.reader(file))


def rewritten(demo: Path, to: Path, change: Callable[[np.ndarray], str]) -> Path:
    """The demo's train.csv with every mask, bool (1400, 2100), written another way."""
    header, *rows = rows_of(demo / "train.csv")
    to.write_text(joined([header, *([name, change(rle.decode(runs, *FULL)) if runs else ""] for name, runs in rows)]))
    return to


@pytest.fixture
def preprocess(type_, demo: Path, tmp_path: Path):
    def preprocess(table: Path, *more: object, expect: int = 0, option: str = "--csv"):
        out = ("--images", demo / "train_images", "--out", tmp_path / "out", "--size", "64x96", "--folds", 4)
        return type_("preprocess", option, table, *out, "--workers", 1, *more, expect=expect)

    return preprocess


def refused(done, *said: str) -> None:
    """One printable line that says all this."""
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert all(text in line for text in said), line


# Masks of another size


@pytest.mark.parametrize(
    ("step", "said"),
    [(4, "183,750 = 350x525, so this seems to be a submission"), (2, "700 pixels high"), (5, "280 pixels high")],
)
def test_labels_of_another_size_do_not_become_small_wrong_masks(preprocess, demo, tmp_path, step, said):
    table = rewritten(demo, tmp_path / "submission.csv", lambda mask: rle.encode(mask[::step, ::step]))
    refused(preprocess(table, expect=2), "submission.csv", said, "--label-size")
    assert not (tmp_path / "out").exists()


def test_a_submission_with_one_mask_is_not_taken_for_labels(preprocess, demo, tmp_path):
    table = rewritten(demo, tmp_path / "submission.csv", lambda mask: rle.encode(mask[::4, ::4]))
    header, *rows = rows_of(table)
    first = next(row for row in rows if row[1])
    table.write_text(joined([header, *([name, runs if name == first[0] else ""] for name, runs in rows)]))
    refused(preprocess(table, expect=2), "seems to be a submission")


def test_pseudo_labels_of_a_submission_are_used_at_their_size(preprocess, demo, tmp_path):
    """As the message advises; the areas are those of the labels, to the pixels that scaling costs."""
    table = rewritten(demo, tmp_path / "submission.csv", lambda mask: rle.encode(mask[::4, ::4]))
    preprocess(table, "--label-size", "350x525")
    scaled = Manifest.load(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    preprocess(demo / "train.csv")
    true = Manifest.load(tmp_path / "out")
    for found, expected in zip(scaled.samples, true.samples, strict=True):
        assert found.name == expected.name
        np.testing.assert_allclose(found.areas, expected.areas, rtol=0.06, atol=60)


def test_runs_along_the_rows_do_not_become_scrambled_masks(preprocess, demo, tmp_path):
    table = rewritten(demo, tmp_path / "train.csv", lambda mask: rle.encode(np.ascontiguousarray(mask.T)))
    refused(preprocess(table, expect=2), "along the rows of the images")


def test_the_sample_file_does_not_become_labels_of_one_pixel(preprocess, demo, tmp_path):
    names = [row[0] for row in rows_of(demo / "train.csv")[1:]]
    (tmp_path / "labels.csv").write_text(HEADER + "".join(f"{name},1 1\n" for name in names))
    refused(preprocess(tmp_path / "labels.csv", expect=2), "sample_submission.csv")


def test_small_masks_at_the_left_are_labels_if_the_user_says_so(preprocess, demo, tmp_path):
    names = [row[0] for row in rows_of(demo / "train.csv")[1:]]
    (tmp_path / "train.csv").write_text(HEADER + "".join(f"{name},1 90000\n" for name in names))
    refused(preprocess(tmp_path / "train.csv", expect=2), "--label-size 1400x2100")
    preprocess(tmp_path / "train.csv", "--label-size", "1400x2100")


def test_boxes_of_small_copies_do_not_become_small_masks(preprocess, demo, tmp_path):
    names = sorted(path.name for path in (demo / "train_images").iterdir())
    rows = [[str(i), names[i % 8], "10", "20", str(300 + i), str(200 + i), "Fish"] for i in range(40)]
    (tmp_path / "boxes.csv").write_text(joined(rows))
    refused(preprocess(tmp_path / "boxes.csv", option="--boxes", expect=2), "smaller images", "--label-size")
    preprocess(tmp_path / "boxes.csv", "--label-size", "350x525", option="--boxes")


# Other files and other tables


@pytest.mark.parametrize("kind", PRETENDED)
def test_a_file_that_is_no_table_is_named_and_not_printed(preprocess, tmp_path, kind):
    content, said = PRETENDED[kind]
    (tmp_path / "train.csv").write_bytes(content)
    refused(preprocess(tmp_path / "train.csv", expect=2), "train.csv", said)


@pytest.mark.parametrize("kind", OTHER_SHAPES)
def test_a_table_in_another_shape_is_refused_with_what_to_change(preprocess, demo, tmp_path, kind):
    change, said = OTHER_SHAPES[kind]
    (tmp_path / "train.csv").write_text(change(rows_of(demo / "train.csv")))
    refused(preprocess(tmp_path / "train.csv", expect=2), said)


def test_runs_given_as_boxes_are_refused(preprocess, demo):
    refused(preprocess(demo / "train.csv", option="--boxes", expect=2), "give it with --csv")


def test_a_workbook_and_a_zip_of_several_tables_are_refused(preprocess, tmp_path):
    for members, said in (
        (("[Content_Types].xml", "xl/workbook.xml"), "a spreadsheet cuts long masks"),
        (("train.csv", "sample_submission.csv"), "2 files (train.csv, sample_submission.csv)"),
        ((), "zip"),
    ):
        with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
            for member in members:
                archive.writestr(member, HEADER)
        refused(preprocess(tmp_path / "train.zip", expect=2), "train.zip", said)


def packed(table: Path, folder: Path, kind: str) -> Path:
    path = folder / f"{table.name}.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(table.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(table, table.name)
            archive.writestr(f"__MACOSX/._{table.name}", b"\0\5\x16\7")
    return path


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_a_packed_train_csv_makes_the_same_data_set_as_the_plain_one(preprocess, demo, tmp_path, kind):
    """As Kaggle hands it out. Shards made from the plain file are kept, so both are one data set."""
    preprocess(demo / "train.csv")
    table = packed(demo / "train.csv", tmp_path, kind)
    assert "1 of 1 shards exist and are kept" in preprocess(table).stderr
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    shutil.rmtree(tmp_path / "out")
    preprocess(table, "--workers", 2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == made


# Fields that a spreadsheet cut


def evenly_cut(length: int) -> str:
    """Runs that are right in an image of any size, whose text has so many characters."""
    count, longer = divmod(length + 1, 8)
    starts = [*(10_001 + 2 * i for i in range(count - longer)), *(100_001 + 2 * i for i in range(longer))]
    text = " ".join(f"{start} 1" for start in starts)
    assert len(text) == length
    return text


@pytest.mark.parametrize("limit", [32_767, 65_535])
def test_a_mask_cut_by_a_spreadsheet_is_not_trained_on(preprocess, demo, tmp_path, limit):
    header, first, *rows = rows_of(demo / "train.csv")
    long = evenly_cut(limit)
    (tmp_path / "train.csv").write_text(joined([header, [first[0], long], *rows]))
    done = preprocess(tmp_path / "train.csv", "--strict", expect=2)
    refused(done, "line 2", first[0].rpartition("_")[0], f"cut by a spreadsheet: it has {limit:,} characters")
    # Of a table with a longer field it was not.
    (tmp_path / "train.csv").write_text(joined([header, [first[0], long], [rows[0][0], long + " 150001 1"], *rows[1:]]))
    preprocess(tmp_path / "train.csv", "--strict")


@pytest.mark.parametrize("limit", [32_767, 65_535])
def test_a_cut_mask_is_not_submitted(type_, tmp_path, limit):
    long = evenly_cut(limit)
    rows = [[f"a.jpg_{label}", ""] for label in CLASSES]
    (tmp_path / "submission.csv").write_text(HEADER + joined([[rows[0][0], long], *rows[1:]]))
    done = type_("cloudseg.predict", "--check", tmp_path / "submission.csv", expect=1)
    assert f"line 2: a.jpg_Fish is cut by a spreadsheet: it has {limit:,} characters" in done.stdout


# Samples and names


def pictures(demo: Path, folder: Path, *names: bytes) -> Path:
    folder.mkdir()
    first = min((demo / "test_images").iterdir())
    for name in names:
        shutil.copy(first, bytes(folder) + b"/" + name)
    return folder


@pytest.fixture
def predict(type_, run: Path, tmp_path: Path):
    def predict(images: Path, *more: object, expect: int = 0):
        out = ("--run", run, "--images", images, "--out", tmp_path / "submission.csv")
        return type_("cloudseg.predict", *out, *more, expect=expect)

    return predict


def kept(run: Path) -> set[Path]:
    return set((run / "probabilities").rglob("*"))


def test_names_with_commas_and_quotes_do_not_break_the_submission(predict, type_, demo, tmp_path):
    names = ["2019, May_Terra.jpg", 'the "best".jpg', "\u00e9t\u00e9.jpg"]
    predict(pictures(demo, tmp_path / "images", *(name.encode() for name in names)))
    header, *rows = rows_of(tmp_path / "submission.csv")
    assert [header, *(row[0] for row in rows)] == [
        HEADER.strip().split(","),
        *(f"{name}_{label}" for name in sorted(names) for label in CLASSES),
    ]
    type_("cloudseg.predict", "--check", tmp_path / "submission.csv")


@pytest.mark.parametrize("name", [b"new\nline.jpg", b"latin-\xe9.jpg"])
def test_a_name_that_no_submission_can_hold_is_refused_before_the_predicting(predict, run, demo, tmp_path, name):
    before = kept(run)
    refused(predict(pictures(demo, tmp_path / "images", b"a.jpg", name), expect=2), ".jpg", "rename the file")
    assert kept(run) == before


@pytest.mark.parametrize("kind", ["", "gz", "zip"])
def test_a_sample_that_went_through_a_spreadsheet_or_a_zip_is_read(type_, demo, tmp_path, kind):
    """With a byte order mark, quotes, Windows' line ends and blank lines at its end, as train.csv may be."""
    header, *rows = rows_of(demo / "sample_submission.csv")
    (tmp_path / "submission.csv").write_text(joined([header, *([name, ""] for name, _ in rows)]))
    sample = tmp_path / "sample.csv"
    quoted = "".join(f'"{name}","{runs}"\r\n' for name, runs in [header, *rows]) + "\r\n\r\n"
    sample.write_text("\ufeff" + quoted, newline="")
    sample = packed(sample, tmp_path, kind) if kind else sample
    type_("cloudseg.predict", "--check", tmp_path / "submission.csv", "--sample", sample)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines, lines[1]], "is on line 2 already"),
        (lambda lines: lines[:1], "has no rows"),
        (lambda lines: [line.replace(",", ";") for line in lines], "separated by semicolons"),
    ],
    ids=["a row twice", "no rows", "semicolons"],
)
def test_a_sample_that_is_none_is_refused_before_the_predicting(predict, run, demo, tmp_path, change, said):
    before = kept(run)
    lines = (demo / "sample_submission.csv").read_text().splitlines()
    (tmp_path / "sample.csv").write_text("\n".join(change(lines)) + "\n")
    refused(predict(demo / "test_images", "--sample", tmp_path / "sample.csv", expect=2), "sample.csv", said)
    assert kept(run) == before
