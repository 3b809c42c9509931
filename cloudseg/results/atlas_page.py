"""Maps, seasonal cycle and time series of an atlas, and its page."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from cloudseg.data.labels import CLASSES
from cloudseg.geo import climatology
from cloudseg.geo.climatology import SEASONS, Grid, Sums
from cloudseg.results import figures as other_figures
from cloudseg.results import html

COAST = "coast.json"
"""Natural Earth's land at 1:110 million (public domain), as lines of longitudes and latitudes."""
MONTHS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D")


def figures(sums: Sums) -> dict[str, bytes]:
    """The figures as PNG, by name: `maps`, `seasons`, `cycle`, `series`."""
    drawn = {"maps": maps(sums), "seasons": seasons(sums), "cycle": cycle(sums), "series": series(sums)}
    out = {}
    for name, figure in drawn.items():
        with io.BytesIO() as buffer:
            # Without the version of matplotlib, the same atlas has the same bytes.
            figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
            out[name] = buffer.getvalue()
    return out


def page(sums: Sums, about: Mapping[str, str], pictures: Mapping[str, bytes]) -> str:
    """The page, as HTML that needs no other file."""
    days = list(sums.days)
    west, south, east, north = sums.grid.edges
    return html.render(
        "atlas.html.jinja",
        days=len(days),
        first=days[0],
        last=days[-1],
        region=f"{west:g} to {east:g} degrees east, {south:g} to {north:g} degrees north",
        cell=f"{sums.grid.cell:g}",
        runs=about.get("runs", ""),
        frequency={name: _over_all(sums, range(1, 13), c) for c, name in enumerate(CLASSES)},
        pictures={name: other_figures.uri(content) for name, content in pictures.items()},
    )


def maps(sums: Sums) -> Figure:
    """The frequency of each class, and the number of days with data."""
    found = climatology.frequency(sums)
    out, all_axes = _maps(sums.grid, len(CLASSES) + 1, 1)
    top = _top(found.value)
    for axes, name, values in zip(all_axes, CLASSES, found.value, strict=False):
        _draw(axes, sums.grid, values, name, top, "frequency")
    looks = np.where(found.looks > 0, found.looks, np.nan)
    _draw(all_axes[-1], sums.grid, looks, "days with data", max(1.0, float(found.looks.max())), "days")
    return out


def seasons(sums: Sums) -> Figure:
    """The frequency of each class in each season."""
    found = {season: climatology.frequency(sums, months) for season, months in SEASONS.items()}
    out, all_axes = _maps(sums.grid, len(CLASSES), len(SEASONS))
    top = _top(np.stack([each.value for each in found.values()]))
    for c, name in enumerate(CLASSES):
        for column, (season, each) in enumerate(found.items()):
            axes = all_axes[c * len(SEASONS) + column]
            _draw(axes, sums.grid, each.value[c], f"{name}, {season}", top, "frequency" if column == 3 else "")
    return out


def cycle(sums: Sums) -> Figure:
    """The frequency of each class over the region by calendar month, with 95 % intervals."""
    out = Figure(figsize=(7, 4), layout="constrained")
    axes = out.subplots()
    for c, name in enumerate(CLASSES):
        points = [(month, *found) for month in range(1, 13) if (found := _over_all(sums, [month], c))]
        _line(axes, points, c, name)
    axes.set(xlabel="month", ylabel="frequency over the region", xticks=range(1, 13), xticklabels=MONTHS)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    return out


def series(sums: Sums) -> Figure:
    """The frequency of each class over the region by month of the year."""
    out = Figure(figsize=(9, 4), layout="constrained")
    axes = out.subplots()
    for c, name in enumerate(CLASSES):
        points = []
        for number, month in enumerate(sums.months):
            rows = [row for day, row in sums.days.items() if day[:7] == month]
            if found := _ratio(rows, c):
                points.append((number, *found))
        _line(axes, points, c, name)
    step = max(1, len(sums.months) // 12)
    axes.set(ylabel="frequency over the region", xticks=range(0, len(sums.months), step))
    axes.set_xticklabels(sums.months[::step], rotation=45, ha="right")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    return out


def _line(axes: Axes, points: Sequence[tuple[float, float, float, float]], c: int, name: str) -> None:
    if not points:
        return
    x, value, low, high = map(np.array, zip(*points, strict=True))
    colour = other_figures.COLOUR[name]
    shift = (c - 1.5) * 0.06
    axes.errorbar(x + shift, value, (value - low, high - value), color=colour, label=name, marker="o", markersize=3)


def _over_all(sums: Sums, months: Any, c: int) -> tuple[float, float, float] | None:
    """Frequency of a class over the region in some calendar months, with the ends of its interval."""
    wanted = set(months)
    return _ratio([row for day, row in sums.days.items() if int(day[5:7]) in wanted], c)


def _ratio(rows: list[tuple[int, ...]], c: int) -> tuple[float, float, float] | None:
    """sum(k) / sum(n) over days, with the ends of its 95 % interval, NaN for a single day; None without data."""
    n, k = np.array([[row[0], row[1 + c]] for row in rows if row[0]], float).reshape(-1, 2).T
    if not len(n):
        return None
    share = k.sum() / n.sum()
    if len(n) == 1:
        return float(share), np.nan, np.nan
    spread = np.sqrt(len(n) / (len(n) - 1) * np.sum((k - share * n) ** 2)) / n.sum()
    return float(share), float(max(0, share - climatology.Z * spread)), float(min(1, share + climatology.Z * spread))


def _top(values: np.ndarray) -> float:
    """The upper end of a colour scale."""
    known = values[~np.isnan(values)]
    return max(0.01, float(np.quantile(known, 0.99))) if known.size else 1.0


def _maps(grid: Grid, count: int, columns: int) -> tuple[Figure, list[Axes]]:
    west, south, east, north = grid.edges
    width = 9.0 if columns == 1 else 3.4
    height = min(6.0, max(1.2, width * 0.85 * (north - south) / (east - west)))
    rows = -(-count // columns) if columns == 1 else count
    out = Figure(figsize=(width * columns, (height + 0.5) * rows), layout="constrained")
    return out, list(np.ravel(out.subplots(rows, columns, squeeze=False)))


def _draw(axes: Axes, grid: Grid, values: np.ndarray, title: str, top: float, label: str) -> None:
    west, south, east, north = grid.edges
    drawn = axes.imshow(values, extent=(west, east, south, north), vmin=0, vmax=top, interpolation="none")
    axes.add_collection(LineCollection(_coast(), colors="black", linewidths=0.6))
    axes.set(xlim=(west, east), ylim=(south, north), title=title, facecolor="0.85")
    axes.tick_params(labelsize="small")
    if label:
        axes.figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)


def _coast() -> list[np.ndarray]:
    text = resources.files("cloudseg.geo").joinpath(COAST).read_text()
    return [np.array(line) for line in json.loads(text)["coordinates"]]
