"""What an evaluation on other data needs, checked before TensorFlow is imported: rules, images, and a folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.run import EVALUATE, Run
from cloudseg.data.shards import Manifest, Shards, remake
from cloudseg.results import postprocess
from cloudseg.results.postprocess import Rule

DECODERS_DIFFER_BY = 2
"""Pixels of shards of formats 3 and 4 that were made of the same image differ by at most this, of 255."""


@dataclasses.dataclass(frozen=True)
class Fixed:
    """What was chosen before, on other images, and stays as it is."""

    rules: list[Rule]
    source: Path
    """The file that holds the rules."""
    flips: bool
    weights: tuple[float, ...]
    """Weight of each run."""
    warning: str = ""
    """That the rules were chosen for other weights; "" if not."""


@dataclasses.dataclass(frozen=True)
class Request:
    """An evaluation of `runs` on all images of `data`; the results go to the folder `out`."""

    runs: tuple[Run, ...]
    data: Manifest
    fixed: Fixed
    out: Path


def prepare(
    runs: Sequence[Run],
    data: Path,
    thresholds: Path | None,
    weights: Sequence[float] | None,
    flips: bool,
    out: Path | None,
) -> Request:
    """Check the options of `cloudseg.evaluate --data`. A cross-validation stands for the runs of its folds.

    Raises UsageError, with what to type, if there are no rules for these runs, if images of `data` have another size
    than those that a run was trained on, or if the folder `out` holds results of something else.
    """
    members = tuple(member for run in runs for member in run.members())
    manifest = Manifest.load(data)
    for member in members:
        _check_size(member, manifest)
    out = (out or runs[0].other_data(data.resolve().name, manifest.digest)).resolve()
    fixed = _fixed(runs, members, thresholds, weights, flips, data)
    postprocess.check_head(fixed.rules, all(member.settings.presence_head for member in members))
    _check_folder(out, runs, members, manifest)
    return Request(members, manifest, fixed, out)


def seen_in_training(
    images: Shards, trained_on: Sequence[tuple[Manifest, int]], progressed: Callable[[], None] = lambda: None
) -> list[str]:
    """Names of the images that a run was trained on: of the same name and content as a training image.

    `trained_on` has the data set and the validation fold of each run, with images of the same size. Raises DataError if
    a shard cannot be read.
    """
    seen: dict[str, None] = {}
    for manifest, fold in trained_on:
        training = Shards(manifest)
        numbers = {training.name(number): number for number in manifest.indices(fold, training=True)}
        for number in range(len(images)):
            name = images.name(number)
            if name in numbers and name not in seen and _same(images.image(number), training.image(numbers[name])):
                seen[name] = None
            progressed()
    return list(seen)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two images, uint8 (H, W, 3), were made of the same file."""
    return bool(np.abs(one.astype(np.int16) - other).max() <= DECODERS_DIFFER_BY)


def _check_size(run: Run, manifest: Manifest) -> None:
    size = Manifest.load(run.settings.data).size
    if size != manifest.size:
        given, needed = (f"{height}x{width}" for height, width in (manifest.size, size))
        raise UsageError(
            f"{manifest.folder} has images of {given}, but {run.path} was trained on {needed}; make the shards at that "
            f"size: {remake(manifest.folder, 'NEW', size)}"
        )


def _fixed(
    runs: Sequence[Run],
    members: Sequence[Run],
    thresholds: Path | None,
    weights: Sequence[float] | None,
    flips: bool,
    data: Path,
) -> Fixed:
    """Read the rules, and the flips and weights for which they were chosen."""
    paths = [run.path for run in runs]
    if thresholds is None:
        if len(runs) > 1:
            evaluate = to_type("cloudseg.evaluate", "--run", paths[0], "--with", *paths[1:], "--out", "DIR")
            raise UsageError(
                f"the rules of several runs are those of their evaluation: {evaluate}   then add to this command: "
                "--thresholds DIR/thresholds.json"
            )
        evaluate = to_type("cloudseg.evaluate", "--run", paths[0])
        if not runs[0].metrics.exists():
            raise UsageError(f"{paths[0]} has no rules, as it has not been evaluated yet; type first: {evaluate}")
        if runs[0].done(EVALUATE) is None:
            raise UsageError(
                f"the rules of {paths[0]} were chosen for other weights than it has now; type first: {evaluate}"
            )
        thresholds = runs[0].evaluation / "thresholds.json"
    rules = postprocess.load(thresholds)
    chosen = _read(thresholds.with_name("metrics.json"))
    digests = chosen.get("weights_sha256")
    same = ([digests] if isinstance(digests, str) else digests) == [member.evaluated_weights() for member in members]
    if flips and chosen.get("flips") is False:
        raise UsageError(
            f"--flips: the rules of {thresholds} were chosen without it, and nothing is chosen on {data}; leave it out"
        )
    recorded = chosen.get("weights") if same else None
    if weights and recorded and list(weights) != recorded:
        raise UsageError(
            f"--weights: the rules of {thresholds} were chosen for the weights {' '.join(f'{w:g}' for w in recorded)}; "
            "leave it out"
        )
    return Fixed(
        rules,
        thresholds.resolve(),
        bool(chosen.get("flips", flips)),
        tuple(weights or recorded or [1.0] * len(members)),
        f"the rules of {thresholds} were chosen for other weights than these" if chosen and not same else "",
    )


def _check_folder(out: Path, runs: Sequence[Run], members: Sequence[Run], manifest: Manifest) -> None:
    """Raises UsageError if results of something else are in `out`."""
    own = {folder for run in (*runs, *members) for folder in (run.path, run.evaluation)}
    found = _read(out / "metrics.json")
    another = found.get("data_sha256") != manifest.digest or found.get("runs") != [str(run.path) for run in members]
    if out in own or (found and another):
        raise UsageError(f"{out} holds another evaluation; give another folder with --out, or leave it out")


def _read(path: Path) -> dict[str, Any]:
    """The content of a metrics.json; {} without one. Raises UsageError if it is not JSON."""
    try:
        table: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}; evaluate again") from None
    return table
