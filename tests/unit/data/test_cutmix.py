"""Rectangles of CutMix: which, where and how often."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cloudseg.data import cutmix
from cloudseg.data.cutmix import Patch, draw, paste
from cloudseg.data.labels import NO_DATA

SIZE = (64, 96)
PARTNERS = np.arange(10, 30)


@pytest.fixture(scope="module")
def drawn() -> list[Patch | None]:
    return [draw(PARTNERS, SIZE, 0, epoch, sample) for epoch in range(200) for sample in PARTNERS.tolist()]


def area(patch: Patch) -> int:
    return (patch.rows.stop - patch.rows.start) * (patch.columns.stop - patch.columns.start)


def test_half_of_the_samples_receive_a_rectangle(drawn: list[Patch | None]) -> None:
    assert np.mean([patch is not None for patch in drawn]) == pytest.approx(cutmix.PROBABILITY, abs=0.04)


def test_all_others_are_partners_and_as_often(drawn: list[Patch | None]) -> None:
    times = np.bincount([patch.partner for patch in drawn if patch], minlength=30)
    assert times[:10].sum() == 0
    assert times[10:].min() > 60  # of 100 on average


def test_no_sample_is_its_own_partner() -> None:
    patches = [draw(np.array([4, 7]), SIZE, 0, epoch, 4) for epoch in range(50)]
    assert {patch.partner for patch in patches if patch} == {7}


def test_a_single_training_image_stays_as_it_is() -> None:
    assert not any(draw(np.array([4]), SIZE, 0, epoch, 4) for epoch in range(50))


def test_rectangles_have_the_images_shape_and_uniform_shares_of_its_area(drawn: list[Patch | None]) -> None:
    inside = [p for p in drawn if p and p.rows.start > 0 < p.columns.start and p.rows.stop < 64 and p.columns.stop < 96]
    assert len(inside) > 100
    for patch in inside:
        height, width = (side.stop - side.start for side in (patch.rows, patch.columns))
        assert abs(width - 1.5 * height) <= 2.5
    # Without the border, a rectangle of side s has area s^2 with s^2 uniform; clipped, the mean is below 1/2.
    shares = np.array([area(patch) / (64 * 96) for patch in drawn if patch])
    assert 0 <= shares.min() < 0.02
    assert 0.9 < shares.max() <= 1
    # E[clipped side / s] = 1 - s / 4 for a uniform centre, so E[area] = E[(s - s^2 / 4)^2] with s^2 uniform.
    sides = np.sqrt(np.linspace(0, 1, 10001))
    assert shares.mean() == pytest.approx(np.mean((sides - sides**2 / 4) ** 2), abs=0.02)


def test_seed_epoch_and_sample_decide_the_rectangle() -> None:
    numbers = list(itertools.product(range(3), range(3), range(12)))
    once, again = ([draw(PARTNERS, SIZE, *each) for each in numbers] for _ in range(2))
    assert once == again
    found = [str(patch) for patch in once if patch]
    assert len(set(found)) == len(found) > 30


def test_pasting_replaces_all_bits_and_leaves_the_original() -> None:
    mask, other = np.full((4, 6), 5, np.uint8), np.full((4, 6), 2 | NO_DATA, np.uint8)
    mixed = paste(mask, other, Patch(0, slice(1, 3), slice(2, 6)))
    expected = [[5] * 6, [5, 5, *[2 | NO_DATA] * 4], [5, 5, *[2 | NO_DATA] * 4], [5] * 6]
    assert mixed.tolist() == expected
    assert (mask == 5).all()
