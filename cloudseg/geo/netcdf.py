"""Masks and probabilities as NetCDF 4 with the CF conventions 1.11."""

from __future__ import annotations

import datetime
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo import libraries
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.georeference import Time
from cloudseg.geo.layers import NO_DATA, STEPS, Layers

if TYPE_CHECKING:
    import xarray

CHUNK = 512
"""Pixels of the edge of a chunk, at most."""
PIXEL_AXES = {"y": "row of the pixel from the top", "x": "column of the pixel from the left"}


def netcdf(layers: Layers) -> bytes:
    """Encode a picture's masks and probabilities, as `dataset` describes, in NetCDF 4 (HDF5)."""
    libraries.prepare()
    content = io.BytesIO()  # HDF5 crashes the process if the disk is full; a Python file raises an error
    dataset(layers).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def dataset(layers: Layers) -> xarray.Dataset:
    """`mask` and `probability`, of the dimensions (class, time, lat, lon), in the order that CF recommends.

    `probability` is packed in uint8 with the scale_factor 1/254 (float32). Pixels without data have the _FillValue 255.
    `lat` and `lon` are the centres of the pixels in degrees, from north to south and from west to east; `lon` is above
    180 beyond the antimeridian. If the bounds are unknown, they are `y` and `x`, in pixels. If the time is unknown,
    there is no dimension time. A time that is known only to the day has the bounds of the day.
    """
    import xarray

    reference, size = layers.reference, layers.size
    axes = ("y", "x") if reference.bounds is None else ("lat", "lon")
    when = () if reference.time is None else ("time",)
    dimensions = ("class", *when, *axes)
    shape = (len(CLASSES), *(1,) * len(when), *size)
    coordinates = _pixels(size) if reference.bounds is None else _degrees(reference.bounds, size)
    coordinates["class"] = ("class", np.array(CLASSES, object), {"long_name": "class of the cloud pattern"})
    variables: dict[str, Any] = {}
    if reference.time is not None:
        days, bounds = _time(reference.time)
        coordinates["time"] = ("time", [days], {"standard_name": "time", "axis": "T"})
        if bounds is not None:
            coordinates["time"][2]["bounds"] = "time_bnds"
            variables["time_bnds"] = (("time", "nv"), [bounds])
    on_grid = {}
    if reference.bounds is not None:
        from pyproj import CRS

        variables["crs"] = ((), np.int32(0), CRS.from_epsg(4326).to_cf())
        on_grid = {"grid_mapping": "crs"}
    about_mask = {"long_name": "mask of the class", "flag_values": np.array([0, 1], np.uint8)}
    about_mask |= {"flag_meanings": "absent present", **on_grid}
    about_probability = {"long_name": "probability of the class", "units": "1", **on_grid}
    variables["mask"] = (dimensions, layers.marked_masks().reshape(shape), about_mask)
    packed = {"scale_factor": np.float32(1 / STEPS), "_FillValue": np.uint8(NO_DATA)}
    variables["probability"] = (dimensions, layers.packed_probability().reshape(shape), about_probability | packed)
    about = {"Conventions": "CF-1.11", "title": f"Cloud patterns in {layers.name}", "source": "cloudseg"}
    if reference.platform:
        about["platform"] = reference.platform
    out = xarray.Dataset(variables, coordinates, about)
    chunks = (*(1,) * (len(shape) - 2), *(min(CHUNK, pixels) for pixels in size))
    for name in ("mask", "probability"):
        out[name].encoding = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": chunks}
    out["mask"].attrs["_FillValue"] = np.uint8(NO_DATA)
    for name in ("time", "time_bnds"):
        if name in out.variables:
            out[name].encoding = {
                "units": "seconds since 1970-01-01 00:00:00",
                "calendar": "standard",
                "dtype": "float64",
            }
    for key, variable in out.variables.items():
        if key not in ("mask", "probability"):
            variable.encoding["_FillValue"] = None  # CF: coordinates have no missing values
    return out


def _pixels(size: tuple[int, int]) -> dict[str, Any]:
    return {
        axis: (axis, np.arange(length), {"long_name": PIXEL_AXES[axis], "units": "1", "axis": axis.upper()})
        for axis, length in zip(PIXEL_AXES, size, strict=True)
    }


def _degrees(bounds: Bounds, size: tuple[int, int]) -> dict[str, Any]:
    height, width = size
    lat = bounds.north - (np.arange(height) + 0.5) * (bounds.height / height)
    lon = bounds.west + (np.arange(width) + 0.5) * (bounds.width / width)
    return {
        "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
    }


def _time(time: Time) -> tuple[datetime.datetime, list[datetime.datetime] | None]:
    """The time in UTC, without its zone, and, if it is a day, its begin and end."""
    if isinstance(time, datetime.datetime):
        return time.astimezone(datetime.UTC).replace(tzinfo=None), None
    begin = datetime.datetime.combine(time, datetime.time())
    return begin, [begin, begin + datetime.timedelta(days=1)]
