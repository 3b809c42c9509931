"""Which image goes into which shard and fold, and the refusal to mix plans in one folder."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.boxes import BoxTable
from cloudseg.data.labels import CLASSES, ImageLabels, Row, RunTable
from preprocess.build import build
from preprocess.fingerprint import check_fingerprint
from preprocess.plan import assign_folds, make_plan
from preprocess.settings import Settings
from tests.preprocess_source import contents, write_table


def combination(name: str, bits: int) -> ImageLabels:
    return ImageLabels(name, 2, tuple((Row(2 + i, 26, 15),) if bits >> i & 1 else () for i in range(4)))


MANY = [combination(f"{i:04d}.jpg", (i * i + i // 7) % 16) for i in range(503)]


def test_folds_are_stratified_over_the_combinations_of_classes() -> None:
    folds = assign_folds(MANY, 5, seed=0)
    for bits in range(16):
        counts = Counter(folds[image.name] for image in MANY if image.combination == bits)
        assert max(counts.values(), default=0) - min((counts[fold] for fold in range(5)), default=0) <= 1
    assert sorted(Counter(folds.values()).values()) == [100, 100, 101, 101, 101]


def test_folds_depend_on_names_and_seed_alone() -> None:
    assert assign_folds(MANY[::-1], 5, seed=0) == assign_folds(MANY, 5, seed=0)
    assert assign_folds(MANY, 5, seed=1) != assign_folds(MANY, 5, seed=0)


def test_folds_do_not_depend_on_the_number_of_shards(source: Settings) -> None:
    def folds(shards: int) -> dict[str, int]:
        plan = make_plan(dataclasses.replace(source, shards=shards))
        return {image.labels.name: image.fold for shard in plan.shards for image in shard}

    assert len(folds(2)) == 12
    assert folds(2) == folds(5)


def test_every_image_is_in_one_shard_and_shards_are_even(source: Settings) -> None:
    plan = make_plan(dataclasses.replace(source, shards=5))
    names = [image.labels.name for shard in plan.shards for image in shard]
    assert sorted(names) == [f"{i:03d}.jpg" for i in range(12)]
    assert sorted(len(shard) for shard in plan.shards) == [2, 2, 2, 3, 3]


def test_the_number_of_shards_follows_the_size_of_the_images(source: Settings) -> None:
    assert len(make_plan(dataclasses.replace(source, shards=None)).shards) == 1
    assert len(make_plan(dataclasses.replace(source, shards=None, size=(1376, 2080))).shards) == 3


def many_images(folder: Path, count: int) -> Settings:
    """Images that a plan counts, and nobody could decode."""
    (folder / "images").mkdir()
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        (folder / "images" / name).touch()
    write_table(folder / "train.csv", [(f"{name}_{label}", "1 2940000") for name in names for label in CLASSES])
    return Settings(RunTable(folder / "train.csv"), folder / "images", folder / "out", (1376, 2080))


def test_shards_too_large_for_memory_are_refused_with_the_least_number(tmp_path: Path) -> None:
    settings = many_images(tmp_path, 50)  # 572 MB of pixels; a shard has 256 MB at most
    with pytest.raises(UsageError, match=r"--shards 2: .* give at least --shards 3"):
        make_plan(dataclasses.replace(settings, shards=2))
    assert len(make_plan(dataclasses.replace(settings, shards=3)).shards) == 3


def test_the_number_of_shards_left_to_the_program_is_never_too_small(tmp_path: Path) -> None:
    settings = many_images(tmp_path, 50)
    assert max(len(shard) for shard in make_plan(settings).shards) * 1376 * 2080 * 4 <= 256 << 20


# Other settings in the same folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": (64, 128)}, "--size is 64x96 there, 64x128 here"),
        ({"shards": 4}, "--shards is 3 there, 4 here"),
        ({"folds": 4}, "--folds is 5 there, 4 here"),
        ({"seed": 7}, "--seed is 0 there, 7 here"),
        ({"allow_resize": True}, "--allow-resize is False there, True here"),
    ],
)
def test_another_setting_is_refused_and_nothing_is_touched(
    source: Settings, undisturbed: Path, change: dict[str, object], said: str
) -> None:
    before = contents(undisturbed)
    with pytest.raises(UsageError, match=said):
        build(dataclasses.replace(source, **change), None, 1, strict=False)
    assert contents(undisturbed) == before


def test_another_table_is_refused(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_bytes(source.table.path.read_bytes() + b"\n")
    with pytest.raises(UsageError, match="the content of the label table is another"):
        build(dataclasses.replace(source, table=RunTable(table)), None, 1, strict=False)


def test_the_other_kind_of_table_is_refused(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("".join(f"{i},{i:03d}.jpg,1,2,300,400,Fish\n" for i in range(12)))
    with pytest.raises(UsageError, match="the kind of label table is runs there, boxes here"):
        build(dataclasses.replace(source, table=BoxTable(table)), None, 1, strict=False)


def test_other_images_are_refused(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(source.images, tmp_path / "images"))
    build(dataclasses.replace(source, images=images), None, 1, strict=False)
    with (images / "000.jpg").open("ab") as handle:
        handle.write(b"\0")
    with pytest.raises(UsageError, match="the names or sizes of the files in --images is another"):
        build(dataclasses.replace(source, images=images), None, 1, strict=False)


def replace_by_one_of_equal_size(path: Path) -> None:
    """Another image under the same name, size and time: a bit of its last pixels is turned."""
    content, kept = bytearray(path.read_bytes()), path.stat()
    content[-3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def test_an_image_replaced_by_one_of_equal_size_is_refused(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(source.images, tmp_path / "images"))
    copied = dataclasses.replace(source, images=images, out=Path(shutil.copytree(undisturbed, tmp_path / "out")))
    assert "0 images read" in build(copied, None, 1, strict=False)
    replace_by_one_of_equal_size(images / "003.jpg")
    with pytest.raises(
        UsageError, match=r"003.jpg is not the image that (shard-\d{5})-of-00003.h5 was made of"
    ) as said:
        build(copied, None, 1, strict=False)
    subprocess.run(str(said.value).partition("first: ")[2], shell=True, check=True)
    build(copied, None, 1, strict=False)
    assert "0 images read" in build(copied, None, 1, strict=False)


def test_the_last_task_of_an_array_finds_an_image_that_was_replaced(source: Settings, tmp_path: Path) -> None:
    images = Path(shutil.copytree(source.images, tmp_path / "images"))
    parts = dataclasses.replace(source, images=images, out=tmp_path / "out")
    for index in (0, 1):
        build(parts, index, 1, strict=False)
    replace_by_one_of_equal_size(make_plan(parts).shards[0][0].path)
    with pytest.raises(UsageError, match="is not the image that shard-00000-of-00003.h5 was made of"):
        build(parts, 2, 1, strict=False)
    assert not (parts.out / "manifest.json").exists()


def test_shards_of_earlier_versions_stay_complete(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    old = dataclasses.replace(source, out=Path(shutil.copytree(undisturbed, tmp_path / "out")))
    for path in old.out.glob("shard-*.json"):
        record = json.loads(path.read_bytes())
        del record["image_digests"]
        path.write_text(json.dumps(record, indent=1) + "\n")
    before = contents(old.out)
    assert "0 images read" in build(old, None, 1, strict=False)
    assert contents(old.out) == before


def test_hidden_files_are_no_images(source: Settings, tmp_path: Path) -> None:
    images = Path(shutil.copytree(source.images, tmp_path / "images"))
    (images / "._000.jpg").write_bytes(b"\0\5\x16\7")
    (images / "folder.jpg").mkdir()
    found = make_plan(dataclasses.replace(source, images=images))
    assert found.rejected == make_plan(source).rejected
    assert found.fingerprint == make_plan(source).fingerprint


def test_shards_are_enough_to_be_refused_without_a_manifest(
    source: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copy(undisturbed / "shard-00001-of-00003.json", tmp_path)
    with pytest.raises(UsageError, match=r"shard-00001-of-00003.json: --seed is 0 there, 7 here"):
        check_fingerprint(tmp_path, make_plan(dataclasses.replace(source, seed=7)).fingerprint)


def test_shards_of_an_earlier_format_are_not_mixed_with_new_ones(source: Settings, tmp_path: Path) -> None:
    earlier = make_plan(source).fingerprint | {"format": 3}
    (tmp_path / "fingerprint.json").write_text(json.dumps({"fingerprint": earlier}))
    with pytest.raises(UsageError, match=r"the shards' format is 3 there, 4 here\)\. Give another folder with --out"):
        build(dataclasses.replace(source, out=tmp_path), None, 1, strict=False)
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprint.json"]
