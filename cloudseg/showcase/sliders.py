"""Sliders for threshold and minimum area of each class, which start at the rules of the evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import streamlit as st

from cloudseg.data.labels import CLASSES
from cloudseg.results.postprocess import AS_IT_IS, EXPECTED_DICE, IN_TOTAL, Rule
from cloudseg.results.search import THRESHOLDS

AREAS = (*range(0, 5_000, 250), *range(5_000, 20_000, 1_000), *range(20_000, 60_001, 2_500))
"""Steps of the area sliders, in pixels at 350x525."""


def rules(run: str, tuned: Sequence[Rule]) -> list[Rule]:
    """Show a tab with sliders per class; returns the rules as set. Settings are kept during the session."""
    current = []
    for tab, name, rule in zip(st.tabs(CLASSES), CLASSES, tuned, strict=True):
        with tab:
            threshold = st.select_slider(
                f"{name}: probability above",
                sorted({*THRESHOLDS, rule.threshold}),
                rule.threshold,
                key=_key(run, name, "threshold"),
                persist_state="session",
            )
            area = st.select_slider(
                f"{name}: minimum {'total area' if rule.area_of == IN_TOTAL else 'area of a component'}, pixels",
                sorted({*AREAS, rule.min_area}),
                rule.min_area,
                format_func="{:,}".format,
                key=_key(run, name, "area"),
                persist_state="session",
            )
            st.caption(describe(rule))
        current.append(dataclasses.replace(rule, threshold=threshold, min_area=area))
    st.button("Reset to the tuned rules", on_click=reset, args=(run, tuned), disabled=current == list(tuned))
    return current


def reset(run: str, tuned: Sequence[Rule]) -> None:
    for name, rule in zip(CLASSES, tuned, strict=True):
        st.session_state[_key(run, name, "threshold")] = rule.threshold
        st.session_state[_key(run, name, "area")] = rule.min_area


def describe(rule: Rule) -> str:
    """Describe a tuned rule in words."""
    parts = [f"Tuned: probability above {rule.threshold:g}, at least {rule.min_area:,} pixels"]
    if rule.min_peak:
        parts.append(f"empty unless some pixel is above {rule.min_peak:g}")
    if rule.min_presence:
        parts.append(f"empty unless the probability that the class is in the image is above {rule.min_presence:g}")
    if rule.decide == EXPECTED_DICE:
        parts.append("empty unless the expected Dice is higher with the mask")
    if rule.shape != AS_IT_IS:
        parts.append(f"each component replaced by its {'convex hull' if rule.shape == 'hull' else 'bounding box'}")
    return "; ".join(parts) + "."


def _key(run: str, name: str, what: str) -> str:
    return f"{run} {name} {what}"
