"""What this is, and what the run was made with."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cloudseg.showcase.evaluated import Evaluated

ABOUT = """
Shallow clouds over the trade-wind oceans arrange themselves in patterns that people call **Fish**, **Flower**,
**Gravel** and **Sugar**. A U-Net was trained to outline them in satellite images, in stages: with its encoder frozen,
then with more and more of it learning. This app shows what it says of images on which it was not trained.
"""
SCORES = """
**Dice** of an image and a class is twice the pixels that are both predicted and labelled, over the pixels predicted
plus the pixels labelled, at 350x525 pixels; 1 if there are neither. The score of a set is the mean over all images and
classes, as in the Kaggle competition "Understanding Clouds from Satellite Images".

A pixel is predicted if its probability is above the threshold of its class; pieces below the smallest area are
dropped. The scores under Compare were measured with rules that each half of the validation images got from the other
half; the sliders start at rules from all of them. Intervals hold 95 % of the means of 2,000 draws of as many images
with replacement. People who label these patterns agree with each other only in part, so 1 is out of reach.
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
            with st.expander("Made with"):
                st.table(pd.DataFrame({"": made.values()}, index=list(made)))
