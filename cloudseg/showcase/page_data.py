"""Page "Data": statistics of the data set."""

from __future__ import annotations

import altair as alt
import numpy as np
import streamlit as st

from cloudseg.data.colours import COLOURS, hexadecimal
from cloudseg.data.labels import CLASSES
from cloudseg.showcase import exploration
from cloudseg.showcase.evaluated import Evaluated

HEIGHT = 260
_COLOUR = alt.Scale(domain=list(CLASSES), range=[hexadecimal(COLOURS[name]) for name in CLASSES])


def show(runs: list[Evaluated]) -> None:
    manifest, fold = runs[0].samples.shards.manifest, runs[0].run.settings.fold
    shares = exploration.areas(manifest)
    validation = np.array([sample.fold == fold for sample in manifest.samples])
    st.write(
        f"{len(manifest.samples):,} images of {manifest.size[1]}x{manifest.size[0]} pixels: {(~validation).sum():,} "
        f"training images, {validation.sum():,} validation images (fold {fold} of {manifest.folds}); "
        f"{manifest.rejected:,} rows and images were rejected."
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Images with each class")
        st.altair_chart(_counts(shares, validation))
        st.subheader("Classes per image")
        st.altair_chart(_per_image(shares))
    with right:
        st.subheader("Images with two classes")
        st.altair_chart(_cooccurrence(shares))
        st.subheader("Share of an image that a class covers")
        st.altair_chart(_distribution(shares))


def _counts(shares: np.ndarray, validation: np.ndarray) -> alt.Chart:
    return (
        alt.Chart(exploration.counts(shares, validation), height=HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X("images:Q", title="images"),
            y=alt.Y("class:N", title=None, sort=None),
            color=alt.Color("class:N", scale=_COLOUR, legend=None),
            opacity=alt.Opacity(
                "part:N",
                title=None,
                scale=alt.Scale(domain=["training", "validation"], range=[1, 0.45]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["class", "part", "images"],
        )
    )


def _per_image(shares: np.ndarray) -> alt.Chart:
    return (
        alt.Chart(exploration.classes_per_image(shares), height=HEIGHT)
        .mark_bar(color="#777777")
        .encode(
            x=alt.X("classes:O", title="classes", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("images:Q", title="images"),
            tooltip=["classes", "images"],
        )
    )


def _cooccurrence(shares: np.ndarray) -> alt.LayerChart:
    base = alt.Chart(exploration.cooccurrence(shares), height=HEIGHT).encode(
        x=alt.X("other:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("class:N", title=None, sort=None),
        tooltip=["class", "other", "images"],
    )
    largest = int((shares > 0).sum(axis=0).max(initial=1))
    cells = base.mark_rect().encode(
        color=alt.Color("images:Q", scale=alt.Scale(scheme="blues", domain=[0, largest]), legend=None)
    )
    text_colour = alt.condition(alt.datum.images > 0.6 * largest, alt.value("white"), alt.value("black"))
    return cells + base.mark_text(fontSize=14).encode(text="images:Q", color=text_colour)


def _distribution(shares: np.ndarray) -> alt.Chart:
    return (
        alt.Chart(exploration.distribution(shares), height=HEIGHT)
        .mark_line(point=True, interpolate="monotone")
        .encode(
            x=alt.X("share:Q", title="share of the image", axis=alt.Axis(format="%")),
            y=alt.Y("images:Q", title="images"),
            color=alt.Color("class:N", title=None, scale=_COLOUR, legend=alt.Legend(orient="top")),
            tooltip=["class", alt.Tooltip("share", format=".1%"), "images"],
        )
    )
