"""Frequencies of patterns over days: counted in the right cells, merged exactly, with intervals that hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cloudseg.geo import climatology
from cloudseg.geo.bounds import Bounds, checked
from cloudseg.geo.climatology import FIELDS, Grid, Sums

REGION = Bounds(-61, 10, -40, 24)
GRID = climatology.grid_of([REGION], climatology.step_of(1))


def pattern(share: float, seed: int, size=(350, 525)) -> np.ndarray:
    """Masks with a rectangle of each class whose expected share is `share` everywhere, around the edges."""
    random = np.random.default_rng(seed)
    masks = np.zeros((4, *size), bool)
    for mask in masks:
        rows = (np.arange(size[0]) + random.integers(size[0])) % size[0] < size[0] * np.sqrt(share)
        columns = (np.arange(size[1]) + random.integers(size[1])) % size[1] < size[1] * np.sqrt(share)
        mask[:] = rows[:, None] & columns
    return masks


def sums_of(days, share=lambda month: 0.2, grid=GRID, region=REGION) -> Sums:
    out = Sums.empty(grid, sorted({day[:7] for day in days}))
    for day in days:
        masks = pattern(share(int(day[5:7])), int(day.replace("-", "")))
        out.add_day(day, *climatology.count(masks, np.ones(masks.shape[1:], bool), region, grid))
    return out


def days(year: int, months, each: int) -> list[str]:
    return [f"{year}-{month:02}-{day + 1:02}" for month in months for day in range(each)]


def test_pixels_are_counted_in_the_cell_of_their_centre():
    assert (GRID.height, GRID.width, GRID.edges) == (14, 21, (-61, 10, -40, 24))
    valid = np.ones((350, 525), bool)
    masks = np.zeros((4, 350, 525), bool)
    masks[1, 30, 60] = True
    valid[:25, :25] = False
    n, k = climatology.count(masks, valid, REGION, GRID)
    assert n[0, 0] == 0 and set(np.unique(n[1:])) == {625}
    assert np.argwhere(k).tolist() == [[1, 1, 2]]


def test_a_region_beyond_the_antimeridian_is_on_both_sides_of_it():
    region = checked(170, 0, -169, 14)
    grid = climatology.grid_of([region], climatology.step_of(1))
    assert (grid.left, grid.width) == (0, 360)
    n, _ = climatology.count(np.zeros((4, 350, 525), bool), np.ones((350, 525), bool), region, grid)
    assert np.flatnonzero(n[0]).tolist() == [*range(11), *range(350, 360)]


@pytest.mark.parametrize("cell", [0, -1, 0.03, 7, 0.11])
def test_cells_that_do_not_fit_are_refused(cell):
    with pytest.raises(ValueError, match="divide 180"):
        climatology.step_of(cell)


def test_two_parts_are_the_whole_also_on_other_grids():
    whole = sums_of(days(2009, (1, 2, 3), 4), grid=Grid(25, 60, 110, 30, 40))
    first = sums_of(days(2009, (1, 2), 4))
    second = sums_of(days(2009, (3,), 4), grid=Grid(25, 60, 110, 30, 40))
    merged = climatology.merge([second, first])
    assert merged.grid == whole.grid and merged.months == whole.months and merged.days == whole.days
    assert list(merged.days) == sorted(merged.days)
    for name in FIELDS:
        assert np.array_equal(getattr(merged, name), getattr(whole, name))


def test_a_day_counts_once():
    part = sums_of(days(2009, (1,), 2))
    with pytest.raises(ValueError, match="the day 2009-01-01 is in two of them"):
        climatology.merge([part, dataclasses.replace(part)])
    with pytest.raises(ValueError, match="was added before"):
        part.add_day("2009-01-01", part.n[0], part.k[0])


def test_parts_with_other_cells_are_refused():
    with pytest.raises(ValueError, match="cells of 1 degrees, another of 2"):
        climatology.merge([sums_of(["2009-01-01"]), sums_of(["2009-01-02"], grid=Grid(50, 30, 50, 20, 30))])


def test_the_truth_is_within_the_interval_in_at_least_nine_cells_of_ten():
    share = {1: 0.05, 2: 0.1, 3: 0.3, 4: 0.2}
    sums = sums_of(days(2009, share, 15), share=share.__getitem__)
    for months in ([1], [2], [3], [4], [1, 2, 3, 4]):
        found = climatology.frequency(sums, months)
        truth = np.mean([share[month] for month in months])
        inside = (found.low <= truth) & (truth <= found.high)
        assert inside.mean() >= 0.9, months
        assert (found.looks == 15 * len(months)).all()
    assert np.mean(found.high - found.low) < 0.3


def test_days_count_as_one_look_however_many_pixels_they_have():
    """All of a day's pixels are alike: the interval is about that of a share of 30 draws."""
    sums = Sums.empty(GRID, ["2009-01"])
    n = np.full((14, 21), 625)
    for number in range(30):
        sums.add_day(f"2009-01-{number + 1:02}", n, np.broadcast_to(n * (number % 3 == 0), (4, 14, 21)))
    found = climatology.frequency(sums)
    low, high = climatology.wilson(np.array(1 / 3), np.array(30))
    assert found.value == pytest.approx(1 / 3)
    assert found.low == pytest.approx(low, abs=0.01) and found.high == pytest.approx(high, abs=0.01)


def test_where_nothing_was_seen_there_is_no_frequency_and_never_is_not_zero_for_sure():
    sums = Sums.empty(GRID, ["2009-01"])
    n = np.full((14, 21), 625)
    n[0] = 0
    for number in range(20):
        sums.add_day(f"2009-01-{number + 1:02}", n, np.zeros((4, 14, 21), np.int64))
    found = climatology.frequency(sums)
    assert np.isnan(found.value[:, 0]).all() and not found.value[:, 1:].any()
    assert (found.high[:, 1:] > 0.1).all() and (found.low[:, 1:] == 0).all()
