"""Page "Compare": scores of stages and runs, and their masks of one image."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from cloudseg.data.bitmask import has_data, unpack
from cloudseg.data.labels import CLASSES
from cloudseg.results import postprocess
from cloudseg.showcase import comparison, drawing, live
from cloudseg.showcase.evaluated import Evaluated

TUNED, UNTUNED = "tuned rules", "threshold 0.5"


def show(runs: list[Evaluated]) -> None:
    titles = comparison.titles([each.run.path for each in runs])
    table = comparison.table([(title, each.metrics) for title, each in zip(titles, runs, strict=True)])
    table["title"] = table["run"] + ", " + table["stage"] if len(runs) > 1 else table["stage"]
    st.subheader("Scores on the validation images")
    st.altair_chart(_chart(table))
    overall, per_class = st.columns(2)
    overall.table(_overall(table), hide_index=True)
    per_class.table(_per_class(table), hide_index=True)
    st.caption("Dice with rules that were chosen on the other half of the images, with 95 % bootstrap intervals.")
    st.subheader("One image")
    names = [name for name in runs[0].samples.names if all(name in each.samples.names for each in runs)]
    if not names:
        st.info("These runs have no validation image in common.")
        return
    _side_by_side(dict(zip(titles, runs, strict=True)), names)


def _chart(table: pd.DataFrame) -> alt.LayerChart:
    rows = pd.concat(
        [
            table[["title", "dice", "low", "high"]].assign(rules=TUNED),
            table[["title", "untuned", "untuned low", "untuned high"]]
            .set_axis(["title", "dice", "low", "high"], axis=1)
            .assign(rules=UNTUNED),
        ]
    )
    base = alt.Chart(rows).encode(
        y=alt.Y("title:N", title=None, sort=None, axis=alt.Axis(labelLimit=240)),
        yOffset=alt.YOffset("rules:N", sort=[TUNED, UNTUNED]),
        color=alt.Color(
            "rules:N",
            title=None,
            scale=alt.Scale(domain=[TUNED, UNTUNED], range=["#0072B2", "#999999"]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=["title", "rules", *(alt.Tooltip(each, format=".3f") for each in ("dice", "low", "high"))],
    )
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="Dice").scale(zero=False), x2="high:Q")
    return (lines + base.mark_point(filled=True, size=80).encode(x="dice:Q")).properties(height=alt.Step(20))


def _overall(table: pd.DataFrame) -> pd.DataFrame:
    dice = [f"{row.dice:.3f} ({row.low:.3f} to {row.high:.3f})" for row in table.itertuples()]
    return pd.DataFrame({"": table["title"], "Dice": dice, "At 0.5": table["untuned"].map("{:.3f}".format)})


def _per_class(table: pd.DataFrame) -> pd.DataFrame:
    scores = {label: table[label].map("{:.3f}".format) for label in CLASSES}
    return pd.DataFrame({"": table["title"], **scores})


def _side_by_side(runs: dict[str, Evaluated], names: list[str]) -> None:
    offered = {
        f"{title}, {stage}" if len(runs) > 1 else stage: (each, stage)
        for title, each in runs.items()
        for stage in each.stores
    }
    if st.session_state.get("image") not in names:
        st.session_state["image"] = names[0]
    name = st.selectbox("Image", names, key="image", persist_state="session")
    wanted = st.multiselect("Stages", list(offered), list(offered), key="compared", persist_state="session")
    bits = next(iter(runs.values())).truth(name)
    with st.container(horizontal=True):
        for title in wanted:
            each, stage = offered[title]
            probability, presence = each.probability(name, stage), each.presence(name, stage)
            predicted = postprocess.masks(probability, each.rules, presence) & has_data(bits)
            with st.container(width=380):
                st.image(
                    drawing.draw(each.picture(name), predicted, unpack(bits)), width="stretch", output_format="JPEG"
                )
                st.text(f"{title}: Dice {live.dice(predicted, bits).mean():.3f}")
    st.html(drawing.legend(truth=True))
    st.caption("All stages use the rules that were tuned for the last stage of their run.")
