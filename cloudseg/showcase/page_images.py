"""Page "Images": one validation image with labels, prediction and scores, for rules that the user sets with sliders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from cloudseg.data.bitmask import has_data, unpack
from cloudseg.data.labels import CLASSES
from cloudseg.results import postprocess
from cloudseg.results.postprocess import Rule
from cloudseg.results.probabilities import stack
from cloudseg.showcase import browsing, drawing, live, sliders
from cloudseg.showcase.evaluated import Evaluated

ANY = "Any class"
WORST, BEST = "Worst first", "Best first"


@st.cache_resource(max_entries=1, show_spinner=False)
def means(_shown: Evaluated, key: str) -> live.Means:
    """Mean scores over the validation images of a run; `key` is `Evaluated.key`, for the cache."""
    store = _shown.stores[_shown.stage]
    presence = stack(store.presence(i) for i in range(len(store)))
    return live.Means(lambda i: (store.read(i), _shown.samples.truth(i)), len(store), presence=presence)


def show(runs: list[Evaluated]) -> None:
    shown = runs[0]
    selected = _select_images(shown)
    if selected.empty:
        st.info("No image matches. Choose another class, or every image.")
        return
    name = _select_image(selected)
    picture, controls = st.columns([3, 2], gap="medium")
    with controls:
        rules = sliders.rules(str(shown.run.path), shown.rules)
        scored = st.container()
    probability, bits = shown.probability(name, shown.stage), shown.truth(name)
    predicted = postprocess.masks(probability, rules, shown.presence(name, shown.stage)) & has_data(bits)
    with picture:
        _show_masks(shown.picture(name), predicted, unpack(bits))
    with scored:
        _show_scores(shown, rules, live.dice(predicted, bits), predicted, bits)


def _select_images(shown: Evaluated) -> pd.Series:
    """Controls that select images; returns their Dice by name."""
    with st.container(horizontal=True):
        chosen = st.selectbox("Class", (ANY, *CLASSES), width=160, key="class", persist_state="session")
        worst = st.selectbox("Order by Dice", (WORST, BEST), width=160, key="order", persist_state="session")
        wanted = st.selectbox("Show", browsing.KINDS, width=240, key="kind", persist_state="session")
    return browsing.select(shown.table, shown.stage, None if chosen == ANY else chosen, wanted, worst == WORST)


def _select_image(selected: pd.Series) -> str:
    """Controls that select one of the images; returns its name."""
    names = list(selected.index)
    if st.session_state.get("image") not in names:
        st.session_state["image"] = names[0]
    place = names.index(st.session_state["image"])

    def move(step: int) -> None:
        st.session_state["image"] = names[place + step]

    with st.container(horizontal=True, vertical_alignment="bottom"):
        name: str = st.selectbox(
            f"Image, {place + 1} of {len(names)}",
            names,
            format_func=lambda each: f"{each}, Dice {selected[each]:.3f}",
            key="image",
            persist_state="session",
        )
        st.button("Previous", on_click=move, args=(-1,), disabled=place == 0)
        st.button("Next", on_click=move, args=(1,), disabled=place + 1 == len(names))
    return name


def _show_masks(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> None:
    with st.container(horizontal=True):
        with_prediction = st.checkbox("Prediction", value=True, key="prediction", persist_state="session")
        with_truth = st.checkbox("Labels", value=True, key="labels", persist_state="session")
    layers = predicted if with_prediction else None, truth if with_truth else None
    st.image(drawing.draw(image, *layers), width="stretch", output_format="JPEG")
    st.html(drawing.legend(truth=True))


def _show_scores(
    shown: Evaluated, rules: Sequence[Rule], of_image: np.ndarray, predicted: np.ndarray, bits: np.ndarray
) -> None:
    """Show Dice of this image at once, and Dice of all images when it is computed, so that sliders respond quickly."""
    images = len(shown.samples.names)
    every = means(shown, shown.key)
    place = st.empty()
    for now in (rules, shown.rules):
        if not every.known(now):
            place.table(_table(of_image, predicted, bits, ["..."] * (len(CLASSES) + 1), images))
            with st.empty():
                for share in every.compute(now):
                    st.progress(share, f"All {images} images: {share:.0%}")
                st.write("")
    place.table(_table(of_image, predicted, bits, _changes(every.of(rules), every.of(shown.rules)), images))
    st.caption(
        "Dice is 1 where prediction and labels are equal, also if both are empty. In brackets: the difference to the "
        "tuned rules. The tuned rules were chosen on these images, so their Dice is higher here than the score of the "
        "run, which uses rules that were chosen on other images."
    )


def _table(
    of_image: np.ndarray, predicted: np.ndarray, bits: np.ndarray, of_all: Sequence[str], images: int
) -> pd.DataFrame:
    columns = {
        "Predicted": [live.percent(np.count_nonzero(mask)) for mask in predicted] + [""],
        "Labelled": [live.percent(np.count_nonzero(mask)) for mask in unpack(bits)] + [""],
        "Dice": [f"{value:.3f}" for value in (*of_image, of_image.mean())],
        f"Dice, all {images}": of_all,
    }
    return pd.DataFrame(columns, index=[*CLASSES, "mean"])


def _changes(of_all: np.ndarray, tuned: np.ndarray) -> list[str]:
    """Format Dice of each class and their mean, with the differences to the tuned rules."""
    pairs = zip((*of_all, of_all.mean()), (*tuned, tuned.mean()), strict=True)
    return [f"{now:.3f}" if now == then else f"{now:.3f} ({now - then:+.3f})" for now, then in pairs]
