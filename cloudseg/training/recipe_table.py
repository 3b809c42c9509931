"""Recipes as text: a line for each, or stages and learning rates of one. Pure, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from cloudseg.core.config import Settings
from cloudseg.core.recipes import RECIPES, Stage
from cloudseg.training.schedule import learning_rate


def overview() -> Iterator[str]:
    """One line per recipe: name, epochs, stages, description."""
    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        epochs = sum(stage.epochs for stage in recipe.stages.values())
        yield f"{name:{width}}  {epochs:3} epochs in {', '.join(recipe.stages)}: {recipe.about}"


def details(settings: Settings, ranks: int, steps: int) -> Iterator[str]:
    """The settings of each stage, and the learning rates at the first and the last step of each epoch.

    `ranks`: number of ranks; `steps`: optimizer steps per epoch.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    shown = ("network", "weights", "loss", "precision", "batch")
    yield "  ".join(f"{key}={value}" for key in shown if (value := getattr(settings, key)) or defaults[key])
    before = 0
    for name in settings.stages:
        stage = settings.stage[name]
        yield f"\n{name}: " + "  ".join(f"{key}={_text(value)}" for key, value in _changed(stage).items())
        for epoch in range(stage.epochs):
            first, last = (
                learning_rate(stage, step, steps, ranks) for step in (epoch * steps, (epoch + 1) * steps - 1)
            )
            rates = f"{first:.4g}" if first == last else f"{first:.4g} to {last:.4g}"
            yield f"  epoch {before + epoch + 1:3} ({epoch + 1} of {stage.epochs}): learning rate {rates}"
        before += stage.epochs
    yield f"\n{before} epochs"


def _changed(stage: Stage) -> Mapping[str, Any]:
    """The fields of a stage that have no default, or another value than their default."""
    return {
        field.name: getattr(stage, field.name)
        for field in dataclasses.fields(Stage)
        if getattr(stage, field.name) != field.default
    }


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
