"""List recipes, or show the stages of a recipe and the learning rate of each epoch. Nothing is trained or written.

python -m cloudseg.recipes                                 list all recipes
python -m cloudseg.recipes paper                           stages and learning rates of a recipe
python -m cloudseg.recipes v100x8 --ranks 8 --steps 34     with 8 ranks and 34 optimizer steps per epoch
python -m cloudseg.recipes paper --set stage.full.lr=1e-5  with changed settings; or from a file: --config F.toml
"""

from __future__ import annotations

import argparse

from cloudseg.core import config
from cloudseg.core.errors import run_command
from cloudseg.core.recipes import RECIPES
from cloudseg.training import recipe_table

STEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.recipes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--ranks", type=int, default=1, help="number of ranks (default 1)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps per epoch (default {STEPS})")
    config.add_arguments(parser)
    args = parser.parse_args()
    layers = config.from_arguments(args)
    if args.recipe:
        layers.insert(0, ("recipe", {"recipe": args.recipe}))
    if layers:
        settings = config.resolve(layers, default_data="DATA")
        lines = recipe_table.details(settings, max(1, args.ranks), max(1, args.steps))
    else:
        lines = recipe_table.overview()
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
