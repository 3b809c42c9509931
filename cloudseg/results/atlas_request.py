"""Checks the options of atlas, before TensorFlow is imported, and makes the atlas."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Mapping
from pathlib import Path

from cloudseg.core.errors import UsageError
from cloudseg.core.signals import stop
from cloudseg.geo import climatology, georeference
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.georeference import HOW_TO_PLACE, Georeference
from cloudseg.results.prediction_request import Trained, rasters_of
from cloudseg.results.scenes import Scenes
from cloudseg.results.sources import Pictures
from cloudseg.training import rank


def make(args: argparse.Namespace) -> None:
    """Write the atlas that the options of `cloudseg.atlas` request. Raises UsageError for wrong options or pictures."""
    try:
        step = climatology.step_of(args.cell)
    except ValueError as error:
        raise UsageError(f"--cell {args.cell:g}: {error}") from None
    trained = Trained.of(args)
    pictures = Pictures(args.images, None, args.skip_damaged, effect="it is left out")
    options = georeference.given(None, None, args.platform)
    references = {name: georeference.find(pictures.folder / name, options) for name in pictures.names}
    days = days_of(pictures.folder, references)
    rasters = rasters_of(pictures.folder, references, scale=0)
    whole = [name for name in pictures.names if name not in rasters]
    pictures = Pictures(args.images, whole, args.skip_damaged, effect="it is left out")
    with rank.started(trained.first, stop) as own:
        from cloudseg.results import atlas  # imports TensorFlow, after the checks
        from cloudseg.results.prediction import Inputs

        scenes = Scenes(pictures.folder, rasters, args.overlap, args.skip_damaged)
        inputs = Inputs(trained.runs, args.weights, pictures, scenes, references, trained.rules, trained.flips)
        atlas.make(inputs, days, step, args.out, own)


def days_of(folder: Path, references: Mapping[str, Georeference]) -> dict[str, list[str]]:
    """The pictures of each day, as 2009-01-22, ascending.

    Raises UsageError, with the picture and what to do, if one has no place or no day, or if two of the same day and
    platform show the same place.
    """
    days: dict[str, list[str]] = {}
    for name, reference in sorted(references.items()):
        if reference.bounds is None:
            raise UsageError(f"{folder / name} has no known place; {HOW_TO_PLACE}")
        if reference.time is None:
            raise UsageError(f"{folder / name} has no known day; name it as NASA Worldview does, or take it out")
        time = reference.time
        day = (time.date() if isinstance(time, datetime.datetime) else time).isoformat()
        for other in days.setdefault(day, []):
            before = references[other]
            same_platform = before.platform.lower() == reference.platform.lower()
            if same_platform and before.bounds is not None and _overlap(before.bounds, reference.bounds):
                raise UsageError(
                    f"{folder / name} and {other} show the same place on {day}, which would count twice; take one out"
                )
        days[day].append(name)
    return dict(sorted(days.items()))


def _overlap(one: Bounds, other: Bounds) -> bool:
    """Whether two regions have more than a border in common."""
    return (
        one.south < other.north
        and other.south < one.north
        and any(one.west < other.east + turn and other.west + turn < one.east for turn in (-360, 0, 360))
    )
