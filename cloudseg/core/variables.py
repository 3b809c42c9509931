"""Reads numbers from environment variables."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cloudseg.core.errors import UsageError


def whole_number(environ: Mapping[str, str], name: str, least: int = 1) -> int | None:
    """The value of the variable `name`; None if it is not set or empty.

    Raises UsageError if it is not a whole number from `least` on.
    """
    text = environ.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise UsageError(f"{name}={text}: must be a whole number from {least} on; correct it, or type: unset {name}")
    return int(text)


def seconds(environ: Mapping[str, str], name: str) -> float | None:
    """The value of the variable `name` in seconds; None if it is not set or empty.

    Raises UsageError if it is not a finite number above 0.
    """
    text = environ.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{name}={text}: must be seconds, above 0; correct it, or type: unset {name}")
    return value
