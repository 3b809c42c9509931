"""JPEGs and labels -> shards: pixels, the black band, rejections, and runs that are killed, split up or
repeated."""

from __future__ import annotations

import csv
import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cloudseg.atomic import clear_leftovers, replacing
from cloudseg.data import rle
from cloudseg.data.labels import CLASSES, HEADER, NO_DATA, SOURCE_SIZE, ImageLabels, read_labels
from cloudseg.data.shards import TRUTH_SIZE, Manifest, Shards
from cloudseg.errors import CloudsegError, UsageError
from preprocess.build import OUTPUTS, build
from preprocess.fingerprint import refuse_other
from preprocess.images import ImageError, black_band, read_image
from preprocess.masks import at_least_half, mask_bits
from preprocess.plan import assign_folds, make_plan
from preprocess.progress import Progress
from preprocess.settings import Settings, parse_size, processors

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("CLOUDSEG_REAL_DATA", ROOT.parent / "shared" / "data"))
HEIGHT, WIDTH = SOURCE_SIZE
SMALL = (64, 96)


def picture(number: int, band: bool = True) -> np.ndarray:
    """A dark blue sea, bright blobs and a slanted black band, RGB at full size."""
    random = np.random.default_rng(number)
    image = np.full((HEIGHT, WIDTH, 3), (20, 30, 50), np.uint8)
    for _ in range(12):
        centre = (int(random.integers(WIDTH)), int(random.integers(HEIGHT)))
        cv2.circle(image, centre, int(random.integers(30, 200)), (200, 210, 220), -1)
    if band:
        left = 300 + 40 * number
        corners = [(left, 0), (left + 200, 0), (left + 450, HEIGHT), (left + 250, HEIGHT)]
        cv2.fillPoly(image, [np.array(corners, np.int32)], (0, 0, 0))
    return image


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def box(top: int, bottom: int, left: int, right: int) -> str:
    mask = np.zeros(SOURCE_SIZE, bool)
    mask[top:bottom, left:right] = True
    return rle.encode(mask)


def write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([tuple(HEADER), *rows])


def labels_of(number: int) -> list[str]:
    """Runs of the four classes of made-up image `number`; which are present follows the number's bits."""
    return [box(100 * i, 100 * i + 700, 250 * i, 250 * i + 900) if number >> i & 1 else "" for i in range(4)]


def write_source(folder: Path, images: int, distinct: int = 4) -> Settings:
    """A made-up data set in the competition's format; images repeat after `distinct`, their names do not."""
    (folder / "images").mkdir(parents=True)
    pictures = [jpeg(picture(number)) for number in range(distinct)]
    rows = []
    for number in range(images):
        name = f"{number:03d}.jpg"
        (folder / "images" / name).write_bytes(pictures[number % distinct])
        rows += [(f"{name}_{label}", runs) for label, runs in zip(CLASSES, labels_of(number), strict=True)]
    write_table(folder / "train.csv", rows)
    return Settings(folder / "train.csv", folder / "images", folder / "out", SMALL, shards=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Twelve images in three shards, not yet made."""
    return write_source(tmp_path_factory.mktemp("source"), 12)


@pytest.fixture(scope="module")
def undisturbed(source: Settings) -> Path:
    """The data set made of them in one go."""
    build(source, None, 2, strict=True)
    return source.out


def run(settings: Settings, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(settings, *more), cwd=ROOT, capture_output=True, text=True, timeout=60)


def command(settings: Settings, *more: str) -> list[str]:
    size = "x".join(map(str, settings.size))
    named = ["--csv", settings.csv, "--images", settings.images, "--out", settings.out, "--size", size]
    shards = ["--shards", settings.shards] if settings.shards else []
    return [sys.executable, "-m", "preprocess", *map(str, [*named, *shards]), *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def into(settings: Settings, out: Path) -> Settings:
    return dataclasses.replace(settings, out=out)


def assert_area_average(stored: np.ndarray, runs: tuple[str, ...]) -> int:
    """Compare mask bits with OpenCV's area average, off the band's edge and off ties; gives the pixels of
    classes."""
    away = cv2.erode((stored & NO_DATA == 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    classes = 0
    for i, text in enumerate(runs):
        mask = rle.decode(text, *SOURCE_SIZE).astype(np.float64)
        share = cv2.resize(mask, stored.shape[::-1], interpolation=cv2.INTER_AREA)
        clear = away & (np.abs(share - 0.5) > 1e-5)
        np.testing.assert_array_equal(((stored >> i) & 1)[clear], (share > 0.5)[clear])
        classes += int((share > 0.5)[clear].sum())
    return classes


# Masks


def by_repeating(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Area average, at least one half: every pixel repeated until cells are whole numbers of them."""
    (height, width), (rows, columns) = mask.shape, size
    fine = mask.repeat(rows, axis=0).repeat(columns, axis=1).astype(np.int64)
    return 2 * fine.reshape(rows, height, columns, width).sum(axis=(1, 3)) >= height * width


@pytest.mark.parametrize("size", [(8, 16), (7, 5), (35, 70), (1, 1), (10, 14), (32, 64)])
@pytest.mark.parametrize("density", [0.3, 0.5, 0.9])
def test_downscaling_is_the_exact_area_average(size: tuple[int, int], density: float) -> None:
    mask = (np.random.default_rng(0).random((35, 70)) < density).astype(np.uint8)
    (got,) = at_least_half(mask, (size,))
    np.testing.assert_array_equal(got, by_repeating(mask, size))


def test_exactly_one_half_counts_and_one_pixel_less_does_not() -> None:
    mask = np.zeros((1400, 2100), np.uint8)
    mask[0:4, 0:2] = 1
    mask[0:4, 4:6] = 1
    mask[0, 4] = 0
    (got,) = at_least_half(mask, (TRUTH_SIZE,))
    assert got[0, :2].tolist() == [True, False]


def test_a_half_that_floating_point_misses_counts() -> None:
    mask = np.zeros((1400, 2100), np.uint8)
    mask[:700] = 1
    (got,) = at_least_half(mask, ((32, 1),))
    assert got[:, 0].tolist() == [True] * 16 + [False] * 16
    mask[700:, 1050:] = 1
    (got,) = at_least_half(mask, ((1, 96),))
    assert got.all()


def test_bits_are_those_of_the_classes_and_pixels_may_carry_several() -> None:
    band = np.zeros((700, 1050), np.uint8)
    bits, truth = mask_bits((box(0, 700, 0, 2100), "", box(0, 1400, 0, 1050), ""), band, ((64, 96), TRUTH_SIZE))
    for stored in (bits, truth):
        height, width = (side // 2 for side in stored.shape)
        assert stored[: height - 1, : width - 1].tolist() == [[0b101] * (width - 1)] * (height - 1)
        assert (stored[height + 1 :, : width - 1] == 0b100).all()
        assert (stored[: height - 1, width + 1 :] == 0b001).all()
        assert (stored[height + 1 :, width + 1 :] == 0).all()


def test_no_pixel_of_the_band_carries_a_class() -> None:
    band = np.zeros((700, 1050), np.uint8)
    band[:, 300:411] = 1
    full = box(0, HEIGHT, 0, WIDTH)
    for stored in mask_bits((full,) * 4, band, ((320, 480), (64, 96), TRUTH_SIZE)):
        assert set(np.unique(stored)) == {0b1111, NO_DATA}
        np.testing.assert_array_equal(stored == NO_DATA, at_least_half(band, (stored.shape,))[0])


def test_a_class_is_measured_outside_the_band_only() -> None:
    band = np.zeros((700, 1050), np.uint8)
    band[:2, :1] = 1
    (truth,) = mask_bits((box(0, 4, 0, 3), "", "", ""), band, (TRUTH_SIZE,))
    assert truth[0, 0] == NO_DATA
    band[1, 0] = 0
    (truth,) = mask_bits((box(0, 4, 0, 2), "", "", ""), band, (TRUTH_SIZE,))
    assert truth[0, 0] == 0


# The black band


@pytest.mark.parametrize("number", range(3))
def test_the_band_is_found_within_a_pixel(number: int) -> None:
    drawn = (picture(number).max(axis=2) == 0)[::2, ::2]
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg(picture(number)), np.uint8), 1), cv2.COLOR_BGR2RGB)
    band = black_band(decoded).astype(bool)
    kernel = np.ones((3, 3), np.uint8)
    assert drawn.mean() > 0.05
    assert not (cv2.erode(drawn.astype(np.uint8), kernel).astype(bool) & ~band).any()
    assert not (band & ~cv2.dilate(drawn.astype(np.uint8), kernel, iterations=2).astype(bool)).any()


def test_lines_drawn_over_the_band_belong_to_it() -> None:
    image = picture(0)
    cv2.circle(image, (520, 700), 50, (90, 90, 90), 3)
    assert black_band(image)[320:380, 230:290].all()


@pytest.mark.parametrize(
    ("what", "area", "value"),
    [
        ("dark ocean", np.s_[:, :800], 8),
        ("a black area off the border", np.s_[300:900, 300:900], 0),
        ("a black speck at the border", np.s_[:40, :40], 0),
        ("nothing", np.s_[:0, :0], 0),
    ],
)
def test_what_is_no_band(what: str, area: tuple[slice, slice], value: int) -> None:
    image = picture(0, band=False)
    image[area] = value
    assert not black_band(image).any(), what


def test_a_whole_black_image_is_band() -> None:
    assert black_band(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).all()


# Images


def test_an_image_is_read_as_rgb(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(np.full((HEIGHT, WIDTH, 3), (200, 100, 20), np.uint8)))
    assert np.abs(read_image(tmp_path / "a.jpg")[700, 1050].astype(int) - (200, 100, 20)).max() <= 3


def with_a_hole(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"\x89PNG" + data, "is not a JPEG file"),
        (lambda data: data[:-2], "is truncated: the JPEG has no end marker"),
        (lambda data: data[: len(data) // 2], "is truncated: the JPEG has no end marker"),
        (lambda data: data[:200] + b"\xff\xd9", "cannot be decoded"),
        (lambda data: data[: len(data) // 2] + b"\xff\xd9", "is damaged: Corrupt JPEG data"),
        (with_a_hole, "is damaged: Corrupt JPEG data"),
        (lambda data: jpeg(np.zeros((WIDTH, HEIGHT, 3), np.uint8)), "is 1400x2100 in place of 2100x1400"),
    ],
)
def test_a_bad_image_is_refused_with_the_reason(tmp_path: Path, spoil: Callable[[bytes], bytes], reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(spoil(jpeg(picture(0))))
    with pytest.raises(ImageError, match=reason):
        read_image(tmp_path / "a.jpg")


def test_standard_error_works_again_after_a_bad_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(with_a_hole(jpeg(picture(0))))
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.jpg")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


# Folds and shards


def combination(name: str, bits: int) -> ImageLabels:
    return ImageLabels(name, tuple("1 1" if bits >> i & 1 else "" for i in range(4)), (2, 3, 4, 5))


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


# Whole runs


def test_a_data_set_holds_what_an_independent_reading_finds(source: Settings, undisturbed: Path) -> None:
    shards = Shards(Manifest.load(undisturbed))
    assert sorted(sample.name for sample in shards.manifest.samples) == [f"{i:03d}.jpg" for i in range(12)]
    for number, sample in enumerate(shards.manifest.samples):
        shards.verify(number)
        image = cv2.imread(str(source.images / sample.name))
        small = cv2.resize(image, SMALL[::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(shards.image(number), small[..., ::-1])
        for stored in (shards.mask(number), shards.truth(number)):
            assert 0.05 < np.mean(stored == NO_DATA) < 0.3
            assert_area_average(stored, tuple(labels_of(int(sample.name[:3]))))


def test_the_summary_counts(source: Settings, tmp_path: Path) -> None:
    said = build(into(source, tmp_path / "out"), None, 2, strict=False)
    assert said.startswith("12 samples in 3 shards, ")
    assert "0 rejected" in said
    assert "12 images looked at in " in said


def test_one_worker_or_many_write_the_same_bytes(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    build(into(source, tmp_path / "shard per worker"), None, 1, strict=False)
    build(into(source, tmp_path / "image per worker"), None, 4, strict=False)
    assert contents(tmp_path / "shard per worker") == contents(undisturbed)
    assert contents(tmp_path / "image per worker") == contents(undisturbed)


def test_tasks_of_an_array_write_the_same_bytes_as_one_run(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    parts = into(source, tmp_path / "out")
    for index in (2, 0):
        assert "of 3 shards are in" in build(parts, index, 1, strict=False)
        assert not (parts.out / "manifest.json").exists()
    assert build(parts, 1, 1, strict=False).startswith("12 samples in 3 shards")
    assert contents(parts.out) == contents(undisturbed)


def test_tasks_of_an_array_may_run_at_the_same_time(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    parts = into(source, tmp_path / "out")
    tasks = [
        subprocess.Popen(command(parts, "--shard-index", index), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for index in ("0", "1", "2", "1")
    ]
    said = [task.communicate(timeout=60)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0, 0]
    assert any(line.startswith("12 samples in 3 shards") for line in said)
    assert contents(parts.out) == contents(undisturbed)


def test_a_second_run_keeps_every_shard(
    source: Settings, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = into(source, Path(shutil.copytree(undisturbed, tmp_path / "out")))
    before = {path.name: path.stat().st_ino for path in again.out.glob("shard-*")}
    said = build(again, None, 2, strict=False)
    assert "3 of 3 shards were made before and are kept" in capsys.readouterr().err
    assert "0 images looked at" in said
    assert {path.name: path.stat().st_ino for path in again.out.glob("shard-*")} == before


@pytest.mark.parametrize("lost", ["shard", "record", "part of the shard"])
def test_a_shard_that_is_not_whole_is_made_again(
    source: Settings, undisturbed: Path, tmp_path: Path, lost: str
) -> None:
    again = into(source, Path(shutil.copytree(undisturbed, tmp_path / "out")))
    shard = again.out / "shard-00001-of-00003.h5"
    {
        "shard": shard.unlink,
        "record": shard.with_suffix(".json").unlink,
        "part of the shard": lambda: os.truncate(shard, 9),
    }[lost]()
    assert "4 images looked at" in build(again, None, 2, strict=False)
    assert contents(again.out) == contents(undisturbed)


def test_a_run_clears_what_a_dead_one_left(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    again = into(source, Path(shutil.copytree(undisturbed, tmp_path / "out")))
    dead = subprocess.Popen(["true"])
    dead.wait()
    (again.out / f".tmp-{os.uname().nodename}-{dead.pid}.shard-00001-of-00003.h5").write_bytes(b"half")
    build(again, None, 1, strict=False)
    assert contents(again.out) == contents(undisturbed)


def workers_of(process: int) -> list[int]:
    """Children that work for it (not multiprocessing's own tracker of semaphores)."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def gone(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "this did not come to pass in time"
        time.sleep(0.005)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc (Linux)")
def test_a_killed_run_is_completed_by_the_next_with_the_same_bytes(tmp_path: Path) -> None:
    source = dataclasses.replace(write_source(tmp_path, 24), shards=12)
    whole = into(source, tmp_path / "whole")
    build(whole, None, 2, strict=False)

    killed = into(source, tmp_path / "killed")
    process = subprocess.Popen(command(killed, "--workers", "2"), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(killed.out.glob("shard-*.json"))) >= 2)
    workers = workers_of(process.pid)
    process.kill()
    process.wait()
    assert len(workers) == 2
    wait_until(lambda: all(map(gone, workers)), seconds=5)
    made = list(killed.out.glob("shard-*.json"))
    assert 2 <= len(made) < 12
    assert not (killed.out / "manifest.json").exists()

    finished = run(killed)
    assert finished.returncode == 0, finished.stderr
    assert "shards were made before and are kept" in finished.stderr
    assert contents(killed.out) == contents(whole.out)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc (Linux)")
def test_a_killed_worker_is_a_clear_error(tmp_path: Path) -> None:
    source = dataclasses.replace(write_source(tmp_path, 24), shards=12)
    process = subprocess.Popen(
        command(source, "--workers", "2"), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    wait_until(lambda: bool(list(source.out.glob("shard-*.json"))))
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert "error: a worker process was killed" in error
    assert "Traceback" not in error
    assert not (source.out / "manifest.json").exists()


def test_a_full_disk_is_a_clear_error_and_leaves_no_part_of_a_file(
    source: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    full = into(source, tmp_path / "out")
    limit = 60_000  # bytes in a file: less than a shard. The kernel then refuses to write, as on a full disk.
    failed = subprocess.run(
        command(full, "--workers", "1"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert "cannot be written: File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert list(full.out.iterdir()) == []
    assert run(full).returncode == 0
    assert contents(full.out) == contents(undisturbed)


# Other settings in the same folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": (64, 128)}, "--size is 64x96 there, 64x128 here"),
        ({"shards": 4}, "--shards is 3 there, 4 here"),
        ({"folds": 4}, "--folds is 5 there, 4 here"),
        ({"seed": 7}, "--seed is 0 there, 7 here"),
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
    table.write_bytes(source.csv.read_bytes() + b"\n")
    with pytest.raises(UsageError, match="the content of --csv is another"):
        build(dataclasses.replace(source, csv=table), None, 1, strict=False)


def test_other_images_are_refused(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(source.images, tmp_path / "images"))
    build(dataclasses.replace(source, images=images), None, 1, strict=False)
    with (images / "000.jpg").open("ab") as handle:
        handle.write(b"\0")
    with pytest.raises(UsageError, match="the names or sizes of the files in --images is another"):
        build(dataclasses.replace(source, images=images), None, 1, strict=False)


def test_shards_are_enough_to_be_refused_without_a_manifest(
    source: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copy(undisturbed / "shard-00001-of-00003.json", tmp_path)
    with pytest.raises(UsageError, match=r"shard-00001-of-00003.json: --seed is 0 there, 7 here"):
        refuse_other(tmp_path, make_plan(dataclasses.replace(source, seed=7)).fingerprint)


# Rejections

BAD_ROWS = [
    ("good.jpg_Fish", "1 10"),  # line 2
    ("other.jpg_Sugar", "1 10"),
    ("runs.jpg_Flower", "5 1 1 1"),
    ("outside.jpg_Gravel", "2940000 2"),
    ("class.jpg_Fisch", "1 10"),
    ("twice.jpg_Fish", "1 10"),
    ("twice.jpg_Fish", "1 10"),
    ("../path.jpg_Fish", "1 10"),
    ("nothing", "1 10"),
    ("missing.jpg_Fish", "1 10"),
    ("truncated.jpg_Fish", "1 10"),
    ("small.jpg_Fish", "1 10"),
    ("text.jpg_Fish", ""),
]
REJECTIONS = {
    "runs.jpg": ("4", "EncodedPixels", 'Flower: run 2 ("1 1") overlaps'),
    "outside.jpg": ("5", "EncodedPixels", 'Gravel: run 1 ("2940000 2") leaves the image'),
    "class.jpg": ("6", "Image_Label", 'the class "Fisch" is none of'),
    "twice.jpg": ("8", "Image_Label", "Fish of this image is on line 7 already"),
    "../path.jpg": ("9", "Image_Label", "an image is named by a file name without a folder"),
    "nothing": ("10", "Image_Label", "there is no underscore"),
    "missing.jpg": ("11", "image", "there is no such JPEG in the image folder"),
    "truncated.jpg": ("12", "image", "is truncated"),
    "small.jpg": ("13", "image", "is 96x64 in place of 2100x1400"),
    "text.jpg": ("14", "image", "is not a JPEG file"),
    "unlabelled.jpg": ("", "image", "the label table has no row for it"),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two good images and one of every fault, made into two shards."""
    folder = tmp_path_factory.mktemp("faulty")
    images = folder / "images"
    images.mkdir()
    good = jpeg(picture(0))
    for name in ("good", "other", "runs", "outside", "class", "twice", "unlabelled"):
        (images / f"{name}.jpg").write_bytes(good)
    (images / "truncated.jpg").write_bytes(good[:-100])
    (images / "small.jpg").write_bytes(jpeg(np.zeros((64, 96, 3), np.uint8)))
    (images / "text.jpg").write_bytes(b"not an image")
    (images / "notes.txt").write_bytes(b"no image is meant")
    (folder / "path.jpg").write_bytes(good)
    write_table(folder / "train.csv", BAD_ROWS)
    settings = Settings(folder / "train.csv", images, folder / "out", SMALL, shards=2)
    assert f"{len(REJECTIONS)} rejected (see {settings.out / 'rejected.csv'})" in build(settings, None, 2, False)
    return settings


def rejections(out: Path) -> list[dict[str, str]]:
    with (out / "rejected.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("image", REJECTIONS)
def test_each_fault_is_listed_with_its_reason(faulty: Settings, image: str) -> None:
    line, field, reason = REJECTIONS[image]
    (row,) = [row for row in rejections(faulty.out) if row["image"] == image]
    assert (row["line"], row["field"]) == (line, field)
    assert row["reason"].startswith(reason)


def test_nothing_else_is_listed_and_the_good_images_are_there(faulty: Settings) -> None:
    assert len(rejections(faulty.out)) == len(REJECTIONS)
    manifest = Manifest.load(faulty.out)
    assert sorted(sample.name for sample in manifest.samples) == ["good.jpg", "other.jpg"]
    assert manifest.rejected == len(REJECTIONS)
    shards = Shards(manifest)
    for number in range(2):
        shards.verify(number)


def test_tasks_of_an_array_list_the_same_rejections(faulty: Settings, tmp_path: Path) -> None:
    parts = into(faulty, tmp_path / "out")
    for index in (1, 0):
        build(parts, index, 1, strict=False)
    assert contents(parts.out) == contents(faulty.out)


def only(faulty: Settings, folder: Path, *names: str) -> Settings:
    """The rows and files of these images alone."""
    (folder / "images").mkdir()
    for path in faulty.images.iterdir():
        if path.name in names:
            shutil.copy(path, folder / "images")
    write_table(folder / "train.csv", [row for row in BAD_ROWS if row[0].rpartition("_")[0] in names])
    return Settings(folder / "train.csv", folder / "images", folder / "out", SMALL, shards=1, folds=2)


@pytest.mark.parametrize("image", [name for name in REJECTIONS if name != "nothing"])
def test_strict_stops_at_each_fault(faulty: Settings, tmp_path: Path, image: str) -> None:
    settings = only(faulty, tmp_path, "good.jpg", "other.jpg", image)
    with pytest.raises(UsageError) as stopped:
        build(settings, None, 1, strict=True)
    assert image in str(stopped.value)
    assert REJECTIONS[image][2].partition(" on line ")[0] in str(stopped.value)
    assert "leave out --strict" in str(stopped.value)
    assert not list(tmp_path.glob("out/*"))


def test_strict_stops_at_what_a_kept_shard_left_out(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "good.jpg", "other.jpg", "small.jpg")
    build(settings, None, 1, strict=False)
    with pytest.raises(UsageError, match=r"small.jpg, image: is 96x64"):
        build(settings, None, 1, strict=True)


def test_strict_with_good_data_goes_through(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "good.jpg", "other.jpg")
    assert build(settings, None, 1, strict=True).startswith("2 samples in 1 shards")


def test_not_one_good_image_is_an_error_with_the_reasons_on_disk(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "small.jpg", "truncated.jpg")
    with pytest.raises(UsageError, match=r"not one image is good: see .*rejected.csv"):
        build(settings, None, 1, strict=False)
    assert len(rejections(settings.out)) == 2
    assert not (settings.out / "manifest.json").exists()


def test_images_and_table_that_do_not_meet_are_an_error(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "missing.jpg", "unlabelled.jpg")
    with pytest.raises(
        UsageError, match=r"not one image of .* has labels in .*: 2 rejected, for example line 2, missing"
    ):
        build(settings, None, 1, strict=False)


# The command line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"csv": Path("nowhere.csv")},
            "error: nowhere.csv is not there: give the competition's label table with --csv",
        ),
        ({"images": Path("nowhere")}, "error: nowhere is not a folder: give the folder of the JPEGs with --images DIR"),
        ({"out": ROOT / "pyproject.toml"}, "is not a folder: give a folder for the shards with --out DATA"),
        ({"shards": 13}, "error: --shards 13: there are 12 images only"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(source: Settings, change: dict[str, object], said: str) -> None:
    failed = run(dataclasses.replace(source, **change))
    assert failed.returncode == 2
    assert said in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize("index", ["3", "-1"])
def test_a_shard_that_is_not_there_is_exit_code_2(source: Settings, index: str) -> None:
    failed = run(source, "--shard-index", index)
    assert failed.returncode == 2
    assert f"--shard-index {index}: the shards are numbered 0 to 2" in failed.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--size", "320"), ("--size", "100x480"), ("--workers", "0"), ("--folds", "1")]
)
def test_an_impossible_option_is_exit_code_2(source: Settings, option: str, value: str) -> None:
    failed = run(source, option, value)
    assert failed.returncode == 2
    assert value in failed.stderr
    assert "Traceback" not in failed.stderr


def test_help_has_examples_and_imports_nothing_slow() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['preprocess', '--help']\n"
        "try:\n    runpy.run_module('preprocess', run_name='__main__')\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "print(sorted({'cv2', 'h5py', 'numpy', 'pandas', 'tensorflow'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m preprocess --csv train.csv --images train_images --out data/320x480" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("size", ["32x32", "320x480", "1376x2080"])
def test_sizes_that_can_be(size: str) -> None:
    assert "x".join(map(str, parse_size(size))) == size


@pytest.mark.parametrize(
    "size", ["", "320", "320x", "x480", "0x480", "-32x32", "321x480", "1408x2080", "1376x2112", "3 2x32"]
)
def test_sizes_that_cannot_be(size: str) -> None:
    with pytest.raises(ValueError, match=r"HEIGHTxWIDTH|multiples of 32"):
        parse_size(size)


def test_a_slurm_task_uses_no_more_processors_than_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert processors() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert processors() == 1


def test_a_log_gets_some_ten_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1000) as progress:
        for _ in range(1000):
            progress.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("100 of 1000 images, ")
    assert lines[-1].startswith("1000 of 1000 images, ")


# Files that are whole or not there


def test_a_file_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "full")

    with pytest.raises(CloudsegError, match=r"manifest.json cannot be written: No space left on device"):
        half()
    assert contents(tmp_path) == {"manifest.json": b"old"}


def test_only_temporary_files_of_dead_runs_are_cleared(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = os.uname().nodename
    name = "shard-00001-of-00003.h5"
    keep = {
        f".tmp-{host}-{os.getpid()}.{name}",
        f".tmp-elsewhere-{dead.pid}.{name}",
        f".tmp-{host}-{dead.pid}.something",
        name,
    }
    for file in (*keep, f".tmp-{host}-{dead.pid}.{name}", f".tmp-{host}-{dead.pid}.manifest.json"):
        (tmp_path / file).touch()
    clear_leftovers(tmp_path, OUTPUTS)
    assert set(contents(tmp_path)) == keep


# The real images


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    if not (REAL / "train.csv").is_file():
        pytest.skip(f"the real images are not at {REAL} (set CLOUDSEG_REAL_DATA)")
    out = tmp_path_factory.mktemp("real")
    build(Settings(REAL / "train.csv", REAL / "train_images", out, (320, 480)), None, 2, strict=True)
    return Shards(Manifest.load(out))


def test_the_six_real_images_become_samples(real: Shards) -> None:
    assert sorted(map(real.name, range(len(real)))) == sorted(path.name for path in (REAL / "train_images").iterdir())
    assert len(real) == 6
    for number in range(6):
        real.verify(number)


def test_real_masks_agree_with_an_independent_area_average(real: Shards) -> None:
    runs = {labels.name: labels.runs for labels in read_labels(REAL / "train.csv")[0]}
    compared = 0
    for number in range(6):
        for stored in (real.mask(number), real.truth(number)):
            compared += assert_area_average(stored, runs[real.name(number)])
    assert compared > 500_000


def test_no_class_under_the_real_black_band(real: Shards) -> None:
    for number in range(6):
        for stored in (real.mask(number), real.truth(number)):
            empty = stored & NO_DATA != 0
            assert 0.03 < empty.mean() < 0.2
            assert (stored[empty] == NO_DATA).all()


def test_the_real_band_is_black_and_the_rest_is_not(real: Shards) -> None:
    for number in range(6):
        brightest = real.image(number).max(axis=2)
        empty = (real.mask(number) & NO_DATA != 0).astype(np.uint8)
        inside = cv2.erode(empty, np.ones((3, 3), np.uint8)) > 0
        outside = cv2.dilate(empty, np.ones((3, 3), np.uint8)) == 0
        assert np.mean(brightest[inside] <= 10) > 0.99
        assert np.mean(brightest[outside] <= 10) < 0.001


def test_labels_survive_within_a_pixel_of_their_real_edges(real: Shards) -> None:
    """Runs decoded one pixel off would move every box; here the areas must agree with the table's."""
    for labels in read_labels(REAL / "train.csv")[0]:
        number = next(i for i in range(6) if real.name(i) == labels.name)
        areas = real.manifest.samples[number].areas
        for area, text in zip(areas, labels.runs, strict=True):
            share = rle.decode(text, *SOURCE_SIZE).mean()
            assert area / (320 * 480) == pytest.approx(share, abs=0.006)
