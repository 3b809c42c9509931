"""Threshold and smallest area of each class, as sliders that start at the rules of the evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import streamlit as st

from cloudseg.data.labels import CLASSES
from cloudseg.results.postprocess import AS_IT_IS, IN_TOTAL, Rule
from cloudseg.results.search import THRESHOLDS

AREAS = (*range(0, 5_000, 250), *range(5_000, 20_000, 1_000), *range(20_000, 60_001, 2_500))
"""Pixels of 350x525."""


def rules(run: str, tuned: Sequence[Rule]) -> list[Rule]:
    """A tab a class; gives the rules as they stand. What was set stays while the visitor does."""
    found = []
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
                f"{name}: smallest {'total area' if rule.area_of == IN_TOTAL else 'piece'}, pixels",
                sorted({*AREAS, rule.min_area}),
                rule.min_area,
                format_func="{:,}".format,
                key=_key(run, name, "area"),
                persist_state="session",
            )
            st.caption(described(rule))
        found.append(dataclasses.replace(rule, threshold=threshold, min_area=area))
    st.button("Back to the tuned rules", on_click=reset, args=(run, tuned), disabled=found == list(tuned))
    return found


def reset(run: str, tuned: Sequence[Rule]) -> None:
    for name, rule in zip(CLASSES, tuned, strict=True):
        st.session_state[_key(run, name, "threshold")] = rule.threshold
        st.session_state[_key(run, name, "area")] = rule.min_area


def described(rule: Rule) -> str:
    """The rule as it was tuned, in words."""
    parts = [f"Tuned: above {rule.threshold:g}, {rule.min_area:,} pixels"]
    if rule.min_peak:
        parts.append(f"nothing unless a pixel is above {rule.min_peak:g}")
    if rule.shape != AS_IT_IS:
        parts.append(f"each piece made its {'convex hull' if rule.shape == 'hull' else 'upright box'}")
    return "; ".join(parts) + "."


def _key(run: str, name: str, what: str) -> str:
    return f"{run} {name} {what}"
