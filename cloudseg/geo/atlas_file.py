"""The file atlas.nc: frequencies with their intervals for readers, and the sums from which parts are merged."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo import climatology, libraries
from cloudseg.geo.climatology import FIELDS, SEASONS, Grid, Sums

if TYPE_CHECKING:
    import xarray

FORMAT = 1
"""Raise it if the sums mean something else."""
OF_FIELDS = {
    "looks": "days with data",
    "n": "sum over days of the pixels with data, n",
    "nn": "sum over days of n squared",
    "k": "sum over days of the pixels in the masks of the class, k",
    "kk": "sum over days of k squared",
    "nk": "sum over days of n times k",
}


def encode(sums: Sums, about: dict[str, str]) -> bytes:
    """The content of atlas.nc. `about` are further global attributes."""
    libraries.prepare()
    content = io.BytesIO()  # HDF5 crashes the process if the disk is full; a Python file raises an error
    dataset(sums, about).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def dataset(sums: Sums, about: dict[str, str]) -> xarray.Dataset:
    """`frequency`, `season_frequency` and `month_frequency`, from 0 to 1, each with `_low` and `_high`, the ends of its
    95 % interval, and `_looks`, the number of days with data; the sums of `climatology.Sums` with the prefix `sum_`, by
    month of the year; `day_sums`, of each day over all cells."""
    import xarray

    grid, cells, of_class = sums.grid, ("lat", "lon"), ("class", "lat", "lon")
    variables: dict[str, Any] = {}
    periods: dict[str, tuple[tuple[str, ...], list[Iterable[int]]]] = {
        "": ((), [range(1, 13)]),
        "season_": (("season",), list(SEASONS.values())),
        "month_": (("month",), [(month,) for month in range(1, 13)]),
    }
    for prefix, (axis, selections) in periods.items():
        found = [climatology.frequency(sums, months) for months in selections]
        for suffix, name in {"": "value", "_low": "low", "_high": "high"}.items():
            values = np.stack([getattr(each, name) for each in found]).astype(np.float32)
            text = {"": "frequency of the pattern: share of the pixels with data", "_low": "lower", "_high": "upper"}
            long_name = text[suffix] + " end of the 95 % interval of the frequency" * bool(suffix)
            shaped = values if axis else values[0]
            about_values = {"long_name": long_name, "units": "1", "_FillValue": np.float32(np.nan)}
            variables[f"{prefix}frequency{suffix}"] = ((*axis, *of_class), shaped, about_values)
        looks = np.stack([each.looks for each in found])
        variables[f"{prefix}looks"] = (
            (*axis, *cells), looks if axis else looks[0], {"long_name": "days with data", "units": "1"},
        )  # fmt: skip
    for name in FIELDS:
        values = getattr(sums, name)
        dimensions = ("year_month", *(of_class if values.ndim == 4 else cells))
        variables[f"sum_{name}"] = (dimensions, values, {"long_name": OF_FIELDS[name]})
    days = np.array([list(of_day) for of_day in sums.days.values()], np.int64).reshape(-1, 1 + len(CLASSES))
    variables["day_sums"] = (("day", "n_and_classes"), days, {"long_name": "n, and k of each class, over all cells"})
    west, *_, north = grid.edges
    lat = north - (np.arange(grid.height) + 0.5) * grid.cell
    lon = west + (np.arange(grid.width) + 0.5) * grid.cell
    coordinates = {
        "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
        "class": ("class", np.array(CLASSES, object), {"long_name": "class of the cloud pattern"}),
        "season": ("season", np.array(list(SEASONS), object)),
        "month": ("month", np.arange(1, 13), {"long_name": "calendar month"}),
        "year_month": ("year_month", np.array(list(sums.months), object)),
        "day": ("day", np.array(list(sums.days), object)),
    }
    attributes = {
        "Conventions": "CF-1.11",
        "title": "Frequency of cloud patterns",
        "source": "cloudseg",
        "format": FORMAT,
        "grid": [grid.step, grid.top, grid.left, grid.height, grid.width],
        **about,
    }
    out = xarray.Dataset(variables, coordinates, attributes)
    for key, variable in out.data_vars.items():
        variable.encoding = {"zlib": True, "complevel": 4, "shuffle": True} if variable.size > 1 else {}
        if "frequency" in str(key):
            del variable.attrs["_FillValue"]
            variable.encoding["_FillValue"] = np.float32(np.nan)
    for coordinate in out.coords.values():
        coordinate.encoding["_FillValue"] = None  # CF: coordinates have no missing values
    return out


def decode(content: bytes) -> Sums:
    """The sums of an atlas.nc. Raises ValueError for another file."""
    libraries.prepare()
    import xarray

    try:
        with xarray.open_dataset(io.BytesIO(content), engine="h5netcdf") as table:
            if int(table.attrs["format"]) != FORMAT:
                raise ValueError(f"it has the format {table.attrs['format']}, and this version reads {FORMAT}")
            grid = Grid(*map(int, table.attrs["grid"]))
            fields = [np.asarray(table[f"sum_{name}"].values, np.int64) for name in FIELDS]
            days = {
                str(day): tuple(map(int, row))
                for day, row in zip(table["day"].values, table["day_sums"].values, strict=True)
            }
            looks, n, nn, k, kk, nk = fields
            return Sums(grid, tuple(map(str, table["year_month"].values)), looks, n, nn, k, kk, nk, days)
    except (OSError, KeyError) as error:
        raise ValueError(f"it is no atlas: {error}") from error
