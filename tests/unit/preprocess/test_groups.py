"""Images of the same clouds are in one fold: which images these are, and how folds stay equal."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudseg.core.errors import UsageError
from cloudseg.data.boxes import BoxTable
from cloudseg.data.labels import CLASSES, ImageLabels, Row
from cloudseg.data.shards import remake
from preprocess.build import build
from preprocess.fingerprint import check_fingerprint
from preprocess.groups import NAMES, Groups, find_groups
from preprocess.plan import assign_folds, assign_folds_to_groups, make_plan
from preprocess.settings import Settings
from tests.preprocess_source import REAL, run

TERRA = "Terra_CorrectedReflectance20100116_-135--114_-15--1.jpeg"
AQUA = "Aqua_CorrectedReflectance20100116_-135--114_-15--1.jpeg"


def scene_name(day: int = 16, west: int = -61, east: int = -40, south: int = 10, north: int = 24) -> str:
    return f"Terra_CorrectedReflectance201001{day:02d}_{west}-{east}_{south}-{north}.jpeg"


def table(folder: Path, rows: list[tuple[str, str]], header: str = "image,labels,nasa_file") -> str:
    path = folder / "provenance.csv"
    path.write_text(header + "\n" + "".join(f"{image},exact,{nasa_file}\n" for image, nasa_file in rows))
    return str(path)


def images(combinations: list[int]) -> list[ImageLabels]:
    """Images 0000.jpg, 0001.jpg, ... with these combinations of classes, 0 to 15."""
    return [
        ImageLabels(f"{i:04d}.jpg", 2, tuple((Row(2 + c, 26, 15),) if bits >> c & 1 else () for c in range(4)))
        for i, bits in enumerate(combinations)
    ]


# Which images are together


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (TERRA, AQUA, True),
        (scene_name(), scene_name(day=17), False),
        (scene_name(), scene_name(west=-45, east=-24), True),
        (scene_name(), scene_name(west=-40, east=-19), False),  # they share a border
        (scene_name(), scene_name(south=20, north=34), True),
        (scene_name(), scene_name(south=24, north=38), False),
        (scene_name(west=170, east=-170), scene_name(west=-175, east=-154), True),  # across the date line
        (scene_name(west=170, east=-170), scene_name(west=150, east=171), True),
        (scene_name(west=170, east=-170), scene_name(west=-61, east=-40), False),
    ],
)
def test_images_of_one_day_and_of_overlapping_regions_are_a_group(one: str, other: str, together: bool) -> None:
    for names in ((one, other), (other, one)):
        assert len(find_groups(names, NAMES).members) == (1 if together else 2)


def test_overlaps_are_followed_from_image_to_image() -> None:
    chain = [scene_name(west=west, east=west + 21) for west in (-61, -41, -21)]
    for order in itertools.permutations(chain):
        assert find_groups(order, NAMES).members == (tuple(sorted(chain)),)


def test_the_table_names_the_nasa_file_of_an_image(tmp_path: Path) -> None:
    rows = [("a.jpg", f"Region3_DJF_Terra/{TERRA}"), ("b.jpg", f"Region3_DJF_Aqua/{AQUA}"), ("c.jpg", "")]
    found = find_groups(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], table(tmp_path, rows))
    assert found.members == (("a.jpg", "b.jpg"), ("c.jpg",), ("d.jpg",))
    assert str(found) == ("4 images in 3 groups of at most 2; 2 of them have no NASA name and are groups of their own")


def test_an_image_that_the_table_lacks_is_known_by_its_own_name(tmp_path: Path) -> None:
    assert find_groups([AQUA, "a.jpg"], table(tmp_path, [("a.jpg", TERRA)])).members == ((AQUA, "a.jpg"),)


# Faults of the table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"provenance.csv is empty: write the header image,nasa_file"),
        ("image,file\na.jpg,x\n", r"line 1: the header \"image,file\" must have the column nasa_file once"),
        (f"image,nasa_file\na.jpg,{TERRA},1\n", "line 2: 3 fields instead of 2"),
        (f'image,nasa_file\n"a.jpg,{TERRA}\n', "line 2: not a row of a CSV file"),
        (f"image,nasa_file\n\nb/a.jpg,{TERRA}\n", 'line 3, image: "b/a.jpg": an image is named by a file name without'),
        (f"image,nasa_file\na.jpg,{TERRA}\na.jpg,\n", 'line 3, image: "a.jpg" is on line 2 already'),
        ("image,nasa_file\na.jpg,cloud.jpeg\n", 'line 2, nasa_file: "cloud.jpeg": it is not of the form PLATFORM_'),
        (f"image,nasa_file\na.jpg,{TERRA.replace('0116', '0231')}\n", "line 2, nasa_file: .*there is no day 20100231"),
        (f"image,nasa_file\na.jpg,{TERRA.replace('135', '235')}\n", "longitudes -235 to -114 are not from -180 to 180"),
        (f"image,nasa_file\na.jpg,{TERRA.replace('15--1', '15--16')}\n", "latitudes -15 to -16 do not ascend"),
        (f"image,nasa_file\nb.jpg,{TERRA}\n", r"no row has the nasa_file of one of the 1 images, as of a\.jpg"),
    ],
)
def test_a_bad_row_is_told_with_file_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "provenance.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as error:
        find_groups(["a.jpg"], str(path))
    assert str(path) in str(error.value)


def test_images_without_nasa_names_need_a_table() -> None:
    with pytest.raises(UsageError, match=r"--groups names: no image has .*: --groups provenance\.csv"):
        find_groups(["a.jpg"], NAMES)
    with pytest.raises(UsageError, match=r"2010023.* has the form of a NASA name, but there is no day 20100230"):
        find_groups([TERRA.replace("0116", "0230")], NAMES)


# Folds


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[ImageLabels], Groups, int]:
    made = images(draw(st.lists(st.integers(0, 15), min_size=6, max_size=80)))
    number = draw(st.lists(st.integers(0, 40), min_size=len(made), max_size=len(made)))
    groups: dict[int, list[str]] = {}
    for labels, group in zip(made, number, strict=True):
        groups.setdefault(group, []).append(labels.name)
    members = tuple(sorted(tuple(sorted(names)) for names in groups.values()))
    return made, Groups(members, 0), draw(st.integers(2, max(2, min(6, len(members)))))


@given(grouped(), st.integers(0, 3))
def test_a_group_is_in_one_fold_and_every_image_in_exactly_one(
    case: tuple[list[ImageLabels], Groups, int], seed: int
) -> None:
    made, groups, folds = case
    found = assign_folds_to_groups(made, groups, folds, seed)
    assert sorted(found) == [labels.name for labels in made]
    assert all(len({found[name] for name in group}) == 1 for group in groups.members)
    if len(groups.members) >= folds:
        assert set(found.values()) == set(range(folds))
    assert assign_folds_to_groups(made[::-1], Groups(groups.members[::-1], 0), folds, seed) == found


@given(st.lists(st.integers(0, 15), min_size=6, max_size=200), st.integers(2, 6))
def test_groups_of_one_image_are_as_even_as_images_without_groups(combinations: list[int], folds: int) -> None:
    made = images(combinations)
    found = assign_folds_to_groups(made, Groups(tuple((labels.name,) for labels in made), 0), folds, seed=0)
    for chosen in (made, *([labels for labels in made if labels.combination == bits] for bits in range(16))):
        counts = Counter(found[labels.name] for labels in chosen)
        assert max(counts.values(), default=0) - min(counts[fold] for fold in range(folds)) <= 1


def test_without_groups_folds_are_as_before_there_were_groups() -> None:
    found = assign_folds(images([i * i % 16 for i in range(40)]), 5, seed=0)
    assert "".join(str(fold) for _, fold in sorted(found.items())) == "0241341321004314314402344030112210032223"


def test_another_seed_gives_other_folds() -> None:
    made = images([i % 16 for i in range(200)])
    groups = Groups(tuple((made[i].name, made[i + 1].name) for i in range(0, 200, 2)), 0)
    assert assign_folds_to_groups(made, groups, 5, 1) != assign_folds_to_groups(made, groups, 5, 0)


@pytest.mark.skipif(not (REAL / "clouds" / "provenance.csv").exists(), reason="the real labels are not on this machine")
def test_folds_of_the_real_images_are_as_even_as_without_groups() -> None:
    made, _, _ = BoxTable(REAL / "clouds" / "boxes.csv").read()
    groups = find_groups([labels.name for labels in made], str(REAL / "clouds" / "provenance.csv"))
    assert (len(made), len(groups.members), max(map(len, groups.members)), groups.unknown) == (4991, 4665, 2, 2778)
    found, plain = assign_folds_to_groups(made, groups, 5, 0), assign_folds(made, 5, 0)
    assert sum(len({plain[name] for name in group}) > 1 for group in groups.members) > 200  # what groups are for
    assert sum(len({found[name] for name in group}) > 1 for group in groups.members) == 0
    assert sorted(Counter(found.values()).values()) == [998, 998, 998, 998, 999]
    for c in range(len(CLASSES)):
        counts = Counter(found[labels.name] for labels in made if labels.combination >> c & 1)
        assert max(counts.values()) - min(counts.values()) <= 3


# The data set


@pytest.fixture
def provenance(tmp_path: Path) -> str:
    """Of the images of `source`, 000.jpg to 003.jpg are of one day, and so are 004.jpg and 005.jpg."""
    return table(tmp_path, [(f"{i:03d}.jpg", scene_name(day=1 + (i >= 4))) for i in range(6)])


def folds_of(settings: Settings) -> dict[str, int]:
    return {image.labels.name: image.fold for shard in make_plan(settings).shards for image in shard}


def test_without_groups_the_fingerprint_is_as_before_there_were_groups(source: Settings) -> None:
    fingerprint = make_plan(source).fingerprint
    assert set(fingerprint) == {
        "format", "labels", "labels_sha256", "images_sha256", "size", "shards", "folds", "seed", "allow_resize",
    }  # fmt: skip


def test_groups_change_folds_only(source: Settings, provenance: str) -> None:
    grouped, plain = make_plan(dataclasses.replace(source, groups=provenance)), make_plan(source)
    names = [[[image.labels.name for image in shard] for shard in plan.shards] for plan in (grouped, plain)]
    assert names[0] == names[1]
    folds = folds_of(dataclasses.replace(source, groups=provenance))
    assert len({folds[f"{i:03d}.jpg"] for i in range(4)}) == 1
    assert folds["004.jpg"] == folds["005.jpg"]
    assert set(folds.values()) == set(range(5))


def test_more_folds_than_groups_are_refused(source: Settings, tmp_path: Path) -> None:
    every = table(tmp_path, [(f"{i:03d}.jpg", scene_name(day=1 + i % 3)) for i in range(12)])
    with pytest.raises(UsageError, match="only 3 groups, .* give at most --folds 3"):
        make_plan(dataclasses.replace(source, groups=every))


def test_shards_with_and_without_groups_are_not_mixed(
    source: Settings, undisturbed: Path, provenance: str, tmp_path: Path
) -> None:
    grouped = dataclasses.replace(source, groups=provenance)
    with pytest.raises(UsageError, match="--groups is not given there, table here"):
        build(grouped, None, 1, strict=False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "fingerprint.json").write_text(json.dumps({"fingerprint": make_plan(grouped).fingerprint}))
    with pytest.raises(UsageError, match="--groups is table there, not given here"):
        check_fingerprint(out, make_plan(source).fingerprint)
    other = table(tmp_path, [(f"{i:03d}.jpg", scene_name()) for i in range(6)])
    with pytest.raises(UsageError, match="the grouping of the images is another"):
        check_fingerprint(out, make_plan(dataclasses.replace(source, groups=other)).fingerprint)


def test_the_command_makes_folds_by_groups_and_says_how_to_make_them_again(
    source: Settings, provenance: str, tmp_path: Path
) -> None:
    done = run(dataclasses.replace(source, out=tmp_path / "out"), "--groups", provenance)
    assert done.returncode == 0, done.stderr
    assert "12 images in 8 groups of at most 4; 6 of them have no NASA name" in done.stderr
    samples = json.loads((tmp_path / "out" / "manifest.json").read_text())["samples"]
    folds = {sample["name"]: sample["fold"] for sample in samples}
    assert folds == folds_of(dataclasses.replace(source, groups=provenance))
    assert shlex.split(remake(tmp_path / "out"))[-2:] == ["--groups", "provenance.csv"]
    missing = run(dataclasses.replace(source, out=tmp_path / "other"), "--groups", "nowhere.csv")
    assert missing.returncode == 2
    assert "error: --groups nowhere.csv is not there: give a table" in missing.stderr
