"""Streamlit script of the app. Streamlit runs it from top to bottom for every session and after every input."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import streamlit as st
from PIL import Image
from streamlit.navigation.page import StreamlitPage

from cloudseg.core.errors import CloudsegError
from cloudseg.showcase import drawing, page_about, page_compare, page_data, page_images, page_upload
from cloudseg.showcase.evaluated import Evaluated, load

STYLE = ".stMainBlockContainer { padding-top: 4rem; padding-bottom: 2rem; }"
"""Half of Streamlit's padding, as phones have little space."""

Page = Callable[[list[Evaluated]], None]


@st.cache_resource(show_spinner="Opening the run")
def opened(path: str, digest: str) -> Evaluated:
    """Load a run; the cached result is used until `digest`, from `evaluation_digest`, changes."""
    return load(Path(path))


def evaluation_digest(path: str) -> str:
    """sha256 of the evaluation's files that the app caches."""
    digest = hashlib.sha256()
    for name in ("metrics.json", "thresholds.json", "images.csv"):
        file = Path(path) / "evaluate" / name
        digest.update(hashlib.sha256(file.read_bytes() if file.exists() else b"").digest())
    return digest.hexdigest()


def heading(first: Evaluated) -> str:
    return f"Run {first.name}: Dice {first.metrics['dice']:.3f} on {first.metrics['images']} validation images"


def page(show: Page, title: str, address: str, icon: str) -> StreamlitPage:
    def body() -> None:
        try:
            runs = [opened(path, evaluation_digest(path)) for path in sys.argv[1:]]
            st.text(heading(runs[0]))
            show(runs)
        except CloudsegError as error:
            st.error("This page cannot be shown:")
            st.text(str(error))

    return st.Page(body, title=title, url_path=address, icon=icon, default=show is page_images.show)


def main() -> None:
    st.set_page_config(page_title="cloudseg", page_icon=Image.fromarray(drawing.icon()), layout="wide")
    st.html(f"<style>{STYLE}</style>")
    pages = [
        page(page_images.show, "Images", "images", ":material/image:"),
        page(page_upload.show, "Upload", "upload", ":material/upload:"),
        page(page_compare.show, "Compare", "compare", ":material/compare:"),
        page(page_data.show, "Data", "data", ":material/bar_chart:"),
        page(page_about.show, "About", "about", ":material/info:"),
    ]
    st.navigation(pages, position="top").run()


main()
