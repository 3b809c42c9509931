"""Renders the HTML pages, whose templates are in `templates`."""

from __future__ import annotations

import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from cloudseg.data.labels import CLASSES
from cloudseg.results import figures


def render(template: str, **content: Any) -> str:
    """Render a template. It knows `classes`, their `colour`, `now`, and the filters `span` and `date`."""
    pages = Environment(
        loader=PackageLoader("cloudseg.results"),
        autoescape=select_autoescape(("html", "jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(span=_span, date=_date)
    return pages.get_template(template).render(
        **content, classes=CLASSES, colour=figures.COLOUR, now=datetime.datetime.now().timestamp()
    )


def _span(seconds: float) -> str:
    """Format a duration: '2 h 05 min', '3 min 20 s', '45 s'."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
