"""Page "Upload": segments a picture that the user uploads."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import pandas as pd
import streamlit as st

from cloudseg.data.labels import CLASSES
from cloudseg.results import export, postprocess
from cloudseg.showcase import drawing, live, sliders, upload
from cloudseg.showcase.evaluated import Evaluated
from preprocess.area import resized
from preprocess.images import ImageError


@st.cache_resource(max_entries=1, show_spinner="Loading the network")
def segmenter(_shown: Evaluated, key: str) -> upload.Segmenter:
    return upload.Segmenter(_shown.run, _shown.stage, _shown.metrics["flips"])


@st.cache_data(max_entries=8, show_spinner="Segmenting")
def segmented(
    _shown: Evaluated, _content: bytes, key: str, digest: str
) -> tuple[np.ndarray, tuple[int, int], np.ndarray, np.ndarray | None, np.ndarray]:
    """Segment a picture. Returns the picture at the size drawing.SIZE, its original size, its probabilities, uint8
    (C, 350, 525), those of the presence head, float32 (C,), or None without it, and its pixels with data, bool
    (350, 525). Raises ImageError."""
    network = segmenter(_shown, key)
    picture = upload.decode(_content, network.size)
    return resized(picture.pixels, drawing.SIZE), picture.size, *network.predict(picture)


def show(runs: list[Evaluated]) -> None:
    shown = runs[0]
    uploaded = st.file_uploader(
        f"A satellite picture: JPEG, PNG or TIFF, up to {upload.MAX_MB} MB",
        type=upload.KINDS,
        key="upload",
        max_upload_size=upload.MAX_MB,
    )
    if uploaded is None:
        st.caption(
            "Visible light, about 20 by 14 degrees of ocean (2100x1400 pixels in the competition): the network was "
            "trained on that scale. The picture is kept only in memory, on the machine that runs this app."
        )
        return
    content = uploaded.getvalue()
    try:
        segmentation = segmented(shown, content, shown.key, hashlib.sha256(content).hexdigest())
    except ImageError as error:
        st.error("This file cannot be segmented. Send a JPEG, PNG or TIFF picture.", icon=":material/error:")
        st.text(f"{uploaded.name}: {error}")
        return
    _show_result(shown, uploaded.name, *segmentation)


def _show_result(
    shown: Evaluated,
    name: str,
    picture: np.ndarray,
    size: tuple[int, int],
    probability: np.ndarray,
    presence: np.ndarray | None,
    valid: np.ndarray,
) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with right:
        rules = sliders.rules(str(shown.run.path), shown.rules)
        predicted = postprocess.masks(probability, rules, presence) & valid
        areas = [live.percent(np.count_nonzero(mask)) for mask in predicted]
        highest = [f"{each.max() / 255:.2f}" for each in probability]
        st.table(pd.DataFrame({"Area": areas, "Highest probability": highest}, index=list(CLASSES)))
        with st.container(horizontal=True):
            mask = functools.partial(export.png, predicted, size)
            polygons = functools.partial(export.geojson, name, predicted, probability, size)
            st.download_button("Mask, PNG", mask, f"{name}.png", "image/png", on_click="ignore")
            st.download_button(
                "Polygons, GeoJSON", polygons, f"{name}.geojson", "application/geo+json", on_click="ignore"
            )
    with left:
        st.image(drawing.draw(picture, predicted), width="stretch", output_format="JPEG")
        st.html(drawing.legend(truth=False))
        st.text(f"{name}, {size[1]}x{size[0]} pixels")
        if not valid.any():
            st.warning("No pixel of this picture has data: it is black or transparent.", icon=":material/warning:")
