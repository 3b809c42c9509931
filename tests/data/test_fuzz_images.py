"""Thousands of damaged JPEGs: an image of the right shape or a reason to refuse it, soon and without a crash."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import random
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cloudseg.data.synthetic.painter import picture as painted
from preprocess.images import HALF_SIZE, ImageError, read_image
from tests.preprocess_source import HEIGHT, REAL, WIDTH, claiming, jpeg_as, picture

IMAGES, BATCHES = 2000, 10
LONGEST = 5.0
"""Seconds that one image may take, a hundred times the usual, on a machine that does other things as well."""
MEMORY = 4 << 30
"""Address space of a process that reads them; images of the right size take some MB."""
SIZES = (0, 1, 7, 8, 16, 699, 700, 1049, 1050, 1399, 1401, 1408, 2099, 2101, 2112, 4096, 9000, 30000, 65500, 65535)
MARKERS = (0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE, 0xFE, 0xFF)


# The sound images


def write_sources(folder: Path) -> None:
    """Every kind of JPEG there is; flat ones are small, and read and damaged in no time."""
    flat = picture(0)
    lying = np.ascontiguousarray(flat.transpose(1, 0, 2))
    kinds = {
        "flat": jpeg_as(flat),
        "progressive": jpeg_as(flat, progressive=True),
        "restarts": jpeg_as(flat, restart_marker_rows=2),
        "grey": jpeg_as(flat, "L"),
        "cmyk": jpeg_as(flat, "CMYK"),
        "full-colour": jpeg_as(flat, subsampling=0),
        "upright": jpeg_as(flat, orientation=1),
        "mirrored": jpeg_as(flat, orientation=2),
        "lying": jpeg_as(lying, orientation=6),
        "commented": jpeg_as(flat, comment=b"sea and \xff\xda clouds"),
        "painted": jpeg_as(painted(0, 0)),
    }
    if (REAL / "train_images").is_dir():
        kinds["real"] = sorted((REAL / "train_images").iterdir())[0].read_bytes()
    for name, data in kinds.items():
        (folder / f"{name}.jpg").write_bytes(data)


# The damage


def segments(data: bytes) -> list[tuple[int, int]]:
    """Start and end of each segment up to the first scan, and then the rest."""
    place, found = 2, []
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        found.append((place, end))
        place = end
    return [*found, (place, len(data))]


def place_in(rng: random.Random, data: bytes) -> int:
    """Half of the damage hits the header, which is a small part of a file."""
    return rng.randrange(2, min(1000, len(data))) if rng.random() < 0.5 else rng.randrange(len(data))


def flip(rng: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 10, 100))):
        spoiled[place_in(rng, data)] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))
    return bytes(spoiled)


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: place_in(rng, data)] + rng.choice((b"", b"\xff\xd9", b"\0" * rng.randrange(100)))


def delete(rng: random.Random, data: bytes) -> bytes:
    place = place_in(rng, data)
    return data[:place] + data[place + rng.choice((1, 2, rng.randrange(1, 50), rng.randrange(1, 5000))) :]


def insert(rng: random.Random, data: bytes) -> bytes:
    place = place_in(rng, data)
    more = rng.choice(
        (
            bytes([0xFF, rng.choice(MARKERS)]),
            bytes([0xFF, rng.randrange(256), 0, rng.randrange(20)]),
            rng.randbytes(rng.randrange(1, 200)),
            b"\xff" * rng.randrange(1, 200),
            b"\0" * rng.randrange(1, 200),
        )
    )
    return data[:place] + more + data[place:]


def swap(rng: random.Random, data: bytes) -> bytes:
    parts = [data[start:end] for start, end in segments(data)]
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[i], parts[j] = parts[j], parts[i]
    return data[:2] + b"".join(parts)


def repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = rng.choice(segments(data))
    times = rng.choice((1, 1, 2, 20)) if end - start > 10_000 else rng.choice((1, 2, 300))
    return data[:end] + data[start:end] * times + data[end:]


def repeat_scan(rng: random.Random, data: bytes) -> bytes:
    """A scan of a progressive image, or what looks like one, once more or very often."""
    starts = [match.start() for match in re.finditer(b"\xff\xda", data)]
    start = rng.choice(starts)
    end = min(next((later for later in starts if later > start), len(data)), start + rng.choice((10, 14, 300)))
    return data[:-2] + data[start:end] * rng.choice((1, 5, 200)) + data[-2:]


def claim(rng: random.Random, data: bytes) -> bytes:
    size = (WIDTH, HEIGHT)
    while size in ((WIDTH, HEIGHT), (HEIGHT, WIDTH)):
        size = (rng.choice((WIDTH, *SIZES)), rng.choice((HEIGHT, *SIZES)))
    return claiming(data, *size)


DAMAGE = (flip, flip, truncate, delete, insert, swap, repeat, repeat_scan, claim)


def damaged(number: int, sources: dict[str, bytes]) -> tuple[str, bytes]:
    """What was done to which image, and the result."""
    rng = random.Random(number)
    # Real images are large: fewer of them.
    name = rng.choice([name for name in sources for _ in range(1 if name == "real" else 2)])
    kinds: list[Callable[[random.Random, bytes], bytes]] = [rng.choice(DAMAGE)]
    if kinds[0] is not claim and rng.random() < 0.2:
        kinds.append(rng.choice(DAMAGE[:5]))
    data = sources[name]
    for kind in kinds:
        data = kind(rng, data)
    return f"{name}: {' and '.join(kind.__name__ for kind in kinds)}", data


# The reading, in a process that may crash


def read_all(folder: Path, batch: int) -> None:
    """Read the images of a batch and write a line before and one after each, for whoever survives."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sources = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}
    path = folder / f"batch-{batch}"
    with (folder / f"{batch}.log").open("w", buffering=1) as log:
        for number in range(batch, IMAGES, BATCHES):
            what, data = damaged(number, sources)
            path.write_bytes(data)
            log.write(json.dumps({"image": number, "what": what}) + "\n")
            started = time.monotonic()
            outcome: dict[str, object]
            try:
                image = read_image(path, half=True)
                outcome = {"shape": image.shape, "dtype": str(image.dtype)}
            except ImageError as error:
                outcome = {"refused": str(error)}
            except Exception as error:
                outcome = {"raised": repr(error)}
            log.write(json.dumps(outcome | {"seconds": time.monotonic() - started}) + "\n")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What became of each image; of one that ended or outlived its process, nothing but what it was."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_sources(folder)
    context = multiprocessing.get_context("spawn")
    deadline = time.monotonic() + 120
    waiting = [context.Process(target=read_all, args=(folder, batch), daemon=True) for batch in range(BATCHES)]
    running: list[multiprocessing.process.BaseProcess] = []
    try:
        while (waiting or running) and time.monotonic() < deadline:
            while waiting and len(running) < 2:
                running.append(waiting.pop())
                running[-1].start()
            multiprocessing.connection.wait([process.sentinel for process in running], timeout=1)
            running = [process for process in running if process.is_alive()]
    finally:
        for process in running:
            process.kill()
            process.join()
    found: dict[int, dict[str, object]] = {}
    for path in folder.glob("*.log"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for before in lines[::2]:
            found[before["image"]] = before
        for before, after in zip(lines[::2], lines[1::2], strict=False):
            before |= after
    return list(found.values())


def test_every_image_is_read_or_refused_without_a_crash_or_a_hang(outcomes: list[dict[str, object]]) -> None:
    assert [outcome for outcome in outcomes if "seconds" not in outcome] == []
    assert len(outcomes) == IMAGES


def test_nothing_but_an_image_error_is_raised(outcomes: list[dict[str, object]]) -> None:
    assert [outcome for outcome in outcomes if "raised" in outcome] == []


def test_no_image_takes_long(outcomes: list[dict[str, object]]) -> None:
    assert [outcome for outcome in outcomes if float(outcome.get("seconds", 0)) > LONGEST] == []


def test_what_is_taken_has_the_right_shape(outcomes: list[dict[str, object]]) -> None:
    taken = [outcome for outcome in outcomes if "shape" in outcome]
    right = ([*HALF_SIZE, 3], [HEIGHT, WIDTH, 3])
    assert [outcome for outcome in taken if outcome["shape"] not in right or outcome["dtype"] != "uint8"] == []
    assert len(taken) > IMAGES / 20


def test_what_is_refused_has_a_reason_of_one_line(outcomes: list[dict[str, object]]) -> None:
    refused = [outcome for outcome in outcomes if "refused" in outcome]
    assert [outcome for outcome in refused if not re.fullmatch(r"\S.*\S", str(outcome["refused"]))] == []
    assert len(refused) > IMAGES / 4


def test_no_image_is_taken_whose_header_has_another_size(outcomes: list[dict[str, object]]) -> None:
    claims = [outcome for outcome in outcomes if str(outcome["what"]).endswith("claim")]
    assert [outcome for outcome in claims if "refused" not in outcome] == []
    assert len(claims) > IMAGES / 20
