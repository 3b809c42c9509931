"""Page "About": explains the scores, and shows the settings of the runs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cloudseg.showcase.evaluated import Evaluated

ABOUT = """
Shallow clouds over the trade-wind oceans form patterns that are called **Fish**, **Flower**, **Gravel** and **Sugar**.
A network was trained to segment them in satellite images, in stages: first with a frozen encoder, then with more and
more of the encoder trained. This app shows its predictions for validation images, on which it was not trained.
"""
SCORES = """
**Dice** of an image and a class is twice the pixels that are both predicted and labelled, divided by the predicted
pixels plus the labelled pixels, at 350x525 pixels; it is 1 if there are neither. The score of a data set is the mean
over all images and classes, as in the Kaggle competition "Understanding Clouds from Satellite Images".

A pixel is predicted if its probability is above the threshold of its class; components below the minimum area are
dropped. The scores under Compare use rules that were chosen on the other half of the validation images; the sliders
start at rules that were chosen on all of them. Intervals are 95 % bootstrap intervals over images, of 2,000 resamples.
Labellers of these patterns agree only in part, so a Dice of 1 cannot be reached.
"""


def show(runs: list[Evaluated]) -> None:
    st.write(ABOUT)
    st.subheader("Scores")
    st.write(SCORES)
    for each in runs:
        st.subheader("The run" if len(runs) == 1 else "A run")
        low, high = each.metrics["dice_interval"]
        st.text(f"{each.run.path}: Dice {each.metrics['dice']:.3f} ({low:.3f} to {high:.3f}), "
                f"{each.metrics['images']} validation images")  # fmt: skip
        with st.expander("Settings"):
            st.code((each.run.path / "run.toml").read_text(), language="toml")
        if each.run.made:
            made = {key: str(value) for key, value in each.run.made.items()}
            with st.expander("Software"):
                st.table(pd.DataFrame({"": made.values()}, index=list(made)))
