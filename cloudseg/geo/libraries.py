"""How the libraries of geography are set up. Call `prepare` before the first import of one of them."""

from __future__ import annotations

import os

FOREIGN = ("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB")


def prepare() -> None:
    """Remove the variables with which a module of a cluster, such as `gdal`, names its own databases. The libraries of
    this environment bring theirs, and cannot read those of other versions."""
    for name in FOREIGN:
        os.environ.pop(name, None)
