"""Writes report.html: all results of a run in one file without other files, which can be copied and opened anywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cloudseg.core import atomic
from cloudseg.core.recipes import Stage
from cloudseg.core.run import Run
from cloudseg.data.bitmask import has_data, unpack
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.nets import scores
from cloudseg.results import figures, html, postprocess
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.postprocess import Rule
from cloudseg.results.scenes import Scenes
from cloudseg.results.scoring import Scoring
from cloudseg.results.sources import Pictures, Samples
from cloudseg.training import curves

Table = Mapping[str, Any]
EXAMPLES = 3
"""Number of best, of median and of worst images in the report."""
MAX_PICTURES = 12
"""Maximum number of pictures on the page of a prediction."""


def write(
    run: Run, metrics: Mapping[str, Any], scored: Scoring, source: Samples, ensemble: Ensemble, costs: Sequence[Table]
) -> None:
    """Write report.html of a run. `scored` is the scoring of its last stage, `costs` the rows of
    `monitor.efficiency.tables`."""
    histories = {stage: pd.read_csv(run.history(stage)) for stage in run.settings.stages if run.history(stage).exists()}
    dice = _mean_dice(scored, source)
    page = html.render(
        "run.html.jinja",
        name=run.path.name,
        run=run.path,
        settings=run.settings,
        metrics=metrics,
        stages=[_stage(run, stage, histories[stage], metrics) for stage in histories],
        costs=costs,
        recipe=_recipe(run),
        attempts=[{"stage": stage, **end} for stage in run.chain for end in run.past_attempts(stage)],
        rules=postprocess.to_table(scored.rules),
        curves=figures.data_uri(curves.figure(histories)),
        **_figures(metrics, scored, "tuned on the other half"),
        panels=[_panel(title, name, dice[name], scored, source, ensemble) for title, name in examples(dice)],
        settings_text=(run.path / "run.toml").read_text(),
        made=run.made,
    )
    atomic.write(run.report, page.encode())


def write_on_other_data(
    path: Path, metrics: Mapping[str, Any], scored: Scoring, source: Samples, ensemble: Ensemble
) -> None:
    """Write a page with the scores of runs on another data set."""
    dice = _mean_dice(scored, source)
    names = ", ".join(Path(run).name for run in metrics["runs"])
    page = html.render(
        "other_data.html.jinja",
        name=f"{names} on {Path(metrics['data']).name}",
        metrics=metrics,
        rules=postprocess.to_table(scored.rules),
        **_figures(metrics, scored, "rules chosen before"),
        panels=[_panel(title, name, dice[name], scored, source, ensemble) for title, name in examples(dice)],
    )
    atomic.write(path, page.encode())


def write_prediction(
    path: Path, predicted: Sequence[tuple[Pictures | Scenes, Ensemble]], rules: Sequence[Rule], runs: Sequence[Run]
) -> None:
    """Write a page with some of the predicted pictures and scenes, and the share of each class in all of them."""
    rows: list[tuple[str, list[float]]] = []
    panels: list[dict[str, str]] = []
    images = [(source, ensemble, number) for source, ensemble in predicted for number in range(len(source.names))]
    step = max(1, len(images) // MAX_PICTURES)
    for position, (source, ensemble, number) in enumerate(images):
        name = source.names[number]
        probability = ensemble.read(name)
        masks = postprocess.masks(probability, rules, ensemble.presence(name)) & ensemble.valid(name)
        rows.append((name, [float(share) for share in masks.mean(axis=(1, 2))]))
        if position % step == 0 and len(panels) < MAX_PICTURES:
            drawn = figures.panel(source.read(number, TRUTH_SIZE).image, probability, masks, None)
            panels.append({"name": name, "title": _classes(masks), "picture": figures.data_uri(drawn, "jpeg")})
    page = html.render(
        "prediction.html.jinja",
        folder=predicted[0][0].folder,
        runs=[run.path for run in runs],
        rules=postprocess.to_table(list(rules)),
        rows=rows[:500],
        count=len(rows),
        present={name: sum(shares[c] > 0 for _, shares in rows) for c, name in enumerate(CLASSES)},
        panels=panels,
    )
    atomic.write(path, page.encode())


def _figures(metrics: Mapping[str, Any], scored: Scoring, rules: str) -> dict[str, str]:
    """The figures of an evaluation as data URIs, by their names in the templates; `rules` says where rules are from."""
    drawn = {
        "bars": figures.bars(metrics, rules),
        "surfaces": figures.surfaces(scored.surfaces, scored.rules),
        "calibration": figures.calibration(metrics),
        "confusion": figures.confusion(metrics),
    }
    return {name: figures.data_uri(figure) for name, figure in drawn.items()}


def _stage(run: Run, stage: str, history: pd.DataFrame, metrics: Mapping[str, Any]) -> dict[str, Any]:
    done, recorded = run.done(stage) or {}, json.loads((run.stage(stage) / "stage.json").read_text())
    return {
        "name": stage,
        "epochs": len(history),
        "best_epoch": done.get("best_epoch"),
        "seconds": float(history["seconds"].sum()),
        "device": recorded["device"],
        "trainable": recorded["trainable_parameters"],
        "parameters": recorded["parameters"],
        "restarts": max(0, len(run.past_attempts(stage)) - 1),
        "scores": metrics["per_stage"].get(stage),
    }


def _recipe(run: Run) -> dict[str, dict[str, Any]]:
    """The settings of each stage that differ from the defaults, and its epochs, encoder and learning rate."""
    return {
        name: {
            field.name: value
            for field in dataclasses.fields(Stage)
            if (value := getattr(stage, field.name)) != field.default or field.name in ("epochs", "encoder", "lr")
        }
        for name, stage in run.settings.stage.items()
    }


def _mean_dice(scored: Scoring, source: Samples) -> dict[str, float]:
    """Mean Dice over the classes of each image."""
    return dict(zip(source.names, map(float, scores.dice(scored.tuned).mean(axis=1)), strict=True))


def examples(dice: Mapping[str, float]) -> list[tuple[str, str]]:
    """Choose images for the report: (group, name) of the best, the median and the worst ones, each image once."""
    order = sorted(dice, key=lambda name: -dice[name])
    middle = len(order) // 2 - EXAMPLES // 2
    groups = {"best": order[:EXAMPLES], "median": order[middle : middle + EXAMPLES], "worst": order[-EXAMPLES:]}
    return list({name: (group, name) for group, names in groups.items() for name in names}.values())


def _panel(group: str, name: str, dice: float, scored: Scoring, source: Samples, ensemble: Ensemble) -> dict[str, Any]:
    number = source.names.index(name)
    probability = ensemble.read(name)
    # As in the scoring: unless they are fixed, the rules were chosen on the other half of the images.
    bits = source.truth(number)
    masks = postprocess.masks(probability, scored.half_rules[1 - number % 2], ensemble.presence(name)) & has_data(bits)
    drawn = figures.panel(source.image(number), probability, masks, unpack(bits))
    return {"name": name, "title": f"{group}, Dice {dice:.3f}", "picture": figures.data_uri(drawn, "jpeg")}


def _classes(masks: np.ndarray) -> str:
    return ", ".join(name for name, mask in zip(CLASSES, masks, strict=True) if mask.any()) or "nothing"
