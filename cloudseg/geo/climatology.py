"""How often each pattern occurs where and when: sums over days on a grid of cells, which can be merged exactly. Pure.

The frequency of a pattern in a cell is the share of its pixels with data that are in the pattern's masks, over all
days: a ratio of sums, sum(k) / sum(n). Days are independent as far as clouds are concerned, pixels of a day are not, so
its variance is that of the ratio estimator with days as clusters (Cochran, Sampling Techniques, 1977, 6.3 and 9A.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.lattice import PER_DEGREE

Z = 1.96
"""Standard deviations of a 95 % interval."""
SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
"""Season -> its months."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Cells of `step` pixels of the grid of the globe along each axis. `top` counts rows of cells from 90 degrees
    north, `left` columns from 180 degrees west."""

    step: int
    top: int
    left: int
    height: int
    width: int

    @property
    def cell(self) -> float:
        """Degrees."""
        return self.step / PER_DEGREE

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        return (
            self.left * self.step / PER_DEGREE - 180,
            90 - (self.top + self.height) * self.step / PER_DEGREE,
            (self.left + self.width) * self.step / PER_DEGREE - 180,
            90 - self.top * self.step / PER_DEGREE,
        )

    def union(self, other: Grid) -> Grid:
        """The smallest grid that holds both. Raises ValueError for cells of another size."""
        if self.step != other.step:
            raise ValueError(f"one has cells of {self.cell:g} degrees, another of {other.cell:g}")
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom = max(self.top + self.height, other.top + other.height)
        right = max(self.left + self.width, other.left + other.width)
        return Grid(self.step, top, left, bottom - top, right - left)


def step_of(cell: float) -> int:
    """Pixels of the grid of the globe along a cell of so many degrees. Raises ValueError unless they are a whole
    number, and a whole number of cells goes around the globe and from pole to pole."""
    step = round(cell * PER_DEGREE)
    if step < 1 or abs(step - cell * PER_DEGREE) > 1e-9 or (180 * PER_DEGREE) % step:
        raise ValueError("give degrees that divide 180 and are a multiple of 0.04, as 1, 2, 0.5 or 0.2")
    return step


def grid_of(regions: Iterable[Bounds], step: int) -> Grid:
    """The smallest grid that holds all regions. It goes around the globe if one crosses the antimeridian."""
    rows, columns = 180 * PER_DEGREE // step, 360 * PER_DEGREE // step
    found: Grid | None = None
    for bounds in regions:
        scale = PER_DEGREE / step
        top, bottom = (90 - bounds.north) * scale, (90 - bounds.south) * scale
        left, right = (bounds.west + 180) * scale, (bounds.east + 180) * scale
        first_row, end_row = int(top + 1e-6), min(rows, int(np.ceil(bottom - 1e-6)))
        first_column, end_column = int(left + 1e-6), int(np.ceil(right - 1e-6))
        if end_column > columns:
            first_column, end_column = 0, columns
        one = Grid(step, first_row, first_column, end_row - first_row, end_column - first_column)
        found = one if found is None else found.union(one)
    if found is None:
        raise ValueError("there are no regions")
    return found


def count(masks: np.ndarray, valid: np.ndarray, bounds: Bounds, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Pixels with data of each cell, int64 (h, w), and those in each class's masks, int64 (C, h, w), of a picture:
    `masks`, bool (C, H, W), and `valid`, bool (H, W), over `bounds`. A pixel is of the cell in which its centre is."""
    height, width = valid.shape
    latitudes = bounds.north - (np.arange(height) + 0.5) * bounds.height / height
    longitudes = bounds.west + (np.arange(width) + 0.5) * bounds.width / width
    scale, around = PER_DEGREE / grid.step, 360 * PER_DEGREE // grid.step
    rows = np.floor((90 - latitudes) * scale).astype(int) - grid.top
    columns = np.floor((longitudes + 180) * scale).astype(int) % around - grid.left
    of_rows = np.zeros((grid.height, height), np.float32)
    of_columns = np.zeros((width, grid.width), np.float32)
    of_rows[rows, np.arange(height)] = 1
    of_columns[np.arange(width), columns] = 1
    layers = np.concatenate([valid[None], masks & valid]).astype(np.float32)  # sums below 2**24 are exact
    summed = np.rint(of_rows @ layers @ of_columns).astype(np.int64)
    return summed[0], summed[1:]


@dataclasses.dataclass
class Sums:
    """Sums over days on a grid, by month. For a day and a cell, n is its pixels with data, k those in a class's
    masks."""

    grid: Grid
    months: tuple[str, ...]
    """As 2009-01, ascending."""
    looks: np.ndarray
    """int64 (T, h, w): days with data."""
    n: np.ndarray
    """int64 (T, h, w): sum of n."""
    nn: np.ndarray
    """int64 (T, h, w): sum of n squared."""
    k: np.ndarray
    """int64 (T, C, h, w): sum of k."""
    kk: np.ndarray
    """int64 (T, C, h, w): sum of k squared."""
    nk: np.ndarray
    """int64 (T, C, h, w): sum of n times k."""
    days: dict[str, tuple[int, ...]]
    """Day -> n, and k of each class, over all cells."""

    @classmethod
    def empty(cls, grid: Grid, months: Sequence[str]) -> Sums:
        cells = grid.height, grid.width
        of_cells = [np.zeros((len(months), *cells), np.int64) for _ in range(3)]
        of_classes = [np.zeros((len(months), len(CLASSES), *cells), np.int64) for _ in range(3)]
        looks, n, nn, k, kk, nk = *of_cells, *of_classes
        return cls(grid, tuple(sorted(months)), looks, n, nn, k, kk, nk, {})

    def add_day(self, day: str, n: np.ndarray, k: np.ndarray) -> None:
        """Add the counts of a whole day, as of `count`. Raises ValueError for a day that was added before."""
        if day in self.days:
            raise ValueError(f"the day {day} was added before")
        month = self.months.index(day[:7])
        self.looks[month] += n > 0
        self.n[month] += n
        self.nn[month] += n * n
        self.k[month] += k
        self.kk[month] += k * k
        self.nk[month] += n * k
        self.days[day] = (int(n.sum()), *(int(each.sum()) for each in k))


FIELDS = ("looks", "n", "nn", "k", "kk", "nk")
"""The arrays of `Sums`."""


def merge(parts: Sequence[Sums]) -> Sums:
    """The sums over the days of all parts, exactly as if they had been one. Raises ValueError if two have a day in
    common or cells of different sizes."""
    grid = parts[0].grid
    for part in parts[1:]:
        grid = grid.union(part.grid)
    out = Sums.empty(grid, sorted({month for part in parts for month in part.months}))
    for part in parts:
        if twice := sorted(part.days.keys() & out.days.keys()):
            raise ValueError(f"the day {twice[0]} is in two of them")
        rows = slice(part.grid.top - grid.top, part.grid.top - grid.top + part.grid.height)
        columns = slice(part.grid.left - grid.left, part.grid.left - grid.left + part.grid.width)
        for number, month in enumerate(part.months):
            place = out.months.index(month)
            for name in FIELDS:
                getattr(out, name)[place][..., rows, columns] += getattr(part, name)[number]
        out.days |= part.days
    out.days = dict(sorted(out.days.items()))
    return out


@dataclasses.dataclass(frozen=True)
class Frequency:
    """Frequencies from 0 to 1 and their 95 % intervals, float64 (C, h, w), NaN without data; `looks`, int64 (h, w)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    looks: np.ndarray


def frequency(sums: Sums, months: Iterable[int] = range(1, 13)) -> Frequency:
    """Frequency of each class in each cell over the days of some calendar months (1 to 12).

    The interval is Wilson's, with the number of draws that has the variance of the ratio estimator, and at most as many
    as days with data: from few days with a rare pattern the variance is often estimated too small.
    """
    wanted = [number for number, month in enumerate(sums.months) if int(month[5:]) in set(months)]
    looks, n, nn, k, kk, nk = (getattr(sums, name)[wanted].sum(axis=0) for name in FIELDS)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(n > 0, k / n, np.nan)
        squares = np.maximum(kk - 2 * value * nk + value**2 * nn, 0)
        variance = np.where(looks > 1, looks / (looks - 1), 1) * squares / n.astype(float) ** 2
        draws = np.where(variance > 0, value * (1 - value) / variance, looks)
        low, high = wilson(value, np.clip(draws, 1, np.maximum(looks, 1)))
    return Frequency(value, low, high, looks)


def wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval (1927) of a share of `count` independent draws."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
