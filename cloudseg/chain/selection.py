"""Which stages a launch runs, and with which settings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from cloudseg.chain import folds
from cloudseg.chain.preprocessing import NO_DATA
from cloudseg.core import config, run
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError
from cloudseg.core.run import Run


def parse_stages(text: str, chain: Sequence[str]) -> list[str]:
    """'all' or 'full,frozen' -> stages in the order in which they run, `preprocess` first if it is named; it is not
    among all. Raises UsageError for one that there is not."""
    chosen, known = text.split(","), (run.PREPROCESS, *chain)
    for name in chosen:
        if name not in ("all", *known):
            raise UsageError(f"--stages: there is no stage {name!r}{config.nearest(name, ['all', *known])}")
    return [name for name in known if name in chosen or ("all" in chosen and name in chain)]


def settings_of(args: argparse.Namespace) -> Settings:
    """Those of the run if it is there, else those it would get; data need not be there yet."""
    if (args.run / "run.toml").exists():
        return run.open_run(args.run).settings
    return config.resolve([*config.from_environment(), *given(args)], default_data=NO_DATA)


def given(args: argparse.Namespace) -> list[tuple[str, Mapping[str, Any]]]:
    """The settings that the command line names."""
    layers = config.from_arguments(args)
    return [*layers, ("--folds", {"folds": list(folds.parse(args.folds))})] if args.folds else layers


def remaining(prepared: Run, chosen: list[str]) -> list[str]:
    """Those of `chosen` that are not done."""
    left = [stage for stage in chosen if not prepared.done(stage)]
    if left and run.EVALUATE in chosen:  # what there is of one was of an earlier stage
        left = [stage for stage in left if stage != run.EVALUATE] + [run.EVALUATE]
    return left


def require_before(runs: Sequence[Run], chosen: Sequence[str], preprocessing: bool) -> None:
    """Raises UsageError, with all stages that are to be named, if what those of `chosen` start from is in one of `runs`
    neither done nor chosen; `preprocessing` says whether preprocessing comes before them."""
    training = [(each, stage) for each in runs for stage in chosen if stage != run.EVALUATE and not each.done(stage)]
    lacking = [
        (before, stage) for each, stage in training for before in each.unfinished_before(stage) if before not in chosen
    ]
    if lacking:
        before, stage = lacking[0]
        wanted = {*chosen, *(name for name, _ in lacking)}
        named = [run.PREPROCESS] * preprocessing + [name for name in runs[0].chain if name in wanted]
        raise UsageError(
            f"stage {stage} starts from stage {before}, which is not done; type: --stages {','.join(named)}"
        )
