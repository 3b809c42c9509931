"""Selects the stages of a launch and its settings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from cloudseg.chain import folds
from cloudseg.chain.preprocessing import NO_DATA
from cloudseg.core import config, run
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError
from cloudseg.core.recipes import PSEUDO
from cloudseg.core.run import Run


def parse_stages(text: str, chain: Sequence[str]) -> list[str]:
    """'all' or 'full,frozen' -> stages in the order of the chain. `preprocess` comes first; 'all' does not include it.

    Raises UsageError for an unknown stage.
    """
    chosen, known = text.split(","), (run.PREPROCESS, *chain)
    for name in chosen:
        if name == PSEUDO and name not in known:
            raise UsageError("--stages pseudo: there are no pictures to label; begin a run with: --unlabelled DIR")
        if name not in ("all", *known):
            raise UsageError(f"--stages: there is no stage {name!r}{config.nearest(name, ['all', *known])}")
    return [name for name in known if name in chosen or ("all" in chosen and name in chain)]


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of the run if it exists, else those that a new run would get. The data set need not exist."""
    if (args.run / "run.toml").exists():
        return run.open_run(args.run).settings
    return config.resolve([*config.from_environment(), *given(args)], default_data=NO_DATA)


def given(args: argparse.Namespace) -> list[tuple[str, Mapping[str, Any]]]:
    """The layers of settings from the command line, for `config.resolve`."""
    layers = config.from_arguments(args)
    return [*layers, ("--folds", {"folds": list(folds.parse(args.folds))})] if args.folds else layers


def remaining(prepared: Run, chosen: list[str]) -> list[str]:
    """The stages among `chosen` that are not done; with any of them, also the evaluation if it is chosen."""
    stages = [stage for stage in chosen if not prepared.done(stage)]
    if stages and run.EVALUATE in chosen:  # an existing evaluation is of other weights then
        stages = [stage for stage in stages if stage != run.EVALUATE] + [run.EVALUATE]
    return stages


def require_before(runs: Sequence[Run], chosen: Sequence[str], preprocessing: bool) -> None:
    """Raises UsageError if a stage of `chosen` needs an earlier stage that is not chosen and not done in one of `runs`.

    The message has the complete --stages to type; `preprocessing`: whether this includes preprocessing.
    """
    training = [(each, stage) for each in runs for stage in chosen if stage != run.EVALUATE and not each.done(stage)]
    missing = [
        (before, stage) for each, stage in training for before in each.unfinished_before(stage) if before not in chosen
    ]
    if missing:
        before, stage = missing[0]
        required = {*chosen, *(name for name, _ in missing)}
        names = [run.PREPROCESS] * preprocessing + [name for name in runs[0].chain if name in required]
        raise UsageError(
            f"stage {stage} starts from stage {before}, which is not done; type: --stages {','.join(names)}"
        )
