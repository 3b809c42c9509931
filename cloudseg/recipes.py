"""Show recipes: their stages, and the learning rate of every epoch. Nothing is trained or written.

python -m cloudseg.recipes                                 which there are
python -m cloudseg.recipes paper                           its stages and learning rates
python -m cloudseg.recipes v100x8 --ranks 8 --steps 34     with so many ranks, and optimizer steps an epoch
python -m cloudseg.recipes paper --set stage.full.lr=1e-5  changed; --config F.toml takes a file
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from cloudseg.core import config
from cloudseg.core.config import Settings
from cloudseg.core.errors import run_command
from cloudseg.core.recipes import RECIPES, Stage
from cloudseg.training.schedule import learning_rate

STEPS = 100


def overview() -> Iterator[str]:
    """A line a recipe."""
    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        epochs = sum(stage.epochs for stage in recipe.stages.values())
        yield f"{name:{width}}  {epochs:3} epochs in {', '.join(recipe.stages)}: {recipe.about}"


def details(settings: Settings, ranks: int, steps: int) -> Iterator[str]:
    """What a recipe sets, stage by stage, and the rate at the first and the last step of each epoch."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    shown = ("network", "weights", "loss", "precision", "batch")
    yield "  ".join(f"{key}={value}" for key in shown if (value := getattr(settings, key)) or defaults[key])
    before = 0
    for name in settings.stages:
        stage = settings.stage[name]
        yield f"\n{name}: " + "  ".join(f"{key}={_text(value)}" for key, value in _set(stage).items())
        for epoch in range(stage.epochs):
            first, last = (
                learning_rate(stage, step, steps, ranks) for step in (epoch * steps, (epoch + 1) * steps - 1)
            )
            rates = f"{first:.4g}" if first == last else f"{first:.4g} to {last:.4g}"
            yield f"  epoch {before + epoch + 1:3} ({epoch + 1} of {stage.epochs}): learning rate {rates}"
        before += stage.epochs
    yield f"\n{before} epochs"


def _set(stage: Stage) -> Mapping[str, Any]:
    """What a stage has otherwise than by default, and what has no default."""
    return {
        field.name: getattr(stage, field.name)
        for field in dataclasses.fields(Stage)
        if getattr(stage, field.name) != field.default
    }


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.recipes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--ranks", type=int, default=1, help="number of ranks (default 1)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps an epoch (default {STEPS})")
    config.add_arguments(parser)
    args = parser.parse_args()
    given = config.from_arguments(args)
    if args.recipe:
        given.insert(0, ("recipe", {"recipe": args.recipe}))
    if not given:
        print("\n".join(overview()))
        return
    print("\n".join(details(config.resolve(given, default_data="DATA"), max(1, args.ranks), max(1, args.steps))))


if __name__ == "__main__":
    run_command(main)
