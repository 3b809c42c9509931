"""The showcase app as a visitor has it, in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests import processes
from tests.app.conftest import ROOT, environment


def overlay(page: Page) -> Locator:
    return page.get_by_test_id("stImage").locator("img")


def row(page: Page, label: str) -> Locator:
    return page.get_by_role("table").locator("tr", has_text=label)


def go(page: Page, title: str) -> None:
    page.get_by_role("link", name=title).click()


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def settled(page: Page, image: str) -> None:
    """Wait for all that belongs to this image."""
    expect(page.get_by_role("combobox", name=re.compile("^Image"))).to_have_value(re.compile(f"^{image}"))
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def send(page: Page, name: str, content: bytes) -> None:
    go(page, "Upload")
    page.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": "application/octet-stream", "buffer": content}]
    )


def test_first_page_shows_an_image_with_a_legend(page: Page):
    expect(overlay(page)).to_be_visible()
    for text in ("Fish", "Flower", "Gravel", "Sugar", "filled: predicted", "outlined: labelled"):
        expect(page.get_by_test_id("stHtml").get_by_text(text, exact=True)).to_be_visible()


def test_moving_a_slider_changes_score_and_overlay(page: Page, run: Path):
    with (run / "evaluate" / "images.csv").open() as file:
        best = max(csv.DictReader(file), key=lambda row: (int(row["truth_fish"]) > 0, float(row["dice_fish"])))
    choose(page, "Class", "Fish")
    choose(page, "Order by Dice", "Best first")
    choose(page, "Show", "labelled")
    settled(page, best["image"])
    area, _, dice = (row(page, "Fish").locator("td").nth(i) for i in range(3))
    before = [area.inner_text(), dice.inner_text(), overlay(page).get_attribute("src") or ""]

    page.get_by_role("slider", name="Fish: probability above").press("Home")

    expect(area).not_to_have_text(before[0])
    expect(dice).not_to_have_text(before[1])
    expect(overlay(page)).not_to_have_attribute("src", before[2])


def test_mean_over_all_images_follows_the_sliders_and_goes_back(page: Page):
    mean = row(page, "mean").locator("td").last
    expect(mean).to_have_text(re.compile(r"^0\.\d{3}$"))
    before = mean.inner_text()
    page.get_by_role("slider", name="Fish: probability above").press("Home")
    expect(mean).to_have_text(re.compile(r"^0\.\d{3} \([+-]0\.\d{3}\)$"))

    page.get_by_role("button", name="Reset to the tuned rules").click()

    expect(mean).to_have_text(before)


def test_next_shows_another_image(page: Page):
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    before = overlay(page).get_attribute("src") or ""

    page.get_by_role("button", name="Next").click()

    expect(page.get_by_text("Image, 2 of 5")).to_be_visible()
    expect(overlay(page)).not_to_have_attribute("src", before)


def test_uploaded_picture_gets_a_mask_to_take_home(page: Page, picture: Path):
    send(page, "clouds.jpg", picture.read_bytes())

    expect(overlay(page)).to_be_visible()
    expect(row(page, "Fish").locator("td").first).to_have_text(re.compile(r"%$"))
    with page.expect_download() as mask:
        page.get_by_role("button", name="Mask, PNG").click()
    with page.expect_download() as polygons:
        page.get_by_role("button", name="Polygons, GeoJSON").click()
    with Image.open(picture) as original, Image.open(mask.value.path(), formats=["PNG"]) as found:
        assert found.size == original.size
    assert json.loads(polygons.value.path().read_text())["type"] == "FeatureCollection"


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (140, 210, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


def endless() -> bytes:
    """A PNG of a few bytes that says it has 12000x12000 pixels."""
    parts = (b"IHDR", struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.jpg", b"<script>alert(1)</script>", "is not a JPEG, PNG or TIFF picture"),
        ("empty.png", b"", "is empty"),
        ("half.jpg", jpeg()[:5_000], "damaged"),
        ("endless.png", endless(), "million pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_broken_file_gets_a_message(page: Page, name: str, content: bytes, message: str):
    send(page, name, content)

    expect(page.get_by_text("This file cannot be segmented")).to_be_visible()
    expect(page.get_by_test_id("stText").filter(has_text=name)).to_contain_text(message)


def test_file_that_is_too_large_is_not_taken(page: Page, tmp_path: Path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21 * 1024 * 1024))
    go(page, "Upload")

    page.locator("input[type=file]").set_input_files(large)

    expect(page.get_by_text(re.compile(r"20(\.0)?MB or smaller"))).to_be_visible()


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Images", "Fish: probability above"),
        ("Upload", "A satellite picture"),
        ("Compare", "Scores on the validation images"),
        ("Data", "Images with two classes"),
        ("About", "twice the pixels that are both predicted and labelled"),
    ],
)
def test_page_fits_a_phone(page: Page, title: str, text: str):
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_test_id("stExpandSidebarButton").click()
    go(page, title)
    page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
    expect(page.get_by_text(text).first).to_be_in_viewport(ratio=0)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")

    for element in page.get_by_test_id("stMain").locator("img, table, canvas, svg, button, p").all():
        if element.is_visible() and (box := element.bounding_box()):
            assert box["x"] + box["width"] <= 390, element.inner_text()


def test_app_asks_only_this_machine(page: Page, address: str):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    expect(overlay(page)).to_be_visible()

    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_command_says_what_to_type_for_a_run_that_is_not_there(tmp_path: Path):
    done = processes.run(
        [sys.executable, "-m", "cloudseg.app", "--run", str(tmp_path)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "cloudseg.launch" in done.stderr and done.stderr.count("\n") == 1
