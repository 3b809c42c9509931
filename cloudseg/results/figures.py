"""Figures of results, with colours for colour-blind readers and for print. Pure: callers read and write the files."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cloudseg.data.bitmask import pack
from cloudseg.data.colours import COLOURS, hexadecimal
from cloudseg.data.labels import CLASSES
from cloudseg.data.overlay import overlay
from cloudseg.results.postprocess import Rule
from cloudseg.results.scoring import AREAS
from cloudseg.results.search import THRESHOLDS

COLOUR = {name: hexadecimal(colour) for name, colour in COLOURS.items()}


def panel(image: np.ndarray, probability: np.ndarray, masks: np.ndarray, truth: np.ndarray | None) -> Figure:
    """Draw an image, its ground truth (the most probable class if `truth` is None), the highest probability and the
    prediction.

    image RGB uint8 of any size; probability uint8 (C, h, w), 255 for 1; masks and truth bool (C, h, w).
    """
    shown = cv2.resize(image, probability.shape[:0:-1], interpolation=cv2.INTER_AREA)
    if truth is None:
        second = "most probable class", _most_probable(probability)
    else:
        second = "ground truth", overlay(shown, pack(truth))
    highest = probability.max(axis=0) / 255
    parts = [("image", shown), second, ("highest probability: 0 dark, 1 bright", highest)]
    parts.append(("prediction", overlay(shown, pack(masks))))
    out = Figure(figsize=(6, 4.7), layout="constrained")
    for axes, (title, content) in zip(out.subplots(2, 2).flat, parts, strict=True):
        axes.imshow(content, vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    out.legend(handles=_legend(), loc="outside lower center", ncols=len(CLASSES), frameon=False, fontsize=10)
    return out


def _most_probable(probability: np.ndarray) -> np.ndarray:
    """The colour of the most probable class, multiplied by its probability: RGB uint8 (h, w, 3)."""
    colours = np.array(list(COLOURS.values()))[probability.argmax(axis=0)]
    return (colours * (probability.max(axis=0)[..., None] / 255)).astype(np.uint8)


def surfaces(values: np.ndarray, rules: Sequence[Rule]) -> Figure:
    """Draw mean Dice over threshold and minimum area, float (C, thresholds, areas); the chosen rules are marked."""
    out = Figure(figsize=(9, 5.6), layout="constrained")
    grid = out.subplots(2, 2, sharex=True, sharey=True)
    extent = (AREAS[0] / 1000, AREAS[-1] / 1000, THRESHOLDS[0], THRESHOLDS[-1])
    for axes, name, table, rule in zip(grid.flat, CLASSES, values, rules, strict=True):
        drawn = axes.imshow(table, origin="lower", aspect="auto", extent=extent, cmap="cividis")
        if rule.min_area <= AREAS[-1]:
            axes.plot(rule.min_area / 1000, rule.threshold, "o", mfc="white", mec="black", markersize=8, clip_on=False)
        axes.set_title(f"{name}: maximum {table.max():.3f}", fontsize=10)
        out.colorbar(drawn, ax=axes)
    out.supxlabel("minimum area of a component, thousand pixels of 350x525", fontsize=10)
    out.supylabel("threshold", fontsize=10)
    return out


def bars(metrics: Mapping[str, Any], rules: str = "tuned on the other half") -> Figure:
    """Draw Dice of each class and overall, with rules and at threshold 0.5; error bars are of the former.

    `rules` says in the legend where the rules are from.
    """
    out = Figure(figsize=(7, 3.4), layout="constrained")
    axes = out.subplots()
    labels = [*CLASSES, "all"]
    tuned = np.array([*(metrics["dice_per_class"][name] for name in CLASSES), metrics["dice"]])
    untuned = [*(metrics["dice_untuned_per_class"][name] for name in CLASSES), metrics["dice_untuned"]]
    intervals = [*(metrics["dice_per_class_interval"][name] for name in CLASSES), metrics["dice_interval"]]
    low, high = np.array(intervals).T
    places = np.arange(len(labels))
    axes.bar(places - 0.2, untuned, 0.38, color="0.8", label="threshold 0.5")
    axes.bar(places + 0.2, tuned, 0.38, color=[*COLOUR.values(), "0.35"], label=rules)
    error = np.clip([tuned - low, high - tuned], 0, None)
    axes.errorbar(places + 0.2, tuned, error, fmt="none", ecolor="black", capsize=3, linewidth=1)
    all_empty = axes.axhline(
        metrics["dice_all_empty"], color="black", linestyle=":", linewidth=1, label="all masks empty"
    )
    axes.set(xticks=places, xticklabels=labels, ylim=(0, 1), ylabel="Dice", xlim=(-0.6, len(labels) - 0.4))
    handles = [Patch(color="0.8", label="threshold 0.5"), Patch(color="0.35", label=f"{rules}, 95 %")]
    out.legend(handles=[*handles, all_empty], loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return out


def calibration(metrics: Mapping[str, Any]) -> Figure:
    """Reliability diagram: share of true pixels over predicted probability, for each class."""
    out = Figure(figsize=(4.4, 4), layout="constrained")
    axes = out.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for (name, found), marker in zip(metrics["calibration"].items(), "osD^", strict=True):
        predicted, true = ([each[key] for each in found["bins"]] for key in ("probability", "true"))
        axes.plot(predicted, true, marker=marker, color=COLOUR[name], label=f"{name}, error {found['error']:.3f}")
    axes.set(xlabel="predicted probability", ylabel="share of pixels that are true", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=9)
    return out


def confusion(metrics: Mapping[str, Any]) -> Figure:
    """Confusion matrix: share of the true pixels of each class that is predicted as each class."""
    out = Figure(figsize=(4.4, 4), layout="constrained")
    axes = out.subplots()
    table = np.array([[metrics["confusion"][true][predicted] for predicted in CLASSES] for true in CLASSES])
    axes.imshow(table, vmin=0, vmax=1, cmap="cividis")
    for (row, column), value in np.ndenumerate(table):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.5 else "white")
    axes.set(xticks=range(len(CLASSES)), xticklabels=CLASSES, yticks=range(len(CLASSES)), yticklabels=CLASSES)
    axes.set(xlabel="predicted", ylabel="true")
    return out


def data_uri(picture: Figure, form: str = "png") -> str:
    """Encode a figure as a data URI for HTML; `form` is "png" or "jpeg"."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format=form, dpi=110, pil_kwargs={"quality": 88} if form == "jpeg" else {})
    return uri(buffer.getvalue(), form)


def uri(content: bytes, form: str = "png") -> str:
    """A picture as a data URI for HTML; `form` is "png" or "jpeg"."""
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def _legend() -> list[Patch]:
    return [Patch(color=COLOUR[name], label=name) for name in CLASSES]
