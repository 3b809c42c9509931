"""How the libraries of geography are set up. Call `prepare` before the first import of one of them."""

from __future__ import annotations

import os

CACHE_MB = "256"
"""Memory in which GDAL keeps blocks that it has read. A row of scenes of a JPEG of 36,000 pixels width is 151 MB; by
default it would be 5 % of the memory of the node."""
FOREIGN = ("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB")


def prepare() -> None:
    """Remove the variables with which a module of a cluster, such as `gdal`, names its own databases. The libraries of
    this environment bring theirs, and cannot read those of other versions. Limits the memory for blocks of rasters."""
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ.setdefault("GDAL_CACHEMAX", CACHE_MB)
